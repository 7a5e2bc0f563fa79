//! How a call or a read reaches the leader, and how a new manager gets its Raft id.
//!
//! A follower forwards once, to the manager it believes to lead; that one answers itself or says
//! that it does not lead. Nothing is sent twice: a write whose answer was lost may have happened.

use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::limits::{CALL_TIMEOUT, RPC_MESSAGE_BYTES_MAX};
use swarmnet_model::{Call, CallError, Code, Connectivity, NodeId, Reply, Role};
use swarmnet_proto::document;
use swarmnet_proto::transport::{PeerAddr, TlsContext};
use swarmnet_proto::v1::control_client::ControlClient;
use swarmnet_proto::v1::control_server::Control;
use swarmnet_proto::v1::{
    ControlRequest, ControlResponse, JoinRaftRequest, JoinRaftResponse, LogOrdersRequest,
    LogOrdersResponse, NodeLogOrder, ReadIndexRequest, ReadIndexResponse, TestConnectivityRequest,
    TestConnectivityResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::join_raft;
use crate::dispatcher::service::Desk;
use crate::dispatcher::{connectivity, run};
use crate::ids::OsIds;
use crate::raft::{Leader, RaftGroup};
use crate::store::Store;

/// One question to the leader for an index; it asks a majority itself.
const READ_INDEX_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers other managers.
pub struct ControlService {
    group: Arc<RaftGroup>,
    store: Store,
    desk: Desk,
    tls: TlsContext,
}

impl ControlService {
    pub fn new(group: Arc<RaftGroup>, store: Store, desk: Desk, tls: TlsContext) -> Self {
        Self { group, store, desk, tls }
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn call(
        &self,
        request: Request<ControlRequest>,
    ) -> Result<Response<ControlResponse>, Status> {
        self.tls.require(&request, &[Role::Manager])?;
        let call: Call = document::decode("call", &request.into_inner().call)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let result = match self.group.leader() {
            Leader::Own => super::lead(&self.group, &self.store, call).await,
            Leader::Other(_) | Leader::Unknown => Err(CallError::no_leader()),
        };
        Ok(Response::new(ControlResponse { result: document::encode(&result) }))
    }

    async fn test_connectivity(
        &self,
        request: Request<TestConnectivityRequest>,
    ) -> Result<Response<TestConnectivityResponse>, Status> {
        self.tls.require(&request, &[Role::Manager])?;
        let result = match self.group.leader() {
            Leader::Own => connectivity::test(&self.desk, &self.store, &mut OsIds).await,
            Leader::Other(_) | Leader::Unknown => Err(CallError::no_leader()),
        };
        Ok(Response::new(TestConnectivityResponse { result: document::encode(&result) }))
    }

    async fn order_logs(
        &self,
        request: Request<LogOrdersRequest>,
    ) -> Result<Response<LogOrdersResponse>, Status> {
        self.tls.require(&request, &[Role::Manager])?;
        let orders = request.into_inner().orders.into_iter();
        let orders = orders.map(|order| (NodeId::from_text(order.node_id), order.order)).collect();
        self.desk.ask(run::Request::Logs { orders }).await?;
        Ok(Response::new(LogOrdersResponse {}))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        self.tls.require(&request, &[Role::Manager])?;
        match self.group.read_index().await {
            Ok(index) => Ok(Response::new(ReadIndexResponse { index })),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn join_raft(
        &self,
        request: Request<JoinRaftRequest>,
    ) -> Result<Response<JoinRaftResponse>, Status> {
        let peer = self.tls.require(&request, &[Role::Manager])?;
        let seen = request.extensions().get::<PeerAddr>().map(|addr| addr.0.ip());
        let addr = join_raft::checked_addr(&request.get_ref().addr, seen)?;
        let raft_id = match self.group.leader() {
            Leader::Own => join_raft::admit(&self.store, &peer.node_id, &addr).await?,
            Leader::Other(leader) => return Err(join_raft::ask(&leader.addr)),
            Leader::Unknown => return Err(Status::unavailable("the swarm does not have a leader")),
        };
        Ok(Response::new(JoinRaftResponse { raft_id }))
    }
}

fn client(tls: &TlsContext, addr: &str) -> ControlClient<Channel> {
    ControlClient::new(tls.channel(addr))
        .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX)
}

/// Has the manager at `addr` carry out the call.
///
/// # Errors
/// The leader's own refusal; `no_leader` if it does not lead or cannot be reached.
pub async fn call(tls: &TlsContext, addr: &str, call: &Call) -> Result<Reply, CallError> {
    let mut request = Request::new(ControlRequest { call: document::encode(call) });
    request.set_timeout(CALL_TIMEOUT);
    let answered = client(tls, addr).call(request).await.map_err(|status| unanswered(&status))?;
    document::decode::<Result<Reply, CallError>>("result", &answered.into_inner().result)
        .map_err(|_| CallError::no_leader())?
}

/// Has the manager at `addr` test how the nodes reach each other.
///
/// # Errors
/// As [`call`].
pub async fn test_connectivity(tls: &TlsContext, addr: &str) -> Result<Connectivity, CallError> {
    let mut request = Request::new(TestConnectivityRequest {});
    request.set_timeout(CALL_TIMEOUT);
    let answered = client(tls, addr).test_connectivity(request).await;
    let answer = answered.map_err(|status| unanswered(&status))?.into_inner();
    document::decode::<Result<Connectivity, CallError>>("result", &answer.result)
        .map_err(|_| CallError::no_leader())?
}

/// Has the manager at `addr` put orders of logs into the sessions of nodes. The caller sets the
/// deadline.
///
/// # Errors
/// It does not lead or cannot be reached.
pub async fn order_logs(
    tls: &TlsContext,
    addr: &str,
    orders: Vec<(NodeId, Vec<u8>)>,
) -> Result<(), Status> {
    let order = |(node, order): (NodeId, _)| NodeLogOrder { node_id: node.to_string(), order };
    let request = LogOrdersRequest { orders: orders.into_iter().map(order).collect() };
    client(tls, addr).order_logs(request).await.map(drop)
}

/// Asks the manager at `addr` up to where a read must have applied.
///
/// # Errors
/// `no_leader` if it does not lead or cannot be reached.
pub async fn read_index(tls: &TlsContext, addr: &str) -> Result<u64, CallError> {
    let mut request = Request::new(ReadIndexRequest {});
    request.set_timeout(READ_INDEX_TIMEOUT);
    let answered = client(tls, addr).read_index(request).await;
    answered.map(|answer| answer.into_inner().index).map_err(|status| unanswered(&status))
}

/// Asks the managers in turn, and whom they name as leader, for this manager's Raft id.
///
/// # Errors
/// `no_leader` while none of them leads or can be reached; the leader's refusal in its words.
pub async fn join_raft(
    tls: &TlsContext,
    managers: &[String],
    addr: &str,
) -> Result<u64, CallError> {
    let mut error = CallError::no_leader();
    let mut to_ask: Vec<String> = managers.iter().rev().cloned().collect();
    // Each manager may name the leader once; names that lead in a circle end here.
    let mut asks_left = managers.len() * 2;
    while let Some(manager) = to_ask.pop() {
        if asks_left == 0 {
            break;
        }
        asks_left -= 1;
        let mut request = Request::new(JoinRaftRequest { addr: addr.to_owned() });
        request.set_timeout(CALL_TIMEOUT);
        match client(tls, &manager).join_raft(request).await {
            Ok(answer) => return Ok(answer.into_inner().raft_id),
            Err(status) => {
                to_ask.extend(join_raft::named_leader(&status));
                error = refusal(&status);
            }
        }
    }
    Err(error)
}

fn unanswered(status: &Status) -> CallError {
    let late = [tonic::Code::DeadlineExceeded, tonic::Code::Cancelled];
    if late.contains(&status.code()) { CallError::deadline() } else { CallError::no_leader() }
}

fn refusal(status: &Status) -> CallError {
    if status.code() == tonic::Code::PermissionDenied {
        CallError::manager(Code::PermissionDenied, status.message())
    } else if status.code() == tonic::Code::InvalidArgument {
        CallError::invalid(status.message())
    } else {
        unanswered(status)
    }
}
