//! Pure: what an API call asks of the managers, as data that a follower can forward to the leader.

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterSpec;
use crate::id::{NetworkId, NodeId, ServiceId};
use crate::network::NetworkSpec;
use crate::node::NodeSpec;
use crate::registry::RegistryAuth;
use crate::secret_text::SecretText;
use crate::service::ServiceSpec;
use crate::version::Version;

/// A write. References have been resolved to ids by the API; the managers validate again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    UpdateCluster {
        version: Version,
        spec: ClusterSpec,
        rotate_worker_token: bool,
        rotate_manager_token: bool,
    },
    CreateService {
        spec: Box<ServiceSpec>,
        #[serde(default)]
        registry_auth: Option<SecretText>,
    },
    UpdateService {
        id: ServiceId,
        version: Version,
        /// `None`: roll back to the previous spec.
        spec: Option<Box<ServiceSpec>>,
        #[serde(default)]
        registry_auth: RegistryAuth,
    },
    RemoveService {
        id: ServiceId,
    },
    CreateNetwork {
        spec: Box<NetworkSpec>,
    },
    RemoveNetwork {
        id: NetworkId,
    },
    UpdateNode {
        id: NodeId,
        version: Version,
        spec: NodeSpec,
    },
    RemoveNode {
        id: NodeId,
        force: bool,
    },
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// Id of the created object.
    Created(String),
}
