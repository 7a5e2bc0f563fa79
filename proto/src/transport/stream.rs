//! A connection as the gRPC server sees it: TLS, who is behind it, and when it must end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::PeerIdentity;
use crate::gate::Place;

/// What a connection knows of its peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) identity: Option<PeerIdentity>,
}

/// One accepted connection.
pub(super) struct PeerStream {
    tls: TlsStream<TcpStream>,
    peer: Peer,
    /// Ends the connection even if its streams do not: shutdown, or a stranger's time is over.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _share: Share,
}

/// What a connection takes up; given back with it.
pub(super) enum Share {
    Node(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
    Stranger(#[expect(dead_code, reason = "held, not read")] Place<IpAddr>),
}

impl PeerStream {
    pub(super) fn new(
        tls: TlsStream<TcpStream>,
        peer: Peer,
        share: Share,
        stop: CancellationToken,
        life: Option<std::time::Duration>,
    ) -> Self {
        let end = Box::pin(async move {
            match life {
                Some(life) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(life) => {}
                    }
                }
                None => stop.cancelled().await,
            }
        });
        Self { tls, peer, end, _share: share }
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(context).is_ready() {
            // Polled again after an error, the future must not be: replace it by one that is ready.
            self.end = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
