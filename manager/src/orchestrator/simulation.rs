//! Every loop of the leader together with simulated agents, round by round in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use swarmnet_model::{DesiredState, NodeState, Task, TaskState, TaskStatus, Timestamp};

use super::plan;
use crate::store::Change;
use crate::world::{Planner, World};
use crate::{allocator, enforcer, reaper, scheduler};

/// From the wish to stop until a task has stopped.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Every loop, and how many further plans may follow from one that was applied. Only the orchestrator's
/// steps follow from each other (a failure on a drained node: roll back, replace, give up what was replaced, start).
pub(super) const LOOPS: [(Planner, usize); 5] =
    [(plan, 4), (allocator::plan, 0), (scheduler::plan, 0), (enforcer::plan, 0), (reaper::plan, 0)];

/// One round: every loop plans and writes until none wants anything, then every agent takes a step.
pub(super) fn round(world: &mut World) -> bool {
    let mut wrote = false;
    for _ in 0..50 {
        let mut quiet = true;
        for (planner, steps) in LOOPS {
            let changes = world.plan(planner).changes;
            quiet &= changes.is_empty();
            world.write(changes);
            come_to_rest(world, planner, steps);
        }
        if quiet {
            let stepped = agents(world);
            return wrote || stepped;
        }
        wrote = true;
    }
    panic!("the loops never come to rest:\n{}", world.tasks());
}

/// A plan that was applied leaves nothing to do after `steps` more.
fn come_to_rest(world: &mut World, planner: Planner, steps: usize) {
    for _ in 0..steps {
        let changes = world.plan(planner).changes;
        world.write(changes);
    }
    let left = crate::world::show(&world.plan(planner).changes);
    assert_eq!(left, "", "there is no end to it:\n{}", world.tasks());
}

/// Runs until nothing moves for longer than any delay; `watch` sees every state.
pub(super) fn run(world: &mut World, mut watch: impl FnMut(&World)) {
    let mut idle = 0;
    for _ in 0..2_000 {
        if round(world) {
            idle = 0;
        } else {
            idle += 1;
        }
        watch(world);
        world.wait(1);
        if idle > 70 {
            return;
        }
    }
    panic!("no rest after 2000 rounds:\n{}", world.tasks());
}

/// Each task on a ready node takes one step; images tell what becomes of it.
fn agents(world: &mut World) -> bool {
    let tasks: Vec<_> = world.tables.tasks.values().cloned().collect();
    let mut changes = Vec::new();
    for task in tasks {
        let Some(node) = task.node_id.as_ref().and_then(|id| world.tables.nodes.get(id)) else {
            continue;
        };
        if node.status.state != NodeState::Ready {
            continue;
        }
        if let Some(state) = step(&task, world.now) {
            changes.push(Change::ReportTask {
                id: task.id.clone(),
                node_id: node.id.clone(),
                status: Box::new(TaskStatus::new(world.now, state, state.as_str())),
            });
        }
    }
    let stepped = !changes.is_empty();
    world.write(changes);
    stepped
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other state stays as it is")]
fn step(task: &Task, now: Timestamp) -> Option<TaskState> {
    use TaskState::{
        Accepted, Assigned, Complete, Failed, Preparing, Ready, Rejected, Running, Shutdown,
        Starting,
    };
    let state = task.status.state;
    if task.desired_state.is_terminal() {
        let stopped = now.since(task.updated_at) >= STOP_TIME;
        return (stopped && (Assigned..=Running).contains(&state)).then_some(Shutdown);
    }
    let image = task.spec.container.image.as_str();
    let next = match state {
        Assigned => Accepted,
        Accepted => Preparing,
        Preparing if image == "missing" => Rejected,
        Preparing => Ready,
        Ready if task.desired_state != DesiredState::Ready => Starting,
        Starting if image == "crash" => Failed,
        Starting => Running,
        Running if task.desired_state == DesiredState::Complete => Complete,
        other => other,
    };
    (next != state).then_some(next)
}

/// Panics if a slot has two tasks that may run at once.
pub(super) fn check_slots(world: &World) {
    check_at_most(1, world);
}

/// Panics if a slot has more than an old task, and one successor each for an update and a drain.
pub(super) fn check_windows(world: &World) {
    check_at_most(3, world);
}

fn check_at_most(count: usize, world: &World) {
    let mut running: BTreeMap<_, Vec<&Task>> = BTreeMap::new();
    let known = |task: &&std::sync::Arc<Task>| world.tables.services.contains_key(&task.service_id);
    for task in world.tables.tasks.values().filter(known) {
        let lost = task.node_id.as_ref().is_some_and(|id| {
            world.tables.nodes.get(id).is_none_or(|n| n.status.state == NodeState::Down)
        });
        let may_run = matches!(task.desired_state, DesiredState::Running | DesiredState::Complete)
            || (task.desired_state.is_terminal() && task.status.state >= TaskState::Starting);
        let removed = task.desired_state == DesiredState::Remove;
        if may_run && !removed && !lost && !task.status.state.is_terminal() {
            let per_node = world.tables.services[&task.service_id].spec.mode.is_per_node();
            let node = task.node_id.as_ref().filter(|_| per_node);
            running.entry((&task.service_id, task.slot, node)).or_default().push(task);
        }
    }
    for ((service, slot, _), tasks) in running {
        assert!(tasks.len() <= count, "{service}.{slot} runs too often:\n{}", world.tasks());
    }
}

pub(super) fn running(world: &World) -> usize {
    let running =
        |task: &&std::sync::Arc<Task>| task.is_live() && task.status.state == TaskState::Running;
    world.tables.tasks.values().filter(running).count()
}
