//! The engine networks that stand for swarm networks on this node: made with the first task, removed
//! after the last. The gateway network stays until the node leaves the swarm.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tracing::info;

use super::collect::{Needed, unused};
use super::networks::{
    EngineNetworkSpec, GATEWAY_LABEL_VALUE, NETWORK_LABEL, TaskNetwork, TaskNetworks,
};
use super::prepare::Obstacle;
use crate::attach::leases::Leases;
use crate::engine::{Engine, EngineError, EngineNetwork, take_down};

/// The engine's networks of ours.
///
/// One call at a time: an engine's own check for a taken name is best effort, and what was seen last
/// must not be replaced by an older answer.
pub struct EngineNetworks {
    engine: Arc<dyn Engine>,
    /// Whose networks stay although no task needs them yet.
    leases: Leases,
    turns: Semaphore,
    seen: watch::Sender<Vec<EngineNetwork>>,
}

impl EngineNetworks {
    pub fn new(
        engine: Arc<dyn Engine>,
        leases: Leases,
        seen: watch::Sender<Vec<EngineNetwork>>,
    ) -> Self {
        Self { engine, leases, turns: Semaphore::new(1), seen }
    }

    /// Looks which networks there are.
    pub(super) async fn refresh(&self) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        self.look().await
    }

    /// Makes the networks of a task that are missing.
    ///
    /// # Errors
    /// `ForeignNetwork` when a name is taken by something that is not ours.
    pub(crate) async fn ensure(&self, wanted: &TaskNetworks) -> Result<(), Obstacle> {
        if wanted.networks.is_empty() {
            return Ok(());
        }
        let _turn = self.turn().await;
        self.look().await?;
        let missing = self.missing(wanted);
        for network in &missing {
            match self.engine.create_network(&network.engine_name, &labelled(network)).await {
                Ok(_) => {}
                Err(EngineError::Conflict { .. }) => {
                    return Err(Obstacle::ForeignNetwork { name: network.engine_name.clone() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !missing.is_empty() {
            self.look().await?;
        }
        Ok(())
    }

    /// Removes the networks that are not needed. The first failure ends the pass: the next one tries
    /// again.
    pub(super) async fn remove_unused(&self, needed: &Needed) -> Result<(), EngineError> {
        let _turn = self.turn().await;
        self.look().await?;
        let unused: Vec<EngineNetwork> =
            unused(&self.seen.borrow(), needed).into_iter().cloned().collect();
        for network in unused {
            if self.leases.holds_network(&network.name) {
                continue;
            }
            take_down(self.engine.as_ref(), &network).await?;
            info!(network = network.name, "engine network removed");
            self.seen.send_modify(|seen| seen.retain(|other| other.id != network.id));
        }
        Ok(())
    }

    /// True if the engine was seen without one of these networks.
    pub(crate) fn lacks(&self, wanted: &TaskNetworks) -> bool {
        !self.missing(wanted).is_empty()
    }

    /// True if the engine has no network of ours.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.borrow().is_empty()
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }

    async fn look(&self) -> Result<(), EngineError> {
        self.seen.send_replace(self.engine.networks().await?);
        Ok(())
    }

    fn missing<'a>(&self, wanted: &'a TaskNetworks) -> Vec<&'a TaskNetwork> {
        let seen = self.seen.borrow();
        let is_missing =
            |network: &&TaskNetwork| seen.iter().all(|other| other.name != network.engine_name);
        wanted.networks.iter().filter(is_missing).collect()
    }
}

fn labelled(network: &TaskNetwork) -> EngineNetworkSpec {
    let value = network.network_id.as_ref().map_or(GATEWAY_LABEL_VALUE, |id| id.as_str());
    let mut spec = network.create.clone();
    spec.labels.insert(NETWORK_LABEL.to_owned(), value.to_owned());
    spec
}
