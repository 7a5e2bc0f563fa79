//! The manager on this node: its control port and the `Manager` behind it.

use std::net::SocketAddrV4;
use std::sync::Arc;

use anyhow::Context;
use swarmnet_manager::{Manager, ManagerConfig};
use swarmnet_proto::transport::serve;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A running manager that listens.
pub(crate) struct ManagerRole {
    manager: Arc<Manager>,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl ManagerRole {
    /// Listens, then starts the manager: a port in use leaves nothing behind.
    ///
    /// # Errors
    /// The port, or the manager's files.
    pub(crate) async fn start(config: ManagerConfig, listen: SocketAddrV4) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen} for other nodes"))?;
        let tls = config.tls.clone();
        let manager = Arc::new(Manager::start(config).await?);
        let stop = CancellationToken::new();
        let served = serve(listener, tls, manager.routes(), stop.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the control port has failed");
            }
        });
        Ok(Self { manager, stop, serving })
    }

    pub(crate) fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// Ends the port and the manager together: the port's open streams end with the manager.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let serving = async { while self.serving.join_next().await.is_some() {} };
        tokio::join!(serving, self.manager.stop());
    }
}
