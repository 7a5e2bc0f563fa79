//! Pure: one agent's session: what it was told, what it has applied, until when it is alive.

use std::net::Ipv4Addr;
use std::time::Duration;

use swarmnet_model::defaults::HEARTBEATS_MISSED_MAX;
use swarmnet_model::{ViewUpdate, view};
use tokio::time::Instant;

use crate::discovery::drain::Told;
use crate::discovery::views::Parts;

/// What the dispatcher knows of one session. Sending is the caller's.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    /// Address the node advertises, or was seen from.
    pub addr: Ipv4Addr,
    /// Without a heartbeat until then the node is down.
    pub deadline: Instant,
    /// The view the node has when it has applied `generation`.
    view: Parts,
    generation: u64,
    told: Told,
}

impl Session {
    /// A session that has been told nothing.
    pub fn new(id: String, addr: Ipv4Addr, now: Instant, period: Duration) -> Self {
        Self {
            id,
            addr,
            deadline: deadline(now, period),
            view: Parts::default(),
            generation: 0,
            told: Told::default(),
        }
    }

    /// Notes a sign of life.
    pub fn heartbeat(&mut self, now: Instant, period: Duration) {
        self.deadline = deadline(now, period);
    }

    /// Notes the generation the node has in its kernel. One we never sent is not believed.
    pub fn acknowledge(&mut self, generation: u64) {
        self.told.acknowledge(generation.min(self.generation));
    }

    /// Returns what the node was told of backends.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Returns what must be sent so that the node has `view`; `None` if it has. The first update is
    /// full even if the view is empty: it tells the agent that nothing else is to be kept.
    pub fn advance(&mut self, view: Parts) -> Option<ViewUpdate> {
        let generation = self.generation + 1;
        let update = if self.generation == 0 {
            let items = view.shared.iter().chain(view.own.iter());
            let put = items.map(|(key, item)| (key.clone(), item.clone())).collect();
            ViewUpdate { generation, full: true, put, removed: Vec::new() }
        } else if self.view.is_same(&view) {
            return None;
        } else {
            let shared = view::difference(&self.view.shared, &view.shared, generation);
            let own = view::difference(&self.view.own, &view.own, generation);
            let mut parts = shared.into_iter().chain(own);
            let mut update = parts.next()?;
            if let Some(own) = parts.next() {
                update.put.extend(own.put);
                update.removed.extend(own.removed);
            }
            update
        };
        self.told.note(&update);
        self.generation = generation;
        self.view = view;
        Some(update)
    }
}

fn deadline(now: Instant, period: Duration) -> Instant {
    now + period * HEARTBEATS_MISSED_MAX
}

#[cfg(test)]
mod tests {
    use swarmnet_model::view::Settings;
    use swarmnet_model::{ClusterId, Item, ItemKey, NodeView};

    use super::*;

    fn view(port: u16) -> Parts {
        let settings =
            Settings { cluster_id: ClusterId::from_text("c"), data_path_port: port, ingress: None };
        let shared = NodeView::unit(ItemKey::Settings, Item::Settings(settings));
        Parts { shared, own: NodeView::new() }
    }

    #[test]
    fn the_first_update_is_full_and_later_ones_are_differences() {
        let mut session =
            Session::new("s".into(), [1, 2, 3, 4].into(), Instant::now(), Duration::from_secs(5));
        let first = session.advance(Parts::default()).unwrap();
        assert!(first.full && first.generation == 1 && first.put.is_empty());
        let second = session.advance(view(4789)).unwrap();
        assert!(!second.full && second.generation == 2 && second.put.len() == 1);
        assert_eq!(session.advance(view(4789)), None);
        assert_eq!(session.advance(Parts::default()).unwrap().removed, [ItemKey::Settings]);
    }
}
