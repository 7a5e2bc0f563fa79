//! Pure: a service: what the user asked for, and what the managers keep about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::endpoint::{EndpointSpec, ServiceEndpoint};
use crate::id::ServiceId;
use crate::registry::RegistryAccess;
use crate::task::TaskSpec;
use crate::update::{UpdateConfig, UpdateStatus};
use crate::version::Version;

/// JSON text exactly as the API accepted it, with fields this version does not know.
///
/// Written and read by `engine-api` only; nothing else looks inside. It is never compared to decide
/// whether a task is up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(pub String);

/// What the user asked for. Never edited by the system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub task: TaskSpec,
    pub mode: ServiceMode,
    pub update: Option<UpdateConfig>,
    pub rollback: Option<UpdateConfig>,
    pub endpoint: EndpointSpec,
    /// The whole spec as the user wrote it.
    pub document: Document,
}

/// How many tasks a service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    Replicated { replicas: u64 },
    Global,
    ReplicatedJob { max_concurrent: u64, total_completions: u64 },
    GlobalJob,
}

impl ServiceMode {
    /// True if tasks run to their end, each place once.
    pub fn is_job(self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }

    /// True if the places of the service are nodes and not numbers.
    pub fn is_per_node(self) -> bool {
        matches!(self, Self::Global | Self::GlobalJob)
    }
}

/// Which execution of a job is on. Every update of the service begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    pub iteration: u64,
    pub last_execution: Timestamp,
}

/// A service with the managers' bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub version: Version,
    /// Index of the last write that changed the spec; `?version=` is accepted when nothing newer
    /// touched the spec.
    pub spec_version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub spec: ServiceSpec,
    pub previous_spec: Option<ServiceSpec>,
    /// `None` until the allocator has given VIPs and ports for the present spec.
    pub endpoint: Option<ServiceEndpoint>,
    pub update_status: Option<UpdateStatus>,
    /// Present for jobs only.
    pub job: Option<JobStatus>,
    /// True after `service rm`: tasks are being removed, then the service goes.
    pub pending_delete: bool,
    #[serde(default)]
    pub registry: RegistryAccess,
}

impl Service {
    /// Begins the job's next execution; services that are no jobs have none.
    pub fn execute_again(&mut self, now: Timestamp) {
        if let Some(job) = &mut self.job {
            *job = JobStatus { iteration: job.iteration + 1, last_execution: now };
        }
    }
}
