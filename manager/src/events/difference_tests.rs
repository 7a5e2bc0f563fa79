use std::sync::Arc;

use expect_test::{Expect, expect};
use swarmnet_model::update::{UpdateState, UpdateStatus};
use swarmnet_model::{Availability, NodeState, ServiceId};

use super::*;
use crate::world::{START, World, at};

fn state(world: &World) -> State {
    State { tables: Arc::new(world.tables.clone()), raft: RaftView::default() }
}

fn raft(leader: &str, reachable: &[(&str, bool)]) -> RaftView {
    let word = |is: bool| if is { Reachability::Reachable } else { Reachability::Unreachable };
    let managers = reachable.iter().map(|(id, is)| (NodeId::from_text(*id), word(*is)));
    RaftView { leader: Some(NodeId::from_text(leader)), managers: managers.collect() }
}

fn text(events: &[Event]) -> String {
    let line = |event: &Event| {
        let attributes: Vec<_> =
            event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (kind, action) = (event.kind.as_str(), event.action.as_str());
        let seconds = (event.time.0 - START.0) / 1_000_000_000;
        format!("{seconds} {kind} {action} {} {}\n", event.id, attributes.join(" "))
    };
    events.iter().map(line).collect()
}

fn check(before: &State, after: &State, expected: Expect) {
    expected.assert_eq(&text(&events(before, after, at(99))));
    assert!(events(after, after, at(99)).is_empty(), "nothing happens to what stays");
}

const WORLD: &str = "
    node n1 manager
    node n2
    network net 10.0.1.0/24
    service web replicas=2 net=net
";

#[test]
fn what_comes_and_goes_is_created_and_removed() {
    let (empty, full) = (state(&World::given("")), state(&World::given(WORLD)));
    check(
        &empty,
        &full,
        expect![[r#"
        0 network create net name=net
        0 service create web name=web
        0 node create n1 name=n1
        0 node create n2 name=n2
    "#]],
    );
    check(
        &full,
        &empty,
        expect![[r#"
        99 network remove net name=net
        99 service remove web name=web
        99 node remove n1 name=n1
        99 node remove n2 name=n2
    "#]],
    );
}

#[test]
fn what_is_being_removed_is_gone_and_goes_once() {
    let mut world = World::given(WORLD);
    let before = state(&world);
    world.edit("web", |service| service.pending_delete = true);
    world.line("network net 10.0.1.0/24 removed");
    let during = state(&world);
    check(
        &before,
        &during,
        expect![[r#"
        99 network remove net name=net
        99 service remove web name=web
    "#]],
    );
    world.tables.services.clear();
    world.tables.networks.clear();
    check(&during, &state(&world), expect![[""]]);
}

#[test]
fn an_update_of_a_service_says_what_changed() {
    let mut world = World::given(WORLD);
    let before = state(&world);
    world.edit("web", |service| {
        service.version.0 += 1;
        service.updated_at = at(7);
        service.spec.mode = ServiceMode::Replicated { replicas: 5 };
        service.spec.task.container.image = "nginx:2".to_owned();
    });
    let updated = state(&world);
    check(
        &before,
        &updated,
        expect![[r#"
        7 service update web image.new=nginx:2 image.old=nginx name=web replicas.new=5 replicas.old=2
    "#]],
    );
    let status = |state| UpdateStatus {
        state,
        started_at: START,
        completed_at: None,
        message: String::new(),
    };
    world.edit("web", |service| {
        service.version.0 += 1;
        service.update_status = Some(status(UpdateState::Updating));
    });
    let updating = state(&world);
    check(
        &updated,
        &updating,
        expect![[r#"
        7 service update web name=web updatestate.new=updating
    "#]],
    );
    world.edit("web", |service| {
        service.version.0 += 1;
        service.update_status = Some(status(UpdateState::RollbackStarted));
    });
    check(
        &updating,
        &state(&world),
        expect![[r#"
        7 service update web name=web updatestate.new=rollback_started updatestate.old=updating
    "#]],
    );
}

#[test]
fn an_update_of_a_node_says_what_changed() {
    let mut world = World::given(WORLD);
    let mut before = state(&world);
    before.raft = raft("n1", &[("n1", true)]);
    world.set_node("n2", NodeState::Down);
    world.drain("n1", true);
    let mut after = state(&world);
    after.raft = raft("n3", &[("n1", false)]);
    check(
        &before,
        &after,
        expect![[r#"
        0 node update n1 availability.new=drain availability.old=active leader.new=false leader.old=true name=n1 reachability.new=unreachable reachability.old=reachable
        0 node update n2 name=n2 state.new=down state.old=ready
    "#]],
    );
    assert_eq!(world.tables.nodes[&NodeId::from_text("n1")].spec.availability, Availability::Drain);
}

#[test]
fn a_new_leader_is_an_update_of_two_nodes() {
    let world = World::given("node n1 manager\nnode n2 manager\nnode n3");
    let (mut before, mut after) = (state(&world), state(&world));
    before.raft = raft("n1", &[("n1", true), ("n2", true)]);
    after.raft = raft("n2", &[("n1", false), ("n2", true)]);
    check(
        &before,
        &after,
        expect![[r#"
        99 node update n1 leader.new=false leader.old=true name=n1 reachability.new=unreachable reachability.old=reachable
        99 node update n2 leader.new=true leader.old=false name=n2
    "#]],
    );
    before.raft.leader = None;
    check(&before, &after, expect![[""]]);
    assert!(world.tables.services.get(&ServiceId::from_text("web")).is_none());
}
