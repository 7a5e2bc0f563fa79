//! One manager: starts Raft and the leader's tasks, answers calls and reads, stops.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use swarmnet_model::event::Event;
use swarmnet_model::id::base36;
use swarmnet_model::limits::{
    CALL_TIMEOUT, LOG_MESSAGE_BYTES_MAX, LOG_READERS_MAX, RPC_MESSAGE_BYTES_MAX,
};
use swarmnet_model::{
    Call, CallError, Clock, ClusterId, Code, Connectivity, IdSource, LogOptions, LogOrder,
    LogSelector, NodeId, Reply, Role, Tables, Timestamp,
};
use swarmnet_proto::transport::TlsContext;
use swarmnet_proto::v1::ca_server::CaServer;
use swarmnet_proto::v1::control_server::ControlServer;
use swarmnet_proto::v1::dispatcher_server::DispatcherServer;
use swarmnet_proto::v1::logs_server::LogsServer;
use swarmnet_proto::v1::raft_server::RaftServer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Status};

use crate::allocator::Allocator;
use crate::ca::{self, CaService};
use crate::control::{self, forward};
use crate::dispatcher::connectivity;
use crate::dispatcher::service::{Desk, DispatcherService};
use crate::enforcer::Enforcer;
use crate::events::Feed;
use crate::events::feed::{self, EventStream};
use crate::ids::OsIds;
use crate::leader::{self, LeaderTask};
use crate::logs::subscription::{LogStream, Subscription};
use crate::logs::{Broker, orders, service::LogsService};
use crate::orchestrator::Orchestrator;
use crate::raft::{Leader, Member, RaftConfig, RaftGroup, RaftView, StartError};
use crate::reaper::Reaper;
use crate::scheduler::Scheduler;
use crate::store::{Change, ProposeError, Store};
use crate::{dispatcher, rejoin};

/// A lost leader is replaced in less; without a quorum a call is refused after this.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);
/// A request for a certificate is far smaller, and strangers may send one.
const CA_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Pause between attempts to read while leadership changes.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// What a manager needs to start.
pub struct ManagerConfig {
    /// Holds `raft/`.
    pub state_dir: PathBuf,
    pub node_id: NodeId,
    /// Given by `control::forward::join_raft`; 1 for the first manager.
    pub raft_id: u64,
    pub cluster_id: ClusterId,
    /// `host:port` the other managers reach this one at.
    pub advertise_addr: String,
    pub tls: TlsContext,
    pub clock: Arc<dyn Clock>,
    /// The first entry of a new cluster; `None` everywhere else. A start that was cut off before
    /// the entry was written may be repeated with it.
    pub bootstrap: Option<Vec<Change>>,
}

/// Why a manager could not start.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    #[error("Raft could not start")]
    Raft(#[from] StartError),
    #[error("the new cluster's first entry could not be written")]
    Bootstrap(#[source] ProposeError),
    #[error("the new cluster has no leader")]
    NoLeader,
}

/// A running manager. It ends by [`Manager::stop`] only: Raft goes on after a drop.
pub struct Manager {
    group: Arc<RaftGroup>,
    store: Store,
    desk: Desk,
    logs: Broker,
    events: Feed,
    tls: TlsContext,
    cancel: CancellationToken,
    running: Mutex<JoinSet<()>>,
}

impl Manager {
    /// Starts Raft from its files, and founds the cluster if asked to.
    ///
    /// Returns as soon as Raft runs; who leads shows later. With `bootstrap` it returns once this
    /// manager leads and the first entry is written.
    ///
    /// # Errors
    /// `ManagerError`; nothing is left running.
    pub async fn start(config: ManagerConfig) -> Result<Self, ManagerError> {
        let ManagerConfig { bootstrap, clock, tls, .. } = &config;
        let group = RaftGroup::start(RaftConfig {
            state_dir: config.state_dir.clone(),
            cluster_id: config.cluster_id.clone(),
            raft_id: config.raft_id,
            member: Member { node_id: config.node_id.clone(), addr: config.advertise_addr.clone() },
            tls: tls.clone(),
        })
        .await?;
        let group = Arc::new(group);
        let store = Store::new(group.tables(), Arc::new(group.proposer()), Arc::clone(clock));
        if let Some(changes) = bootstrap
            && let Err(error) = found(&group, &store, changes.clone()).await
        {
            group.stop().await;
            return Err(error);
        }
        let (cancel, desk) = (CancellationToken::new(), Desk::default());
        let tasks = tasks(&group, &desk);
        let mut running = JoinSet::new();
        running.spawn(leader::run(Arc::clone(&group), store.clone(), tasks, cancel.clone()));
        running.spawn(ca::refuse_removed_nodes(store.clone(), tls.clone(), cancel.clone()));
        let (events, tls) = (Feed::default(), tls.clone());
        running.spawn(feed::run(events.clone(), Arc::clone(&group), store.clone(), cancel.clone()));
        let running = Mutex::new(running);
        Ok(Self { group, store, desk, logs: Broker::default(), events, tls, cancel, running })
    }

    /// Returns the gRPC services of a manager, for `swarmnet_proto::transport::serve`.
    pub fn routes(&self) -> Routes {
        let (store, tls) = (&self.store, &self.tls);
        let raft = RaftServer::new(self.group.service())
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        let control = forward::ControlService::new(
            Arc::clone(&self.group),
            store.clone(),
            self.desk.clone(),
            tls.clone(),
        );
        let control = ControlServer::new(control)
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        let dispatcher = DispatcherService::new(store.clone(), self.desk.clone(), tls.clone());
        let dispatcher = DispatcherServer::new(dispatcher)
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        let logs = LogsService::new(self.logs.clone(), store.clone(), tls.clone());
        let logs = LogsServer::new(logs).max_decoding_message_size(LOG_MESSAGE_BYTES_MAX);
        let ca = CaServer::new(CaService::new(store.clone(), tls.clone()))
            .max_decoding_message_size(CA_MESSAGE_BYTES_MAX);
        Routes::new(InterceptedService::new(raft, only(tls, &[Role::Manager])))
            .add_service(InterceptedService::new(control, only(tls, &[Role::Manager])))
            .add_service(InterceptedService::new(
                dispatcher,
                only(tls, &[Role::Worker, Role::Manager]),
            ))
            .add_service(InterceptedService::new(logs, only(tls, &[Role::Worker, Role::Manager])))
            .add_service(ca)
    }

    /// The state as far as this manager has applied it, and proposals through it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns tables that hold every write acknowledged before this call, on any manager.
    ///
    /// # Errors
    /// `no_leader` without a quorum, `deadline` if this manager lags too far behind.
    pub async fn read(&self) -> Result<Arc<Tables>, CallError> {
        let index = match tokio::time::timeout(LEADER_PATIENCE, self.read_index()).await {
            Ok(index) => index,
            Err(_) => return Err(CallError::no_leader()),
        };
        let applied = self.group.wait_applied(index, CALL_TIMEOUT).await;
        applied.map(|()| self.store.snapshot()).map_err(|_| CallError::deadline())
    }

    /// Asks whoever leads until somebody confirms: a read may be asked again.
    async fn read_index(&self) -> u64 {
        loop {
            let index = match self.group.await_leader(LEADER_PATIENCE).await {
                Leader::Own => self.group.read_index().await.ok(),
                Leader::Other(leader) => forward::read_index(&self.tls, &leader.addr).await.ok(),
                Leader::Unknown => None,
            };
            match index {
                Some(index) => return index,
                None => tokio::time::sleep(READ_PAUSE).await,
            }
        }
    }

    /// Carries out a call here, or has the leader carry it out.
    ///
    /// # Errors
    /// The refusal in Docker's words; `no_leader` or `deadline` leave open whether it happened.
    pub async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let carried_out = async {
            match self.group.await_leader(LEADER_PATIENCE).await {
                Leader::Own => control::lead(&self.group, &self.store, call).await,
                Leader::Other(leader) => forward::call(&self.tls, &leader.addr, &call).await,
                Leader::Unknown => Err(CallError::no_leader()),
            }
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, carried_out).await;
        answer.unwrap_or_else(|_| Err(CallError::deadline()))
    }

    /// Has the nodes test the tunnel to each other; the leader asks them.
    ///
    /// # Errors
    /// As [`Self::call`]; a test that goes on already.
    pub async fn test_connectivity(&self) -> Result<Connectivity, CallError> {
        let tested = async {
            match self.group.await_leader(LEADER_PATIENCE).await {
                Leader::Own => connectivity::test(&self.desk, &self.store, &mut OsIds).await,
                Leader::Other(leader) => forward::test_connectivity(&self.tls, &leader.addr).await,
                Leader::Unknown => Err(CallError::no_leader()),
            }
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, tested).await;
        answer.unwrap_or_else(|_| Err(CallError::deadline()))
    }

    /// Returns the lines of a service or a task as its nodes send them, until the stream is dropped.
    ///
    /// # Errors
    /// Too many readers on this manager.
    pub fn logs(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream, CallError> {
        let subscription = base36(OsIds.bits());
        let reading = self.logs.open(subscription.clone(), selector.clone());
        let reading = reading.ok_or_else(|| {
            let text = format!("this manager serves {LOG_READERS_MAX} readers of logs already");
            CallError::manager(Code::Unavailable, text)
        })?;
        let manager = self.tls.node_id();
        let resume = BTreeMap::new();
        let order = LogOrder { subscription, manager, selector, options, resume };
        let ask = orders::asker(Arc::clone(&self.group), self.desk.clone(), self.tls.clone());
        let (store, stop) = (self.store.clone(), self.cancel.clone());
        Ok(Subscription::new(reading, store, ask, order, stop).stream())
    }

    /// Returns what happened to the cluster since a time, as far as it is kept, and what happens next.
    pub fn events(&self, since: Option<Timestamp>) -> (Vec<Event>, EventStream) {
        self.events.listen(since)
    }

    /// True if Raft has ended by itself: this manager has to be stopped and started anew.
    pub fn has_failed(&self) -> bool {
        self.group.has_failed()
    }

    /// Returns who leads and which managers answer.
    pub fn raft_view(&self) -> RaftView {
        self.group.view()
    }

    /// Returns the Raft ids that vote; none while the membership is being changed.
    #[cfg(test)]
    pub(crate) fn voters(&self) -> std::collections::BTreeSet<u64> {
        self.group.voters()
    }

    /// Replaces the log by a snapshot.
    #[cfg(test)]
    pub(crate) async fn compact(&self) {
        self.group.compact().await;
    }

    /// Stops the leader's tasks, then Raft; returns when its files are closed.
    pub async fn stop(&self) {
        self.cancel.cancel();
        let mut running =
            std::mem::take(&mut *self.running.lock().expect("no holder of this lock panics"));
        while running.join_next().await.is_some() {}
        self.group.stop().await;
    }
}

/// Refuses callers of other roles before a byte of their message is read: room for a whole message is
/// made as soon as its length is announced. The services check again, with the same rule.
fn only(tls: &TlsContext, roles: &'static [Role]) -> impl Interceptor + Clone + use<> {
    let tls = tls.clone();
    move |request: Request<()>| -> Result<Request<()>, Status> {
        tls.require(&request, roles)?;
        Ok(request)
    }
}

/// Makes the cluster of this manager alone and writes its first entry.
async fn found(group: &RaftGroup, store: &Store, changes: Vec<Change>) -> Result<(), ManagerError> {
    group.found().await?;
    if group.await_leader(CALL_TIMEOUT).await != Leader::Own {
        return Err(ManagerError::NoLeader);
    }
    let index = group.read_index().await.map_err(|_| ManagerError::NoLeader)?;
    group.wait_applied(index, CALL_TIMEOUT).await.map_err(|_| ManagerError::NoLeader)?;
    if store.snapshot().cluster.is_some() {
        return Ok(());
    }
    store.propose(changes).await.map(drop).map_err(ManagerError::Bootstrap)
}

/// What runs on the leader.
fn tasks(group: &Arc<RaftGroup>, desk: &Desk) -> Vec<LeaderTask> {
    let (group, desk) = (Arc::clone(group), desk.clone());
    vec![
        LeaderTask::planner("allocator", || {
            let mut allocator = Allocator::default();
            move |tables, now, ids| allocator.plan(tables, now, ids)
        }),
        LeaderTask::planner("orchestrator", || {
            let mut orchestrator = Orchestrator::default();
            move |tables, now, ids| orchestrator.plan(tables, now, ids)
        }),
        LeaderTask::planner("scheduler", || {
            let mut scheduler = Scheduler::default();
            move |tables, now, ids| scheduler.plan(tables, now, ids)
        }),
        LeaderTask::planner("enforcer", || {
            let mut enforcer = Enforcer::default();
            move |tables, now, ids| enforcer.plan(tables, now, ids)
        }),
        LeaderTask::planner("reaper", || {
            let mut reaper = Reaper::default();
            move |tables, now, ids| reaper.plan(tables, now, ids)
        }),
        LeaderTask::planner("rejoin", || rejoin::plan),
        LeaderTask::new("dispatcher", move |store, cancel| {
            let (open, requests, writes) = desk.open();
            async move {
                let writing = dispatcher::combine::run(store.clone(), writes, cancel.clone());
                let serving = dispatcher::run::run(store, requests, Box::new(OsIds), cancel);
                tokio::select! {
                    () = serving => {}
                    () = writing => {}
                }
                drop(open);
            }
        }),
        LeaderTask::new("membership", move |store, cancel| {
            let group = Arc::clone(&group);
            async move { group.run_membership(store, cancel).await }
        }),
    ]
}
