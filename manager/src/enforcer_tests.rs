//! Text in, text out: whose task may not stay, and what becomes of it.

use expect_test::{Expect, expect};
use swarmnet_model::{GenericResource, Node, NodeId};

use super::plan;
use crate::world::World;
use crate::{orchestrator, scheduler};

fn check(given: &str, expected: Expect) {
    let mut world = World::given(given);
    expected.assert_eq(&world.step(plan));
    assert_eq!(world.step(plan), "", "the plan reached its goal");
}

fn relabel(world: &mut World, id: &str, label: &str, value: &str) {
    let id = NodeId::from_text(id);
    let mut node = Node::clone(&world.tables.nodes[&id]);
    node.spec.labels.insert(label.to_owned(), value.to_owned());
    world.tables.nodes.insert(id, node.into());
}

#[test]
fn a_task_leaves_a_node_that_no_longer_fits() {
    check(
        "node n1 label.disk=hdd
         node n2 label.disk=ssd
         service web constraint=node.labels.disk==ssd
         task web.1 t1 n1 running
         task web.2 t2 n2 running
         task web.3 t3 n1 assigned
         task web.4 t4 n1 failed",
        expect![[r#"
            reject t1
            reject t3
        "#]],
    );
}

#[test]
fn a_node_that_is_away_paused_or_drained_is_not_judged() {
    check(
        "node n1 down
         node n2 pause
         node n3 drain
         node n4 unknown
         service web constraint=node.labels.disk==ssd
         task web.1 t1 n1 running
         task web.2 t2 n2 running
         task web.3 t3 n3 running
         task web.4 t4 n4 running",
        expect![""],
    );
}

#[test]
fn of_a_node_that_has_become_too_small_the_oldest_tasks_stay() {
    check(
        "node n1 cpus=2 memory=100
         service web reserve-cpus=1
         service big reserve-memory=60
         task web.1 t1 n1 running at=3
         task web.2 t2 n1 running at=1
         task web.3 t3 n1 running at=2
         task big.1 t4 n1 running at=4
         task big.2 t5 n1 running at=5",
        expect![[r#"
            reject t1
            reject t5
        "#]],
    );
}

#[test]
fn a_task_whose_named_resource_is_gone_leaves() {
    let mut world = World::given(
        "node n1 gpu=a,b
         service web reserve-gpu=1
         task web.1 t1 - pending
         task web.2 t2 - pending",
    );
    world.step(scheduler::plan);
    assert_eq!(world.step(plan), "");
    let id = NodeId::from_text("n1");
    let mut node = Node::clone(&world.tables.nodes[&id]);
    node.description.as_mut().unwrap().generic.remove(0);
    world.tables.nodes.insert(id, node.into());
    assert_eq!(world.step(plan), "reject t1\n");
}

#[test]
fn a_rejected_task_is_replaced_elsewhere_after_it_has_stopped() {
    let mut world = World::given(
        "node n1 label.disk=ssd
         node n2 label.disk=ssd
         service web constraint=node.labels.disk==ssd
         task web.1 t1 n1 running",
    );
    world.wait(10);
    assert_eq!(world.step(plan), "");
    relabel(&mut world, "n1", "disk", "hdd");
    world.step(plan);
    expect![[r#"
        create web.1 #1 ready nginx
    "#]]
    .assert_eq(&world.step(orchestrator::plan));
    world.report("t1", "shutdown");
    expect![[r#"
        wish #1 running
    "#]]
    .assert_eq(&world.step(orchestrator::plan));
    expect![[r#"
        web.1 t1 n1 shutdown/rejected nginx
        web.1 #1 - running/new nginx
    "#]]
    .assert_eq(&world.tasks());
}

#[test]
fn a_global_task_says_so_whoever_finds_it_first() {
    let given = "node n1 label.gpu=yes
         node n2
         service agent global constraint=node.labels.gpu==yes
         task agent.x t1 n1 running
         task agent.x t2 n2 running";
    check(
        given,
        expect![[r#"
        reject t2
    "#]],
    );
    let mut world = World::given(given);
    assert_eq!(world.step(orchestrator::plan), "reject t2\n");
    assert_eq!(world.step(orchestrator::plan), "");
}

#[test]
fn a_node_that_claims_more_than_can_be_counted_is_judged_all_the_same() {
    let mut world = World::given(
        "node n1 gpu=1 cpus=1
         service web constraint=node.labels.disk==ssd
         task web.1 t1 n1 running",
    );
    let id = NodeId::from_text("n1");
    let mut node = Node::clone(&world.tables.nodes[&id]);
    let generic = &mut node.description.as_mut().unwrap().generic;
    let value = i64::MAX;
    generic.extend([0, 1].map(|_| GenericResource::Discrete { kind: "gpu".to_owned(), value }));
    world.tables.nodes.insert(id, node.into());
    assert_eq!(world.step(plan), "reject t1\n");
}
