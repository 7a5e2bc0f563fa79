//! Pure: forgets ended tasks beyond the history limit, and services and networks that are gone.
//!
//! Also ends what nobody will report on: tasks that never got a node and are not wanted any more, and
//! tasks of nodes that are removed or have been down for long.

use std::collections::BTreeMap;
use std::sync::Arc;

use swarmnet_model::defaults::{ORPHAN_AFTER, TASK_HISTORY_LIMIT};
use swarmnet_model::{
    DesiredState, IdSource, NodeId, NodeState, ServiceId, Tables, Task, TaskState, TaskStatus,
    Timestamp,
};

use crate::follow::Follower;
use crate::plan::Plan;
use crate::store::Change;

const NODE_REMOVED: &str = "Task belonged to a node that has been deleted";
const NODE_LOST: &str = "Task belonged to a node that has been down for too long";

/// Where tasks of a service follow each other.
type SlotOf<'a> = (u64, Option<&'a NodeId>);

/// Returns what can be forgotten or must be ended.
pub fn plan(tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
    Reaper::default().plan(tables, now, ids)
}

/// The reaper of one leader: looks at services of which something has changed.
pub struct Reaper {
    follower: Follower,
}

impl Default for Reaper {
    fn default() -> Self {
        Self { follower: Follower::new(matters) }
    }
}

impl Reaper {
    /// As [`plan`].
    pub fn plan(&mut self, tables: &Tables, now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
        let mut plan = self.follower.pass(tables, now, |id, tasks, plan| {
            service(tables, now, id, tasks, plan);
        });
        let gone = tables.networks.values().filter(|network| network.pending_delete);
        for network in gone.filter(|network| !tables.is_network_held(&network.id)) {
            plan.changes.push(Change::RemoveNetwork { id: network.id.clone() });
        }
        plan
    }
}

/// True if a difference between two states of one task is more than the way to its end: the reaper
/// sees whether it was placed, whether it is over, and what is wished of it.
fn matters(old: &Task, new: &Task) -> bool {
    let seen = |task: &Task| (is_unplaced(task), task.status.state.is_terminal());
    (seen(old), old.desired_state, &old.node_id) != (seen(new), new.desired_state, &new.node_id)
}

/// Looks at one service, or at the tasks of one that is gone.
fn service(tables: &Tables, now: Timestamp, id: &ServiceId, tasks: &[&Arc<Task>], plan: &mut Plan) {
    let mut history: BTreeMap<SlotOf<'_>, Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        let end = end(tables, task, now, plan);
        if is_removed(tables, task) && (end.is_some() || task.status.state.is_terminal()) {
            plan.changes.push(Change::RemoveTask { id: task.id.clone() });
            continue;
        }
        history.entry(slot_of(tables, task)).or_default().push(task);
        if let Some((state, message)) = end {
            let status = Box::new(TaskStatus::new(now, state, message));
            plan.changes.push(Change::EndTask { id: task.id.clone(), status });
        }
    }
    let empty = history.is_empty();
    for tasks in history.into_values() {
        trim(tables, tasks, plan);
    }
    let gone = tables.services.get(id).is_some_and(|service| service.pending_delete);
    if gone && empty {
        plan.changes.push(Change::RemoveService { id: id.clone() });
    }
}

/// True if nobody wants to see the task any more, once it has ended.
fn is_removed(tables: &Tables, task: &Task) -> bool {
    task.desired_state == DesiredState::Remove || !tables.services.contains_key(&task.service_id)
}

/// True if no agent has ever heard of the task.
fn is_unplaced(task: &Task) -> bool {
    task.status.state < TaskState::Assigned
}

/// Returns how a task ends of which no agent will ever report the end.
fn end(
    tables: &Tables,
    task: &Task,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<(TaskState, &'static str)> {
    if task.status.state.is_terminal() {
        return None;
    }
    if is_unplaced(task) {
        let unwanted = task.desired_state.is_terminal() || is_removed(tables, task);
        return unwanted.then_some((TaskState::Shutdown, "shutdown"));
    }
    let Some(node) = tables.nodes.get(task.node_id.as_ref()?) else {
        return Some((TaskState::Orphaned, NODE_REMOVED));
    };
    if node.status.state != NodeState::Down {
        return None;
    }
    let due = node.updated_at.plus(ORPHAN_AFTER);
    if now < due {
        plan.wake_by(due);
        return None;
    }
    Some((TaskState::Orphaned, NODE_LOST))
}

/// A numbered slot is one place wherever its tasks ran; a global one is its node.
fn slot_of<'a>(tables: &Tables, task: &'a Task) -> SlotOf<'a> {
    let service = tables.services.get(&task.service_id);
    let per_node = service.is_some_and(|service| service.spec.mode.is_per_node());
    let node = task.node_id.as_ref().filter(|_| per_node);
    (task.slot, node)
}

/// Forgets the oldest ended tasks of one slot beyond its limit.
fn trim(tables: &Tables, tasks: Vec<&Task>, plan: &mut Plan) {
    let Some(mut limit) = tasks.first().and_then(|task| limit(tables, task)) else { return };
    // The delay of a task that waits follows from the one before it.
    if tasks.iter().any(|task| task.is_live() && task.desired_state == DesiredState::Ready) {
        limit = limit.max(1);
    }
    let done = |task: &&Task| {
        let ended = task.status.state.is_terminal() || is_unplaced(task);
        ended && task.desired_state.is_terminal()
    };
    let mut ended: Vec<_> = tasks.into_iter().filter(done).collect();
    ended.sort_by_key(|task| (task.created_at, &task.id));
    let surplus = ended.len().saturating_sub(limit);
    for task in &ended[..surplus] {
        plan.changes.push(Change::RemoveTask { id: task.id.clone() });
    }
}

/// Returns how many ended tasks a slot keeps; `None` keeps all.
///
/// A bounded number of restarts is counted from the history, which must reach back that far.
fn limit(tables: &Tables, task: &Task) -> Option<usize> {
    let limit = tables.cluster.as_ref().map_or(TASK_HISTORY_LIMIT, |c| c.spec.task_history_limit);
    let limit = usize::try_from(limit).ok()?;
    let service = tables.services.get(&task.service_id)?;
    let attempts = service.spec.task.restart.as_ref().map_or(0, |policy| policy.max_attempts);
    match attempts {
        0 => Some(limit),
        attempts => usize::try_from(attempts.saturating_add(1)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn a_removed_network_goes_when_its_last_task_has_ended() {
        let mut world = World::given(
            "network net 10.0.1.0/24 removed
             node n1
             service web net=net removed
             task web.1 t1 n1 running desired=remove address=10.0.1.3",
        );
        assert_eq!(world.step(plan), "");
        world.report("t1", "shutdown");
        let text = world.step(plan) + &world.step(plan);
        assert!(text.contains("remove network net"), "{text}");
        assert!(world.tables.networks.is_empty());
        assert_eq!(world.step(plan), "");
    }
}
