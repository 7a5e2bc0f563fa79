//! The agent on this node, as the node's state machine starts and ends it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use swarmnet_engine_api::{AttachRequest, Attached, LocalNetworks};
use swarmnet_model::{CallError, NetworkId, NodeId, Role, TaskId};
use swarmnet_proto::transport::TlsContext;
use tokio::sync::watch;

/// Known managers: node id if it is known, `host:port`.
pub(crate) type Managers = Vec<(Option<NodeId>, String)>;

/// What an agent needs of its node.
pub(crate) struct AgentParts {
    pub(crate) tls: TlsContext,
    /// `host:port` each, as stored; sessions tell newer ones.
    pub(crate) managers: Vec<String>,
    /// What the user wants others to use; `None`: what the managers see.
    pub(crate) advertise: Option<Ipv4Addr>,
}

/// Starts agents.
#[async_trait]
pub(crate) trait Agents: Send + Sync + 'static {
    /// Starts working, from the stored view until a manager answers.
    async fn start(&self, parts: AgentParts) -> anyhow::Result<Arc<dyn AgentRole>>;
}

/// A running agent.
#[async_trait]
pub(crate) trait AgentRole: Send + Sync + 'static {
    /// Returns the managers it heard of last.
    fn managers(&self) -> watch::Receiver<Managers>;

    /// Returns the role the cluster wants this node to have; `None` until a manager has told it.
    fn role(&self) -> watch::Receiver<Option<Role>>;

    /// Returns the swarm networks on this node's engine.
    fn local_networks(&self) -> LocalNetworks;

    /// Puts a plain container of this node on swarm networks.
    async fn attach(&self, request: AttachRequest) -> Result<Attached, CallError>;

    /// Takes it off one, or off all.
    async fn detach(&self, id: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError>;

    /// Returns once the managers have told this node everything.
    async fn ready(&self);

    /// Ends the session and the loops; what runs on the node goes on.
    async fn stop(&self);

    /// Ends, and removes the node's tasks, networks and data plane.
    async fn leave(&self) -> anyhow::Result<()>;
}
