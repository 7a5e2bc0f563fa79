//! What the task runner and the session need of the data plane.
//!
//! Owns: the seam between tasks and wiring. The data plane decides which engine networks a task
//! needs and what its endpoints look like; the task runner makes the networks and the container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ipnetwork::Ipv4Network;
use swarmnet_model::{Attachment, Findings, NetworkId, NodeView, PredefinedNetwork, Task, TaskId};
use tokio::sync::watch;

/// Engine networks of one task, in the order the container is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskNetworks {
    /// Attachments in the order of the task's spec, the gateway network last.
    pub networks: Vec<TaskNetwork>,
    /// Node-local address of the gateway interface; goes into the task's status.
    pub gateway: Option<Ipv4Addr>,
    /// What it shall see as `/etc/resolv.conf`; `None`: what the engine makes.
    pub resolv_conf: Option<PathBuf>,
    /// The engine's own network the container is on, instead of any of ours.
    pub predefined: Option<PredefinedNetwork>,
}

/// One engine network of a task, and the container's endpoint on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNetwork {
    pub engine_name: String,
    /// Swarm network it stands for; `None`: the node's gateway network.
    pub network_id: Option<NetworkId>,
    /// How to make the network when the engine has none of that name.
    pub create: EngineNetworkSpec,
    pub address: Ipv4Addr,
    /// Arrive at the plugin's `CreateEndpoint`.
    pub driver_options: BTreeMap<String, String>,
    pub aliases: Vec<String>,
}

/// An engine network as it is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineNetworkSpec {
    pub driver: String,
    pub ipam_driver: String,
    pub ipam_options: BTreeMap<String, String>,
    pub subnet: Ipv4Network,
    pub options: BTreeMap<String, String>,
    /// [`NETWORK_LABEL`] is added by the runner.
    pub labels: BTreeMap<String, String>,
    pub internal: bool,
}

/// Label of every engine network that the agent made: it may remove the ones that carry it. The
/// value is the swarm network's id, or [`GATEWAY_LABEL_VALUE`].
pub const NETWORK_LABEL: &str = "swarmnet.network";
/// Value of [`NETWORK_LABEL`] on the node's gateway network.
pub const GATEWAY_LABEL_VALUE: &str = "gateway";
/// Generation of a view that was read from disk: it may add, it must not remove.
pub const STORED_GENERATION: u64 = 0;

/// A task that cannot be wired.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The view does not hold a network of the task yet.
    #[error("network {network} is not known on this node yet")]
    UnknownNetwork { network: NetworkId },
    /// The node has run out of node-local addresses.
    #[error("no node-local gateway address is free")]
    NoGatewayAddress,
    /// The task's `/etc/resolv.conf` could not be written.
    #[error("writing the task's resolv.conf failed")]
    ResolvConf(#[source] std::io::Error),
    /// A reservation could not be written down.
    #[error("reserving the task's addresses failed")]
    Journal(#[source] std::io::Error),
    /// This node can never wire this task.
    #[error("{reason}")]
    Impossible { reason: String },
}

impl PrepareError {
    /// True if trying again later may succeed without a change of the task.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::UnknownNetwork { .. }
            | Self::NoGatewayAddress
            | Self::ResolvConf(_)
            | Self::Journal(_) => true,
            Self::Impossible { .. } => false,
        }
    }
}

/// The data plane as tasks and session see it; [`crate::dataplane::DataPlane`] in the daemon.
#[async_trait]
pub trait Wiring: Send + Sync + 'static {
    /// Hands over a newer view. `generation` grows over the life of the process, over sessions too;
    /// [`STORED_GENERATION`] marks the view from disk, from which nothing may be removed.
    fn set_view(&self, generation: u64, view: Arc<NodeView>);

    /// Returns the generation that is fully written to the kernel.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Returns the engine networks of a task and reserves its node-local address.
    ///
    /// Idempotent: asking again for the same task gives the same answer, also after a restart.
    ///
    /// # Errors
    /// `PrepareError`; `is_temporary` tells whether to try again.
    async fn prepare(&self, task: &Task, view: &NodeView) -> Result<TaskNetworks, PrepareError>;

    /// Returns the engine networks of a plain container, as [`Self::prepare`] does for a task: its
    /// attachments, and the gateway network last if `gateway` and not all of them are internal.
    ///
    /// # Errors
    /// `PrepareError`; `is_temporary` tells whether to try again.
    async fn attach(
        &self,
        id: &TaskId,
        attachments: &[Attachment],
        view: &NodeView,
        gateway: bool,
    ) -> Result<TaskNetworks, PrepareError>;

    /// Forgets what was reserved for a task whose container is stopped or gone.
    async fn release(&self, task: &TaskId);

    /// Removes what belonged to the container of a task, which is gone.
    async fn forget(&self, task: &TaskId);

    /// As [`Self::forget`], for all tasks but these: called once, before any other can be prepared.
    fn forget_others(&self, tasks: &BTreeSet<TaskId>);

    /// Sends frames to every peer and returns what came back; `test` is its number.
    async fn probe(&self, test: u64) -> Findings;
}
