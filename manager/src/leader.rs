//! The loops that only the leader runs: started when this manager leads, stopped when it does not.
//!
//! A loop is its planner and the shell here: wait for another state or for the planner's time, plan
//! on a snapshot, propose. A refused proposal is planned again from what is there then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use swarmnet_model::{IdSource, Tables, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ids::OsIds;
use crate::plan::Plan;
use crate::raft::RaftGroup;
use crate::store::{Change, ProposeError, Store};

/// A burst of changes makes one pass.
const COALESCE: Duration = Duration::from_millis(3);
/// Longest pause that a long pass earns.
const EFFORT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause after the first failed pass; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After so many refused passes in a row, changes are proposed one by one: one that can never be
/// applied must not hold the others up.
const REFUSALS_BEFORE_SINGLES: u32 = 3;
/// After so many passes in a row that wrote something, a loop may be going in circles.
const WRITING_PASSES_MAX: u32 = 100;
/// Pause between passes of a loop that may be going in circles.
const CIRCLE_PAUSE: Duration = Duration::from_millis(250);
/// Wait for this leader's own log to be applied before it decides anything.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before leading is tried again after a failure.
const LEAD_PAUSE: Duration = Duration::from_millis(200);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thing the leader does, from a start to its cancellation.
#[derive(Clone)]
pub struct LeaderTask {
    name: &'static str,
    start: Arc<dyn Fn(Store, CancellationToken) -> Running + Send + Sync>,
}

impl LeaderTask {
    /// A task with a loop of its own.
    pub fn new<F, Fut>(name: &'static str, start: F) -> Self
    where
        F: Fn(Store, CancellationToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self { name, start: Arc::new(move |store, cancel| Box::pin(start(store, cancel))) }
    }

    /// A task that is a planner in the shell of this module; `make` is called whenever this manager
    /// begins to lead.
    pub fn planner<P>(name: &'static str, make: fn() -> P) -> Self
    where
        P: FnMut(&Tables, Timestamp, &mut dyn IdSource) -> Plan + Send + 'static,
    {
        Self::new(name, move |store, cancel| run_loop(name, store, cancel, make()))
    }
}

/// Runs `tasks` whenever this manager leads, until cancelled.
pub async fn run(
    group: Arc<RaftGroup>,
    store: Store,
    tasks: Vec<LeaderTask>,
    cancel: CancellationToken,
) {
    loop {
        let term = tokio::select! {
            () = cancel.cancelled() => return,
            term = group.await_leadership() => term,
        };
        let Some(term) = term else { return };
        let lead = CancellationToken::new();
        tokio::select! {
            () = cancel.cancelled() => return,
            current = catch_up(&group) => if !current {
                tokio::time::sleep(LEAD_PAUSE).await;
                continue;
            },
        }
        tracing::info!(term, "this manager leads");
        let mut running = JoinSet::new();
        for task in &tasks {
            let work = (task.start)(store.clone(), lead.clone());
            let name = task.name;
            running.spawn(async move {
                work.await;
                name
            });
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = group.await_end_of_leadership(term) => tracing::info!(term, "no longer leads"),
            Some(ended) = running.join_next() => match ended {
                Ok(task) => tracing::info!(task, "leader's task has ended: all start anew"),
                Err(error) => tracing::error!(%error, "leader's task has failed: all start anew"),
            },
        }
        lead.cancel();
        while running.join_next().await.is_some() {}
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LEAD_PAUSE) => {}
        }
    }
}

/// A new leader has its predecessors' entries on disk, but perhaps not in its tables yet.
async fn catch_up(group: &RaftGroup) -> bool {
    match group.read_index().await {
        Ok(index) => group.wait_applied(index, CATCH_UP_PATIENCE).await.is_ok(),
        Err(_) => false,
    }
}

/// How a pass went.
enum Pass {
    /// There was nothing to do.
    Empty,
    /// Something was written, and the tables differ by it.
    Written,
    /// Everything written was skipped: the same plan would come again.
    NoEffect,
    /// A change no longer fitted: plan again.
    Refused,
    /// Too few managers confirmed, or an entry was too large.
    Failed,
    /// This manager does not lead any more.
    Ended,
}

/// Runs one planner until cancelled or until this manager does not lead.
pub async fn run_loop<P>(name: &'static str, store: Store, cancel: CancellationToken, mut plan: P)
where
    P: FnMut(&Tables, Timestamp, &mut dyn IdSource) -> Plan + Send,
{
    let mut watch = store.watch();
    let mut pace = Pace::default();
    loop {
        let tables = watch.borrow_and_update().clone();
        let began = Instant::now();
        let planned = plan(&tables, store.now(), &mut OsIds);
        let effort = began.elapsed();
        let wake_at = planned.wake_at;
        let pass = tokio::select! {
            // A proposal under way may still be applied; the next leader plans from what it finds.
            () = cancel.cancelled() => return,
            pass = propose(&store, &tables, planned.changes, pace.singles()) => pass,
        };
        if matches!(pass, Pass::Ended) {
            return;
        }
        // A loop thinks at most half of the time, whatever the size of the cluster.
        let pause = pace.after(name, &pass).max(effort.min(EFFORT_PAUSE_MAX));
        let wake = async {
            if matches!(pass, Pass::Empty | Pass::NoEffect) {
                tokio::select! {
                    changed = watch.changed() => return changed.is_ok(),
                    () = sleep_until(&store, wake_at) => {}
                }
            }
            true
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            open = wake => if !open { return },
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn sleep_until(store: &Store, wake_at: Option<Timestamp>) {
    match wake_at {
        Some(at) => tokio::time::sleep(at.since(store.now()).max(PAUSE_MIN)).await,
        None => std::future::pending().await,
    }
}

/// How fast passes follow each other.
#[derive(Default)]
struct Pace {
    failures: u32,
    refusals: u32,
    writing: u32,
    without_effect: u32,
    warned: bool,
}

impl Pace {
    fn singles(&self) -> bool {
        self.refusals >= REFUSALS_BEFORE_SINGLES
    }

    /// Counts the pass and returns the pause before the next.
    fn after(&mut self, name: &str, pass: &Pass) -> Duration {
        match pass {
            Pass::Empty => {
                *self = Self { warned: self.warned, ..Self::default() };
                return COALESCE;
            }
            Pass::Written => {
                (self.failures, self.refusals, self.without_effect) = (0, 0, 0);
                self.writing += 1;
                if self.writing < WRITING_PASSES_MAX {
                    return COALESCE;
                }
                self.warn(name, "writes in every pass");
                return CIRCLE_PAUSE;
            }
            Pass::NoEffect => {
                self.without_effect += 1;
                if self.without_effect > 1 {
                    self.warn(name, "plans changes that have no effect");
                }
                return doubled(self.without_effect);
            }
            Pass::Refused => self.refusals += 1,
            Pass::Failed | Pass::Ended => self.failures += 1,
        }
        doubled(self.failures + self.refusals)
    }

    fn warn(&mut self, name: &str, what: &str) {
        if !self.warned {
            tracing::warn!(task = name, what, "loop does not come to rest");
            self.warned = true;
        }
    }
}

fn doubled(times: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << times.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

/// Proposes the changes in order, in entries of bounded size.
async fn propose(store: &Store, planned_on: &Tables, changes: Vec<Change>, singles: bool) -> Pass {
    if changes.is_empty() {
        return Pass::Empty;
    }
    let size = if singles { 1 } else { CHANGES_PER_TRANSACTION };
    let mut entries: Vec<Arc<[Change]>> = entries(changes, size);
    let (mut refused, mut failed) = (false, false);
    while let Some(entry) = entries.pop() {
        match store.propose(Arc::clone(&entry)).await {
            Ok(_) => {}
            Err(ProposeError::TooLarge { .. }) if entry.len() > 1 => {
                let (first, rest) = entry.split_at(entry.len() / 2);
                entries.extend([rest.into(), first.into()]);
            }
            // No later pass could write it either; the others must not wait for it.
            Err(error @ ProposeError::TooLarge { .. }) => {
                tracing::warn!(%error, "one change not written");
                failed = true;
            }
            Err(error @ ProposeError::Refused(_)) if singles => {
                tracing::debug!(%error, "one change refused");
                refused = true;
            }
            Err(ProposeError::Refused(_)) => return Pass::Refused,
            Err(ProposeError::NotLeader { .. } | ProposeError::Unavailable) => return Pass::Ended,
            Err(error @ ProposeError::TimedOut) => {
                tracing::warn!(%error, "changes not written");
                return Pass::Failed;
            }
        }
    }
    if failed {
        Pass::Failed
    } else if refused {
        Pass::Refused
    } else if same(planned_on, &store.snapshot()) {
        Pass::NoEffect
    } else {
        Pass::Written
    }
}

/// Cuts the changes into entries, the last of them first.
fn entries(changes: Vec<Change>, size: usize) -> Vec<Arc<[Change]>> {
    let mut changes = changes.into_iter();
    let mut entries = Vec::new();
    loop {
        let entry: Arc<[Change]> = changes.by_ref().take(size).collect();
        if entry.is_empty() {
            entries.reverse();
            return entries;
        }
        entries.push(entry);
    }
}

/// True if nothing was written in between: maps that nobody wrote to are one and the same.
fn same(before: &Tables, after: &Tables) -> bool {
    let cluster = match (&before.cluster, &after.cluster) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    cluster
        && before.nodes.ptr_eq(&after.nodes)
        && before.networks.ptr_eq(&after.networks)
        && before.services.ptr_eq(&after.services)
        && before.tasks.ptr_eq(&after.tasks)
}
