//! What goes up to the managers: task statuses, the latest per task, until acknowledged.
//!
//! Owns: the statuses of this node's tasks and which of them the managers have not got yet. Does not
//! own: how they are sent (`session`) or kept over a restart (`local`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use swarmnet_model::{TaskId, TaskState, TaskStatus};
use tokio::sync::watch;

/// Latest statuses of this node's tasks. Bounded by the node's tasks: one status each.
#[derive(Debug)]
pub struct Reporter {
    outbox: Mutex<Outbox>,
    changed: watch::Sender<u64>,
}

impl Reporter {
    /// Begins with the statuses of an earlier life; the first session sends them again.
    pub fn new(statuses: BTreeMap<TaskId, TaskStatus>) -> Self {
        let unsent = statuses.keys().cloned().collect();
        Self { outbox: Mutex::new(Outbox { statuses, unsent }), changed: watch::Sender::new(0) }
    }

    /// Notes a status; one that lies behind the known one is dropped.
    pub fn put(&self, task: &TaskId, status: TaskStatus) {
        if self.outbox().put(task, status) {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Returns the latest status of a task.
    pub fn status(&self, task: &TaskId) -> Option<TaskStatus> {
        self.outbox().statuses.get(task).cloned()
    }

    /// The task is gone: nobody asks for its status any more.
    pub fn forget(&self, task: &TaskId) {
        if self.outbox().forget(task) {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Sends again what the managers do not know: `known` is their state of a task of this node.
    pub fn resend_if_behind(&self, task: &TaskId, known: TaskState) {
        if self.outbox().resend_if_behind(task, known) {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Returns at most `max` statuses that are not acknowledged.
    pub fn batch(&self, max: usize) -> Vec<(TaskId, TaskStatus)> {
        self.outbox().batch(max)
    }

    /// The managers have these statuses; what changed meanwhile stays to be sent.
    pub fn acknowledge(&self, sent: &[(TaskId, TaskStatus)]) {
        self.outbox().acknowledge(sent);
    }

    /// Returns all statuses, for the disk.
    pub fn statuses(&self) -> BTreeMap<TaskId, TaskStatus> {
        self.outbox().statuses.clone()
    }

    /// Changes whenever there is something new to send or to store.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // No operation of the outbox can panic half way.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Latest statuses, and which of them are not acknowledged.
#[derive(Debug, Default)]
struct Outbox {
    statuses: BTreeMap<TaskId, TaskStatus>,
    unsent: BTreeSet<TaskId>,
}

impl Outbox {
    fn put(&mut self, task: &TaskId, status: TaskStatus) -> bool {
        let known = self.statuses.get(task);
        if known.is_some_and(|known| known.state > status.state || *known == status) {
            return false;
        }
        self.statuses.insert(task.clone(), status);
        self.unsent.insert(task.clone());
        true
    }

    fn forget(&mut self, task: &TaskId) -> bool {
        self.unsent.remove(task);
        self.statuses.remove(task).is_some()
    }

    fn resend_if_behind(&mut self, task: &TaskId, known: TaskState) -> bool {
        let ahead = self.statuses.get(task).is_some_and(|own| own.state > known);
        ahead && self.unsent.insert(task.clone())
    }

    fn batch(&self, max: usize) -> Vec<(TaskId, TaskStatus)> {
        let unsent = self.unsent.iter().take(max);
        unsent.filter_map(|task| Some((task.clone(), self.statuses.get(task)?.clone()))).collect()
    }

    fn acknowledge(&mut self, sent: &[(TaskId, TaskStatus)]) {
        for (task, status) in sent {
            if self.statuses.get(task) == Some(status) {
                self.unsent.remove(task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::Timestamp;

    use super::*;

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus::new(Timestamp::UNSET, state, "")
    }

    fn batch(reporter: &Reporter) -> Vec<(TaskId, TaskState)> {
        reporter.batch(10).into_iter().map(|(task, status)| (task, status.state)).collect()
    }

    #[test]
    fn the_latest_status_is_sent_until_it_is_acknowledged() {
        let reporter = Reporter::new(BTreeMap::new());
        let (a, b) = (TaskId::from_text("a"), TaskId::from_text("b"));
        reporter.put(&a, status(TaskState::Accepted));
        reporter.put(&a, status(TaskState::Preparing));
        reporter.put(&b, status(TaskState::Running));
        reporter.put(&b, status(TaskState::Starting));
        let sent = reporter.batch(10);
        assert_eq!(
            batch(&reporter),
            [(a.clone(), TaskState::Preparing), (b.clone(), TaskState::Running)]
        );
        reporter.put(&a, status(TaskState::Ready));
        reporter.acknowledge(&sent);
        assert_eq!(batch(&reporter), [(a.clone(), TaskState::Ready)]);
        reporter.forget(&a);
        assert_eq!(batch(&reporter), []);
        reporter.resend_if_behind(&b, TaskState::Running);
        assert_eq!(batch(&reporter), []);
        reporter.resend_if_behind(&b, TaskState::Starting);
        assert_eq!(batch(&reporter), [(b, TaskState::Running)]);
    }

    #[test]
    fn statuses_of_an_earlier_life_are_sent_again() {
        let task = TaskId::from_text("a");
        let reporter = Reporter::new([(task.clone(), status(TaskState::Failed))].into());
        assert_eq!(batch(&reporter), [(task, TaskState::Failed)]);
    }
}
