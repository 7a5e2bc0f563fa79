//! Text in, text out: the orchestrator's steps from a given state.

use expect_test::{Expect, expect};

use super::plan;
use crate::world::World;

/// The plan of a given state; applied, it leaves nothing to do before something else happens.
fn check(given: &str, expected: Expect) {
    let mut world = World::given(given);
    world.wait(10);
    expected.assert_eq(&world.step(plan));
    assert_eq!(world.plan(plan).changes, [], "the plan reached its goal");
}

#[test]
fn a_new_service_gets_its_replicas() {
    check(
        "service web replicas=2",
        expect![[r#"
            create web.1 #1 running nginx
            create web.2 #2 running nginx
        "#]],
    );
}

#[test]
fn a_satisfied_service_needs_nothing() {
    check(
        "node n1
         service web replicas=2
         task web.1 t1 n1 running
         task web.2 t2 n1 starting",
        expect![""],
    );
}

#[test]
fn scaling_up_fills_the_lowest_free_slots() {
    check(
        "node n1
         service web replicas=3
         task web.2 t2 n1 running",
        expect![[r#"
            create web.1 #1 running nginx
            create web.3 #2 running nginx
        "#]],
    );
}

#[test]
fn scaling_down_takes_first_what_does_not_run_then_the_fullest_node() {
    check(
        "node n1
         node n2
         service web replicas=2
         task web.1 t1 n1 running
         task web.2 t2 n1 running
         task web.3 t3 n2 running
         task web.4 t4 n2 preparing
         task web.4 old n2 failed desired=shutdown",
        expect![[r#"
            wish old remove
            wish t4 remove
            wish t2 remove
        "#]],
    );
}

#[test]
fn scaling_down_keeps_the_spread() {
    check(
        "node n1 label.dc=east
         node n2 label.dc=west
         node n3 label.dc=west
         service web replicas=2 spread=node.labels.dc
         task web.1 t1 n1 running
         task web.2 t2 n1 running
         task web.3 t3 n2 running
         task web.4 t4 n3 running
         task web.5 t5 - pending",
        expect![[r#"
            wish t5 remove
            wish t4 remove
            wish t2 remove
        "#]],
    );
}

#[test]
fn among_equals_the_node_with_most_tasks_gives_one_up() {
    check(
        "node n1
         node n2
         service web replicas=1
         service db
         task db.1 d1 n1 running
         task web.1 t1 n1 running
         task web.2 t2 n2 running",
        expect![[r#"
            wish t1 remove
        "#]],
    );
}

#[test]
fn scaling_sets_no_update_status() {
    let mut world = World::given("node n1\nservice web replicas=1\ntask web.1 t1 n1 running");
    world.edit("web", |service| {
        service.spec.mode = swarmnet_model::ServiceMode::Replicated { replicas: 2 };
    });
    expect![[r#"
        create web.2 #1 running nginx
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_failed_task_gets_a_successor_that_starts_after_the_delay() {
    let mut world = World::given("node n1\nservice web\ntask web.1 t1 n1 failed");
    world.wait(10);
    expect![[r#"
        create web.1 #1 ready nginx
        wish t1 shutdown
    "#]]
    .assert_eq(&world.step(plan));
    expect![[r#"
        wake in 5s
    "#]]
    .assert_eq(&world.step(plan));
    world.wait(5);
    expect![[r#"
        wish #1 running
    "#]]
    .assert_eq(&world.step(plan));
    assert_eq!(world.step(plan), "");
}

#[test]
fn a_task_that_is_rejected_while_it_waits_is_retried_at_the_pace_of_the_delay() {
    let mut world = World::given(
        "node n1
         service web
         task web.1 t1 n1 rejected desired=shutdown
         task web.1 t2 n1 rejected desired=ready at=9",
    );
    world.wait(10);
    expect![[r#"
        wake in 4s
    "#]]
    .assert_eq(&world.step(plan));
    world.wait(4);
    expect![[r#"
        create web.1 #1 ready nginx
        wish t2 shutdown
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn the_restart_condition_decides() {
    let given = |condition: &str, state: &str| {
        let mut world = World::given(&format!(
            "node n1\nservice web restart={condition}\ntask web.1 t1 n1 {state}"
        ));
        world.step(plan)
    };
    let ends = "wish t1 shutdown\n";
    assert_eq!(given("none", "failed"), ends);
    assert_eq!(given("none", "complete"), ends);
    assert_eq!(given("none", "rejected"), ends);
    assert_eq!(given("on-failure", "complete"), ends);
    assert!(given("on-failure", "failed").starts_with("create"));
    assert!(given("any", "complete").starts_with("create"));
    assert!(given("any", "orphaned").starts_with("create web.1 #1 running"));
}

#[test]
fn restarts_stop_after_the_last_attempt() {
    check(
        "node n1
         service web attempts=2
         task web.1 t1 n1 failed desired=shutdown at=1
         task web.1 t2 n1 failed desired=shutdown at=2
         task web.1 t3 n1 failed at=3",
        expect![[r#"
            wish t3 shutdown
        "#]],
    );
    check(
        "node n1
         service web attempts=3
         task web.1 t1 n1 failed desired=shutdown at=1
         task web.1 t2 n1 failed desired=shutdown at=2
         task web.1 t3 n1 failed at=3",
        expect![[r#"
            create web.1 #1 ready nginx
            wish t3 shutdown
        "#]],
    );
}

#[test]
fn attempts_count_since_the_spec_changed_and_inside_the_window() {
    check(
        "node n1
         service web attempts=1
         task web.1 t1 n1 failed desired=shutdown at=1
         task web.1 t2 n1 failed desired=shutdown at=2 image=old
         task web.1 t3 n1 failed at=3",
        expect![[r#"
            create web.1 #1 ready nginx
            wish t3 shutdown
        "#]],
    );
    check(
        "node n1
         service web attempts=1 window=2
         task web.1 t1 n1 failed desired=shutdown at=1
         task web.1 t2 n1 failed desired=shutdown at=2
         task web.1 t3 n1 failed at=3 ended=9",
        expect![[r#"
            create web.1 #1 ready nginx
            wish t3 shutdown
        "#]],
    );
}

#[test]
fn a_task_on_a_dead_node_is_replaced_at_once() {
    check(
        "node n1 down
         node n2
         service web
         task web.1 t1 n1 running",
        expect![[r#"
            create web.1 #1 running nginx
            wish t1 shutdown
        "#]],
    );
}

#[test]
fn a_drained_node_gives_its_tasks_up_one_stopping_before_the_other_starts() {
    let mut world = World::given(
        "node n1 drain
         node n2
         service web
         task web.1 t1 n1 running",
    );
    expect![[r#"
        create web.1 #1 ready nginx
        wish t1 shutdown
    "#]]
    .assert_eq(&world.step(plan));
    expect![[r#"
        wake in 60s
    "#]]
    .assert_eq(&world.step(plan));
    world.report("t1", "shutdown");
    expect![[r#"
        wish #1 running
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_task_that_does_not_stop_holds_its_successor_for_a_minute_only() {
    let mut world = World::given(
        "node n1
         node n2
         service web
         task web.1 t1 n1 running desired=shutdown at=0
         task web.1 t2 n2 ready desired=ready at=1",
    );
    world.wait(59);
    expect![[r#"
        wake in 1s
    "#]]
    .assert_eq(&world.step(plan));
    world.wait(1);
    expect![[r#"
        wish t2 running
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn twins_in_one_slot_are_reduced_to_the_one_that_is_further() {
    check(
        "node n1
         service web
         task web.1 t1 n1 preparing
         task web.1 t2 n1 running",
        expect![[r#"
            wish t1 shutdown
        "#]],
    );
}

#[test]
fn a_removed_service_wishes_all_its_tasks_away() {
    check(
        "node n1
         service web removed
         task web.1 t1 n1 running
         task web.2 t2 n1 failed desired=shutdown",
        expect![[r#"
            wish t1 remove
            wish t2 remove
        "#]],
    );
}

#[test]
fn a_global_service_runs_on_every_node_that_fits() {
    check(
        "node n1
         node n2 pause
         node n3 drain
         node n4 down
         node n5 label.gpu=yes
         service agent global constraint=node.labels.gpu!=yes",
        expect![[r#"
            create agent.n1 #1 running nginx on n1
        "#]],
    );
}

#[test]
fn a_global_task_leaves_a_node_that_fits_no_more_and_stays_on_one_that_is_away() {
    check(
        "node n1 drain
         node n2 down
         node n3 pause
         service agent global
         task agent.x t1 n1 running
         task agent.x t2 n2 running
         task agent.x t3 n3 running
         task agent.x t4 n9 orphaned",
        expect![[r#"
            wish t1 shutdown
            wish t4 remove
        "#]],
    );
}
