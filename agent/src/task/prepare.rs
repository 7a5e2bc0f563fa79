//! Getting a task ready: networks, image, container. Every part may be repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use swarmnet_model::template::TemplateContext;
use swarmnet_model::{NodeId, NodeView, SecretText, Task};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::engine_networks::EngineNetworks;
use super::networks::{PrepareError, TaskNetworks, Wiring};
use super::predefined::predefined;
use super::step::Prepared;
use crate::engine::container::{ContainerError, ContainerRequest, container_request};
use crate::engine::facts::EngineFacts;
use crate::engine::image::{is_pinned, registry};
use crate::engine::{ContainerFacts, ContainerState, Engine, EngineError};

/// Images fetched at the same time: more only share the same line and disk.
const PULLS_MAX: usize = 3;
/// An image that is present waits this long for a registry to say whether there is a newer one.
const REFRESH_ANSWER: Duration = Duration::from_secs(3);
/// A registry that did not answer is left alone this long when the image is present.
const REFRESH_PAUSE: Duration = Duration::from_secs(60);

/// Why a task is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error(transparent)]
    Wiring(#[from] PrepareError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The name is taken by something that is not ours.
    #[error("network with name {name} already exists")]
    ForeignNetwork { name: String },
}

impl Obstacle {
    /// True if trying again later may succeed without a change of the task.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Wiring(error) => error.is_temporary(),
            Self::Engine(error) => error.is_temporary(),
            Self::Container(_) => false,
            // The user may remove it; meanwhile the task says what is in the way.
            Self::ForeignNetwork { .. } => true,
        }
    }
}

/// The node as containers see it.
#[derive(Clone, Debug)]
pub(super) struct NodeFacts {
    pub(super) node_id: NodeId,
    pub(super) hostname: String,
}

/// Makes what a task needs.
pub(super) struct Preparer {
    engine: Arc<dyn Engine>,
    wiring: Arc<dyn Wiring>,
    node: NodeFacts,
    facts: watch::Receiver<Option<EngineFacts>>,
    pulls: Semaphore,
    silent: Mutex<BTreeMap<String, Instant>>,
    pub(super) networks: Arc<EngineNetworks>,
}

impl Preparer {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        wiring: Arc<dyn Wiring>,
        node: NodeFacts,
        facts: watch::Receiver<Option<EngineFacts>>,
        networks: Arc<EngineNetworks>,
    ) -> Self {
        Self {
            engine,
            wiring,
            node,
            facts,
            pulls: Semaphore::new(PULLS_MAX),
            silent: Mutex::default(),
            networks,
        }
    }

    /// Makes networks and container and fetches the image, as far as they are not there yet.
    ///
    /// # Errors
    /// `Obstacle`; what was made stays, the next try goes on from there.
    pub(super) async fn prepare(
        &self,
        task: &Task,
        credentials: Option<&SecretText>,
        view: &NodeView,
        container: Option<&ContainerFacts>,
    ) -> Result<Prepared, Obstacle> {
        let facts = self.engine_facts();
        let networks = match predefined(task, &facts) {
            None => self.wiring.prepare(task, view).await?,
            predefined => TaskNetworks { predefined, ..TaskNetworks::default() },
        };
        let prepared = Prepared { gateway: networks.gateway };
        let request = container_request(&self.context(task, &facts), &networks)?;
        match container {
            Some(known) if known.state != ContainerState::Created => return Ok(prepared),
            Some(known) => {
                self.networks.ensure(&networks).await?;
                self.connect(&known.id, &known.networks, &request).await?;
            }
            None => {
                let image = &task.spec.container.image;
                let (made, pulled) = tokio::join!(
                    self.networks.ensure(&networks),
                    self.ensure_image(image, credentials)
                );
                made?;
                pulled?;
                let id = self.create(task, &request).await?;
                self.connect(&id, &[], &request).await?;
            }
        }
        Ok(prepared)
    }

    fn engine_facts(&self) -> EngineFacts {
        self.facts.borrow().clone().unwrap_or_default()
    }

    fn context<'a>(&'a self, task: &'a Task, facts: &'a EngineFacts) -> TemplateContext<'a> {
        TemplateContext {
            task,
            node_id: &self.node.node_id,
            node_hostname: &self.node.hostname,
            node_os: &facts.os,
            node_architecture: &facts.architecture,
        }
    }

    async fn create(&self, task: &Task, request: &ContainerRequest) -> Result<String, Obstacle> {
        let conflict = match self.engine.create_container(request).await {
            Ok(id) => return Ok(id),
            Err(error @ EngineError::Conflict { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        // An earlier try may have made it without hearing the answer.
        match self.engine.container(&request.name).await? {
            Some(known) if known.task_id.as_ref() == Some(&task.id) => Ok(known.id),
            _ => Err(conflict.into()),
        }
    }

    async fn connect(
        &self,
        id: &str,
        connected: &[String],
        request: &ContainerRequest,
    ) -> Result<(), Obstacle> {
        let missing =
            request.further.iter().filter(|endpoint| !connected.contains(&endpoint.network));
        for endpoint in missing {
            self.engine.connect(id, endpoint).await?;
        }
        Ok(())
    }

    /// A failed pull is no failure when the image is on the node.
    async fn ensure_image(
        &self,
        image: &str,
        credentials: Option<&SecretText>,
    ) -> Result<(), Obstacle> {
        let present = self.engine.has_image(image).await?;
        if present && (is_pinned(image) || self.is_silent(image)) {
            return Ok(());
        }
        let _turn = self.pulls.acquire().await.expect("the semaphore is never closed");
        match self.engine.pull_image(image, credentials, present.then_some(REFRESH_ANSWER)).await {
            Ok(()) => Ok(()),
            Err(error) if present => {
                tracing::debug!(image, %error, "image not refreshed");
                self.note_silence(image, &error);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_silent(&self, image: &str) -> bool {
        let now = Instant::now();
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|_, until| *until > now);
        silent.contains_key(image) || silent.contains_key(registry(image))
    }

    /// A refusal concerns the image, silence the whole registry.
    fn note_silence(&self, image: &str, error: &EngineError) {
        let key = if error.is_temporary() { registry(image) } else { image };
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.insert(key.to_owned(), Instant::now() + REFRESH_PAUSE);
    }
}
