//! Channels to managers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::{MANAGER_SERVER_NAME, TlsContext};

/// TCP and TLS together; nodes of one cluster are a few milliseconds apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A manager that vanished without a word is noticed after interval + timeout.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Lets a full view of a large cluster arrive without a round trip per 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

impl TlsContext {
    /// Returns a channel to the manager at `addr` (`host:port`). It connects when first used, and
    /// again after a failure, each time with the certificate in use at that moment.
    pub fn channel(&self, addr: &str) -> Channel {
        let context = self.clone();
        lazy_channel(addr, move || context.client_config())
    }
}

/// Returns a channel whose connections are made to `addr` with the configuration of the moment.
pub(super) fn lazy_channel(
    addr: &str,
    config: impl Fn() -> Arc<ClientConfig> + Send + Sync + 'static,
) -> Channel {
    let addr: Arc<str> = addr.into();
    let connector = service_fn(move |_: Uri| {
        let (addr, config) = (Arc::clone(&addr), config());
        async move { connect(&addr, config).await.map(TokioIo::new) }
    });
    // The authority only fills the `:authority` header; the connector knows where to go.
    Endpoint::from_static("http://swarm-manager")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector)
}

/// Connects and finishes the TLS handshake.
pub(super) async fn connect(
    addr: &str,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let attempt = async {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(MANAGER_SERVER_NAME).expect("the name is a DNS name");
        TlsConnector::from(config).connect(name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, attempt)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in 5 s")))
}
