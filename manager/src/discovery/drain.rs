//! Pure: when a task's stop signal may be sent: after every node has stopped sending it new flows.
//!
//! Each session notes in which generation it was first told that a backend is not active. The barrier
//! holds until all sessions have applied that generation, or the bound has passed: a node that does
//! not answer must not keep a task alive.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::view::BackendState;
use swarmnet_model::{Item, ItemKey, TaskId, ViewUpdate};

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
    /// Notes an update that is being sent.
    pub fn note(&mut self, update: &ViewUpdate) {
        if update.full {
            self.withdraw_all(update.generation);
        }
        for key in &update.removed {
            if let ItemKey::Backend(task) = key {
                self.withdraw(task, update.generation);
            }
        }
        for (key, item) in &update.put {
            let (ItemKey::Backend(task), Item::Backend(backend)) = (key, item) else { continue };
            match backend.state {
                BackendState::Active => {
                    self.withdrawn_in.remove(task);
                    self.active.insert(task.clone());
                }
                BackendState::Placed | BackendState::Draining | BackendState::Down => {
                    self.withdraw(task, update.generation);
                }
            }
        }
    }

    fn withdraw(&mut self, task: &TaskId, generation: u64) {
        if self.active.remove(task) {
            self.withdrawn_in.insert(task.clone(), generation);
        }
    }

    fn withdraw_all(&mut self, generation: u64) {
        for task in std::mem::take(&mut self.active) {
            self.withdrawn_in.insert(task, generation);
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
    use swarmnet_model::view::Backend;
    use swarmnet_model::{NodeId, ServiceId};

    use super::*;

    fn update(generation: u64, full: bool, states: &[(&str, BackendState)]) -> ViewUpdate {
        let put = states.iter().map(|(id, state)| {
            let task_id = TaskId::from_text(*id);
            let backend = Backend {
                task_id: task_id.clone(),
                task_name: format!("{id}.1"),
                service_id: Some(ServiceId::from_text("s")),
                node_id: NodeId::from_text("n"),
                state: *state,
                attachments: Vec::new(),
                gateway: None,
            };
            (ItemKey::Backend(task_id), Item::Backend(backend))
        });
        ViewUpdate { generation, full, put: put.collect(), removed: Vec::new() }
    }

    fn task() -> TaskId {
        TaskId::from_text("t")
    }

    #[test]
    fn a_backend_is_withdrawn_when_the_node_has_applied_the_generation_that_says_so() {
        let mut told = Told::default();
        told.note(&update(1, true, &[("t", BackendState::Active)]));
        told.acknowledge(1);
        assert!(!told.is_withdrawn(&task()));
        told.note(&update(2, false, &[("t", BackendState::Draining)]));
        assert!(!told.is_withdrawn(&task()));
        told.acknowledge(2);
        assert!(told.is_withdrawn(&task()));
    }

    #[test]
    fn a_backend_that_never_served_is_withdrawn_at_once() {
        let mut told = Told::default();
        told.note(&update(1, true, &[("t", BackendState::Placed)]));
        assert!(told.is_withdrawn(&task()));
    }

    #[test]
    fn removal_from_the_view_withdraws() {
        let mut told = Told::default();
        told.note(&update(1, true, &[("t", BackendState::Active)]));
        let mut gone = update(2, false, &[]);
        gone.removed.push(ItemKey::Backend(task()));
        told.note(&gone);
        assert!(!told.is_withdrawn(&task()));
        told.acknowledge(5);
        assert!(told.is_withdrawn(&task()));
    }

    #[test]
    fn an_older_acknowledgement_changes_nothing() {
        let mut told = Told::default();
        told.note(&update(1, true, &[("t", BackendState::Active)]));
        told.acknowledge(3);
        told.note(&update(4, false, &[("t", BackendState::Draining)]));
        told.acknowledge(2);
        assert!(!told.is_withdrawn(&task()));
    }
}
