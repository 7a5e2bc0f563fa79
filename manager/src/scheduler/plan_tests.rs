//! Text in, text out: who is placed where, and what the others are told.

use expect_test::{Expect, expect};

use super::plan;
use crate::world::World;

/// The plan of a given state; after it nothing is left to do.
fn check(given: &str, expected: Expect) {
    let mut world = World::given(given);
    world.wait(1);
    expected.assert_eq(&world.step(plan));
    assert_eq!(world.step(plan), "", "the plan reached its goal");
}

#[test]
fn replicas_spread_over_the_nodes() {
    check(
        "node n1
         node n2
         node n3
         service web replicas=4
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task web.4 t4 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n2: scheduler assigned task to node
            assign t3 to n3: scheduler assigned task to node
            assign t4 to n1: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn fewest_tasks_of_the_service_come_before_fewest_tasks() {
    check(
        "node n1
         node n2
         service web
         service db
         task web.1 w1 n1 running
         task db.1 d1 n2 running
         task db.2 d2 n2 running
         task web.2 w2 - pending
         task db.3 d3 - pending",
        expect![[r#"
            assign d3 to n1: scheduler assigned task to node
            assign w2 to n2: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn among_equals_the_emptier_node_wins() {
    check(
        "node n1
         node n2
         service web
         service db
         task db.1 d1 n1 running
         task web.1 w1 - pending",
        expect![[r#"
            assign w1 to n2: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn only_ready_and_active_nodes_get_tasks() {
    check(
        "node n1 down
         node n2 pause
         node n3 drain
         node n4 unknown
         node n5
         service web
         task web.1 t1 - pending",
        expect![[r#"
            assign t1 to n5: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn a_task_without_a_node_says_why_most_refusals_first() {
    check(
        "node n1 down
         node n2 label.rack=a
         node n3 label.rack=b
         service web constraint=node.labels.rack==c
         task web.1 t1 - pending",
        expect![[r#"
            explain t1: : no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)
        "#]],
    );
}

#[test]
fn reservations_bound_what_a_node_takes() {
    check(
        "node n1 cpus=2
         node n2 cpus=1
         service web reserve-cpus=1
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task web.4 t4 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n2: scheduler assigned task to node
            assign t3 to n1: scheduler assigned task to node
            explain t4: : no suitable node (insufficient resources on 2 nodes)
        "#]],
    );
}

#[test]
fn a_stopping_task_keeps_its_reservation_until_it_has_ended() {
    let mut world = World::given(
        "node n1 cpus=1
         service web reserve-cpus=1
         task web.1 t1 n1 running desired=shutdown
         task web.1 t2 - pending",
    );
    expect![[r#"
        explain t2: : no suitable node (insufficient resources on 1 node)
    "#]]
    .assert_eq(&world.step(plan));
    world.report("t1", "shutdown");
    expect![[r#"
        assign t2 to n1: scheduler assigned task to node
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn constraints_and_platforms_choose_nodes() {
    check(
        "node n1 label.rack=a
         node n2 label.rack=b
         service web constraint=node.labels.rack==B arch=amd64
         service arm arch=aarch64
         task web.1 t1 - pending
         task arm.1 t2 - pending",
        expect![[r#"
            explain t2: : no suitable node (unsupported platform on 2 nodes)
            assign t1 to n2: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn a_host_port_without_a_number_gets_one_that_is_free_on_the_node() {
    check(
        "node n1
         service mesh publish=30877:80 publish=31000:81 endpoint
         service web publish=80@host publish=53/udp@host
         task web.1 t1 - pending
         task web.2 t2 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node 30878:80/tcp 30877:53/udp
            assign t2 to n1: scheduler assigned task to node 30879:80/tcp 30878:53/udp
        "#]],
    );
}

#[test]
fn a_host_port_is_served_once_per_node() {
    check(
        "node n1
         node n2
         service web publish=80:80@host
         service udp publish=80:80/udp@host
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task udp.1 u1 - pending",
        expect![[r#"
            assign u1 to n1: scheduler assigned task to node
            assign t1 to n2: scheduler assigned task to node
            assign t2 to n1: scheduler assigned task to node
            explain t3: : no suitable node (host-mode port already in use on 2 nodes)
        "#]],
    );
}

#[test]
fn replicas_per_node_are_bounded() {
    check(
        "node n1
         node n2
         service web max-per-node=1
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n2: scheduler assigned task to node
            explain t3: : no suitable node (max replicas per node limit exceed)
        "#]],
    );
}

#[test]
fn a_node_where_the_service_keeps_failing_comes_last() {
    let failures = |count: usize| {
        let mut text = "node n1\nnode n2\nservice web\ntask web.1 w1 n2 running\n".to_owned();
        for i in 0..count {
            text += &format!("task web.2 f{i} n1 failed\n");
        }
        text + "task web.2 w2 - pending at=1"
    };
    let place = |count: usize, seconds: u64| {
        let mut world = World::given(&failures(count));
        world.wait(seconds);
        world.step(plan)
    };
    assert!(place(4, 1).starts_with("assign w2 to n1"));
    assert!(place(5, 1).starts_with("assign w2 to n2"));
    assert!(place(5, 301).starts_with("assign w2 to n1"), "forgotten by then");
}

#[test]
fn a_global_task_is_confirmed_on_its_node_only() {
    check(
        "node n1
         node n2 pause
         service agent global
         task agent.x t1 n1 pending
         task agent.x t2 n2 pending",
        expect![[r#"
            assign t1 to n1: scheduler confirmed task can run on preassigned node
            explain t2: : no suitable node (1 node not available for new tasks)
        "#]],
    );
}

#[test]
fn preferences_give_each_label_value_an_equal_share() {
    check(
        "node n1 label.dc=east
         node n2 label.dc=east
         node n3 label.dc=west
         service web spread=node.labels.dc
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task web.4 t4 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n3: scheduler assigned task to node
            assign t3 to n2: scheduler assigned task to node
            assign t4 to n3: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn memory_is_reserved_like_cpus() {
    check(
        "node n1 memory=1000
         node n2 memory=500
         service web reserve-memory=600
         task web.1 t1 - pending
         task web.2 t2 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            explain t2: : no suitable node (insufficient resources on 2 nodes)
        "#]],
    );
}

#[test]
fn counted_generic_resources_are_given_until_none_is_left() {
    check(
        "node n1 gpu=3
         node n2
         service web reserve-gpu=2
         task web.1 t1 - pending
         task web.2 t2 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node gpu=2
            explain t2: : no suitable node (insufficient resources on 2 nodes)
        "#]],
    );
}

#[test]
fn named_generic_resources_are_given_in_the_order_of_their_names() {
    check(
        "node n1 gpu=c,a,b
         service web reserve-gpu=1
         service big reserve-gpu=2
         task web.1 t1 - pending
         task big.1 t2 - pending at=1
         task web.2 t3 - pending at=2",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node gpu=a
            assign t3 to n1: scheduler assigned task to node gpu=b
            explain t2: : no suitable node (insufficient resources on 1 node)
        "#]],
    );
}

#[test]
fn a_named_resource_is_free_again_when_its_task_has_ended() {
    let mut world = World::given(
        "node n1 gpu=a,b
         service web reserve-gpu=1
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending",
    );
    world.step(plan);
    world.report("t1", "failed");
    expect![[r#"
        assign t3 to n1: scheduler assigned task to node gpu=a
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn drivers_of_volumes_and_logs_must_be_there() {
    check(
        "node n1 Volume=nfs:latest Log=json-file Log=syslog
         node n2 Volume=local Log=json-file
         node n3
         service data volume-driver=nfs
         service disk volume-driver=local
         service logs log-driver=syslog
         service odd log-driver=odd volume-driver=nfs
         task data.1 t1 - pending
         task disk.1 t2 - pending
         task logs.1 t3 - pending
         task odd.1 t4 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n2: scheduler assigned task to node
            assign t3 to n3: scheduler assigned task to node
            explain t4: : no suitable node (missing plugin on 3 nodes)
        "#]],
    );
}

#[test]
fn filters_are_asked_in_dockers_order_and_the_first_refusal_counts() {
    check(
        "node n1 pause cpus=1
         node n2 cpus=1
         node n3 cpus=4 label.rack=b
         node n4 cpus=4 label.rack=a
         service web reserve-cpus=2 constraint=node.labels.rack==a arch=arm64
         task web.1 t1 - pending",
        expect![[r#"
            explain t1: : no suitable node (1 node not available for new tasks; insufficient resources on 1 node; scheduling constraints not satisfied on 1 node; unsupported platform on 1 node)
        "#]],
    );
}

#[test]
fn preferences_are_a_hierarchy_and_a_missing_label_is_a_branch() {
    check(
        "node n1 label.dc=east label.rack=1
         node n2 label.dc=east label.rack=2
         node n3 label.dc=east label.rack=2
         node n4 label.dc=west
         node n5
         service web spread=node.labels.dc spread=node.labels.rack
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task web.4 t4 - pending
         task web.5 t5 - pending
         task web.6 t6 - pending",
        expect![[r#"
            assign t1 to n5: scheduler assigned task to node
            assign t2 to n1: scheduler assigned task to node
            assign t3 to n4: scheduler assigned task to node
            assign t4 to n5: scheduler assigned task to node
            assign t5 to n2: scheduler assigned task to node
            assign t6 to n4: scheduler assigned task to node
        "#]],
    );
}

#[test]
fn engine_labels_spread_too_and_a_full_branch_leaves_its_share_to_others() {
    check(
        "node n1 engine.zone=a
         node n2 engine.zone=b
         node n3 engine.zone=b
         service web spread=engine.labels.zone max-per-node=2
         task web.1 t1 - pending
         task web.2 t2 - pending
         task web.3 t3 - pending
         task web.4 t4 - pending
         task web.5 t5 - pending
         task web.6 t6 - pending
         task web.7 t7 - pending",
        expect![[r#"
            assign t1 to n1: scheduler assigned task to node
            assign t2 to n2: scheduler assigned task to node
            assign t3 to n1: scheduler assigned task to node
            assign t4 to n3: scheduler assigned task to node
            assign t5 to n2: scheduler assigned task to node
            assign t6 to n3: scheduler assigned task to node
            explain t7: : no suitable node (max replicas per node limit exceed)
        "#]],
    );
}

#[test]
fn a_task_wished_to_end_is_not_placed() {
    check(
        "node n1
         service web
         task web.1 t1 - pending desired=shutdown",
        expect![""],
    );
}

#[test]
fn without_nodes_there_is_nothing_to_count() {
    check(
        "service web
         task web.1 t1 - pending",
        expect![[r#"
            explain t1: : no suitable node
        "#]],
    );
}
