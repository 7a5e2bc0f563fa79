//! The laws of the leader's loops, in every mode, whatever happens: on the way a task only moves on and
//! stays on its node, and a place has one task, more only while one takes another's place. In the end
//! the service is what was asked for, and nothing is left to plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use swarmnet_model::{
    Node, NodeId, NodeState, Service, ServiceId, ServiceMode, Tables, Task, TaskState, UpdateState,
};

use super::simulation::{LOOPS, check_slots, check_windows, round, run};
use crate::store::Change;
use crate::world::World;

const NODES: &str = "node n1 label.disk=ssd\nnode n2 label.disk=ssd\nnode n3 label.disk=ssd\n\
                     network net 10.0.1.0/24\n";
const SERVICE: &str = "service web net=net image=one constraint=node.labels.disk==ssd";
const MODES: [&str; 4] = ["replicas=2", "global", "job=4/2", "global-job"];
const IMAGES: [&str; 4] = ["one", "two", "missing", "crash"];
const RESTARTS: [&str; 3] = ["any", "on-failure", "none"];
const ACTIONS: [&str; 3] = ["", "action=continue", "action=rollback"];

#[derive(Clone, Debug)]
enum Event {
    Scale(u64),
    Image(usize),
    /// A node is up or down.
    Node(u8, bool),
    Drain(u8, bool),
    /// A node has what the service asks for, or not.
    Fits(u8, bool),
    /// One of the running tasks fails.
    Crash(usize),
    Rounds(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0_u64..6).prop_map(Event::Scale),
        (0_usize..IMAGES.len()).prop_map(Event::Image),
        (1_u8..4, any::<bool>()).prop_map(|(node, up)| Event::Node(node, up)),
        (1_u8..4, any::<bool>()).prop_map(|(node, on)| Event::Drain(node, on)),
        (1_u8..4, any::<bool>()).prop_map(|(node, fits)| Event::Fits(node, fits)),
        (0_usize..6).prop_map(Event::Crash),
        (1_u8..20).prop_map(Event::Rounds),
    ];
    proptest::collection::vec(event, 1..15)
}

/// The policies of a service; jobs have none of updates.
fn policies() -> impl Strategy<Value = (String, String)> {
    let update = (any::<bool>(), 0_u64..4, 0..ACTIONS.len());
    (0..RESTARTS.len(), update).prop_map(|(restart, (start_first, parallelism, action))| {
        let order = if start_first { "order=start-first" } else { "" };
        let update = format!("{order} parallelism={parallelism} {}", ACTIONS[action]);
        (format!("restart={}", RESTARTS[restart]), update)
    })
}

fn happen(world: &mut World, event: &Event, watch: &mut Watch) {
    match event {
        Event::Scale(count) => scale(world, *count),
        Event::Image(image) => world.update_image("web", IMAGES[*image]),
        Event::Node(node, up) => {
            let state = if *up { NodeState::Ready } else { NodeState::Down };
            world.set_node(&format!("n{node}"), state);
        }
        Event::Drain(node, on) => world.drain(&format!("n{node}"), *on),
        Event::Fits(node, fits) => label(world, *node, if *fits { "ssd" } else { "hdd" }),
        Event::Crash(index) => crash(world, *index),
        Event::Rounds(count) => {
            for _ in 0..*count {
                round(world);
                watch.look(world);
                world.wait(1);
            }
        }
    }
    watch.look(world);
}

/// Another number of tasks; a job is executed again with it.
fn scale(world: &mut World, count: u64) {
    match service(world).spec.mode {
        ServiceMode::Replicated { .. } => {
            world.edit("web", |s| s.spec.mode = ServiceMode::Replicated { replicas: count });
        }
        ServiceMode::ReplicatedJob { .. } => world.update("web", &[&format!("job={count}/2")]),
        ServiceMode::Global | ServiceMode::GlobalJob => world.update("web", &["force"]),
    }
}

fn label(world: &mut World, node: u8, disk: &str) {
    let mut node = Node::clone(&world.tables.nodes[&NodeId::from_text(format!("n{node}"))]);
    node.spec.labels.insert("disk".to_owned(), disk.to_owned());
    let expected = node.spec_version;
    world.write(vec![Change::UpdateNode { node: Box::new(node), expected }]);
}

fn crash(world: &mut World, index: usize) {
    let tasks = world.tables.tasks.values();
    let running: Vec<_> =
        tasks.filter(|task| task.is_live() && task.status.state == TaskState::Running).collect();
    if !running.is_empty() {
        let id = running[index % running.len()].id.to_string();
        world.report(&id, "failed");
    }
}

fn service(world: &World) -> Arc<Service> {
    Arc::clone(&world.tables.services[&ServiceId::from_text("web")])
}

/// Compares every state with the one before.
struct Watch {
    before: Tables,
    places: fn(&World),
}

impl Watch {
    fn look(&mut self, world: &World) {
        for (id, old) in &self.before.tasks {
            let Some(new) = world.tables.tasks.get(id) else { continue };
            assert!(new.status.state >= old.status.state, "{id} went back:\n{}", world.tasks());
            assert!(new.desired_state >= old.desired_state, "{id} is wished back");
            let stays = old.node_id.is_none() || old.node_id == new.node_id;
            assert!(stays, "{id} has left its node:\n{}", world.tasks());
        }
        self.before = world.tables.clone();
        (self.places)(world);
    }
}

/// Asserts that the service is what was asked for.
fn assert_reached(world: &World, lost: bool) {
    let service = service(world);
    let of_now = |task: &&Arc<Task>| {
        task.job_iteration == service.job.map(|job| job.iteration) && task.spec == service.spec.task
    };
    let current: Vec<_> = world.tables.tasks.values().filter(of_now).collect();
    let live: Vec<_> = world.tables.tasks.values().filter(|task| task.is_live()).collect();
    let state = if service.spec.mode.is_job() { TaskState::Complete } else { TaskState::Running };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for task in current.iter().filter(|task| task.status.state == state) {
        if task.is_live() || service.spec.mode.is_job() {
            let node = task.node_id.as_ref().filter(|_| service.spec.mode.is_per_node());
            let place = node.map_or_else(|| task.slot.to_string(), ToString::to_string);
            *places.entry(place).or_default() += 1;
        }
    }
    let expected = match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::ReplicatedJob { total_completions, .. } => total_completions,
        ServiceMode::Global | ServiceMode::GlobalJob => 3,
    };
    assert_eq!(u64::try_from(places.len()).unwrap(), expected, "places:\n{}", world.tasks());
    // A task of a lost node may complete after all, beside the one that replaced it.
    let once = lost || places.values().all(|count| *count == 1);
    assert!(once, "once in every place:\n{}", world.tasks());
    let left = if service.spec.mode.is_job() { 0 } else { expected };
    assert_eq!(u64::try_from(live.len()).unwrap(), left, "live:\n{}", world.tasks());
    let addresses: BTreeSet<_> =
        live.iter().flat_map(|task| &task.attachments).map(|of| of.address).collect();
    assert_eq!(addresses.len(), live.len(), "every task has its own address");
    let state = service.update_status.as_ref().map(|status| status.state);
    assert!(matches!(state, None | Some(UpdateState::Completed)), "{state:?}");
    assert!(world.tables.tasks.len() <= 6 * 8, "history is bounded:\n{}", world.tasks());
}

fn assert_nothing_is_left_to_plan(world: &mut World) {
    world.wait(3600);
    for (planner, _) in LOOPS {
        assert_eq!(crate::world::show(&world.plan(planner).changes), "", "{}", world.tasks());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]
    #[test]
    fn whatever_happens_the_service_ends_as_it_was_asked_for(
        mode in 0..MODES.len(),
        policies in policies(),
        events in events(),
    ) {
        let (restart, update) = policies;
        let is_job = MODES[mode].contains("job");
        let update = if is_job { String::new() } else { update };
        let mut world =
            World::given(&format!("{NODES}{SERVICE} {} {restart} {update}", MODES[mode]));
        // A node that returns still runs what was replaced meanwhile, until it is told to stop.
        let lost = events.iter().any(|event| matches!(event, Event::Node(_, false)));
        let places: fn(&World) = match (lost, update.contains("start-first")) {
            (true, _) => |_| {},
            (false, true) => check_windows,
            (false, false) => check_slots,
        };
        let mut watch = Watch { before: world.tables.clone(), places };
        for event in &events {
            happen(&mut world, event, &mut watch);
        }
        for node in 1..4 {
            happen(&mut world, &Event::Node(node, true), &mut watch);
            happen(&mut world, &Event::Drain(node, false), &mut watch);
            happen(&mut world, &Event::Fits(node, true), &mut watch);
        }
        world.update_image("web", "final");
        run(&mut world, |world| watch.look(world));
        assert_reached(&world, lost);
        assert_nothing_is_left_to_plan(&mut world);
    }
}
