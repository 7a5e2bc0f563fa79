//! The API over a real socket: a control plane in memory, and a small HTTP server as the engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod client;
mod control;
mod engine;
mod events;
mod local;
mod logs;
mod passthrough;
mod recorded;
mod swarm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_engine_api::{EngineConfig, serve};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::control::FakeControl;
use crate::engine::FakeEngine;

/// Longest wait for anything in these tests.
const DEADLINE: Duration = Duration::from_secs(10);

/// A served API with its fakes; everything ends with it.
struct Bed {
    control: Arc<FakeControl>,
    engine: Arc<FakeEngine>,
    client: Client,
    engine_socket: PathBuf,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
    _dir: TempDir,
}

impl Bed {
    /// A manager of a cluster with one ready node, and an engine that serves API 1.12 to 1.41.
    fn manager() -> Self {
        Self::with(FakeControl::manager())
    }

    fn with(control: FakeControl) -> Self {
        let mut bed = Self::without_engine(control);
        bed.start_engine();
        bed
    }

    fn without_engine(control: FakeControl) -> Self {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("docker.sock");
        let engine_socket = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let control = Arc::new(control);
        let cancel = CancellationToken::new();
        let config =
            EngineConfig { socket: engine_socket.clone(), swarmnet_version: "0.1.0".to_owned() };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, control.clone(), config, cancel.clone()));
        Self {
            control,
            engine: Arc::new(FakeEngine::default()),
            client: Client::new(socket),
            engine_socket,
            cancel,
            tasks,
            _dir: dir,
        }
    }

    fn start_engine(&mut self) {
        let listener = UnixListener::bind(&self.engine_socket).unwrap();
        self.tasks.spawn(self.engine.clone().serve(listener, self.cancel.clone()));
    }

    /// Ends the server and waits for it.
    async fn stop(mut self) {
        self.cancel.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(DEADLINE, ended).await.expect("the server ends when cancelled");
    }
}
