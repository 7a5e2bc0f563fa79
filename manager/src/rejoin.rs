//! Pure: a host that left and joined again takes the place of its own old entry.
//!
//! A node's identity ends when it leaves, so the host comes back as another node. Its old entry can
//! never be ready again; kept, it would make the host's name ambiguous and hold its tasks for a day.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use swarmnet_model::{IdSource, Node, NodeState, Tables, Timestamp};

use crate::plan::Plan;
use crate::store::Change;

/// Returns the old entries to remove. A member of Raft stays: its vote counts until it is demoted.
pub fn plan(tables: &Tables, _now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
    let in_state = |state| move |node: &&Node| node.status.state == state;
    let nodes = || tables.nodes.values().map(AsRef::as_ref);
    let ready: BTreeSet<_> = nodes().filter(in_state(NodeState::Ready)).filter_map(host).collect();
    let changes = nodes()
        .filter(in_state(NodeState::Down))
        .filter(|node| node.manager.is_none())
        .filter(|node| host(node).is_some_and(|host| ready.contains(&host)))
        .map(|node| Change::RemoveNode { id: node.id.clone() })
        .collect();
    Plan { changes, wake_at: None }
}

/// What makes two nodes one host; `None` while a node has not said enough of itself.
fn host(node: &Node) -> Option<(&str, Ipv4Addr)> {
    let name = node.description.as_ref()?.hostname.as_str();
    let known = !name.is_empty() && !node.status.addr.is_unspecified();
    known.then_some((name, node.status.addr))
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{DesiredState, NodeId, TaskState};

    use super::*;
    use crate::world::{World, long};

    /// Makes `id` the same machine as `other`.
    fn same_host(world: &mut World, id: &str, other: &str) {
        let other = world.tables.nodes[&NodeId::from_text(other)].clone();
        let id = NodeId::from_text(id);
        let mut node = Node::clone(&world.tables.nodes[&id]);
        node.description.clone_from(&other.description);
        node.status.addr = other.status.addr;
        world.tables.nodes.insert(id, node.into());
    }

    fn removed(world: &mut World) -> Vec<Change> {
        let changes = world.plan(plan).changes;
        world.write(changes.clone());
        assert_eq!(world.plan(plan).changes, [], "the plan reached its goal");
        changes
    }

    #[test]
    fn a_host_that_joined_again_is_listed_once_and_its_old_tasks_are_orphaned() {
        let mut world = World::given(
            "node old down
             node new
             service web
             task web.1 t1 old running",
        );
        same_host(&mut world, "new", "old");
        assert_eq!(removed(&mut world), [Change::RemoveNode { id: NodeId::from_text("old") }]);
        assert_eq!(world.tables.tasks[&long("t1")].status.state, TaskState::Orphaned);
        let orchestrated = world.step(crate::orchestrator::plan);
        assert!(orchestrated.contains("create web.1"), "the slot is filled: {orchestrated}");
        assert_eq!(world.tables.tasks[&long("t1")].desired_state, DesiredState::Shutdown);
    }

    #[test]
    fn another_name_or_address_is_another_host() {
        let mut world = World::given("node old down\nnode new");
        assert_eq!(removed(&mut world), []);
        same_host(&mut world, "new", "old");
        let id = NodeId::from_text("new");
        let mut node = Node::clone(&world.tables.nodes[&id]);
        node.status.addr = [10, 9, 9, 9].into();
        world.tables.nodes.insert(id, node.into());
        assert_eq!(removed(&mut world), []);
    }

    #[test]
    fn the_old_entry_stays_until_the_new_one_is_ready() {
        for states in
            ["node old down\nnode new down", "node old\nnode new", "node old unknown\nnode new"]
        {
            let mut world = World::given(states);
            same_host(&mut world, "new", "old");
            assert_eq!(removed(&mut world), [], "{states}");
        }
    }

    #[test]
    fn nodes_that_have_not_said_where_they_are_are_not_the_same() {
        let mut world = World::given("node old down\nnode new");
        for id in ["old", "new"] {
            let id = NodeId::from_text(id);
            let mut node = Node::clone(&world.tables.nodes[&id]);
            node.status.addr = Ipv4Addr::UNSPECIFIED;
            node.description.as_mut().unwrap().hostname = "host".to_owned();
            world.tables.nodes.insert(id, node.into());
        }
        assert_eq!(removed(&mut world), []);
    }

    #[test]
    fn a_manager_in_raft_is_never_removed() {
        let mut world = World::given("node old down manager\nnode new");
        same_host(&mut world, "new", "old");
        assert_eq!(removed(&mut world), []);
    }
}
