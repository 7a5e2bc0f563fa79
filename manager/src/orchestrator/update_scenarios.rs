//! Text in, text out: the steps of an update.

use expect_test::{Expect, expect};
use swarmnet_model::placement::Platform;
use swarmnet_model::{NodeState, TaskId};

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
fn an_update_replaces_one_slot_at_a_time_and_completes_after_the_monitor_period() {
    let mut world = World::given(
        "node n1
         service web replicas=2
         task web.1 t1 n1 running image=old
         task web.2 t2 n1 running image=old",
    );
    world.wait(10);
    let mut log = String::new();
    let mut step = |world: &mut World, event: Option<(&str, &str)>| {
        if let Some((task, state)) = event {
            log += &format!("-- {task} {state}\n");
            world.report(task, state);
        }
        log += &world.step(plan);
    };
    step(&mut world, None);
    place(&mut world, "#1", "n1");
    step(&mut world, Some(("#1", "preparing")));
    step(&mut world, Some(("#1", "ready")));
    step(&mut world, Some(("t1", "shutdown")));
    step(&mut world, Some(("#1", "running")));
    place(&mut world, "#2", "n1");
    step(&mut world, Some(("#2", "ready")));
    step(&mut world, Some(("t2", "shutdown")));
    step(&mut world, Some(("#2", "running")));
    world.wait(5);
    step(&mut world, None);
    step(&mut world, None);
    expect![[r#"
        update web updating: update in progress
        create web.1 #1 ready nginx
        -- #1 preparing
        wake in 600s
        -- #1 ready
        wish t1 shutdown
        wake in 600s
        -- t1 shutdown
        wish #1 running
        wake in 600s
        -- #1 running
        create web.2 #2 ready nginx
        -- #2 ready
        wish t2 shutdown
        wake in 600s
        -- t2 shutdown
        wish #2 running
        wake in 600s
        -- #2 running
        wake in 5s
        update web completed: update completed
    "#]]
    .assert_eq(&log);
}

/// Allocates and assigns a created task.
fn place(world: &mut World, id: &str, node: &str) {
    use crate::store::Change;
    let id = crate::world::long(id);
    let node_id = swarmnet_model::NodeId::from_text(node);
    world.write(vec![
        Change::AllocateTask { id: id.clone(), attachments: Vec::new() },
        Change::AssignTask { id, node_id, message: String::new(), generic: Vec::new() },
    ]);
}

#[test]
fn start_first_keeps_the_old_task_until_the_new_one_runs() {
    let mut world = World::given(
        "node n1
         service web order=start-first
         task web.1 t1 n1 running image=old",
    );
    expect![[r#"
        update web updating: update in progress
        create web.1 #1 running nginx
    "#]]
    .assert_eq(&world.step(plan));
    place(&mut world, "#1", "n1");
    world.report("#1", "ready");
    assert_eq!(world.step(plan), "wake in 600s\n", "its deadline");
    world.report("#1", "running");
    expect![[r#"
        wish t1 shutdown
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_host_port_makes_start_first_stop_first() {
    check(
        "node n1
         service web order=start-first publish=80:80@host
         task web.1 t1 n1 running image=old",
        expect![[r#"
            update web updating: update in progress (stop-first instead of start-first: two tasks cannot share host port 80/tcp)
            create web.1 #1 ready nginx
        "#]],
    );
}

#[test]
fn full_nodes_make_start_first_stop_first() {
    let full = "node n1
         node n2 drain
         service web order=start-first max-per-node=1
         task web.1 t1 n1 running image=old";
    check(
        full,
        expect![[r#"
            update web updating: update in progress (stop-first instead of start-first: every node has its 1 replicas, there is no room for one more)
            create web.1 #1 ready nginx
        "#]],
    );
    check(
        &full.replace(" drain", ""),
        expect![[r#"
            update web updating: update in progress
            create web.1 #1 running nginx
        "#]],
    );
}

/// An update under way whose task of slot 1 has been starting since second 11.
fn hanging(words: &str, deadline: &str) -> World {
    let first = ["t1 n1 shutdown desired=shutdown image=old", "t2 n1 starting at=11"];
    let mut world = updating(words, &first, &["u1 n1 running image=old"]);
    world.edit("web", |service| {
        let label = swarmnet_model::update_rules::DEADLINE_LABEL.to_owned();
        service.spec.labels.insert(label, deadline.to_owned());
    });
    world
}

#[test]
fn a_task_that_never_becomes_healthy_pauses_the_update_at_the_deadline() {
    let mut world = hanging("", "2m");
    world.wait(110);
    expect![[r#"
        wake in 1s
    "#]]
    .assert_eq(&world.step(plan));
    world.wait(1);
    expect![[r#"
        update web paused: update paused because task t2 did not run within 120s
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn the_deadline_rolls_back_where_failures_do() {
    let mut world = hanging("action=rollback", "2m");
    world.wait(111);
    expect![[r#"
        service web image old: update rolled back because task t2 did not run within 120s
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_late_task_is_put_up_with_where_failures_are() {
    let mut world = hanging("action=continue", "2m");
    world.wait(111);
    expect![[r#"
        create web.2 #1 ready nginx
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_deadline_of_zero_waits_for_ever() {
    let mut world = hanging("", "0");
    world.wait(1_000_000);
    assert_eq!(world.step(plan), "");
}

#[test]
fn without_a_label_an_update_waits_ten_minutes() {
    let mut world = hanging("", "nonsense of an older version");
    world.wait(590);
    expect![[r#"
        wake in 1s
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_replacement_that_finds_no_place_beside_the_old_task_takes_its_place() {
    let mut world = World::given(
        "node n1
         service web
         task web.1 t1 n1 running image=old",
    );
    world.step(plan);
    world.write(vec![crate::store::Change::ExplainTask {
        id: crate::world::long("#1"),
        message: String::new(),
        err: Some("no suitable node".to_owned()),
    }]);
    expect![[r#"
        wish t1 shutdown
        wake in 600s
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn parallelism_zero_updates_all_at_once() {
    check(
        "node n1
         service web replicas=3 parallelism=0
         task web.1 t1 n1 running image=old
         task web.2 t2 n1 running image=old
         task web.3 t3 n1 running image=old",
        expect![[r#"
            update web updating: update in progress
            create web.1 #1 ready nginx
            create web.2 #2 ready nginx
            create web.3 #3 ready nginx
        "#]],
    );
}

#[test]
fn the_next_slot_waits_for_the_update_delay() {
    let mut world = updating("delay=30", &["t2 n1 running at=11"], &["u1 n1 running image=old"]);
    expect![[r#"
        wake in 21s
    "#]]
    .assert_eq(&world.step(plan));
    world.wait(21);
    expect![[r#"
        create web.2 #1 ready nginx
    "#]]
    .assert_eq(&world.step(plan));
}

/// A service of two slots, updating since second 10; it is second 20.
fn updating(words: &str, first: &[&str], second: &[&str]) -> World {
    let mut text = format!("node n1\nservice web replicas=2 {words}\n");
    for task in first {
        text += &format!("task web.1 {task}\n");
    }
    for task in second {
        text += &format!("task web.2 {task}\n");
    }
    let mut world = World::given(&text);
    world.wait(20);
    world.edit("web", |service| {
        service.update_status = Some(swarmnet_model::UpdateStatus {
            state: swarmnet_model::UpdateState::Updating,
            started_at: crate::world::at(10),
            completed_at: None,
            message: String::new(),
        });
        let mut previous = service.spec.clone();
        "old".clone_into(&mut previous.task.container.image);
        service.previous_spec = Some(previous);
    });
    world
}

#[test]
fn a_failure_pauses_the_update_and_leaves_the_old_task_alone() {
    let mut world = updating(
        "",
        &["t1 n1 running image=old", "t2 n1 rejected desired=ready at=11"],
        &["u1 n1 running image=old"],
    );
    expect![[r#"
        update web paused: update paused due to failure or early termination of task t2
    "#]]
    .assert_eq(&world.step(plan));
    assert_eq!(world.step(plan), "", "a paused update does nothing");
}

#[test]
fn a_failure_rolls_back_and_empties_the_previous_spec() {
    let mut world = updating(
        "action=rollback",
        &["t1 n1 running image=old", "t2 n1 failed at=11"],
        &["u1 n1 running image=old"],
    );
    expect![[r#"
        service web image old: update rolled back due to failure or early termination of task t2
    "#]]
    .assert_eq(&world.step(plan));
    let service = world.tables.services.values().next().unwrap();
    assert_eq!(service.previous_spec, None);
    expect![[r#"
        update web rollback_completed: rollback completed
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_failing_rollback_pauses() {
    let mut world = updating("action=rollback", &["t2 n1 failed at=11"], &["u1 n1 running"]);
    world.edit("web", |service| {
        let status = service.update_status.as_mut().unwrap();
        status.state = swarmnet_model::UpdateState::RollbackStarted;
    });
    expect![[r#"
        create web.1 #1 ready nginx
        wish t2 shutdown
        update web rollback_paused: rollback paused due to failure or early termination of task t2
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn continue_goes_on_and_gives_the_slot_to_the_new_spec() {
    let mut world = updating(
        "action=continue",
        &["t1 n1 running image=old", "t2 n1 rejected desired=ready at=11"],
        &["u1 n1 running image=old"],
    );
    expect![[r#"
        wish t1 shutdown
    "#]]
    .assert_eq(&world.step(plan));
    world.report("t1", "shutdown");
    expect![[r#"
        create web.1 #1 ready nginx
        wish t2 shutdown
        create web.2 #2 ready nginx
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn failures_up_to_the_ratio_are_put_up_with() {
    let mut world = updating("ratio=0.5", &["t2 n1 failed at=11"], &["u1 n1 running image=old"]);
    expect![[r#"
        create web.1 #1 ready nginx
        wish t2 shutdown
        create web.2 #2 ready nginx
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn a_failure_after_the_monitor_period_does_not_count() {
    let mut late = updating(
        "monitor=3 restart=none",
        &["t2 n1 failed desired=shutdown at=11 ended=16"],
        &["u2 n1 starting at=12"],
    );
    assert!(!late.step(plan).contains("paused"));
    let mut soon = updating(
        "monitor=3 restart=none",
        &["t2 n1 failed desired=shutdown at=11 ended=15"],
        &["u2 n1 starting at=12"],
    );
    assert!(soon.step(plan).starts_with("update web paused"));
}

#[test]
fn other_constraints_alone_replace_only_tasks_whose_node_fits_no_more() {
    let mut world = World::given(
        "node n1 label.disk=ssd
         node n2
         service web replicas=2
         task web.1 t1 n1 running
         task web.2 t2 n2 running",
    );
    world.edit("web", |service| {
        service.spec.task.placement.constraints.push("node.labels.disk==ssd".to_owned());
    });
    expect![[r#"
        update web updating: update in progress
        create web.2 #1 ready nginx
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn other_preferences_and_platforms_alone_replace_nothing_that_may_stay() {
    let mut world = World::given(
        "node n1
         service web replicas=1
         task web.1 t1 n1 running",
    );
    world.edit("web", |service| {
        let placement = &mut service.spec.task.placement;
        placement.max_replicas = 1;
        placement.platforms = vec![Platform::default()];
    });
    assert!(!world.step(plan).contains("create"), "the node runs every platform that is asked for");
    world.edit("web", |service| {
        let os = "plan9".to_owned();
        service.spec.task.placement.platforms = vec![Platform { os, ..Platform::default() }];
    });
    assert!(world.step(plan).contains("create web.1"));
}

#[test]
fn an_attempt_that_lost_its_node_does_not_hold_the_update() {
    let mut world = updating(
        "",
        &["t1 n1 shutdown desired=shutdown image=old", "t2 n9 preparing desired=shutdown at=11"],
        &["u1 n1 running at=12"],
    );
    world.line("node n9 down");
    world.line("task web.1 t3 n1 running at=13");
    expect![[r#"
        update web completed: update completed
    "#]]
    .assert_eq(&world.step(plan));
}

#[test]
fn an_update_survives_a_dead_node() {
    let mut world = updating("", &["t1 n1 running image=old"], &["u1 n1 running image=old"]);
    world.step(plan);
    world.set_node("n1", NodeState::Down);
    world.step(plan);
    let old = &world.tables.tasks[&TaskId::from_text("t1")];
    assert!(!old.is_live(), "the old task is not waited for");
}
