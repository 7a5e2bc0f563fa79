//! The listening side: bounded connections, bounded handshakes, an identity on every request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::{Request, Status};

use super::stream::{Peer, PeerStream, Share};
use super::{PeerAddr, PeerIdentity, TlsContext};
use crate::gate::{Gate, Place};

/// A peer that has not finished TLS by then is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of nodes: a thousand nodes with a few each.
const CONNECTIONS_MAX: usize = 8_192;
/// Connections without a certificate, handshakes included: strangers cannot use up the nodes' share.
pub(super) const STRANGERS_MAX: usize = 512;
/// … of one source: one stranger cannot keep nodes from their handshakes. Many nodes may share an
/// address.
const STRANGERS_EACH_MAX: usize = 128;
/// A joiner needs two calls; a stranger that stays longer is cut off.
const STRANGER_LIFE: Duration = Duration::from_secs(30);
/// Requests at once on one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes of a request's header list.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Streams that were reset before they were served; more is a rapid-reset flood.
const PENDING_RESETS_MAX: usize = 32;
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the stop to the forced end of connections whose streams go on.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Wait after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the routes until `stop`; connections that outlive the stop by 2 s are cut.
///
/// Every request carries a [`PeerAddr`], and a [`PeerIdentity`] if its sender showed a valid
/// certificate of this cluster's root.
///
/// # Errors
/// The HTTP/2 server's; a single bad connection is none.
pub async fn serve(
    listener: TcpListener,
    tls: TlsContext,
    routes: Routes,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let cut = CancellationToken::new();
    let (sender, accepted) = mpsc::channel::<io::Result<PeerStream>>(64);
    let acceptor = Acceptor {
        tls,
        cut: cut.clone(),
        nodes: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        strangers: Gate::new(STRANGERS_MAX, STRANGERS_EACH_MAX),
        sender,
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(InterceptorLayer::new(name_the_peer))
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            ReceiverStream::new(accepted),
            stop.clone().cancelled_owned(),
        );
    let cutting = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
        cut.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = server => result,
        () = acceptor.run(listener, &stop) => unreachable!("the accept loop waits after its stop"),
        () = cutting => unreachable!("the cut is followed by waiting"),
    }
}

/// Turns what the connection knows into what services look for.
fn name_the_peer(mut request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(Peer { addr, identity }) = request.extensions_mut().remove::<Peer>() {
        request.extensions_mut().insert(PeerAddr(addr));
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
    }
    Ok(request)
}

#[derive(Clone)]
struct Acceptor {
    tls: TlsContext,
    cut: CancellationToken,
    nodes: Arc<Semaphore>,
    strangers: Arc<Gate<IpAddr>>,
    sender: mpsc::Sender<io::Result<PeerStream>>,
}

impl Acceptor {
    /// Accepts until the stop, then waits: the caller's server ends the scene.
    async fn run(self, listener: TcpListener, stop: &CancellationToken) {
        let mut handshakes = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = handshakes.join_next() => {}
                result = listener.accept() => match result {
                    Ok((stream, addr)) => {
                        // Until it has shown a certificate, everybody is a stranger.
                        match self.strangers.enter(source(addr)) {
                            Some(place) => {
                                handshakes.spawn(self.clone().admit(stream, addr, place));
                            }
                            None => tracing::debug!(%addr, "too many strangers: refused"),
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "control port cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        drop(handshakes);
        std::future::pending::<()>().await;
    }

    async fn admit(self, stream: TcpStream, addr: SocketAddr, stranger: Place<IpAddr>) {
        let handshake = TlsAcceptor::from(self.tls.server_config()).accept(stream);
        let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(%addr, %error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let Some(stream) = self.name(tls, addr, stranger) else {
            return;
        };
        // A closed receiver means that the server has stopped.
        let _ = self.sender.send(Ok(stream)).await;
    }

    /// Returns the connection with its peer's identity; `None` if the certificate is valid but does
    /// not name a node, or too many are connected.
    fn name(
        &self,
        tls: TlsStream<TcpStream>,
        addr: SocketAddr,
        stranger: Place<IpAddr>,
    ) -> Option<PeerStream> {
        let _ = tls.get_ref().0.set_nodelay(true);
        let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = match shown.map(|der| PeerIdentity::from_certificate(der)).transpose() {
            Ok(identity) => identity,
            Err(error) => {
                tracing::warn!(%addr, %error, "certificate names no node");
                return None;
            }
        };
        let (share, life) = match &identity {
            Some(_) => (Share::Node(Arc::clone(&self.nodes).try_acquire_owned().ok()?), None),
            None => (Share::Stranger(stranger), Some(STRANGER_LIFE)),
        };
        let peer = Peer { addr, identity };
        Some(PeerStream::new(tls, peer, share, self.cut.clone(), life))
    }
}

/// Who has one IPv6 address has the 2⁶⁴ of its link.
fn source(addr: SocketAddr) -> IpAddr {
    match addr.ip().to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        v4 => v4,
    }
}
