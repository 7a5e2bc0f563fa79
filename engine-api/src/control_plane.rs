//! What the API needs of the node it runs on.
//!
//! `swarmnet/src/control_plane.rs` implements it: local leader, forwarded to the leader, or "not a
//! manager". Errors are ready to be shown; the API only maps their class to a status.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use ipnetwork::Ipv4Network;
use swarmnet_model::container::DnsConfig;
use swarmnet_model::event::Event;
use swarmnet_model::{
    Availability, Call, CallError, ClusterSpec, Connectivity, LogLine, LogOptions, LogSelector,
    NetworkId, NodeId, NodeView, PortSpec, Reply, Tables, TaskId, Timestamp, WantedAttachment,
};

/// How this node stands to a swarm, as `Swarm:` of `/_ping` and `LocalNodeState` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalState {
    Inactive,
    Pending,
    Active,
    Error,
    Locked,
}

/// The node itself; known without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    pub state: LocalState,
    pub is_manager: bool,
    pub node_id: Option<NodeId>,
    pub addr: Option<Ipv4Addr>,
    /// Known managers: node id, `host:port`. While a join goes on: the address asked, no id.
    pub managers: Vec<(Option<NodeId>, String)>,
    pub error: String,
}

/// Which managers lead and can be reached, for `ManagerStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    pub leader: Option<NodeId>,
    /// Per manager node; absent = unknown.
    pub reachable: BTreeMap<NodeId, bool>,
}

/// `POST /swarm/init`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct InitRequest {
    /// `address:port` to listen on.
    pub listen_addr: String,
    /// Address or interface, with or without port; empty: choose.
    pub advertise_addr: String,
    pub data_path_addr: String,
    /// 0: the default.
    pub data_path_port: u32,
    pub address_pools: Vec<Ipv4Network>,
    /// 0: the default.
    pub subnet_size_bits: u8,
    pub force_new_cluster: bool,
    pub availability: Availability,
    pub spec: ClusterSpec,
}

/// `POST /swarm/join`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRequest {
    pub listen_addr: String,
    pub advertise_addr: String,
    pub data_path_addr: String,
    /// `host:port` each, at least one.
    pub remote_addrs: Vec<String>,
    pub token: String,
    pub availability: Availability,
}

/// A swarm network as this node's engine holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetwork {
    pub id: NetworkId,
    pub name: String,
    pub internal: bool,
    pub attachable: bool,
    pub subnet: Ipv4Network,
    pub gateway: Ipv4Addr,
    pub vni: u32,
    /// Id (64 hex digits) and name of the engine's network that stands for it.
    pub engine_id: String,
    pub engine_name: String,
}

/// The networks of swarmnet on this node's engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalNetworks {
    /// What the managers have told this node.
    pub view: NodeView,
    pub networks: Vec<LocalNetwork>,
    /// Name of the engine network of gateway attachments; hidden from users.
    pub gateway_engine_name: String,
    /// Host-mode ports that this node serves, by task.
    pub host_ports: BTreeMap<TaskId, Vec<PortSpec>>,
}

/// A plain container of this node that is to be on swarm networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// New, or of a container that is on one already.
    pub id: TaskId,
    /// Empty: the engine chooses it.
    pub name: String,
    pub networks: Vec<WantedAttachment>,
    /// False if the container has another way out of the node.
    pub gateway: bool,
    /// What the user wants in its resolv.conf.
    pub dns: DnsConfig,
}

/// What the engine is to connect the container to.
pub struct Attached {
    pub id: TaskId,
    /// In the order asked.
    pub endpoints: Vec<AttachedEndpoint>,
    /// The way out of the node, if it needs one.
    pub gateway: Option<AttachedEndpoint>,
    /// File that a new container is to see as its resolv.conf: the names of its networks.
    pub resolv_conf: String,
    /// Until it is dropped, the agent does not miss the container.
    pub lease: Box<dyn Any + Send + Sync>,
}

/// One endpoint on one of swarmnet's engine networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedEndpoint {
    /// `None`: the node's gateway network.
    pub network_id: Option<NetworkId>,
    pub engine_name: String,
    pub address: Ipv4Addr,
    pub driver_options: BTreeMap<String, String>,
}

/// Lines of logs in batches; after an error nothing comes. Dropping it ends the reading everywhere.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Vec<LogLine>, CallError>> + Send>>;

/// What happens to the cluster, as far as this manager sees it.
pub struct SwarmEvents {
    /// Kept events since the time asked for.
    pub past: Vec<Event>,
    /// What happens from now on; ends with the manager.
    pub next: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

/// What the API needs of its node.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    fn local_node(&self) -> LocalNode;

    fn now(&self) -> Timestamp;

    /// Returns the cluster's state, not older than any write that was answered before the call.
    ///
    /// # Errors
    /// `Unavailable` with Docker's text on a worker or outside a swarm; `NoLeader`;
    /// `DeadlineExceeded`.
    async fn read(&self) -> Result<Arc<Tables>, CallError>;

    /// Returns who leads, as far as this manager knows.
    fn raft_view(&self) -> RaftView;

    /// Asks the managers to change something.
    async fn call(&self, call: Call) -> Result<Reply, CallError>;

    /// Has all nodes test the tunnel to each other; may take as long as any call.
    async fn test_connectivity(&self) -> Result<Connectivity, CallError>;

    /// Returns the lines of a service or a task from all nodes.
    ///
    /// # Errors
    /// Docker's text on a worker or outside a swarm; too many readers.
    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<LogStream, CallError>;

    /// Returns the cluster's events, with those since a time if one is given; `None` on a node that is
    /// no manager.
    fn events(&self, since: Option<Timestamp>) -> Option<SwarmEvents>;

    async fn init(&self, request: InitRequest) -> Result<NodeId, CallError>;

    async fn join(&self, request: JoinRequest) -> Result<(), CallError>;

    async fn leave(&self, force: bool) -> Result<(), CallError>;

    /// Gets addresses for a plain container of this node, all or none, and makes the engine's
    /// networks for them.
    ///
    /// # Errors
    /// Docker's texts: no such network, not attachable, address in use; nothing is left behind.
    async fn attach(&self, request: AttachRequest) -> Result<Attached, CallError>;

    /// Gives them back: all, or those of one network.
    async fn detach(&self, id: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError>;

    /// Returns the swarm networks that are present on this node's engine.
    fn local_networks(&self) -> LocalNetworks;
}
