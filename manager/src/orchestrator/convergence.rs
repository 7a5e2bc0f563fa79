//! Every loop of the leader together with simulated agents: a goal is reached in a bounded number of
//! rounds, and on the way no slot ever has two tasks that may run, except where the new one starts
//! first.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use swarmnet_model::{
    DesiredState, NodeId, NodeState, ServiceId, Task, TaskId, TaskState, TaskStatus, Timestamp,
    UpdateState,
};

use super::plan;
use crate::store::Change;
use crate::world::{Planner, World};
use crate::{allocator, reaper, scheduler};

/// From the wish to stop until a task has stopped.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Every loop, and how many further plans may follow from one that was applied. Only the orchestrator's
/// steps follow from each other (a failure: roll back, then replace, then give up what was replaced).
const LOOPS: [(Planner, usize); 4] =
    [(plan, 3), (allocator::plan, 0), (scheduler::plan, 0), (reaper::plan, 0)];

/// One round: every loop plans and writes until none wants anything, then every agent takes a step.
fn round(world: &mut World) -> bool {
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
fn run(world: &mut World, mut watch: impl FnMut(&World)) {
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
        Accepted, Assigned, Failed, Preparing, Ready, Rejected, Running, Shutdown, Starting,
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
        Ready if task.desired_state == DesiredState::Running => Starting,
        Starting if image == "crash" => Failed,
        Starting => Running,
        other => other,
    };
    (next != state).then_some(next)
}

/// Panics if a slot has two tasks that may run at once.
fn check_slots(world: &World) {
    check_at_most(1, world);
}

/// Panics if a slot has more than an old task, and one successor each for an update and a drain.
fn check_windows(world: &World) {
    check_at_most(3, world);
}

fn check_at_most(count: usize, world: &World) {
    let mut running: BTreeMap<_, Vec<&Task>> = BTreeMap::new();
    for task in world.tables.tasks.values() {
        let lost = task.node_id.as_ref().is_some_and(|id| {
            world.tables.nodes.get(id).is_none_or(|n| n.status.state == NodeState::Down)
        });
        let may_run = task.desired_state == DesiredState::Running
            || (task.desired_state.is_terminal() && task.status.state >= TaskState::Starting);
        let removed = task.desired_state == DesiredState::Remove;
        if may_run && !removed && !lost && !task.status.state.is_terminal() {
            let node = if task.slot == 0 { task.node_id.clone() } else { None };
            running.entry((&task.service_id, task.slot, node)).or_default().push(task);
        }
    }
    for ((service, slot, _), tasks) in running {
        assert!(tasks.len() <= count, "{service}.{slot} runs too often:\n{}", world.tasks());
    }
}

fn status(world: &World) -> Option<(UpdateState, String)> {
    let service = &world.tables.services[&ServiceId::from_text("web")];
    service.update_status.as_ref().map(|status| (status.state, status.message.clone()))
}

fn running(world: &World) -> usize {
    let running =
        |task: &&std::sync::Arc<Task>| task.is_live() && task.status.state == TaskState::Running;
    world.tables.tasks.values().filter(running).count()
}

const NODES: &str = "node n1\nnode n2\nnode n3\nnetwork net 10.0.1.0/24\n";

#[test]
fn a_service_comes_up_and_goes_without_a_trace() {
    let mut world = World::given(&format!("{NODES}service web replicas=3 net=net publish=80"));
    run(&mut world, check_slots);
    expect![[r#"
        web.1 #1 n1 running/running nginx
        web.2 #2 n2 running/running nginx
        web.3 #3 n3 running/running nginx
    "#]]
    .assert_eq(&world.tasks());
    world.write(vec![Change::MarkServiceRemoved { id: ServiceId::from_text("web") }]);
    run(&mut world, check_slots);
    assert!(world.tables.tasks.is_empty() && world.tables.services.is_empty());
}

#[test]
fn an_update_reaches_every_slot_and_completes() {
    let mut world = World::given(&format!("{NODES}service web replicas=3 net=net image=one"));
    run(&mut world, check_slots);
    assert_eq!(status(&world), None, "a first start is no update");
    world.update_image("web", "two");
    run(&mut world, |world| {
        check_slots(world);
        assert!(running(world) >= 2, "one slot at a time:\n{}", world.tasks());
    });
    assert_eq!(status(&world), Some((UpdateState::Completed, "update completed".to_owned())));
    assert_eq!(world.tasks().matches("running/running two").count(), 3);
}

#[test]
fn start_first_never_has_less_than_all_replicas() {
    let given = format!("{NODES}service web replicas=3 order=start-first parallelism=2 image=one");
    let mut world = World::given(&given);
    run(&mut world, |_| {});
    world.update_image("web", "two");
    run(&mut world, |world| assert!(running(world) >= 3, "{}", world.tasks()));
    assert_eq!(status(&world).unwrap().0, UpdateState::Completed);
}

#[test]
fn a_drain_of_a_start_first_service_has_all_replicas_all_the_time() {
    let mut world = World::given(&format!("{NODES}service web replicas=3 order=start-first"));
    run(&mut world, check_slots);
    world.drain("n2", true);
    run(&mut world, |world| {
        assert!(running(world) >= 3, "{}", world.tasks());
        check_windows(world);
    });
    let drained = NodeId::from_text("n2");
    assert!(!world.tables.tasks_on(&drained).any(|task| task.is_live()), "{}", world.tasks());
    assert_eq!(running(&world), 3);
}

#[test]
fn a_missing_image_pauses_the_update_and_every_replica_keeps_running() {
    let mut world = World::given(&format!("{NODES}service web replicas=3 image=one"));
    run(&mut world, check_slots);
    world.update_image("web", "missing");
    run(&mut world, |world| {
        check_slots(world);
        assert_eq!(running(world), 3);
    });
    let (state, message) = status(&world).unwrap();
    assert_eq!(state, UpdateState::Paused);
    assert!(message.starts_with("update paused due to failure or early termination of task "));
    world.update_image("web", "two");
    run(&mut world, check_slots);
    assert_eq!(status(&world).unwrap().0, UpdateState::Completed);
    assert_eq!(world.tasks().matches("running/running two").count(), 3);
}

#[test]
fn a_crashing_image_is_rolled_back() {
    let given = format!("{NODES}service web replicas=3 action=rollback image=one");
    let mut world = World::given(&given);
    run(&mut world, check_slots);
    world.update_image("web", "crash");
    run(&mut world, check_slots);
    let expected = (UpdateState::RollbackCompleted, "rollback completed".to_owned());
    assert_eq!(status(&world), Some(expected));
    assert_eq!(world.tasks().matches("running/running one").count(), 3);
}

#[test]
fn an_unknown_image_is_retried_at_the_pace_of_the_restart_delay() {
    let mut world = World::given(&format!("{NODES}service web image=missing"));
    for _ in 0..60 {
        round(&mut world);
        check_slots(&world);
        world.wait(1);
    }
    let created = world.ids_taken();
    assert!((11..=14).contains(&created), "{created} tasks in a minute, one every five seconds");
    assert!(world.tables.tasks.len() <= 7, "history is bounded:\n{}", world.tasks());
}

#[test]
fn tasks_of_a_dead_node_run_elsewhere_and_are_stopped_when_it_returns() {
    let mut world = World::given(&format!("{NODES}service web replicas=3"));
    run(&mut world, check_slots);
    world.set_node("n2", NodeState::Down);
    for _ in 0..10 {
        round(&mut world);
    }
    let gone = NodeId::from_text("n2");
    assert!(world.tables.tasks_on(&gone).all(|task| task.status.state == TaskState::Running));
    assert_eq!(running(&world), 3);
    // Until it is stopped, what the node still ran is there twice; nobody could prevent that.
    world.set_node("n2", NodeState::Ready);
    run(&mut world, |_| {});
    assert!(world.tables.tasks_on(&gone).all(|task| task.status.state == TaskState::Shutdown));
    assert_eq!(running(&world), 3);
}

#[test]
fn reserved_resources_do_not_block_an_update_in_place() {
    let mut world = World::given("node n1 cpus=1\nservice web replicas=1 reserve-cpus=1 image=one");
    run(&mut world, check_slots);
    world.update_image("web", "two");
    run(&mut world, check_slots);
    assert_eq!(world.tasks().matches("running/running two").count(), 1);
}

#[test]
fn a_global_service_is_updated_node_by_node() {
    let mut world = World::given(&format!("{NODES}service web global image=one"));
    run(&mut world, check_slots);
    assert_eq!(running(&world), 3);
    world.update_image("web", "two");
    run(&mut world, |world| assert!(running(world) >= 2, "{}", world.tasks()));
    assert_eq!(world.tasks().matches("running/running two").count(), 3);
    assert_eq!(status(&world).unwrap().0, UpdateState::Completed);
}

const IMAGES: [&str; 4] = ["one", "two", "missing", "crash"];

#[derive(Clone, Debug)]
enum Event {
    Scale(u64),
    Image(usize),
    Node(u8, bool),
    Drain(u8, bool),
    Rounds(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0_u64..6).prop_map(Event::Scale),
        (0_usize..IMAGES.len()).prop_map(Event::Image),
        (0_u8..3, any::<bool>()).prop_map(|(node, up)| Event::Node(node, up)),
        (0_u8..3, any::<bool>()).prop_map(|(node, on)| Event::Drain(node, on)),
        (1_u8..20).prop_map(Event::Rounds),
    ];
    proptest::collection::vec(event, 1..15)
}

fn happen(world: &mut World, event: &Event, check: fn(&World)) {
    let node_name = |node: &u8| format!("n{}", node + 1);
    match event {
        Event::Scale(count) => world.edit("web", |service| {
            service.spec.mode = swarmnet_model::ServiceMode::Replicated { replicas: *count };
        }),
        Event::Image(image) => world.update_image("web", IMAGES[*image]),
        Event::Node(node, up) => {
            let state = if *up { NodeState::Ready } else { NodeState::Down };
            world.set_node(&node_name(node), state);
        }
        Event::Drain(node, on) => world.drain(&node_name(node), *on),
        Event::Rounds(count) => {
            for _ in 0..*count {
                round(world);
                check(world);
                world.wait(1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_the_service_ends_as_it_was_asked_for(
        events in events(),
        start_first in any::<bool>(),
    ) {
        let order = if start_first { "order=start-first" } else { "" };
        let service = format!("service web replicas=2 net=net image=one {order}");
        let mut world = World::given(&format!("{NODES}{service}"));
        // A node that returns still runs what was replaced meanwhile, until it is told to stop.
        let lost = events.iter().any(|event| matches!(event, Event::Node(_, false)));
        let check: fn(&World) = match (lost, start_first) {
            (true, _) => |_| {},
            (false, true) => check_windows,
            (false, false) => check_slots,
        };
        for event in &events {
            happen(&mut world, event, check);
        }
        for node in 0..3 {
            happen(&mut world, &Event::Node(node, true), check);
            happen(&mut world, &Event::Drain(node, false), check);
        }
        world.update_image("web", "final");
        run(&mut world, check);
        let service = world.tables.services[&ServiceId::from_text("web")].clone();
        let swarmnet_model::ServiceMode::Replicated { replicas } = service.spec.mode else {
            unreachable!("the mode never changes");
        };
        let live: Vec<_> = world.tables.tasks.values().filter(|task| task.is_live()).collect();
        prop_assert_eq!(u64::try_from(live.len()).unwrap(), replicas, "{}", world.tasks());
        let addresses: std::collections::BTreeSet<_> =
            live.iter().flat_map(|task| &task.attachments).map(|a| a.address).collect();
        prop_assert_eq!(addresses.len(), live.len(), "every task has its own address");
        for task in live {
            prop_assert_eq!(task.status.state, TaskState::Running);
            prop_assert_eq!(&task.spec, &service.spec.task);
        }
        let state = service.update_status.as_ref().map(|status| status.state);
        prop_assert!(matches!(state, None | Some(UpdateState::Completed)), "{state:?}");
        let ids: Vec<TaskId> = world.tables.tasks.keys().cloned().collect();
        prop_assert!(ids.len() <= 6 * 8, "history is bounded");
    }
}
