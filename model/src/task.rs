//! Pure: a task: one attempt to run one container of a service on one node.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::container::{ContainerSpec, LogDriver};
use crate::endpoint::{Attachment, EndpointSpec, PublishedPort};
use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::placement::Placement;
use crate::predefined::PredefinedNetwork;
use crate::resources::{GenericResource, Resources};
use crate::restart::RestartPolicy;
use crate::service::Document;
use crate::state::{DesiredState, TaskState};
use crate::version::Version;

/// What every task of a service should be. Any difference makes a task out of date.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub container: ContainerSpec,
    pub resources: Resources,
    pub restart: Option<RestartPolicy>,
    pub placement: Placement,
    pub networks: Vec<NetworkAttachmentSpec>,
    /// The engine's own network that the user wants the tasks on.
    #[serde(default)]
    pub predefined: Option<PredefinedNetwork>,
    pub log_driver: Option<LogDriver>,
    pub force_update: u64,
}

/// A network the user wants the tasks on; the API has resolved names to ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachmentSpec {
    pub network_id: NetworkId,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
}

/// A task with the managers' bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub service_id: ServiceId,
    /// Name and labels of the service when the task was made.
    pub service_name: String,
    pub service_labels: BTreeMap<String, String>,
    /// From 1 for replicated services, from 0 for replicated jobs; 0 where the node is the place.
    pub slot: u64,
    /// The execution of the job that the task belongs to.
    pub job_iteration: Option<u64>,
    /// Never changes once set.
    pub node_id: Option<NodeId>,
    pub spec: TaskSpec,
    /// The endpoint spec the task was made for: host ports, and the up-to-date check.
    pub endpoint_spec: EndpointSpec,
    /// The task template as the user wrote it.
    pub document: Document,
    pub desired_state: DesiredState,
    pub status: TaskStatus,
    /// Given by the allocator, in the order of `spec.networks`.
    pub attachments: Vec<Attachment>,
    /// Given by the scheduler for `spec.resources.reserve_generic`.
    #[serde(default)]
    pub assigned_generic: Vec<GenericResource>,
    /// Host-mode ports whose number the user left open, as they were chosen for its node.
    #[serde(default)]
    pub chosen_ports: Vec<PublishedPort>,
}

/// How far the task is; from `Accepted` on written by the node's agent only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// When this state was reached, by the writer's clock.
    pub timestamp: Timestamp,
    pub state: TaskState,
    pub message: String,
    pub err: Option<String>,
    pub container: Option<ContainerStatus>,
    /// Node-local address of the task's gateway interface: where the mesh delivers.
    pub gateway: Option<Ipv4Addr>,
    /// Host-mode ports that are really served.
    pub ports: Vec<PublishedPort>,
}

impl TaskStatus {
    /// Docker's words for a task that may not stay where it is.
    pub const ENFORCED: &str = "task rejected by constraint enforcer";

    /// True if the managers have ended the task because its node no longer meets what it asks for.
    pub fn is_enforced(&self) -> bool {
        self.message == Self::ENFORCED
    }

    /// A status without container facts.
    pub fn new(timestamp: Timestamp, state: TaskState, message: &str) -> Self {
        Self {
            timestamp,
            state,
            message: message.to_owned(),
            err: None,
            container: None,
            gateway: None,
            ports: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    pub container_id: String,
    pub pid: i64,
    pub exit_code: i64,
}

impl Task {
    /// Returns `service.slot`, or `service.<node id>` where there is no slot or it is 0, as clients
    /// show it.
    pub fn name(&self) -> String {
        match (self.slot, &self.node_id) {
            (0, Some(node)) => format!("{}.{node}", self.service_name),
            (slot, _) => format!("{}.{slot}", self.service_name),
        }
    }

    /// Returns the name of the task's container: `<task name>.<task id>`.
    pub fn container_name(&self) -> String {
        format!("{}.{}", self.name(), self.id)
    }

    /// Returns the ports that the task's own node serves for it. A task in the node's network
    /// namespace listens there itself.
    pub fn host_ports(&self) -> impl Iterator<Item = &PublishedPort> {
        let served = self.spec.predefined != Some(PredefinedNetwork::Host);
        self.endpoint_spec.host_ports().chain(&self.chosen_ports).filter(move |_| served)
    }

    /// True if the task still takes part: wished to run and not ended.
    pub fn is_live(&self) -> bool {
        !self.desired_state.is_terminal() && !self.status.state.is_terminal()
    }
}
