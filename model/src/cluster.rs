//! Pure: the cluster object: settings, certificate authority, join tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::defaults;
use crate::id::{ClusterId, NodeId};
use crate::secret_text::SecretText;
use crate::service::Document;
use crate::version::Version;

/// Cluster-wide settings the user can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    pub labels: BTreeMap<String, String>,
    /// Terminated tasks kept per slot; negative = all.
    pub task_history_limit: i64,
    pub heartbeat_period: Duration,
    pub node_cert_expiry: Duration,
    pub snapshot_interval: u64,
    /// The whole spec as the user wrote it.
    pub document: Document,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            task_history_limit: defaults::TASK_HISTORY_LIMIT,
            heartbeat_period: defaults::HEARTBEAT_PERIOD,
            node_cert_expiry: defaults::NODE_CERT_EXPIRY,
            snapshot_interval: defaults::SNAPSHOT_INTERVAL,
            document: Document::default(),
        }
    }
}

/// `SWMTKN-1-…`, whole tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinTokens {
    pub worker: SecretText,
    pub manager: SecretText,
}

/// The certificate authority; the key lives here only, never in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCa {
    pub certificate_pem: String,
    pub key_pem: SecretText,
}

/// The one cluster object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub spec: ClusterSpec,
    pub root_ca: RootCa,
    pub join_tokens: JoinTokens,
    pub address_pools: Vec<Ipv4Network>,
    pub subnet_size_bits: u8,
    pub data_path_port: u16,
    /// Nodes whose certificates are refused, until the given time.
    pub removed_nodes: BTreeMap<NodeId, Timestamp>,
    /// The next Raft id; ids are never reused.
    pub next_raft_id: u64,
}
