//! Pure: the places of a service: a number, or for global services a node, and the tasks that were
//! or are there.

use std::collections::BTreeMap;

use swarmnet_model::restart::RestartCondition;
use swarmnet_model::{
    Constraint, DesiredState, NodeId, Service, ServiceMode, Tables, Task, TaskSpec, TaskState,
};

use super::Pass;
use crate::scheduler::runs_on;

/// Which of a service's places it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    /// Replicated services count from 1.
    Number(u64),
    Node(NodeId),
}

/// All tasks of one place, oldest first; never empty.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    pub(super) key: SlotKey,
    pub(super) tasks: Vec<&'a Task>,
}

/// Sorts the tasks of one service into slots. Tasks to be removed belong to none.
pub(super) fn group<'a>(tasks: &[&'a Task]) -> BTreeMap<SlotKey, Slot<'a>> {
    let mut slots: BTreeMap<SlotKey, Slot<'a>> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.desired_state != DesiredState::Remove) {
        let key = match (task.slot, &task.node_id) {
            (0, Some(node)) => SlotKey::Node(node.clone()),
            (number, _) => SlotKey::Number(number),
        };
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot { key, tasks: Vec::new() });
        slot.tasks.push(task);
    }
    for slot in slots.values_mut() {
        slot.tasks.sort_by_key(|task| (task.created_at, &task.id));
    }
    slots
}

impl<'a> Slot<'a> {
    pub(super) fn live(&self) -> impl Iterator<Item = &'a Task> {
        self.tasks.iter().copied().filter(|task| task.is_live())
    }

    pub(super) fn newest(&self) -> &'a Task {
        self.tasks.last().expect("a slot is made by its first task")
    }

    /// True if a task of the slot does its work.
    pub(super) fn is_running(&self) -> bool {
        self.live().any(|task| task.status.state == TaskState::Running)
    }

    /// Returns the node of the slot's live task.
    pub(super) fn node(&self) -> Option<&'a NodeId> {
        self.live().find_map(|task| task.node_id.as_ref())
    }
}

/// True if the task is what the service's spec asks for.
///
/// Another placement alone does not make it outdated while its node satisfies constraints and
/// platforms: `docker stack deploy` sends platforms only when it asks the registry.
pub(super) fn is_current(task: &Task, service: &Service, tables: &Tables) -> bool {
    let wanted = &service.spec.task;
    if task.endpoint_spec != service.spec.endpoint || !same_but_placement(&task.spec, wanted) {
        return false;
    }
    if task.spec.placement == wanted.placement {
        return true;
    }
    let node = task.node_id.as_ref().and_then(|id| tables.nodes.get(id));
    let constraints = Constraint::parse_all(&wanted.placement.constraints);
    node.zip(constraints.ok())
        .is_some_and(|(node, constraints)| constraints.iter().all(|c| c.matches(node)))
        && node.is_some_and(|node| runs_on(node, &wanted.placement.platforms))
}

/// Taken apart by name, so that no field that comes later is forgotten.
fn same_but_placement(a: &TaskSpec, b: &TaskSpec) -> bool {
    let TaskSpec {
        container,
        resources,
        restart,
        placement: _,
        networks,
        log_driver,
        force_update,
    } = a;
    *container == b.container
        && *resources == b.resources
        && *restart == b.restart
        && *networks == b.networks
        && *log_driver == b.log_driver
        && *force_update == b.force_update
}

impl<'a> Pass<'a> {
    /// Keeps one slot alive: replaces what ended or lost its node, starts what may start, finishes a
    /// handover. Returns whether something was planned.
    pub(super) fn tend(&mut self, service: &Service, slot: &Slot<'a>) -> bool {
        let before = self.plan.changes.len();
        if !self.evacuate(service, slot) {
            let live: Vec<_> = slot.live().collect();
            match live.as_slice() {
                [] => self.restart(service, slot),
                [only] => self.start(service, slot, only),
                _ => self.hand_over(service, &live),
            }
        }
        self.plan.changes.len() > before
    }

    /// Moves tasks away from nodes that are down or drained. Where the service starts first, a task
    /// that serves stays until its successor does; else the successor of a task that can still be
    /// stopped waits for that.
    fn evacuate(&mut self, service: &Service, slot: &Slot<'a>) -> bool {
        if service.spec.mode == ServiceMode::Global {
            return false;
        }
        let (leaving, staying): (Vec<_>, Vec<_>) =
            slot.live().partition(|task| self.is_lost(task) || self.is_drained(task));
        if leaving.is_empty() {
            return false;
        }
        let condition = service.spec.task.restart.clone().unwrap_or_default().condition;
        if condition != RestartCondition::None && self.move_serving(service, slot, &leaving) {
            return true;
        }
        if staying.is_empty() && condition != RestartCondition::None {
            let waits = leaving.iter().any(|task| !self.is_lost(task))
                || slot.tasks.iter().any(|task| self.is_stopping(task));
            let desired = if waits { DesiredState::Ready } else { DesiredState::Running };
            self.create(service, &slot.key, desired);
        }
        self.wish_all(&leaving, DesiredState::Shutdown);
        true
    }

    /// Two or more live tasks: one takes the others' place as soon as it is good enough.
    pub(super) fn hand_over(&mut self, service: &Service, live: &[&'a Task]) {
        let (new, old): (Vec<_>, Vec<_>) =
            live.iter().copied().partition(|task| is_current(task, service, self.tables));
        let candidates = if new.is_empty() { &old } else { &new };
        let best = *candidates
            .iter()
            .max_by_key(|t| (t.status.state, t.desired_state, std::cmp::Reverse(t.id.clone())))
            .expect("there are live tasks");
        let twins = candidates.iter().filter(|task| task.id != best.id);
        let twins: Vec<_> = twins.copied().collect();
        self.wish_all(&twins, DesiredState::Shutdown);
        if new.is_empty() || old.is_empty() {
            return;
        }
        // What serves nothing must not hold its place against its successor.
        let idle = old.iter().all(|task| task.status.state < TaskState::Running);
        if idle || super::update::may_replace(service, best, self.tables) {
            self.wish_all(&old, DesiredState::Shutdown);
        }
    }
}
