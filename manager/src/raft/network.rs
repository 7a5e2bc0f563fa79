//! Raft between managers: openraft's messages as JSON documents over the control port.
//!
//! Only managers may call. A peer that cannot be reached is `Unreachable`, so that openraft backs
//! off instead of spinning. Snapshot pieces travel as bytes behind a small document.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use swarmnet_model::Role;
use swarmnet_model::limits::RPC_MESSAGE_BYTES_MAX;
use swarmnet_proto::document;
use swarmnet_proto::transport::TlsContext;
use swarmnet_proto::v1::RaftMessage;
use swarmnet_proto::v1::raft_client::RaftClient;
use swarmnet_proto::v1::raft_server;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::types::{Member, Raft, SnapshotMeta, TypeConfig, Vote};

/// Pause before an unreachable manager is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(200);

/// When each manager last answered this one.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl Heard {
    fn from(&self, id: u64) {
        self.0.lock().expect("no holder of this lock panics").insert(id, Instant::now());
    }

    pub(super) fn within(&self, id: u64, limit: Duration) -> bool {
        let heard = self.0.lock().expect("no holder of this lock panics").get(&id).copied();
        heard.is_some_and(|at| at.elapsed() <= limit)
    }
}

/// Opens channels to other managers; several users of one address share a connection.
pub(super) struct Network {
    tls: TlsContext,
    heard: Heard,
    channels: BTreeMap<String, Channel>,
}

impl Network {
    pub(super) fn new(tls: TlsContext, heard: Heard) -> Self {
        Self { tls, heard, channels: BTreeMap::new() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        let channel = self
            .channels
            .entry(node.addr.clone())
            .or_insert_with(|| self.tls.channel(&node.addr))
            .clone();
        let client = RaftClient::new(channel)
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        Connection { target, client, heard: self.heard.clone() }
    }
}

/// The way to one other manager.
pub(super) struct Connection {
    target: u64,
    client: RaftClient<Channel>,
    heard: Heard,
}

/// What the other manager answers: openraft's own result.
type Answer<T, E> = Result<T, RaftError<u64, E>>;
type CallError<E> = RPCError<u64, Member, RaftError<u64, E>>;

impl Connection {
    /// Turns what came back, or did not, into openraft's terms.
    #[expect(clippy::result_large_err, reason = "the error is openraft's")]
    fn understand<T, E>(
        &self,
        received: Result<Response<RaftMessage>, Status>,
    ) -> Result<T, CallError<E>>
    where
        T: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let message = received.map_err(|status| unreachable_peer(&status))?.into_inner();
        let answer: Answer<T, E> =
            document::decode("payload", &message.payload).map_err(|e| unreachable_peer(&e))?;
        self.heard.from(self.target);
        answer.map_err(|error| RemoteError::new(self.target, error).into())
    }
}

fn unreachable_peer<E: std::error::Error>(
    error: &(impl std::error::Error + 'static),
) -> CallError<E> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn request(payload: Vec<u8>, option: &RPCOption) -> Request<RaftMessage> {
    let mut request = Request::new(RaftMessage { payload });
    request.set_timeout(option.hard_ttl());
    request
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError<openraft::error::Infallible>> {
        let request = request(document::encode(&rpc), &option);
        let received = self.client.append_entries(request).await;
        self.understand(received)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError<openraft::error::Infallible>> {
        let request = request(document::encode(&rpc), &option);
        let received = self.client.vote(request).await;
        self.understand(received)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<InstallSnapshotError>> {
        let request = request(Piece::pack(rpc), &option);
        let received = self.client.install_snapshot(request).await;
        self.understand(received)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}

/// A snapshot piece without its bytes: `length of this document (4, LE) | document | bytes`.
#[derive(Serialize, Deserialize)]
struct Piece {
    vote: Vote,
    meta: SnapshotMeta,
    offset: u64,
    done: bool,
}

impl Piece {
    fn pack(rpc: InstallSnapshotRequest<TypeConfig>) -> Vec<u8> {
        let piece = Self { vote: rpc.vote, meta: rpc.meta, offset: rpc.offset, done: rpc.done };
        let head = document::encode(&piece);
        let length = u32::try_from(head.len()).expect("a membership has far less than 4 GiB");
        let mut packed = Vec::with_capacity(4 + head.len() + rpc.data.len());
        packed.extend(length.to_le_bytes());
        packed.extend(head);
        packed.extend(rpc.data);
        packed
    }

    fn unpack(payload: &[u8]) -> Result<InstallSnapshotRequest<TypeConfig>, Status> {
        let short = || Status::invalid_argument("the snapshot piece is cut short");
        let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| short())?;
        let (head, data) = rest.split_at_checked(length).ok_or_else(short)?;
        let Self { vote, meta, offset, done } = decode(head)?;
        Ok(InstallSnapshotRequest { vote, meta, offset, done, data: data.to_vec() })
    }
}

/// The receiving side, for managers only.
pub struct RaftService {
    raft: Raft,
    tls: TlsContext,
}

impl RaftService {
    pub(super) fn new(raft: Raft, tls: TlsContext) -> Self {
        Self { raft, tls }
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.tls.require(request, &[Role::Manager]).map(drop)
    }
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append_entries(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        self.admit(&request)?;
        let rpc = decode(&request.into_inner().payload)?;
        answer(&self.raft.append_entries(rpc).await)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        self.admit(&request)?;
        let rpc = decode(&request.into_inner().payload)?;
        answer(&self.raft.vote(rpc).await)
    }

    async fn install_snapshot(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        self.admit(&request)?;
        let rpc = Piece::unpack(&request.into_inner().payload)?;
        answer(&self.raft.install_snapshot(rpc).await)
    }
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Status> {
    document::decode("payload", payload)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn answer<T: Serialize, E: Serialize>(
    result: &Answer<T, E>,
) -> Result<Response<RaftMessage>, Status>
where
    RaftError<u64, E>: Serialize,
{
    let payload = serde_json::to_vec(result)
        .map_err(|error| Status::internal(io::Error::other(error).to_string()))?;
    Ok(Response::new(RaftMessage { payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_piece_survives_the_wire() {
        let rpc = InstallSnapshotRequest {
            vote: Vote::new(3, 1),
            meta: SnapshotMeta::default(),
            offset: 7,
            data: vec![0, 1, 255],
            done: true,
        };
        let packed = Piece::pack(rpc.clone());
        assert_eq!(Piece::unpack(&packed).unwrap(), rpc);
        for length in 0..packed.len() - rpc.data.len() {
            assert!(Piece::unpack(&packed[..length]).is_err());
        }
    }
}
