//! What the API needs of this node: the manager here, or why there is none.

use std::sync::Arc;

use async_trait::async_trait;
use swarmnet_engine_api::{
    AttachRequest, Attached, ControlPlane, InitRequest, JoinRequest, LocalNetworks, LocalNode,
    LocalState, LogStream, RaftView, SwarmEvents,
};
use swarmnet_manager::Manager;
use swarmnet_manager::raft::Reachability;
use swarmnet_model::{
    Call, CallError, Clock, Code, Connectivity, LogOptions, LogSelector, NetworkId, NodeId, Reply,
    Role, Tables, TaskId, Timestamp,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::SystemClock;
use crate::node::{Request, Status};
use crate::texts;

/// The node behind the API.
pub(crate) struct NodeControl {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
}

impl NodeControl {
    pub(crate) fn new(requests: mpsc::Sender<Request>, status: watch::Receiver<Status>) -> Self {
        Self { requests, status }
    }

    /// Returns a copy: a borrow is a lock, and must not be held while others are read.
    fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Returns the manager on this node.
    ///
    /// # Errors
    /// Docker's text for why there is none.
    fn manager(&self) -> Result<Arc<Manager>, CallError> {
        let status = self.status();
        if let Some(manager) = status.manager {
            return Ok(manager);
        }
        Err(match (status.local.state, status.role) {
            (LocalState::Active, Some(Role::Manager)) => texts::manager_not_ready(),
            (LocalState::Active | LocalState::Pending, _) => texts::worker(),
            (LocalState::Inactive | LocalState::Error | LocalState::Locked, _) => texts::no_swarm(),
        })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> Request,
    ) -> Result<T, CallError> {
        let stopping = || CallError::api(Code::Unavailable, "the swarmnet daemon is stopping");
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

#[async_trait]
impl ControlPlane for NodeControl {
    fn local_node(&self) -> LocalNode {
        let Status { mut local, managers, .. } = self.status();
        let heard = managers.map(|heard| heard.borrow().clone()).unwrap_or_default();
        if !heard.is_empty() {
            local.managers = heard;
        }
        local
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn read(&self) -> Result<Arc<Tables>, CallError> {
        self.manager()?.read().await
    }

    fn raft_view(&self) -> RaftView {
        let Ok(manager) = self.manager() else { return RaftView::default() };
        let view = manager.raft_view();
        let known = view.managers.into_iter().filter_map(|(id, is)| match is {
            Reachability::Unknown => None,
            Reachability::Reachable => Some((id, true)),
            Reachability::Unreachable => Some((id, false)),
        });
        RaftView { leader: view.leader, reachable: known.collect() }
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.manager()?.call(call).await
    }

    async fn test_connectivity(&self) -> Result<Connectivity, CallError> {
        self.manager()?.test_connectivity().await
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<LogStream, CallError> {
        self.manager()?.logs(selector, options)
    }

    fn events(&self, since: Option<Timestamp>) -> Option<SwarmEvents> {
        let (past, next) = self.manager().ok()?.events(since);
        Some(SwarmEvents { past, next })
    }

    async fn init(&self, request: InitRequest) -> Result<NodeId, CallError> {
        self.ask(|reply| Request::Init(Box::new(request), reply)).await
    }

    async fn join(&self, request: JoinRequest) -> Result<(), CallError> {
        self.ask(|reply| Request::Join(Box::new(request), reply)).await
    }

    async fn leave(&self, force: bool) -> Result<(), CallError> {
        self.ask(|reply| Request::Leave { force, reply }).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, CallError> {
        match self.status().agent {
            Some(agent) => agent.attach(request).await,
            None => Err(texts::no_swarm()),
        }
    }

    async fn detach(&self, id: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError> {
        match self.status().agent {
            Some(agent) => agent.detach(id, network).await,
            None => Err(texts::no_swarm()),
        }
    }

    fn local_networks(&self) -> LocalNetworks {
        self.status().agent.map(|agent| agent.local_networks()).unwrap_or_default()
    }
}
