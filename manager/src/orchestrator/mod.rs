//! Orchestrator: services → tasks.
//!
//! Owns: how many tasks a service has, which take whose place (restart, update, evacuation of a
//! node), and the wish of every task. Does not own: where a task runs (`scheduler`), removing what
//! has ended (`reaper`).
//!
//! ```text
//!   service ──replicated | global──► slots ──slot──► evacuate, restart, start
//!      │                               └───update──► replace what is out of date
//!      └──job──► slots of its present execution ──slot──► as above, until each has completed
//! ```
//!
//! What stays true: everything is read from the snapshot, so that a new leader goes on where the old
//! one stopped; a slot has one live task, two only while one takes the other's place.

mod drain;
mod global;
mod job;
mod replicated;
mod restart;
mod slot;
mod surplus;
mod update;

use std::sync::Arc;

use swarmnet_model::{
    Availability, DesiredState, IdSource, NodeState, Service, ServiceMode, Tables, Task, TaskId,
    TaskState, TaskStatus, Timestamp,
};

use crate::follow::Follower;
use crate::plan::Plan;
use crate::store::Change;
use slot::SlotKey;

/// Brings every service closer to its spec by one step; the next step follows from new tables.
pub fn plan(tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
    Orchestrator::default().plan(tables, now, ids)
}

/// The orchestrator of one leader: looks at services of which something has changed.
pub struct Orchestrator {
    follower: Follower,
}

impl Default for Orchestrator {
    fn default() -> Self {
        // States and times of tasks decide restarts and updates: every change may matter.
        Self { follower: Follower::new(|_, _| true) }
    }
}

impl Orchestrator {
    /// As [`plan`].
    pub fn plan(&mut self, tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
        self.follower.pass(tables, now, |id, tasks, plan| {
            let Some(service) = tables.services.get(id) else { return };
            let tasks: Vec<&Task> = tasks.iter().map(|task| task.as_ref()).collect();
            let mut pass = Pass { tables, now, ids: &mut *ids, plan: std::mem::take(plan) };
            pass.service(service, &tasks);
            *plan = pass.plan;
        })
    }
}

/// One planning pass: what is read, and the plan so far.
struct Pass<'a> {
    tables: &'a Tables,
    now: Timestamp,
    ids: &'a mut dyn IdSource,
    plan: Plan,
}

impl<'a> Pass<'a> {
    fn service(&mut self, service: &'a Arc<Service>, tasks: &[&'a Task]) {
        if service.pending_delete {
            self.wish_all(tasks, DesiredState::Remove);
            return;
        }
        let slots = slot::group(tasks, service.spec.mode);
        let kept = match service.spec.mode {
            ServiceMode::Replicated { replicas } => self.scale(service, slots, replicas),
            ServiceMode::Global => self.spread(service, slots),
            ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
                self.replicated_job(service, slots, max_concurrent, total_completions);
                return;
            }
            ServiceMode::GlobalJob => {
                self.global_job(service, slots);
                return;
            }
        };
        let tended: Vec<_> =
            kept.into_iter().map(|slot| (self.tend(service, &slot), slot)).collect();
        self.update(service, &tended);
    }

    /// Makes a task for the service's present spec.
    fn create(&mut self, service: &Service, key: &SlotKey, desired: DesiredState) {
        let (slot, node_id) = match key {
            SlotKey::Number(slot) => (*slot, None),
            SlotKey::Node(node) => (0, Some(node.clone())),
        };
        let task = Task {
            id: TaskId::generate(self.ids),
            version: self.tables.version,
            created_at: self.now,
            updated_at: self.now,
            service_id: service.id.clone(),
            service_name: service.spec.name.clone(),
            service_labels: service.spec.labels.clone(),
            slot,
            job_iteration: service.job.map(|job| job.iteration),
            node_id,
            spec: service.spec.task.clone(),
            endpoint_spec: service.spec.endpoint.clone(),
            document: service.spec.document.clone(),
            desired_state: desired,
            status: TaskStatus::new(self.now, TaskState::New, "created"),
            attachments: Vec::new(),
            assigned_generic: Vec::new(),
            chosen_ports: Vec::new(),
        };
        self.plan.changes.push(Change::CreateTask(Box::new(task)));
    }

    /// Wishes the task further, unless it is wished that far already.
    fn wish(&mut self, task: &Task, desired: DesiredState) {
        if task.desired_state < desired {
            self.plan.changes.push(Change::SetDesiredState { id: task.id.clone(), desired });
        }
    }

    fn wish_all<'t>(
        &mut self,
        tasks: impl IntoIterator<Item = &'t &'t Task>,
        desired: DesiredState,
    ) {
        for task in tasks {
            self.wish(task, desired);
        }
    }

    /// True if the task's node cannot be asked to do anything.
    fn is_lost(&self, task: &Task) -> bool {
        let node = task.node_id.as_ref().map(|id| self.tables.nodes.get(id));
        node.is_some_and(|node| node.is_none_or(|node| node.status.state == NodeState::Down))
    }

    fn is_drained(&self, task: &Task) -> bool {
        let node = task.node_id.as_ref().and_then(|id| self.tables.nodes.get(id));
        node.is_some_and(|node| node.spec.availability == Availability::Drain)
    }

    /// True if the task may still use what a successor needs: it is to stop and has not stopped.
    fn is_stopping(&self, task: &Task) -> bool {
        let placed = task.node_id.is_some() && task.status.state >= TaskState::Assigned;
        let stopping = task.desired_state.is_terminal() && !task.status.state.is_terminal();
        placed && stopping && !self.is_lost(task)
    }
}

/// Returns how far the tasks of a service are to go.
fn goal(service: &Service) -> DesiredState {
    if service.spec.mode.is_job() { DesiredState::Complete } else { DesiredState::Running }
}

#[cfg(test)]
#[path = "convergence.rs"]
mod convergence;
#[cfg(test)]
#[path = "laws.rs"]
mod laws;
#[cfg(test)]
#[path = "scenarios.rs"]
mod scenarios;
#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;
#[cfg(test)]
#[path = "update_scenarios.rs"]
mod update_scenarios;
