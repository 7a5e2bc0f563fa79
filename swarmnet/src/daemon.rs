//! The daemon's life: what is started in which order, and how it stops.
//!
//! The data plane and its plugin socket come first and serve in every state of the node; stopping
//! leaves containers, maps and links as they are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use swarmnet_agent::dataplane::{Attach, DataPlane, DataPlaneConfig};
use swarmnet_engine_api::EngineConfig;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agents::EngineAgents;
use crate::cli::AttachMode;
use crate::config::Config;
use crate::control_plane::NodeControl;
use crate::dns_sockets;
use crate::engine;
use crate::node::Node;
use crate::sockets::Sockets;

/// Longest wait for everything to end; roles have their own, shorter ones.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the engine is looked at for the log; it starts two programs for each answer.
const ENGINE_LOOK: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What is missing on this machine.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let Sockets { plugin, api, dns } = Sockets::open(&config)?;
    let plane = start_plane(&config, plugin).await?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(watch_engine(config.engine.clone(), stop.clone()));
    tasks.spawn(dns_sockets::serve(dns, plane.clone(), stop.clone()));
    let agents = Arc::new(EngineAgents::new(&config, plane.clone()));
    let (mut node, requests, status) =
        Node::new(config.state_dir.clone(), config.engine.clone(), agents);
    node.resume().await;
    tasks.spawn(node.run(stop.clone()));
    let control = Arc::new(NodeControl::new(requests, status));
    let engine = EngineConfig {
        socket: config.engine.clone(),
        swarmnet_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    tasks.spawn(swarmnet_engine_api::serve(api, control, engine, stop.clone()));
    notify(NotifyState::Ready);
    tracing::info!(socket = %config.socket.display(), "ready");
    signals.wait().await;
    tracing::info!("stopping: containers and flows go on");
    notify(NotifyState::Stopping);
    stop.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
        tracing::warn!("not everything has ended in time");
    }
    plane.shutdown().await;
    Ok(())
}

/// Starts the data plane with the plugin socket.
///
/// # Errors
/// What the kernel lacks.
pub(crate) async fn start_plane(
    config: &Config,
    plugin_listener: UnixListener,
) -> anyhow::Result<DataPlane> {
    let gateway_pool = DataPlaneConfig::GATEWAY_POOL.parse().expect("the default pool is a prefix");
    let plane = DataPlaneConfig {
        bpffs: config.bpffs.clone(),
        cgroup2: None,
        attach: match config.attach_mode {
            AttachMode::Auto => Attach::Auto,
            AttachMode::Tcx => Attach::Tcx,
            AttachMode::Clsact => Attach::Clsact,
        },
        state_dir: config.state_dir.clone(),
        plugin_listener,
        gateway_pool,
    };
    DataPlane::start(plane).await.context("the data plane cannot start")
}

/// Tells the log when the engine goes, comes, or is in a swarm of its own.
async fn watch_engine(socket: PathBuf, stop: CancellationToken) {
    let mut known = None;
    loop {
        let state = engine::ask(&socket).await;
        if known.as_ref() != Some(&state) {
            match (&state, engine::complaint(&state, &socket)) {
                (engine::EngineState::Ready { version }, _) => {
                    tracing::info!(%version, "the Docker Engine answers");
                }
                (_, Some(complaint)) => tracing::warn!("{complaint}"),
                (_, None) => {}
            }
            known = Some(state);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ENGINE_LOOK) => {}
        }
    }
}

/// Without a supervisor there is nobody to tell.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the supervisor cannot be notified");
    }
}

/// Caught from the very start, so that an early SIGTERM is no crash.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
