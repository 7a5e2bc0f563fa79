//! Pure: which status each node should have, from its session or the lack of one.

use std::net::Ipv4Addr;

use swarmnet_model::{NodeId, NodeState, NodeStatus, Tables};

use crate::store::Change;

/// What the dispatcher has seen of a node since it began to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has a session.
    Alive { addr: Ipv4Addr },
    /// Its session ended for lack of heartbeats.
    Lost,
    /// It said that it leaves.
    Left,
    /// No session yet, and still time to open one.
    Awaited,
    /// No session within the time to open one.
    Silent,
}

/// Node statuses in one entry, well below its bound in bytes; the next pass writes the others.
const STATUSES_PER_ENTRY: usize = 2_000;

const LEADER_CHANGED: &str = "Node moved to \"unknown\" state due to leadership change in cluster";
const LEFT: &str = "node left the swarm";
const LOST: &str = "heartbeat failure";
const SILENT: &str = "heartbeat failure for node in \"unknown\" state";

/// Returns status changes that make the nodes' statuses right, so many that they fit an entry.
pub fn plan(tables: &Tables, mut seen: impl FnMut(&NodeId) -> Seen) -> Vec<Change> {
    let changed = tables.nodes.values().filter_map(|node| {
        let (state, message, addr) = wanted(&node.status, seen(&node.id));
        let status = &node.status;
        let is_right = (state, message, addr) == (status.state, &status.message, status.addr);
        (!is_right).then(|| Change::SetNodeStatus {
            id: node.id.clone(),
            status: NodeStatus { state, message: message.to_owned(), addr },
        })
    });
    changed.take(STATUSES_PER_ENTRY).collect()
}

fn wanted(status: &NodeStatus, seen: Seen) -> (NodeState, &str, Ipv4Addr) {
    match (seen, status.state) {
        (Seen::Alive { addr }, _) => (NodeState::Ready, "", addr),
        (Seen::Awaited, NodeState::Ready | NodeState::Disconnected) => {
            (NodeState::Unknown, LEADER_CHANGED, status.addr)
        }
        (Seen::Awaited, NodeState::Unknown | NodeState::Down)
        | (Seen::Lost | Seen::Silent, NodeState::Down) => {
            (status.state, &status.message, status.addr)
        }
        (Seen::Left, _) => (NodeState::Down, LEFT, status.addr),
        (Seen::Lost, _) => (NodeState::Down, LOST, status.addr),
        (Seen::Silent, _) => (NodeState::Down, SILENT, status.addr),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use swarmnet_model::{Node, NodeSpec, Role, Timestamp, Version};

    use super::*;

    fn status_after(state: NodeState, seen: Seen) -> Option<(NodeState, String)> {
        let id = NodeId::from_text("n");
        let node = Node {
            id: id.clone(),
            version: Version(1),
            spec_version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            spec: NodeSpec::default(),
            description: None,
            status: NodeStatus { state, message: String::new(), addr: [10, 0, 0, 1].into() },
            role: Role::Worker,
            manager: None,
        };
        let mut tables = Tables::default();
        tables.nodes.insert(id, Arc::new(node));
        let Change::SetNodeStatus { status, .. } = plan(&tables, |_| seen).pop()? else {
            panic!("only statuses are written")
        };
        Some((status.state, status.message))
    }

    #[test]
    fn a_session_makes_a_node_ready_and_its_loss_down() {
        let alive = Seen::Alive { addr: [10, 0, 0, 1].into() };
        assert_eq!(status_after(NodeState::Ready, alive), None);
        assert_eq!(status_after(NodeState::Down, alive).unwrap().0, NodeState::Ready);
        let down = (NodeState::Down, "heartbeat failure".to_owned());
        assert_eq!(status_after(NodeState::Ready, Seen::Lost), Some(down));
        assert_eq!(status_after(NodeState::Down, Seen::Lost), None);
    }

    #[test]
    fn a_node_that_leaves_is_down_at_once_and_says_why() {
        let down = Some((NodeState::Down, "node left the swarm".to_owned()));
        assert_eq!(status_after(NodeState::Ready, Seen::Left), down);
        assert_eq!(status_after(NodeState::Unknown, Seen::Left), down);
    }

    #[test]
    fn after_a_leader_change_nodes_are_unknown_then_down() {
        assert_eq!(status_after(NodeState::Ready, Seen::Awaited).unwrap().0, NodeState::Unknown);
        assert_eq!(status_after(NodeState::Unknown, Seen::Awaited), None);
        let silent = status_after(NodeState::Unknown, Seen::Silent).unwrap();
        assert_eq!(silent.1, "heartbeat failure for node in \"unknown\" state");
    }
}
