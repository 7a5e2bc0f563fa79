//! What of updates does not show in a scenario file.

use swarmnet_model::placement::Platform;

use super::plan;
use crate::world::World;

#[test]
fn what_was_rolled_back_cannot_be_rolled_back_to_again() {
    let mut world = World::given(
        "node n1
         service web action=rollback
         task web.1 t1 n1 running",
    );
    world.wait(10);
    world.update_image("web", "two");
    world.line("task web.1 t2 n1 failed at=11");
    assert!(world.step(plan).contains("service web image nginx: update rolled back"));
    assert_eq!(world.tables.services.values().next().unwrap().previous_spec, None);
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
