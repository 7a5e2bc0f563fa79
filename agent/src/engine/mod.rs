//! The Docker Engine as the task runner needs it.
//!
//! Owns: the trait [`Engine`], its implementation over the engine's socket ([`docker`]), and the
//! pure translation of a task into a container ([`container`]). Does not own: when a container is
//! made, started or stopped (`task`).
//!
//! What stays true: everything the agent makes carries a label (`com.docker.swarm.task.id` on
//! containers, `swarmnet.network` on networks) and is found again by it after a restart; nothing
//! without the label is touched. Every call has a deadline.

pub mod container;
pub mod docker;
pub mod events;
pub mod facts;
#[cfg(test)]
pub(crate) mod fake;
pub mod image;
mod pull;
mod raw;
mod response;
pub mod watch;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use swarmnet_model::container::DnsConfig;
use swarmnet_model::{NodeId, SecretText, TaskId, Timestamp};

use crate::task::networks::EngineNetworkSpec;
pub use container::{ContainerRequest, EndpointRequest};
pub use docker::DockerEngine;
pub use events::EngineEvent;
pub use facts::EngineFacts;

/// Why the engine did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// It could not be reached, or its answer could not be read.
    #[error("the Docker Engine does not answer: {reason}")]
    Away { reason: String },
    /// It did not answer in time; what was asked may still happen.
    #[error("the Docker Engine did not answer within {} s", .after.as_secs())]
    TimedOut { after: Duration },
    /// The thing does not exist.
    #[error("{message}")]
    Missing { message: String },
    /// A thing of that name exists.
    #[error("{message}")]
    Conflict { message: String },
    /// It refused, in its own words.
    #[error("{message}")]
    Refused { message: String },
}

impl EngineError {
    /// True if the same call may succeed later without any change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Away { .. } | Self::TimedOut { .. } => true,
            Self::Missing { .. } | Self::Conflict { .. } | Self::Refused { .. } => false,
        }
    }
}

/// Result of a health check as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The container has no health check.
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    Running {
        pid: i64,
        health: Health,
    },
    /// Ended, or failed to start (`error` then says why).
    Exited {
        code: i64,
        error: String,
        health: Health,
    },
    /// Half removed by the engine: nothing of it runs, it cannot be started.
    Dead,
}

/// What the engine shows of a task's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    pub id: String,
    pub task_id: Option<TaskId>,
    pub state: ContainerState,
    /// Names of the networks it is, or will be, attached to.
    pub networks: Vec<String>,
}

/// An engine network that the agent made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineNetwork {
    pub id: String,
    pub name: String,
    pub driver: String,
    /// Value of [`crate::task::NETWORK_LABEL`].
    pub label: String,
}

/// A container that is no task's, as far as its networks are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainContainer {
    pub id: String,
    pub name: String,
    /// True as well for one that is about to start.
    pub running: bool,
    /// Networks by name, with the address that its settings ask for there.
    pub endpoints: Vec<(String, Ipv4Addr)>,
    /// True if it sees another file as its resolv.conf than the engine's.
    pub has_own_resolv_conf: bool,
}

/// What the engine keeps of a container's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerDns {
    /// The file that it sees as its resolv.conf.
    pub path: PathBuf,
    /// What its user wants there.
    pub wishes: DnsConfig,
}

/// Which lines of a container's log are wanted; the engine's own words for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerLogs {
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
    pub since: Option<Timestamp>,
    /// `None`: all.
    pub tail: Option<u64>,
    pub timestamps: bool,
    pub details: bool,
}

/// A container's log as the engine writes it: framed without a terminal, as it is with one.
pub type LogBytes = BoxStream<'static, Result<Bytes, EngineError>>;

/// What tasks need of a container engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Returns what the engine says of itself and its machine.
    async fn facts(&self) -> Result<EngineFacts, EngineError>;

    /// Returns id and task of every container of this node's tasks, stopped ones too.
    async fn task_containers(&self, node: &NodeId)
    -> Result<BTreeMap<String, TaskId>, EngineError>;

    /// Returns the containers on any of these networks that are no task's, stopped ones too.
    async fn plain_containers(
        &self,
        networks: &[String],
    ) -> Result<Vec<PlainContainer>, EngineError>;

    /// Returns where a container's names are kept, `None` if there is no such container.
    async fn container_dns(&self, id: &str) -> Result<Option<ContainerDns>, EngineError>;

    /// Returns the container of that id or name, `None` if there is none.
    async fn container(&self, reference: &str) -> Result<Option<ContainerFacts>, EngineError>;

    /// True if the engine has the image.
    async fn has_image(&self, image: &str) -> Result<bool, EngineError>;

    /// Fetches an image. With `answer_within`, gives up when no registry has answered by then; a
    /// transfer that has begun is never cut short.
    async fn pull_image(
        &self,
        image: &str,
        credentials: Option<&SecretText>,
        answer_within: Option<Duration>,
    ) -> Result<(), EngineError>;

    /// Makes a container, attached to its first network, and returns its id.
    async fn create_container(&self, request: &ContainerRequest) -> Result<String, EngineError>;

    /// Attaches a container that has not started to one more network.
    async fn connect(&self, id: &str, endpoint: &EndpointRequest) -> Result<(), EngineError>;

    /// Takes a container off a network, whatever state it is in; an absent one is no error.
    async fn disconnect(&self, network: &str, id: &str) -> Result<(), EngineError>;

    /// Starts a container; a running one stays as it is.
    async fn start_container(&self, id: &str) -> Result<(), EngineError>;

    /// Sends the stop signal, waits for the grace period, kills. A stopped one stays as it is.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError>;

    /// Removes a container by force, with its anonymous volumes; an absent one is no error.
    async fn remove_container(&self, id: &str) -> Result<(), EngineError>;

    /// Returns the networks that carry the agent's label.
    async fn networks(&self) -> Result<Vec<EngineNetwork>, EngineError>;

    /// Makes a network and returns its id; `Conflict` when the name is taken.
    async fn create_network(
        &self,
        name: &str,
        spec: &EngineNetworkSpec,
    ) -> Result<String, EngineError>;

    /// Removes a network; an absent one is no error.
    async fn remove_network(&self, id: &str) -> Result<(), EngineError>;

    /// Returns a container's log. Reading less than the engine could send holds the engine back;
    /// dropping the stream ends it.
    ///
    /// # Errors
    /// `Refused` in the engine's words, for example when the log driver cannot be read.
    async fn logs(&self, container: &str, wanted: &ContainerLogs) -> Result<LogBytes, EngineError>;

    /// Returns what happens to containers from now on. The stream ends when the engine goes.
    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError>;
}

/// Takes the users' containers off one of our networks, then removes it.
///
/// # Errors
/// The engine's; what is left is found again by its label.
pub async fn take_down(engine: &dyn Engine, network: &EngineNetwork) -> Result<(), EngineError> {
    for container in engine.plain_containers(std::slice::from_ref(&network.name)).await? {
        engine.disconnect(&network.id, &container.id).await?;
    }
    engine.remove_network(&network.id).await
}
