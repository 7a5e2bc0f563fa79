//! Pure: writes of tasks. A task's state only grows; its node never changes once set.

use std::sync::Arc;

use swarmnet_model::{
    Attachment, DesiredState, GenericResource, NodeId, PublishedPort, Task, TaskId, TaskState,
    TaskStatus,
};

use super::{Object, Writer, exists, missing, replace};
use crate::store::Refused;

/// Docker's words for a task that waits for the scheduler.
const ALLOCATED: &str = "pending task scheduling";
const NO_LONGER_MEETS: &str = "assigned node no longer meets constraints";

impl Writer {
    /// Refused as well if its service is gone or going: nobody would ever remove the task.
    pub(super) fn create_task(&mut self, task: &Task) -> Result<(), Refused> {
        if self.tables.tasks.contains_key(&task.id) {
            return Err(exists("task", &task.id));
        }
        if self.kept_service(&task.service_id).is_none() {
            return Err(missing("service", &task.service_id));
        }
        let mut task = task.clone();
        task.created_at = self.now;
        task.stamp(self.version, self.now);
        self.tables.tasks.insert(task.id.clone(), Arc::new(task));
        Ok(())
    }

    /// Skipped as well if a plain container has got one of the addresses meanwhile.
    pub(super) fn allocate_task(&mut self, id: &TaskId, attachments: &[Attachment]) {
        if attachments.iter().any(|a| self.attached_has(&a.network_id, a.address.ip())) {
            return;
        }
        self.edit_task(id, |task, now| {
            if task.status.state == TaskState::New {
                task.attachments = attachments.to_vec();
                task.status = TaskStatus::new(now, TaskState::Pending, ALLOCATED);
            }
        });
    }

    /// Skipped as well if the node is gone: its removal has orphaned what was there, and would not
    /// see this task.
    pub(super) fn assign_task(
        &mut self,
        id: &TaskId,
        node_id: &NodeId,
        message: &str,
        (generic, ports): (&[GenericResource], &[PublishedPort]),
    ) {
        if !self.tables.nodes.contains_key(node_id) {
            return;
        }
        self.edit_task(id, |task, now| {
            let elsewhere = task.node_id.as_ref().is_some_and(|present| present != node_id);
            if task.status.state == TaskState::Pending && !elsewhere {
                task.node_id = Some(node_id.clone());
                task.assigned_generic = generic.to_vec();
                task.chosen_ports = ports.to_vec();
                task.status = TaskStatus::new(now, TaskState::Assigned, message);
            }
        });
    }

    pub(super) fn explain_task(&mut self, id: &TaskId, message: &str, err: &Option<String>) {
        self.edit_task(id, |task, _| {
            if task.status.state <= TaskState::Pending {
                task.status.message = message.to_owned();
                task.status.err.clone_from(err);
            }
        });
    }

    pub(super) fn set_desired_state(&mut self, id: &TaskId, desired: DesiredState) {
        self.edit_task(id, |task, _| {
            if !task.desired_state.is_terminal() || desired > task.desired_state {
                task.desired_state = desired;
            }
        });
    }

    pub(super) fn report_task(&mut self, id: &TaskId, node_id: &NodeId, status: &TaskStatus) {
        self.edit_task(id, |task, _| {
            if task.node_id.as_ref() == Some(node_id) && status.state >= task.status.state {
                let rejected = task.status.is_enforced();
                task.status = status.clone();
                if rejected {
                    mark_rejected(&mut task.status);
                }
            }
        });
    }

    /// The task stops as any other does, and what it held stays its own until then.
    pub(super) fn reject_task(&mut self, id: &TaskId) {
        self.edit_task(id, |task, _| {
            if task.is_live() && task.status.state >= TaskState::Assigned {
                task.desired_state = DesiredState::Shutdown;
                mark_rejected(&mut task.status);
            }
        });
    }

    pub(super) fn end_task(&mut self, id: &TaskId, status: &TaskStatus) {
        self.edit_task(id, |task, _| {
            if !task.status.state.is_terminal() && status.state.is_terminal() {
                task.status = status.clone();
            }
        });
    }

    fn edit_task(&mut self, id: &TaskId, edit: impl FnOnce(&mut Task, swarmnet_model::Timestamp)) {
        let Some(present) = self.tables.tasks.get(id) else {
            return;
        };
        let mut changed = Task::clone(present);
        edit(&mut changed, self.now);
        replace(&mut self.tables.tasks, id, changed, (self.version, self.now));
    }
}

/// Whatever the agent says of the end, the reason stays.
fn mark_rejected(status: &mut TaskStatus) {
    TaskStatus::ENFORCED.clone_into(&mut status.message);
    status.err = Some(NO_LONGER_MEETS.to_owned());
    if status.state.is_terminal() && status.state < TaskState::Rejected {
        status.state = TaskState::Rejected;
    }
}
