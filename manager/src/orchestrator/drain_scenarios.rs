//! Text in, text out: what a drain does to services that start new tasks first.

use expect_test::{Expect, expect};

use super::plan;
use crate::store::Change;
use crate::world::{World, long};

const SERVING: &str = "node n1 drain
                       node n2
                       service web order=start-first
                       task web.1 t1 n1 running";

/// A node is drained while a task of it serves; it is second 10.
fn serving() -> World {
    let mut world = World::given(SERVING);
    world.wait(10);
    world
}

/// Plans, and checks that the plan reached its goal.
fn check(world: &mut World, expected: Expect) {
    expected.assert_eq(&world.step(plan));
    assert_eq!(world.plan(plan).changes, [], "the plan reached its goal");
}

/// Allocates and assigns a created task, and reports its state.
fn bring(world: &mut World, id: &str, node: &str, state: &str) {
    let node_id = swarmnet_model::NodeId::from_text(node);
    world.write(vec![
        Change::AllocateTask { id: long(id), attachments: Vec::new() },
        Change::AssignTask { id: long(id), node_id, generic: Vec::new(), message: String::new() },
    ]);
    world.report(id, state);
}

#[test]
fn a_serving_task_leaves_when_its_successor_runs() {
    let mut world = serving();
    check(
        &mut world,
        expect![[r#"
        create web.1 #1 running nginx
    "#]],
    );
    bring(&mut world, "#1", "n2", "starting");
    check(
        &mut world,
        expect![[r#"
        wake in 600s
    "#]],
    );
    world.report("#1", "running");
    check(
        &mut world,
        expect![[r#"
            wish t1 shutdown
            wake in 600s
        "#]],
    );
}

#[test]
fn without_start_first_the_old_task_stops_at_once() {
    let mut world = World::given(
        "node n1 drain
         node n2
         service web
         task web.1 t1 n1 running",
    );
    check(
        &mut world,
        expect![[r#"
        create web.1 #1 ready nginx
        wish t1 shutdown
    "#]],
    );
}

#[test]
fn what_does_not_serve_yet_is_not_waited_for() {
    let mut world = World::given(
        "node n1 drain
         node n2
         service web order=start-first
         task web.1 t1 n1 starting",
    );
    check(
        &mut world,
        expect![[r#"
        create web.1 #1 ready nginx
        wish t1 shutdown
    "#]],
    );
}

#[test]
fn a_task_that_fits_nowhere_else_stops_nevertheless() {
    let mut world = serving();
    world.step(plan);
    world.write(vec![Change::ExplainTask {
        id: long("#1"),
        message: String::new(),
        err: Some("no suitable node".to_owned()),
    }]);
    check(
        &mut world,
        expect![[r#"
        wish t1 shutdown
    "#]],
    );
}

#[test]
fn a_successor_that_fails_is_retried_at_the_pace_of_the_restart_delay() {
    let mut world = serving();
    world.step(plan);
    bring(&mut world, "#1", "n2", "failed");
    check(
        &mut world,
        expect![[r#"
        create web.1 #2 ready nginx
        wish #1 shutdown
    "#]],
    );
    bring(&mut world, "#2", "n2", "ready");
    check(
        &mut world,
        expect![[r#"
        wake in 5s
    "#]],
    );
    world.wait(5);
    check(
        &mut world,
        expect![[r#"
        wish #2 running
        wake in 595s
    "#]],
    );
}

#[test]
fn a_drain_ends_when_successors_keep_failing() {
    let mut world = serving();
    world.line("task web.1 u1 n2 failed desired=shutdown at=1");
    world.line("task web.1 u2 n2 failed desired=shutdown at=2");
    world.line("task web.1 u3 n2 failed desired=shutdown at=3");
    check(
        &mut world,
        expect![[r#"
        create web.1 #1 ready nginx
        wish t1 shutdown
    "#]],
    );
}

#[test]
fn a_drain_ends_when_a_successor_does_not_run_in_time() {
    let mut world = serving();
    world.edit("web", |service| {
        let label = swarmnet_model::update_rules::DEADLINE_LABEL.to_owned();
        service.spec.labels.insert(label, "2m".to_owned());
    });
    world.step(plan);
    bring(&mut world, "#1", "n2", "starting");
    world.wait(119);
    check(
        &mut world,
        expect![[r#"
        wake in 1s
    "#]],
    );
    world.wait(1);
    check(
        &mut world,
        expect![[r#"
        wish t1 shutdown
    "#]],
    );
}

#[test]
fn all_tasks_of_a_node_move_at_once() {
    let mut world = World::given(
        "node n1 drain
         node n2
         service web order=start-first replicas=2
         task web.1 t1 n1 running
         task web.2 t2 n1 running",
    );
    check(
        &mut world,
        expect![[r#"
        create web.1 #1 running nginx
        create web.2 #2 running nginx
    "#]],
    );
}
