//! Admission of a manager to Raft: its id and address are written to its node; the leader's
//! membership loop does the rest once the manager listens.

use std::net::IpAddr;

use swarmnet_model::defaults::CONTROL_PORT;
use swarmnet_model::node::ManagerMember;
use swarmnet_model::{Cluster, Node, NodeId, Role};
use tonic::Status;
use tonic::metadata::AsciiMetadataValue;

use crate::ca::LEADER_METADATA;
use crate::store::{Change, ProposeError, Store};

/// Attempts against writes of the same objects by others.
const ATTEMPTS: usize = 5;

/// Returns the `host:port` the others will use; an absent or unspecified host is the one seen.
pub(super) fn checked_addr(addr: &str, seen: Option<IpAddr>) -> Result<String, Status> {
    let bad =
        || Status::invalid_argument(format!("{addr:?} is not an address of the form host:port"));
    let (host, port) = match addr.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().map_err(|_| bad())?),
        None => (addr, CONTROL_PORT),
    };
    let unspecified = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let host = match (host.is_empty() || unspecified, seen) {
        (false, _) => host.to_owned(),
        (true, Some(seen)) => seen.to_string(),
        (true, None) => return Err(bad()),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    if port == 0 || !host.chars().all(plain) {
        return Err(bad());
    }
    Ok(format!("{host}:{port}"))
}

/// Gives the node its Raft id; asking again gives the same one.
pub(super) async fn admit(store: &Store, id: &NodeId, addr: &str) -> Result<u64, Status> {
    for _ in 0..ATTEMPTS {
        let tables = store.snapshot();
        let node = tables.nodes.get(id).filter(|node| node.spec.role == Role::Manager);
        let (Some(node), Some(cluster)) = (node, &tables.cluster) else {
            return Err(Status::permission_denied(format!("node {id} is not a manager")));
        };
        let raft_id = match &node.manager {
            Some(manager) if manager.addr == addr => return Ok(manager.raft_id),
            Some(manager) => manager.raft_id,
            None => cluster.next_raft_id,
        };
        match store.propose(admission(cluster, node, raft_id, addr)).await {
            Ok(_) => {
                tracing::info!(node.id = %id, raft_id, addr, "manager joins Raft");
                return Ok(raft_id);
            }
            Err(ProposeError::Refused(_)) => {}
            Err(error) => return Err(Status::unavailable(error.to_string())),
        }
    }
    Err(Status::unavailable("the node or the cluster is being changed: try again"))
}

fn admission(cluster: &Cluster, node: &Node, raft_id: u64, addr: &str) -> Vec<Change> {
    let member = ManagerMember { raft_id, addr: addr.to_owned() };
    let mut changes = vec![Change::SetManager { id: node.id.clone(), member: Some(member) }];
    if raft_id >= cluster.next_raft_id {
        let expected = Some(cluster.version);
        let cluster = Cluster { next_raft_id: raft_id + 1, ..cluster.clone() };
        changes.push(Change::PutCluster { cluster: Box::new(cluster), expected });
    }
    changes
}

/// A refusal that names who leads.
pub(super) fn ask(leader: &str) -> Status {
    let mut status = Status::failed_precondition(format!("the leader is {leader}"));
    if let Ok(value) = AsciiMetadataValue::try_from(leader) {
        status.metadata_mut().insert(LEADER_METADATA, value);
    }
    status
}

/// Returns whom a refusal names as leader.
pub(super) fn named_leader(status: &Status) -> Option<String> {
    status.metadata().get(LEADER_METADATA)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_completed_by_what_was_seen() {
        let seen = Some(IpAddr::from([10, 20, 20, 110]));
        for (given, expected) in [
            ("10.20.20.1:2377", "10.20.20.1:2377"),
            ("10.20.20.1", "10.20.20.1:2377"),
            ("node01.docker-dca.example:99", "node01.docker-dca.example:99"),
            ("", "10.20.20.110:2377"),
            ("0.0.0.0:99", "10.20.20.110:99"),
        ] {
            assert_eq!(checked_addr(given, seen).unwrap(), expected, "{given}");
        }
        for bad in ["10.20.20.1:", "10.20.20.1:0", "10.20.20.1:70000", "a b:1", "a/b:1", "[::]:1"] {
            assert!(checked_addr(bad, seen).is_err(), "{bad}");
        }
        assert!(checked_addr("", None).is_err());
    }

    #[test]
    fn a_refusal_names_the_leader() {
        assert_eq!(named_leader(&ask("10.20.20.1:2377")).as_deref(), Some("10.20.20.1:2377"));
        assert_eq!(named_leader(&Status::internal("x")), None);
    }
}
