//! With every loop of the leader a goal is reached in a bounded number of rounds.

use expect_test::expect;
use swarmnet_model::{NodeId, NodeState, ServiceId, TaskState, UpdateState};

use super::simulation::{check_slots, check_windows, round, run, running};
use crate::store::Change;
use crate::world::World;

fn status(world: &World) -> Option<(UpdateState, String)> {
    let service = &world.tables.services[&ServiceId::from_text("web")];
    service.update_status.as_ref().map(|status| (status.state, status.message.clone()))
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
