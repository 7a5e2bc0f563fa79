//! `daemon --cleanup`: takes down what swarmnet made on this machine, and only that.
//!
//! Failure contract: every step is tried; what is left carries our labels and names and goes with the
//! next call. The state directory stays: `swarm leave` empties it, removing it is the user's.

use anyhow::{Context, bail};
use swarmnet_model::NodeId;
use swarmnet_proto::transport::TlsContext;

use crate::agents::remove_from_engine;
use crate::config::Config;
use crate::daemon::start_plane;
use crate::identity::IdentityFiles;
use crate::sockets::take_over_plugin;

/// Removes task containers, networks, devices, programs, pins and rules.
///
/// # Errors
/// What could not be removed.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    // The engine asks the plugin while it removes networks, so it must answer.
    let plugin = take_over_plugin(&config)?;
    let plane = start_plane(&config, plugin).await?;
    let engine = remove_from_engine(&config.engine, own_id(&config).as_ref()).await;
    let removed = plane.remove_all().await;
    plane.shutdown().await;
    for socket in [&config.socket, &config.plugin_socket] {
        crate::files::remove(socket)?;
    }
    removed.context("the data plane could not be removed entirely")?;
    if let Err(error) = engine {
        bail!(
            "the data plane is removed, but not everything in the Docker Engine: {error}. Start \
             the engine and run this again."
        );
    }
    tracing::info!("the data plane of this node is removed");
    Ok(())
}

/// A node that has left has no containers any more, and no certificate.
fn own_id(config: &Config) -> Option<NodeId> {
    let identity = IdentityFiles::new(&config.state_dir).load().ok()??;
    Some(TlsContext::new(&identity).ok()?.node_id())
}
