//! Pure: when a task's stop signal may be sent: after every node has stopped sending it new flows.
//!
//! Each session notes in which generation it was first told that a backend is not active. The barrier
//! holds until all sessions have applied that generation, or the bound has passed: a node that does
//! not answer must not keep a task alive.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::TaskId;

/// What one node was told of backends, by generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Backends this node may still send new flows to.
    active: BTreeSet<TaskId>,
    /// Generation in which the node was told to send no new flows any more.
    withdrawn_in: BTreeMap<TaskId, u64>,
    /// Newest generation the node has in its kernel.
    applied: u64,
}

impl Told {
    /// Notes that a generation is being sent which says of a backend whether it takes new flows.
    pub fn note(&mut self, task: &TaskId, active: bool, generation: u64) {
        if active {
            self.withdrawn_in.remove(task);
            self.active.insert(task.clone());
        } else {
            self.withdraw(task, generation);
        }
    }

    /// Notes that a generation is being sent which is the whole view.
    pub fn note_full(&mut self, generation: u64) {
        for task in std::mem::take(&mut self.active) {
            self.withdrawn_in.insert(task, generation);
        }
    }

    /// True if there is no task that the node may send new flows to.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty() && self.withdrawn_in.is_empty()
    }

    fn withdraw(&mut self, task: &TaskId, generation: u64) {
        if self.active.remove(task) {
            self.withdrawn_in.insert(task.clone(), generation);
        }
    }

    /// Notes what the node says it has applied. Forgets what can no longer matter.
    pub fn acknowledge(&mut self, generation: u64) {
        self.applied = self.applied.max(generation);
        let applied = self.applied;
        self.withdrawn_in.retain(|_, told_in| *told_in > applied);
    }

    /// True if the node sends the task no new flows.
    pub fn is_withdrawn(&self, task: &TaskId) -> bool {
        !self.active.contains(task) && !self.withdrawn_in.contains_key(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> TaskId {
        TaskId::from_text("t")
    }

    #[test]
    fn a_backend_is_withdrawn_when_the_node_has_applied_the_generation_that_says_so() {
        let mut told = Told::default();
        told.note(&task(), true, 1);
        told.acknowledge(1);
        assert!(!told.is_withdrawn(&task()));
        told.note(&task(), false, 2);
        assert!(!told.is_withdrawn(&task()));
        told.acknowledge(2);
        assert!(told.is_withdrawn(&task()));
    }

    #[test]
    fn a_backend_that_never_served_is_withdrawn_at_once() {
        let mut told = Told::default();
        told.note(&task(), false, 1);
        assert!(told.is_withdrawn(&task()));
    }

    #[test]
    fn a_whole_view_withdraws_what_it_does_not_name() {
        let mut told = Told::default();
        told.note(&task(), true, 1);
        told.note_full(2);
        assert!(!told.is_withdrawn(&task()));
        told.acknowledge(5);
        assert!(told.is_withdrawn(&task()) && told.is_idle());
    }

    #[test]
    fn an_older_acknowledgement_changes_nothing() {
        let mut told = Told::default();
        told.note(&task(), true, 1);
        told.acknowledge(3);
        told.note(&task(), false, 4);
        told.acknowledge(2);
        assert!(!told.is_withdrawn(&task()));
    }
}
