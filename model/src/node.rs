//! Pure: a node of the cluster.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::NodeId;
use crate::resources::GenericResource;
use crate::version::Version;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Worker,
    Manager,
}

impl Role {
    /// Reads what [`Self::as_str`] writes.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Worker, Self::Manager].into_iter().find(|role| role.as_str() == word)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }

    /// Returns the OU of the role's certificates.
    pub fn organizational_unit(self) -> &'static str {
        match self {
            Self::Worker => "swarm-worker",
            Self::Manager => "swarm-manager",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    #[default]
    Active,
    Pause,
    Drain,
}

impl Availability {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

/// What the user wants of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub role: Role,
    pub availability: Availability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    Unknown,
    Down,
    Ready,
    Disconnected,
}

impl NodeState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
        }
    }
}

/// How the node is, as the dispatcher sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub state: NodeState,
    pub message: String,
    /// Advertised (or seen) address of the node: control plane and VXLAN.
    pub addr: Ipv4Addr,
}

/// What the node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    pub hostname: String,
    pub os: String,
    /// As the engine says it (`x86_64`).
    pub architecture: String,
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    pub engine_version: String,
    pub engine_labels: BTreeMap<String, String>,
    /// (type, name): `("Volume", "local")`.
    pub plugins: Vec<(String, String)>,
    /// `node-generic-resources` of the engine's configuration.
    #[serde(default)]
    pub generic: Vec<GenericResource>,
}

/// The node as a member of Raft. Which one leads is not stored: each manager asks its own Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerMember {
    /// Never reused.
    pub raft_id: u64,
    /// `host:port` of the manager's control port.
    pub addr: String,
}

/// A node with the managers' bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub version: Version,
    /// Index of the last write that changed the spec.
    pub spec_version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub spec: NodeSpec,
    /// `None` until the node's first session.
    pub description: Option<NodeDescription>,
    pub status: NodeStatus,
    /// The role of the certificate that was issued last.
    pub role: Role,
    pub manager: Option<ManagerMember>,
}

impl Node {
    /// Returns the role of the node's next certificate. A manager stays one until it has left Raft:
    /// it must not stop while its vote counts.
    pub fn next_role(&self) -> Role {
        match (self.spec.role, &self.manager) {
            (Role::Worker, None) => Role::Worker,
            (Role::Manager, _) | (Role::Worker, Some(_)) => Role::Manager,
        }
    }

    /// Returns the host name, or the id while the node has not described itself.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or(self.id.as_str(), |d| &d.hostname)
    }
}
