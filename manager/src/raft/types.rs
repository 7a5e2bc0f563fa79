//! The types openraft works with here.

use std::io::Cursor;

use serde::{Deserialize, Serialize};
use swarmnet_model::NodeId;

use crate::store::{LeaderHint, Refused, Transaction};

/// What applying an entry answers to its proposer.
pub(super) type Outcome = Result<(), Refused>;

openraft::declare_raft_types!(
    /// Raft over transactions; a snapshot is the tables as a JSON document.
    pub(super) TypeConfig:
        D = Transaction,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        SnapshotData = Cursor<Vec<u8>>,
);

/// A manager as Raft's membership knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub node_id: NodeId,
    /// `host:port` of the control port.
    pub addr: String,
}

impl Default for Member {
    /// openraft asks for one; it is never stored.
    fn default() -> Self {
        Self { node_id: NodeId::from_text(""), addr: String::new() }
    }
}

impl From<Member> for LeaderHint {
    fn from(member: Member) -> Self {
        Self { node_id: member.node_id, addr: member.addr }
    }
}

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Membership = openraft::StoredMembership<u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(super) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type Metrics = openraft::RaftMetrics<u64, Member>;
