//! Pure: places every waiting task, or says why it cannot be placed.

use std::collections::BTreeMap;

use swarmnet_model::{IdSource, NodeId, Tables, Task, TaskState, Timestamp};

use super::filter::{Needs, Refusal, explain};
use super::nodes::{Load, observe};
use super::rank;
use crate::plan::Plan;
use crate::store::Change;

const ASSIGNED: &str = "scheduler assigned task to node";
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";

/// Places the pending tasks, oldest first; each placement weighs on the next.
pub fn plan(tables: &Tables, now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
    let waits =
        |task: &&Task| task.status.state == TaskState::Pending && !task.desired_state.is_terminal();
    let mut waiting: Vec<&Task> = tables.tasks.values().map(AsRef::as_ref).filter(waits).collect();
    if waiting.is_empty() {
        return Plan::default();
    }
    waiting.sort_by_key(|task| (task.created_at, &task.service_id, task.slot, &task.id));
    let mut loads = observe(tables, now);
    let mut plan = Plan::default();
    for task in waiting {
        match place(task, &loads) {
            Ok(node_id) => {
                let message = if task.node_id.is_some() { CONFIRMED } else { ASSIGNED };
                if let Some(load) = loads.get_mut(&node_id) {
                    load.add(task);
                }
                plan.changes.push(Change::AssignTask {
                    id: task.id.clone(),
                    node_id,
                    message: message.to_owned(),
                });
            }
            Err(refusals) => plan.changes.extend(tell(task, explain(&refusals))),
        }
    }
    plan
}

/// Returns the node for the task, or how many nodes each filter refused.
fn place(
    task: &Task,
    loads: &BTreeMap<&NodeId, Load<'_>>,
) -> Result<NodeId, BTreeMap<Refusal, usize>> {
    let needs = Needs::of(task);
    let allowed = |load: &&Load<'_>| task.node_id.as_ref().is_none_or(|id| *id == load.node.id);
    let mut refusals = BTreeMap::new();
    let mut fit = Vec::new();
    for load in loads.values().filter(allowed) {
        match needs.refusal(load) {
            Some(refusal) => *refusals.entry(refusal).or_default() += 1,
            None => fit.push(load),
        }
    }
    rank::best(&fit, task).cloned().ok_or(refusals)
}

/// Tells why the task waits, unless it says so already.
fn tell(task: &Task, err: String) -> Option<Change> {
    let err = Some(err);
    (task.status.err != err).then(|| Change::ExplainTask {
        id: task.id.clone(),
        message: task.status.message.clone(),
        err,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
