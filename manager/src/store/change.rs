//! Pure: what may be written to the cluster state, as data inside a Raft entry.
//!
//! Two kinds of change. Writes of specs and whole objects carry the version they were planned on; if
//! one does not fit, the whole transaction is refused and the caller plans again. Field writes of the
//! loops (`AssignTask`, `ReportTask`, …) carry the state they expect; one that no longer fits is
//! skipped, since the next pass plans from what is there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swarmnet_model::node::ManagerMember;
use swarmnet_model::{
    AttachedContainer, Attachment, Cluster, DesiredState, GenericResource, Network, NetworkId,
    Node, NodeDescription, NodeId, NodeStatus, PublishedPort, Role, Service, ServiceEndpoint,
    ServiceId, Task, TaskId, TaskStatus, Timestamp, UpdateStatus, Version,
};

/// One Raft entry: all of it is applied, or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// The leader's clock when it proposed; apply reads no other.
    pub now: Timestamp,
    /// Shared: log, appliers and replication hold the same changes.
    pub changes: Arc<[Change]>,
}

/// One write. Versions and times inside objects are overwritten by apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// `expected` `None` creates the cluster.
    PutCluster {
        cluster: Box<Cluster>,
        expected: Option<Version>,
    },

    CreateNode(Box<Node>),
    /// Writes the spec; `expected` is the node's spec version.
    UpdateNode {
        node: Box<Node>,
        expected: Version,
    },
    /// The role of the certificate that is issued next. Skipped if the node is gone.
    SetNodeRole {
        id: NodeId,
        role: Role,
    },
    /// The node's membership in Raft. Refused unless it is to be a manager (with a membership), or
    /// to be none (without): what it is to be may have changed meanwhile.
    SetManager {
        id: NodeId,
        member: Option<ManagerMember>,
    },
    /// Also adds the id to the cluster's removed nodes and orphans its unfinished tasks.
    RemoveNode {
        id: NodeId,
    },
    /// Skipped if the node is gone.
    DescribeNode {
        id: NodeId,
        description: Box<NodeDescription>,
    },
    /// Skipped if the node is gone.
    SetNodeStatus {
        id: NodeId,
        status: NodeStatus,
    },

    CreateNetwork(Box<Network>),
    /// Refused while a service or task uses the network; marks it while tasks on it still stop.
    RemoveNetwork {
        id: NetworkId,
    },

    /// Refused if another service that is not being removed has the name.
    CreateService(Box<Service>),
    /// Writes spec, previous spec and update status; `expected` is the service's spec version.
    UpdateService {
        service: Box<Service>,
        expected: Version,
    },
    /// Marks the service for removal and wishes all its tasks `Remove`. Its ports and VIPs are free.
    MarkServiceRemoved {
        id: ServiceId,
    },
    /// Refused while it has tasks.
    RemoveService {
        id: ServiceId,
    },
    /// The allocator's answer to the service's present endpoint spec; skipped if the spec moved on.
    SetServiceEndpoint {
        id: ServiceId,
        spec_version: Version,
        endpoint: Box<ServiceEndpoint>,
    },
    /// Skipped if the spec moved on.
    SetUpdateStatus {
        id: ServiceId,
        spec_version: Version,
        status: Option<UpdateStatus>,
    },

    /// Refused if the id exists.
    CreateTask(Box<Task>),
    /// New → Pending. Skipped if the task is not `New` any more.
    AllocateTask {
        id: TaskId,
        attachments: Vec<Attachment>,
    },
    /// Pending → Assigned. Skipped unless the task is `Pending`; a task never changes node.
    AssignTask {
        id: TaskId,
        node_id: NodeId,
        message: String,
        /// What it gets of the node's generic resources.
        #[serde(default)]
        generic: Vec<GenericResource>,
        /// Its host-mode ports that the spec gives no number.
        #[serde(default)]
        ports: Vec<PublishedPort>,
    },
    /// The node no longer meets what its task asks for: wishes the task `Shutdown` and says why; when
    /// it has stopped it is `Rejected`. Skipped unless it is placed and takes part.
    RejectTask {
        id: TaskId,
    },
    /// Explains why the task waits. Skipped unless it is `New` or `Pending`.
    ExplainTask {
        id: TaskId,
        message: String,
        err: Option<String>,
    },
    /// Skipped if the task is wished to end already and this is not a later wish.
    SetDesiredState {
        id: TaskId,
        desired: DesiredState,
    },
    /// The agent's word. Skipped if the task is not on that node or would go back to a lower state.
    ReportTask {
        id: TaskId,
        node_id: NodeId,
        status: Box<TaskStatus>,
    },
    /// The managers end a task that nobody will report on. Skipped if it has ended.
    EndTask {
        id: TaskId,
        status: Box<TaskStatus>,
    },
    /// Forgets a task.
    RemoveTask {
        id: TaskId,
    },

    /// Writes a plain container that is on swarm networks; `expected` `None` creates it. Refused if
    /// its node or a network is gone, or another holds an address that is new to it.
    PutAttached {
        container: Box<AttachedContainer>,
        expected: Option<Version>,
    },
    /// Forgets it; its addresses are free.
    RemoveAttached {
        id: TaskId,
    },
}

/// Why a transaction was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    #[error("{kind} {id} was changed meanwhile")]
    Conflict { kind: String, id: String },
    #[error("{kind} {id} does not exist")]
    Missing { kind: String, id: String },
    #[error("{kind} {id} exists already")]
    Exists { kind: String, id: String },
    #[error("{kind} {id} is in use by {user}")]
    InUse { kind: String, id: String, user: String },
}
