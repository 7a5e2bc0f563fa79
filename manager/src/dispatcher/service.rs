//! The dispatcher's gRPC service: checks the caller, then asks the loop or the store.
//!
//! The caller is who its certificate says; statuses and descriptions of another node are not taken.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::{Stream, StreamExt};
use swarmnet_model::limits::{
    CALL_TIMEOUT, PORTS_PER_SERVICE_MAX, STATUSES_PER_REPORT, TASK_ERROR_LENGTH_MAX,
};
use swarmnet_model::{
    AttachCall, Code, NodeDescription, NodeId, NodeState, Role, Tables, TaskId, TaskStatus,
};
use swarmnet_proto::transport::{PeerAddr, TlsContext};
use swarmnet_proto::v1::dispatcher_server::Dispatcher;
use swarmnet_proto::{document, v1};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::combine::Write;
use super::connectivity;
use super::run::{self, Request as Ask};
use crate::store::{Change, ProposeError, Store};
use crate::{address, control};

/// Pending requests to the loop: a slow loop makes callers wait, not memory grow.
const REQUESTS_MAX: usize = 1_024;
/// Callers whose changes wait for the entry that is being written.
const WRITES_MAX: usize = 1_024;

/// Where the running loop takes requests; closed while this manager does not lead.
#[derive(Clone, Default)]
pub struct Desk {
    open: Arc<ArcSwapOption<Senders>>,
    /// The connectivity test that goes on.
    pub(super) test: connectivity::Current,
}

struct Senders {
    asks: mpsc::Sender<Ask>,
    writes: mpsc::Sender<Write>,
}

impl Desk {
    /// Opens the desk for new loops; it closes when the returned guard is dropped.
    pub fn open(&self) -> (OpenDesk, mpsc::Receiver<Ask>, mpsc::Receiver<Write>) {
        let (asks, asked) = mpsc::channel(REQUESTS_MAX);
        let (writes, to_write) = mpsc::channel(WRITES_MAX);
        self.open.store(Some(Arc::new(Senders { asks, writes })));
        (OpenDesk(self.clone()), asked, to_write)
    }

    /// True while this manager leads.
    fn is_open(&self) -> bool {
        self.open.load().is_some()
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<(), Status> {
        let open = self.open.load_full().ok_or_else(not_leading)?;
        open.asks.send(ask).await.map_err(|_| not_leading())
    }

    /// Returns once the changes are written, with those of others; none of them may be refusable.
    async fn write(&self, changes: Vec<Change>) -> Result<(), Status> {
        if changes.is_empty() {
            return Ok(());
        }
        let open = self.open.load_full().ok_or_else(not_leading)?;
        let (answer, written) = oneshot::channel();
        open.writes.send(Write { changes, answer }).await.map_err(|_| not_leading())?;
        drop(open);
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ProposeError::NotLeader { .. })) | Err(_) => Err(not_leading()),
            Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
        }
    }
}

/// Closes the desk when the loop ends.
pub struct OpenDesk(Desk);

impl Drop for OpenDesk {
    fn drop(&mut self) {
        self.0.open.store(None);
    }
}

fn late() -> Status {
    Status::deadline_exceeded("too few managers confirmed in time")
}

fn not_leading() -> Status {
    Status::unavailable("this manager does not lead")
}

/// Serves agents.
pub struct DispatcherService {
    store: Store,
    desk: Desk,
    tls: TlsContext,
}

type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionMessage, Status>> + Send>>;

impl DispatcherService {
    pub fn new(store: Store, desk: Desk, tls: TlsContext) -> Self {
        Self { store, desk, tls }
    }

    /// Returns the calling node, if it is a node of this cluster.
    fn caller<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let peer = self.tls.require(request, &[Role::Worker, Role::Manager])?;
        if self.store.snapshot().nodes.contains_key(&peer.node_id) {
            return Ok(peer.node_id);
        }
        Err(Status::not_found(format!("node {} is not part of this cluster", peer.node_id)))
    }

    async fn describe_node(&self, id: NodeId, bytes: &[u8]) -> Result<(), Status> {
        let description: NodeDescription =
            document::decode("description", bytes).map_err(bad_document)?;
        let known = self.store.snapshot().nodes.get(&id).and_then(|n| n.description.clone());
        if known.as_ref() == Some(&description) {
            return Ok(());
        }
        self.propose(vec![Change::DescribeNode { id, description: Box::new(description) }]).await
    }

    async fn propose(&self, changes: Vec<Change>) -> Result<(), Status> {
        let written = timeout(CALL_TIMEOUT, self.desk.write(changes)).await;
        written.unwrap_or_else(|_| Err(late()))
    }

    /// Statuses that say something the store does not hold yet.
    fn news(&self, node_id: &NodeId, reports: Vec<v1::TaskReport>) -> Result<Vec<Change>, Status> {
        if reports.len() > STATUSES_PER_REPORT {
            return Err(Status::invalid_argument("tasks: more than 1000 statuses in one report"));
        }
        let tables = self.store.snapshot();
        let mut changes = Vec::new();
        for report in reports {
            let mut status: TaskStatus =
                document::decode("tasks.status", &report.status).map_err(bad_document)?;
            status.err = status.err.map(shortened);
            status.message = shortened(status.message);
            status.ports.truncate(PORTS_PER_SERVICE_MAX);
            let id = TaskId::from_text(report.task_id);
            let known = tables.tasks.get(&id).is_none_or(|task| task.status == status);
            if !known {
                let (node_id, status) = (node_id.clone(), Box::new(status));
                changes.push(Change::ReportTask { id, node_id, status });
            }
        }
        Ok(changes)
    }
}

/// True if the node takes no part; one that was removed meanwhile does not either.
fn is_down(tables: &Tables, id: &NodeId) -> bool {
    tables.nodes.get(id).is_none_or(|node| node.status.state == NodeState::Down)
}

/// A node that leaves takes its plain containers off the networks.
fn forget_attached(tables: &Tables, node: &NodeId) -> Vec<Change> {
    tables.attached_on(node).map(|c| Change::RemoveAttached { id: c.id.clone() }).collect()
}

fn shortened(text: String) -> String {
    text.chars().take(TASK_ERROR_LENGTH_MAX).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "used as map_err's function")]
fn bad_document(error: document::BadDocument) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The address the node advertises, else the one it calls from; and the latter.
fn node_addr(request: &Request<v1::SessionRequest>) -> Result<(Ipv4Addr, Option<IpAddr>), Status> {
    let wished = &request.get_ref().advertise_addr;
    let seen = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_canonical());
    if !wished.is_empty() {
        let invalid = |_| Status::invalid_argument("advertise_addr: not an IPv4 address");
        return Ok((wished.parse().map_err(invalid)?, seen));
    }
    match seen {
        Some(IpAddr::V4(addr)) => Ok((addr, seen)),
        Some(IpAddr::V6(_)) | None => Err(no_ipv4()),
    }
}

fn no_ipv4() -> Status {
    Status::invalid_argument("advertise_addr: the node calls from no IPv4 address")
}

#[tonic::async_trait]
impl Dispatcher for DispatcherService {
    type SessionStream = SessionStream;

    async fn session(
        &self,
        request: Request<v1::SessionRequest>,
    ) -> Result<Response<SessionStream>, Status> {
        let node_id = self.caller(&request)?;
        let (addr, seen) = node_addr(&request)?;
        if let Some(rival) = address::rival(&self.store.snapshot(), Some(&node_id), addr, seen) {
            return Err(Status::already_exists(format!("{addr} is the address of node {rival}")));
        }
        self.describe_node(node_id.clone(), &request.get_ref().description).await?;
        let (stream, receiver) = run::stream_queue();
        self.desk.ask(Ask::Open { node_id, addr, stream }).await?;
        let messages: SessionStream = Box::pin(ReceiverStream::new(receiver).map(Ok));
        Ok(Response::new(messages))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let node_id = self.caller(&request)?;
        let (reply, answer) = oneshot::channel();
        let session_id = request.into_inner().session_id;
        self.desk.ask(Ask::Heartbeat { node_id, session_id, reply }).await?;
        let period: Option<Duration> = answer.await.map_err(|_| not_leading())?;
        let period = period.ok_or_else(|| Status::aborted("this session has ended"))?;
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        Ok(Response::new(v1::HeartbeatResponse { period_ms }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let node_id = self.caller(&request)?;
        let report = request.into_inner();
        let changes = self.news(&node_id, report.tasks)?;
        let ask = Ask::Applied {
            node_id,
            session_id: report.session_id,
            generation: report.applied_generation,
        };
        self.desk.ask(ask).await?;
        self.propose(changes).await?;
        Ok(Response::new(v1::ReportResponse {}))
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        let node_id = self.caller(&request)?;
        self.describe_node(node_id, &request.into_inner().description).await?;
        Ok(Response::new(v1::DescribeResponse {}))
    }

    async fn probed(
        &self,
        request: Request<v1::ProbedRequest>,
    ) -> Result<Response<v1::ProbedResponse>, Status> {
        let node_id = self.caller(&request)?;
        let findings =
            document::decode("findings", &request.get_ref().findings).map_err(bad_document)?;
        self.desk.test.take(node_id, findings);
        Ok(Response::new(v1::ProbedResponse {}))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<v1::AttachResponse>, Status> {
        let node_id = self.caller(&request)?;
        let call: AttachCall =
            document::decode("call", &request.into_inner().call).map_err(bad_document)?;
        if !self.desk.is_open() {
            return Err(not_leading());
        }
        let carried_out = control::attached(&self.store, &node_id, &call);
        let result = match timeout(CALL_TIMEOUT, carried_out).await {
            Ok(Err(error)) if error.code == Code::NoLeader => return Err(not_leading()),
            Ok(result) => result,
            Err(_) => return Err(late()),
        };
        Ok(Response::new(v1::AttachResponse { result: document::encode(&result) }))
    }

    async fn leave(
        &self,
        request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::LeaveResponse>, Status> {
        let node_id = self.caller(&request)?;
        self.desk.ask(Ask::Leave { node_id: node_id.clone() }).await?;
        self.propose(forget_attached(&self.store.snapshot(), &node_id)).await?;
        let mut tables = self.store.watch();
        let down = tables.wait_for(|tables| is_down(tables, &node_id));
        match timeout(CALL_TIMEOUT, down).await {
            Ok(Ok(_)) => Ok(Response::new(v1::LeaveResponse {})),
            Ok(Err(_)) => Err(not_leading()),
            Err(_) => Err(late()),
        }
    }
}
