//! The last events, and whoever listens for the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use swarmnet_model::Timestamp;
use swarmnet_model::event::Event;
use swarmnet_model::limits::{EVENTS_KEPT_MAX, EVENTS_QUEUED_MAX};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::difference::{State, events};
use crate::raft::RaftGroup;
use crate::store::Store;

/// Who leads and who can be reached is looked at this often; the tables tell by themselves.
const RAFT_LOOK: Duration = Duration::from_millis(500);

/// What one listener gets; it ends with this manager.
pub type EventStream = std::pin::Pin<Box<dyn Stream<Item = Event> + Send>>;

/// The events of this manager since it runs, as far back as they are kept.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<Kept>>);

struct Kept {
    last: VecDeque<Event>,
    /// `None` once this manager stops.
    next: Option<broadcast::Sender<Event>>,
}

impl Default for Feed {
    fn default() -> Self {
        let next = Some(broadcast::Sender::new(EVENTS_QUEUED_MAX));
        Self(Arc::new(Mutex::new(Kept { last: VecDeque::new(), next })))
    }
}

impl Feed {
    /// Returns kept events since a time, if one is given, and all that happens from now on.
    pub fn listen(&self, since: Option<Timestamp>) -> (Vec<Event>, EventStream) {
        let kept = self.kept();
        let wanted = |event: &&Event| since.is_some_and(|since| event.time >= since);
        let last = kept.last.iter().filter(wanted).cloned().collect();
        let next = match &kept.next {
            Some(next) => BroadcastStream::new(next.subscribe()).boxed(),
            None => futures::stream::empty().boxed(),
        };
        // One that does not keep up goes on with what is there.
        let next = next.filter_map(|event| std::future::ready(event.ok()));
        (last, Box::pin(next))
    }

    fn add(&self, events: Vec<Event>) {
        let mut kept = self.kept();
        for event in events {
            if let Some(next) = &kept.next {
                // Nobody may be listening.
                let _nobody = next.send(event.clone());
            }
            kept.last.push_back(event);
            if kept.last.len() > EVENTS_KEPT_MAX {
                kept.last.pop_front();
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // No operation on it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the state until cancelled; then every listener's stream ends.
pub async fn run(feed: Feed, group: Arc<RaftGroup>, store: Store, stop: CancellationToken) {
    let mut tables = store.watch();
    let look = |tables| State { tables, raft: group.view() };
    // A statement of its own: the borrow is a lock.
    let first = tables.borrow_and_update().clone();
    let mut before = look(first);
    let mut ticks = interval(RAFT_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let open = tokio::select! {
            () = stop.cancelled() => false,
            changed = tables.changed() => changed.is_ok(),
            _ = ticks.tick() => true,
        };
        if !open {
            break;
        }
        let newest = tables.borrow_and_update().clone();
        let after = look(newest);
        // What was there when this manager came to know of the cluster has not just happened.
        if before.tables.cluster.is_some() {
            feed.add(events(&before, &after, store.now()));
        }
        before = after;
    }
    feed.kept().next = None;
}
