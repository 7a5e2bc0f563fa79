//! The node's session with the managers: one at a time, with whichever leads.
//!
//! ```text
//!   Session stream ──► assignment ──► wiring, runner, disk
//!   heartbeats, reports (statuses, applied generation), descriptions ──► the same manager
//! ```
//!
//! Any of the four that fails ends the session; the next one starts with a full view, so nothing has
//! to be mended in between. Tasks and flows do not notice.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use swarmnet_model::connectivity::ProbeOrder;
use swarmnet_model::limits::{RPC_MESSAGE_BYTES_MAX, STATUSES_PER_REPORT};
use swarmnet_model::{LogOrder, NodeDescription, NodeId, NodeView, Role, ViewUpdate};
use swarmnet_proto::document::{self, BadDocument};
use swarmnet_proto::v1;
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::assignment::{Assignment, GenerationMap, Outcome};
use crate::backoff::Backoff;
use crate::engine::EngineFacts;
use crate::engine::facts::describe;
use crate::inputs::tasks;
use crate::report::Reporter;
use crate::task::runner::Told;
use crate::task::{STORED_GENERATION, Wiring};

/// First and longest wait after every manager was tried in vain. Docker's agents wait up to 8 s; a node
/// should know what to do soon after its network is back.
const RECONNECT_WAITS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(1_500));
/// A manager that leads answers well within this; one that does not, at once.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Reports and descriptions are answered when Raft has them.
const REPORT_DEADLINE: Duration = Duration::from_secs(30);
/// From the session's start to its full view.
const FIRST_VIEW_DEADLINE: Duration = Duration::from_secs(30);
/// A manager cannot ask for heartbeats more often, nor let a session go unwatched for longer.
const HEARTBEAT_BOUNDS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(60));
/// The first description waits this long for the engine.
const FIRST_FACTS_WAIT: Duration = Duration::from_secs(3);

/// Last generation handed to the data plane. The data plane outlives agents (leave, join again), so
/// this is the process's.
static PROCESS_GENERATION: AtomicU64 = AtomicU64::new(STORED_GENERATION);

/// What managers are asked through.
pub(crate) type Client = DispatcherClient<Channel>;

/// Makes a channel to a manager at `host:port`.
pub type Connect = Arc<dyn Fn(&str) -> Channel + Send + Sync>;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{call} failed: {}", .status.message())]
    Refused { call: &'static str, status: Box<Status> },
    #[error("{call} was not answered in time")]
    Silent { call: &'static str },
    #[error(transparent)]
    Document(#[from] BadDocument),
    #[error("an update of the view was lost")]
    Gap,
    #[error("the manager ended the session")]
    Ended,
}

/// What sessions need.
pub struct SessionParts {
    pub connect: Connect,
    pub node_id: NodeId,
    pub hostname: String,
    pub advertise_addr: Option<Ipv4Addr>,
    /// `host:port` of managers, from the binary.
    pub managers: watch::Receiver<Vec<String>>,
    pub facts: watch::Receiver<Option<EngineFacts>>,
    pub reporter: Arc<Reporter>,
    pub wiring: Arc<dyn Wiring>,
    pub told: watch::Sender<Told>,
    /// For the disk.
    pub stored: watch::Sender<Arc<NodeView>>,
    /// Managers as the cluster names them.
    pub learned: watch::Sender<Vec<(NodeId, String)>>,
    /// What role the cluster wants this node to have; `None` until it is told.
    pub role: watch::Sender<Option<Role>>,
    /// Why there is no session; `None` while there is one.
    pub problem: watch::Sender<Option<String>>,
    /// Orders of logs, for whoever reads them.
    pub log_orders: mpsc::Sender<LogOrder>,
}

/// Keeps a session alive.
pub struct Sessions {
    parts: SessionParts,
    assignment: Assignment,
    generations: Mutex<GenerationMap>,
    description: NodeDescription,
    /// The manager that failed last is tried last.
    failed: Option<String>,
}

impl Sessions {
    /// Begins with the view from disk.
    pub fn new(parts: SessionParts, stored: NodeView) -> Self {
        Self {
            parts,
            assignment: Assignment::stored(stored),
            generations: Mutex::default(),
            description: NodeDescription::default(),
            failed: None,
        }
    }

    /// Runs until cancelled.
    pub async fn run(mut self, stop: CancellationToken, seed: u64) {
        let work = async {
            self.await_facts().await;
            let mut backoff = Backoff::new(RECONNECT_WAITS.0, RECONNECT_WAITS.1, seed);
            loop {
                if self.try_all().await {
                    backoff.reset();
                }
                sleep(backoff.next_wait()).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Resources in the first description spare the managers a second one.
    async fn await_facts(&mut self) {
        let known = self.parts.facts.wait_for(Option::is_some);
        if timeout(FIRST_FACTS_WAIT, known).await.is_err() {
            warn!("joining the managers without an answer from the Docker Engine");
        }
    }

    /// Tries every manager once; returns whether there was a session.
    async fn try_all(&mut self) -> bool {
        for addr in self.addresses() {
            let mut established = false;
            let Err(error) = self.session(&addr, &mut established).await;
            let text = format!("{addr}: {error}");
            self.failed = Some(addr.clone());
            if established {
                info!(manager = addr, %error, "session ended");
                self.parts.problem.send_replace(Some(text));
                return true;
            }
            debug!(manager = addr, %error, "no session");
            self.parts.problem.send_replace(Some(text));
        }
        false
    }

    /// The managers the cluster named last, then those the node was started with.
    fn addresses(&self) -> Vec<String> {
        let learned = self.parts.learned.borrow();
        let mut addresses: Vec<_> = learned.iter().map(|(_, addr)| addr.clone()).collect();
        for addr in self.parts.managers.borrow().iter() {
            if !addresses.contains(addr) {
                addresses.push(addr.clone());
            }
        }
        // Stable: the others keep their order.
        addresses.sort_by_key(|addr| self.failed.as_ref() == Some(addr));
        addresses
    }

    /// Holds a session with one manager until something ends it.
    async fn session(
        &mut self,
        addr: &str,
        established: &mut bool,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut client = DispatcherClient::new((self.parts.connect)(addr))
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        self.description = self.describe();
        let request = v1::SessionRequest {
            description: document::encode(&self.description),
            advertise_addr: self.parts.advertise_addr.map(|a| a.to_string()).unwrap_or_default(),
        };
        let opened = call("Session", CALL_DEADLINE, client.session(request)).await?;
        let mut stream = opened.into_inner();
        let first = next_message(&mut stream, FIRST_VIEW_DEADLINE).await?;
        *established = true;
        info!(manager = addr, session = first.session_id, "session began");
        self.parts.problem.send_replace(None);
        let facts = self.parts.facts.clone();
        let (session_id, period) = (first.session_id.clone(), first.heartbeat_period_ms);
        self.assignment.session_begins();
        self.generations().session_begins();
        // One test at a time: a second order waits for the first.
        let (orders, ordered) = mpsc::channel(1);
        self.take(first, orders.clone())?;

        let link = Link {
            session_id,
            client,
            reporter: Arc::clone(&self.parts.reporter),
            hostname: self.parts.hostname.clone(),
        };
        let applied = self.parts.wiring.applied();
        let described = self.description.clone();
        let (assignment, generations) = (&mut self.assignment, &self.generations);
        let mut reader = Reader { parts: &self.parts, assignment, generations, orders };
        tokio::select! {
            ended = reader.read(stream) => ended,
            ended = link.probe(ordered, &*self.parts.wiring) => ended,
            ended = link.beat(period) => ended,
            ended = link.report(generations, applied) => ended,
            ended = link.describe(facts, described) => ended,
        }
    }

    fn describe(&self) -> NodeDescription {
        let facts = self.parts.facts.borrow();
        describe(&self.parts.hostname, facts.as_ref(), &self.description)
    }

    fn generations(&self) -> MutexGuard<'_, GenerationMap> {
        locked(&self.generations)
    }

    fn take(
        &mut self,
        message: v1::SessionMessage,
        orders: mpsc::Sender<ProbeOrder>,
    ) -> Result<(), SessionError> {
        Reader {
            parts: &self.parts,
            assignment: &mut self.assignment,
            generations: &self.generations,
            orders,
        }
        .take(message)
    }
}

/// The stream's side of a session.
struct Reader<'a> {
    parts: &'a SessionParts,
    assignment: &'a mut Assignment,
    generations: &'a Mutex<GenerationMap>,
    orders: mpsc::Sender<ProbeOrder>,
}

impl Reader<'_> {
    async fn read(
        &mut self,
        mut stream: Streaming<v1::SessionMessage>,
    ) -> Result<std::convert::Infallible, SessionError> {
        loop {
            // Silence is no failure here: the heartbeats watch the connection.
            let message = stream.message().await.map_err(|status| refused("Session", status))?;
            self.take(message.ok_or(SessionError::Ended)?)?;
        }
    }

    fn take(&mut self, message: v1::SessionMessage) -> Result<(), SessionError> {
        if !message.managers.is_empty() {
            let named = message.managers.into_iter();
            let managers: Vec<_> =
                named.map(|manager| (NodeId::from_text(manager.node_id), manager.addr)).collect();
            self.parts.learned.send_if_modified(|known| {
                let changed = *known != managers;
                *known = managers;
                changed
            });
        }
        if let Some(role) = Role::from_word(&message.role) {
            self.parts.role.send_if_modified(|known| known.replace(role) != Some(role));
        }
        if !message.probe.is_empty()
            && let Err(error) = self.orders.try_send(document::decode("probe", &message.probe)?)
        {
            debug!(%error, "connectivity test ignored, two are waiting");
        }
        if !message.log_order.is_empty()
            && let Err(error) =
                self.parts.log_orders.try_send(document::decode("log_order", &message.log_order)?)
        {
            debug!(%error, "order of logs ignored, it will come again");
        }
        if message.view_update.is_empty() {
            return Ok(());
        }
        let update: ViewUpdate = document::decode("view_update", &message.view_update)?;
        let generation = update.generation;
        match self.assignment.take(update) {
            Outcome::Taken { full } => self.hand_over(generation, full),
            Outcome::Ignored => debug!(generation, "old update of the view ignored"),
            Outcome::Gap => return Err(SessionError::Gap),
        }
        Ok(())
    }

    /// The data plane first: a task's preparation asks it about the networks of this view.
    fn hand_over(&mut self, generation: u64, full: bool) {
        let view = self.assignment.view();
        let handed_over = PROCESS_GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
        locked(self.generations).handed_over(handed_over, generation);
        self.parts.wiring.set_view(handed_over, Arc::clone(&view));
        if full {
            self.resend(&view);
        }
        self.parts.told.send_replace(Told { view: Arc::clone(&view), complete: true });
        self.parts.stored.send_replace(view);
    }

    /// What an earlier leader was told and lost, the present one is told again.
    fn resend(&self, view: &NodeView) {
        for assigned in tasks(view) {
            let task = &assigned.task;
            self.parts.reporter.resend_if_behind(&task.id, task.status.state);
        }
    }
}

/// The calls' side of a session.
struct Link {
    session_id: String,
    client: DispatcherClient<Channel>,
    reporter: Arc<Reporter>,
    hostname: String,
}

impl Link {
    async fn beat(&self, period_ms: u64) -> Result<std::convert::Infallible, SessionError> {
        let (mut period, mut client) = (heartbeat_period(period_ms), self.client.clone());
        loop {
            sleep(period).await;
            let request = v1::HeartbeatRequest { session_id: self.session_id.clone() };
            let deadline = CALL_DEADLINE.max(period);
            let answer = call("Heartbeat", deadline, client.heartbeat(request)).await?;
            period = heartbeat_period(answer.into_inner().period_ms);
        }
    }

    async fn report(
        &self,
        generations: &Mutex<GenerationMap>,
        mut applied: watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, SessionError> {
        let (mut changes, mut client) = (self.reporter.changes(), self.client.clone());
        let mut told = 0;
        loop {
            // Marked before they are read: a change in between is seen by the next round.
            changes.mark_unchanged();
            let generation = locked(generations).applied(*applied.borrow_and_update());
            let batch = self.reporter.batch(STATUSES_PER_REPORT);
            if batch.is_empty() && generation <= told {
                tokio::select! {
                    changed = changes.changed() => changed.map_err(|_| SessionError::Ended)?,
                    changed = applied.changed() => changed.map_err(|_| SessionError::Ended)?,
                }
                continue;
            }
            let tasks = batch.iter().map(|(task, status)| v1::TaskReport {
                task_id: task.to_string(),
                status: document::encode(status),
            });
            let request = v1::ReportRequest {
                session_id: self.session_id.clone(),
                tasks: tasks.collect(),
                applied_generation: generation,
            };
            call("Report", REPORT_DEADLINE, client.report(request)).await?;
            self.reporter.acknowledge(&batch);
            told = generation;
        }
    }

    /// Findings that do not arrive are not missed by anything but the test.
    async fn probe(
        &self,
        mut orders: mpsc::Receiver<ProbeOrder>,
        wiring: &dyn Wiring,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut client = self.client.clone();
        loop {
            let order = orders.recv().await.ok_or(SessionError::Ended)?;
            info!(test = order.test, "connectivity test");
            let findings = wiring.probe(order.test).await;
            let request = v1::ProbedRequest { findings: document::encode(&findings) };
            call("Probed", CALL_DEADLINE, client.probed(request)).await?;
        }
    }

    async fn describe(
        &self,
        mut facts: watch::Receiver<Option<EngineFacts>>,
        mut described: NodeDescription,
    ) -> Result<std::convert::Infallible, SessionError> {
        let mut client = self.client.clone();
        loop {
            let present = describe(&self.hostname, facts.borrow_and_update().as_ref(), &described);
            if present != described {
                let request = v1::DescribeRequest {
                    session_id: self.session_id.clone(),
                    description: document::encode(&present),
                };
                call("Describe", REPORT_DEADLINE, client.describe(request)).await?;
                described = present;
            }
            facts.changed().await.map_err(|_| SessionError::Ended)?;
        }
    }
}

fn heartbeat_period(period_ms: u64) -> Duration {
    Duration::from_millis(period_ms).clamp(HEARTBEAT_BOUNDS.0, HEARTBEAT_BOUNDS.1)
}

async fn next_message(
    stream: &mut Streaming<v1::SessionMessage>,
    deadline: Duration,
) -> Result<v1::SessionMessage, SessionError> {
    match timeout(deadline, stream.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(SessionError::Ended),
        Ok(Err(status)) => Err(refused("Session", status)),
        Err(_) => Err(SessionError::Silent { call: "Session" }),
    }
}

async fn call<T>(
    name: &'static str,
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, SessionError> {
    match timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(refused(name, status)),
        Err(_) => Err(SessionError::Silent { call: name }),
    }
}

fn refused(call: &'static str, status: Status) -> SessionError {
    SessionError::Refused { call, status: Box::new(status) }
}

fn locked(generations: &Mutex<GenerationMap>) -> MutexGuard<'_, GenerationMap> {
    // No operation of the map can panic half way.
    generations.lock().unwrap_or_else(PoisonError::into_inner)
}
