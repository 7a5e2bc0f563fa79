//! Random clusters, changed step by step: nobody gets more than there is or a node that does not fit,
//! and planners that follow the snapshots plan what planners that begin with nothing plan.

use std::collections::BTreeMap;

use proptest::prelude::*;
use swarmnet_model::{
    Availability, Constraint, GenericResource, Node, NodeId, NodeState, Tables, Task, TaskId,
    TaskState, TaskStatus,
};

use super::{Scheduler, plan};
use crate::allocator::{self, Allocator};
use crate::enforcer::{self, Enforcer};
use crate::orchestrator::{self, Orchestrator};
use crate::plan::Plan;
use crate::reaper::{self, Reaper};
use crate::store::Change;
use crate::world::World;

const NODES: usize = 5;

fn node() -> impl Strategy<Value = String> {
    let state =
        prop_oneof![8 => Just(""), 1 => Just("down"), 1 => Just("pause"), 1 => Just("drain")];
    let gpu = prop_oneof![Just(""), Just("gpu=2"), Just("gpu=x,y,z")];
    (state, 1..4_u8, 0..3_u8, 0..3_u8, gpu).prop_map(|(state, cpus, dc, rack, gpu)| {
        let dc = if dc == 0 { String::new() } else { format!("label.dc={dc}") };
        format!("{state} cpus={cpus} {dc} label.rack={rack} {gpu}")
    })
}

fn service() -> impl Strategy<Value = String> {
    let asks = prop_oneof![
        Just(""),
        Just("reserve-cpus=1"),
        Just("reserve-gpu=1"),
        Just("constraint=node.labels.dc==1"),
        Just("publish=80:80@host"),
        Just("max-per-node=1"),
        Just("spread=node.labels.dc spread=node.labels.rack"),
    ];
    let mode = prop_oneof![4 => (0..8_u8).prop_map(|n| format!("replicas={n}")), 1 => Just("global".to_owned())];
    (asks, mode).prop_map(|(asks, mode)| format!("{asks} {mode}"))
}

/// What happens between two passes of the planners.
#[derive(Clone, Debug)]
enum Event {
    /// The so-manieth task reaches a state.
    Report(usize, TaskState),
    Relabel(usize, u8),
    Away(usize, bool),
    Drain(usize, bool),
    Shrink(usize, u8),
    Scale(usize, u64),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        Just(TaskState::Running),
        Just(TaskState::Running),
        Just(TaskState::Failed),
        Just(TaskState::Shutdown),
    ];
    prop_oneof![
        6 => (any::<usize>(), state).prop_map(|(at, state)| Event::Report(at, state)),
        1 => (0..NODES, 0..3_u8).prop_map(|(at, dc)| Event::Relabel(at, dc)),
        1 => (0..NODES, any::<bool>()).prop_map(|(at, away)| Event::Away(at, away)),
        1 => (0..NODES, any::<bool>()).prop_map(|(at, on)| Event::Drain(at, on)),
        1 => (0..NODES, 0..4_u8).prop_map(|(at, cpus)| Event::Shrink(at, cpus)),
        1 => (0..3_usize, 0..8_u64).prop_map(|(at, replicas)| Event::Scale(at, replicas)),
        2 => (1..400_u64).prop_map(Event::Wait),
    ]
}

fn edit_node(world: &mut World, at: usize, edit: impl FnOnce(&mut Node)) {
    let id = NodeId::from_text(format!("n{at}"));
    let mut node = Node::clone(&world.tables.nodes[&id]);
    edit(&mut node);
    world.tables.nodes.insert(id, node.into());
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Report(at, state) => {
            let placed =
                world.tables.tasks.values().filter(|task| {
                    task.node_id.is_some() && task.status.state >= TaskState::Assigned
                });
            let placed: Vec<_> = placed.cloned().collect();
            let Some(task) = placed.get(at % placed.len().max(1)) else { return };
            let node_id = task.node_id.clone().unwrap();
            let status = Box::new(TaskStatus::new(world.now, *state, "told"));
            world.write(vec![Change::ReportTask { id: task.id.clone(), node_id, status }]);
        }
        Event::Relabel(at, dc) => edit_node(world, *at, |node| {
            node.spec.labels.insert("dc".to_owned(), dc.to_string());
        }),
        Event::Away(at, away) => edit_node(world, *at, |node| {
            node.status.state = if *away { NodeState::Down } else { NodeState::Ready };
        }),
        Event::Drain(at, on) => edit_node(world, *at, |node| {
            node.spec.availability = if *on { Availability::Drain } else { Availability::Active };
        }),
        Event::Shrink(at, cpus) => edit_node(world, *at, |node| {
            node.description.as_mut().unwrap().nano_cpus = i64::from(*cpus) * 1_000_000_000;
        }),
        Event::Scale(at, replicas) => world.edit(&format!("s{at}"), |service| {
            if let swarmnet_model::ServiceMode::Replicated { replicas: now } =
                &mut service.spec.mode
            {
                *now = *replicas;
            }
        }),
        Event::Wait(seconds) => world.wait(*seconds),
    }
}

/// The planners of one leader, beside those that begin with nothing.
#[derive(Default)]
struct Leader {
    scheduler: Scheduler,
    orchestrator: Orchestrator,
    reaper: Reaper,
    enforcer: Enforcer,
    allocator: Allocator,
    passes: u128,
}

impl Leader {
    /// Lets one planner plan, compares it with a whole pass, and writes.
    fn pass(&mut self, world: &World, which: usize) -> Plan {
        let (tables, now) = (world.tables.clone(), world.now);
        self.passes += 1;
        let seed = self.passes * 1_000;
        let mut first = ids_from(seed);
        let mut second = ids_from(seed);
        let (followed, whole) = match which {
            0 => (
                self.orchestrator.plan(&tables, now, &mut first),
                orchestrator::plan(&tables, now, &mut second),
            ),
            1 => (
                self.allocator.plan(&tables, now, &mut first),
                allocator::plan(&tables, now, &mut second),
            ),
            2 => (self.scheduler.plan(&tables, now, &mut first), plan(&tables, now, &mut second)),
            3 => (
                self.enforcer.plan(&tables, now, &mut first),
                enforcer::plan(&tables, now, &mut second),
            ),
            _ => (
                self.reaper.plan(&tables, now, &mut first),
                reaper::plan(&tables, now, &mut second),
            ),
        };
        assert_eq!(followed.changes, whole.changes, "planner {which}");
        assert_eq!(followed.wake_at, whole.wake_at, "planner {which}");
        followed
    }
}

fn ids_from(start: u128) -> impl FnMut() -> u128 {
    let mut last = start;
    move || {
        last += 1;
        last
    }
}

/// Says what is wrong with where tasks are.
fn offence(before: &Tables, after: &Tables, plan: &Plan) -> Option<String> {
    for change in &plan.changes {
        let Change::AssignTask { id, node_id, .. } = change else { continue };
        let (task, node) = (&after.tasks[id], &after.nodes[node_id]);
        let constraints = Constraint::parse_all(&task.spec.placement.constraints).unwrap();
        if !constraints.iter().all(|constraint| constraint.matches(node)) {
            return Some(format!("{id} does not fit {node_id}"));
        }
        if node.status.state != NodeState::Ready
            || node.spec.availability != Availability::Active
            || over_committed(after, node, task)
        {
            return Some(format!("{node_id} has no room for {id}"));
        }
    }
    let moved = |(id, task): (&TaskId, &std::sync::Arc<Task>)| {
        let placed = task.node_id.is_some() && task.status.state >= TaskState::Assigned;
        placed && after.tasks.get(id).is_some_and(|now| now.node_id != task.node_id)
    };
    before.tasks.iter().any(moved).then(|| "a placed task has moved".to_owned())
}

/// A node that has just become smaller has too little until the enforcer has acted; nobody who asks
/// for more may come meanwhile.
fn over_committed(tables: &Tables, node: &Node, newcomer: &Task) -> bool {
    let description = node.description.as_ref().unwrap();
    let there = tables.tasks_on(&node.id);
    let there: Vec<_> = there
        .filter(|task| !task.status.state.is_terminal() && task.status.state >= TaskState::Assigned)
        .collect();
    let cpus: i64 = there.iter().map(|task| task.spec.resources.reserve_nano_cpus).sum();
    let mut names: BTreeMap<&GenericResource, usize> = BTreeMap::new();
    let mut counted = 0;
    for resource in there.iter().flat_map(|task| &task.assigned_generic) {
        match resource {
            GenericResource::Named { .. } => *names.entry(resource).or_default() += 1,
            GenericResource::Discrete { value, .. } => counted += value,
        }
    }
    let ports = there.iter().filter(|task| !task.endpoint_spec.ports.is_empty()).count();
    let has: i64 = description
        .generic
        .iter()
        .map(|resource| match resource {
            GenericResource::Discrete { value, .. } => *value,
            GenericResource::Named { .. } => 0,
        })
        .sum();
    (newcomer.spec.resources.reserve_nano_cpus > 0 && cpus > description.nano_cpus)
        || names.values().any(|holders| *holders > 1)
        || counted > has
        || ports > 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn planners_that_follow_plan_like_those_that_begin_with_nothing(
        nodes in prop::collection::vec(node(), NODES),
        services in prop::collection::vec(service(), 3),
        events in prop::collection::vec((event(), 0..5_usize), 1..40),
    ) {
        let mut text = String::new();
        for (at, node) in nodes.iter().enumerate() {
            text += &format!("node n{at} {node}\n");
        }
        for (at, service) in services.iter().enumerate() {
            text += &format!("service s{at} endpoint {service}\n");
        }
        let mut world = World::given(&text);
        let mut leader = Leader::default();
        for (event, which) in events {
            happen(&mut world, &event);
            // One planner is slow: it sees several events at once.
            for planner in (0..5).filter(|planner| *planner != which) {
                let before = world.tables.clone();
                let planned = leader.pass(&world, planner);
                world.write(planned.changes.clone());
                prop_assert_eq!(offence(&before, &world.tables, &planned), None);
            }
        }
    }

    #[test]
    fn branches_differ_by_one_where_every_node_fits(
        dcs in prop::collection::vec(0..4_u8, 1..12),
        tasks in 1..40_usize,
    ) {
        let mut text = String::new();
        for (at, dc) in dcs.iter().enumerate() {
            text += &format!("node n{at} label.dc={dc}\n");
        }
        text += "service web spread=node.labels.dc\n";
        for at in 0..tasks {
            text += &format!("task web.{} t{at} - pending\n", at + 1);
        }
        let mut world = World::given(&text);
        world.step(plan);
        let mut branches: BTreeMap<u8, BTreeMap<NodeId, usize>> = BTreeMap::new();
        for (at, dc) in dcs.iter().enumerate() {
            let node = NodeId::from_text(format!("n{at}"));
            let there = world.tables.tasks_on(&node).count();
            branches.entry(*dc).or_default().insert(node, there);
        }
        let even = |counts: Vec<usize>| {
            counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
        };
        let of_branches = branches.values().map(|nodes| nodes.values().sum()).collect();
        prop_assert!(even(of_branches), "{branches:?}");
        for nodes in branches.values() {
            prop_assert!(even(nodes.values().copied().collect()), "{branches:?}");
        }
        prop_assert_eq!(world.plan(plan).changes, []);
    }
}
