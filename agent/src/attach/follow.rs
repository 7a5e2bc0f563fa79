//! Keeps the managers' attachments of this node equal to the containers the engine has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::view::{Backend, NodeView};
use swarmnet_model::{AttachCall, NodeId, TaskId};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::connected::Connected;
use super::desk::{Desk, ask};
use super::plan::{Action, engine_networks, own, plan};
use crate::agent::AgentParts;
use crate::engine::{Engine, EngineError};
use crate::task::networks::TaskNetworks;
use crate::task::runner::Told;

/// Everything is looked at this often, whatever the events said.
const SAFETY_PERIOD: Duration = Duration::from_secs(10);
/// An attachment that no container was ever seen with is given back after this long: its API request
/// may have been given up while the engine was at work.
const UNSEEN_MAX: Duration = Duration::from_secs(60);

/// The loop.
pub(crate) struct Follower {
    node_id: NodeId,
    engine: Arc<dyn Engine>,
    desk: Desk,
    connected: Connected,
    told: watch::Receiver<Told>,
    /// Changes when something happens to a plain container.
    events: watch::Receiver<u64>,
    /// Since when an attachment is without a container.
    unseen: BTreeMap<TaskId, Instant>,
}

impl Follower {
    pub(crate) fn new(parts: &AgentParts, desk: Desk, events: watch::Receiver<u64>) -> Self {
        Self {
            node_id: parts.node_id.clone(),
            engine: Arc::clone(&parts.engine),
            told: desk.told.clone(),
            connected: Connected::new(Arc::clone(&parts.engine), &desk.state_dir),
            desk,
            events,
            unseen: BTreeMap::new(),
        }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&mut self) {
        let mut safety = interval(SAFETY_PERIOD);
        safety.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leases = self.desk.leases.changes();
        let mut seen: Option<Vec<Backend>> = None;
        loop {
            // A statement of its own: the borrow is a read lock.
            let Told { view, complete } = self.told.borrow_and_update().clone();
            let present: Vec<Backend> = own(&view, &self.node_id).cloned().collect();
            if seen.as_ref() != Some(&present) {
                if let Err(error) = self.pass(&view, complete).await {
                    debug!(%error, "plain containers not looked at");
                }
                seen = Some(present);
            }
            tokio::select! {
                changed = self.told.changed() => if changed.is_err() { return },
                changed = self.events.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    seen = None;
                }
                _ = leases.changed() => seen = None,
                _ = safety.tick() => seen = None,
            }
        }
    }

    async fn pass(&mut self, view: &Arc<NodeView>, complete: bool) -> Result<(), EngineError> {
        if own(view, &self.node_id).next().is_none() {
            self.unseen.clear();
            // A view from disk may lack what is there.
            if complete {
                self.connected.pass(&[]).await;
            }
            return Ok(());
        }
        self.restore_networks(view).await;
        let names: Vec<String> = engine_networks(view, &self.node_id).into_iter().collect();
        let containers = self.engine.plain_containers(&names).await?;
        self.connected.pass(&containers).await;
        // Read after the engine was: a request that has ended meanwhile has made its container.
        let held = self.desk.leases.ids();
        let actions = plan(view, &self.node_id, &containers, &held);
        self.unseen.retain(|id, _| actions.contains(&Action::Unseen(id.clone())));
        for action in actions {
            match action {
                Action::Tell(call) => self.tell(&call).await,
                Action::Unseen(id) => self.unseen(id).await,
            }
        }
        Ok(())
    }

    async fn unseen(&mut self, id: TaskId) {
        let since = *self.unseen.entry(id.clone()).or_insert_with(Instant::now);
        if since.elapsed() >= UNSEEN_MAX {
            self.tell(&AttachCall::Detach { id, from: None }).await;
        }
    }

    /// A failure is no matter: the next pass tells it again.
    async fn tell(&self, call: &AttachCall) {
        match ask(&self.desk.managers, call).await {
            Ok(_) => {
                if let AttachCall::Detach { id, from: None } = call {
                    info!(attachment.id = %id, "container gone, attachment given back");
                    self.desk.wiring.release(id).await;
                }
            }
            Err(error) => debug!(%error, "managers not told of a plain container"),
        }
    }

    /// Somebody may have removed an engine network under a stopped container.
    async fn restore_networks(&self, view: &Arc<NodeView>) {
        for backend in own(view, &self.node_id) {
            let (id, attachments) = (&backend.task_id, &backend.attachments);
            let Ok(networks) = self.desk.wiring.attach(id, attachments, view, false).await else {
                continue;
            };
            self.restore(&networks).await;
        }
    }

    async fn restore(&self, networks: &TaskNetworks) {
        if self.desk.engine_networks.lacks(networks)
            && let Err(error) = self.desk.engine_networks.ensure(networks).await
        {
            debug!(%error, "engine networks of plain containers not made");
        }
    }
}
