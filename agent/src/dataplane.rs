//! The node's data plane as the rest of the agent sees it: a handle, its configuration, its errors.
//!
//! Owns: the start and the end of everything that forwards packets. Does not own: what is forwarded
//! (the view says it), containers (the engine), the order of a pass (`reconcile`).

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ipnetwork::Ipv4Network;
use swarmnet_model::{NodeId, NodeView, Task, TaskId};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::task::networks::{PrepareError, STORED_GENERATION, TaskNetworks, Wiring};

/// How programs are put on devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    /// clsact even where tcx exists.
    Clsact,
}

/// What a data plane needs to start.
#[derive(Debug)]
pub struct DataPlaneConfig {
    /// Mounted bpffs; pins go to `swarmnet/` below it.
    pub bpffs: PathBuf,
    /// Root of cgroup2 for socket load balancing; `None` looks in the usual places.
    pub cgroup2: Option<PathBuf>,
    pub attach: Attach,
    /// The journal is `agent/plugin.json` below it.
    pub state_dir: PathBuf,
    /// Socket of the engine's plugin protocol, already listening.
    pub plugin_listener: UnixListener,
    /// Node-local addresses of tasks are taken from here.
    pub gateway_pool: Ipv4Network,
}

impl DataPlaneConfig {
    /// Default of `gateway_pool`: inside 172.16/12, beside the ranges Docker takes by itself.
    pub const GATEWAY_POOL: &'static str = "172.31.240.0/20";
}

/// Why the data plane did not start or did not go.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    #[error("reading the plugin journal")]
    Journal(#[source] std::io::Error),
    #[error("the data plane has stopped")]
    Stopped,
}

/// Handle to the running data plane; cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane {
    applied: watch::Receiver<u64>,
}

/// The data plane of one node as tasks and session use it.
#[derive(Clone, Debug)]
pub struct NodeWiring {
    pub plane: DataPlane,
    pub node_id: NodeId,
}

#[async_trait]
impl Wiring for NodeWiring {
    fn set_view(&self, generation: u64, view: Arc<NodeView>) {
        let complete = generation != STORED_GENERATION;
        self.plane.set_view(self.node_id.clone(), generation, view, complete);
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.plane.applied()
    }

    async fn prepare(&self, task: &Task, view: &NodeView) -> Result<TaskNetworks, PrepareError> {
        self.plane.prepare(task, view).await
    }

    async fn release(&self, task: &TaskId) {
        self.plane.release(task).await;
    }
}

impl DataPlane {
    /// Starts the plugin server and the reconcile loop; both serve outside a swarm too.
    ///
    /// # Errors
    /// `DataPlaneError` says what is missing on this machine.
    #[expect(clippy::unused_async, reason = "the signature others build against")]
    pub async fn start(_config: DataPlaneConfig) -> Result<Self, DataPlaneError> {
        Err(DataPlaneError::Stopped)
    }

    /// Hands over a newer view; `complete` is false for one read from disk: nothing may be removed.
    pub fn set_view(
        &self,
        _node_id: NodeId,
        _generation: u64,
        _view: Arc<NodeView>,
        _complete: bool,
    ) {
    }

    /// Returns the generation that is fully written to the kernel.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Returns the engine networks of a task and reserves its node-local address.
    ///
    /// # Errors
    /// `PrepareError`; `is_temporary` tells whether to try again.
    #[expect(clippy::unused_async, reason = "the signature others build against")]
    pub async fn prepare(
        &self,
        _task: &Task,
        _view: &NodeView,
    ) -> Result<TaskNetworks, PrepareError> {
        Err(PrepareError::NoGatewayAddress)
    }

    /// Forgets what was reserved for a task.
    #[expect(clippy::unused_async, reason = "the signature others build against")]
    pub async fn release(&self, _task: &TaskId) {}

    /// Stops loops and server; the kernel's state stays, packets keep flowing.
    #[expect(clippy::unused_async, reason = "the signature others build against")]
    pub async fn shutdown(&self) {}

    /// Takes down everything of ours: the node has left the swarm.
    ///
    /// # Errors
    /// `DataPlaneError` names what could not be removed.
    #[expect(clippy::unused_async, reason = "the signature others build against")]
    pub async fn remove_all(&self) -> Result<(), DataPlaneError> {
        Ok(())
    }
}
