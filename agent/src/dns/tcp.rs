//! Queries over TCP: for replies that do not fit a datagram.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use swarmnet_proto::gate::Gate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::answer::{Verdict, answer};
use super::message::Transport;
use super::server::Server;

/// Connections at a time: each is a descriptor of the daemon.
const CONNECTIONS_MAX: usize = 256;
/// … of one attachment.
const CONNECTIONS_EACH_MAX: usize = 16;
/// A client may be silent this long between two queries (RFC 7766: a few seconds).
const IDLE: Duration = Duration::from_secs(10);
/// The rest of a message that has begun, and a reply that is being taken, must come this fast.
const MESSAGE_TIME: Duration = Duration::from_secs(5);
/// Rest after a failed accept, which is mostly a lack of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Accepts until the server stops.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>) {
    let connections = Gate::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection of a task");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let asker = asker_of(&server, peer);
        let Some(lidx) = asker else { continue };
        let Some(place) = connections.enter(lidx) else {
            server.counters.over_limit.add(1);
            continue;
        };
        let shared = Arc::clone(&server);
        server.spawn(async move {
            // How a client ends a connection is its own affair.
            let _ = converse(stream, peer, &shared).await;
            drop(place);
        });
    }
}

fn asker_of(server: &Server, peer: SocketAddr) -> Option<u32> {
    let IpAddr::V4(source) = peer.ip() else { return None };
    let zone = server.table.load();
    server.asker(&zone, source).map(|(lidx, _)| lidx)
}

/// Answers one query after the other.
async fn converse(mut stream: TcpStream, peer: SocketAddr, server: &Arc<Server>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut turn = server.seed();
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut message = vec![0; usize::from(length)];
        timeout(MESSAGE_TIME, stream.read_exact(&mut message)).await??;
        server.counters.queries_tcp.add(1);
        turn = turn.wrapping_add(1);
        let Some(reply) = reply_to(&message, peer, server, turn).await else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(MESSAGE_TIME, stream.write_all(&framed)).await??;
    }
}

/// Returns the reply; `None` if there is none to give, which ends the connection.
async fn reply_to(
    message: &[u8],
    peer: SocketAddr,
    server: &Arc<Server>,
    turn: u32,
) -> Option<Vec<u8>> {
    let IpAddr::V4(source) = peer.ip() else { return None };
    let zone = server.table.load_full();
    let (lidx, asker) = server.asker(&zone, source)?;
    let mut out = Vec::new();
    match answer(message, Transport::Tcp, (&zone, asker), turn, &mut out) {
        Verdict::Reply(_) => server.counters.answered.add(1),
        Verdict::Forward(query) => match server.enter_forward(lidx) {
            Some(_place) => server.forwarder.reply(&query, &asker.upstreams, &mut out).await,
            None => server.refuse(&query, &mut out),
        },
        Verdict::Drop => {
            server.counters.not_queries.add(1);
            return None;
        }
    }
    Some(out)
}
