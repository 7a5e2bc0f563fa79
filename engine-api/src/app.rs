//! What every request handler has at hand: the node, its engine, the request.

use std::path::PathBuf;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use swarmnet_model::limits::CALL_TIMEOUT;
use swarmnet_model::{Call, CallError, Reply, Tables};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control_plane::ControlPlane;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::json::{Document, Shape};
use crate::path::Path;
use crate::query::Query;
use crate::version::{self, ApiVersion};
use crate::{body, json};

/// The Docker Engine behind this API, and what this API calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The engine's own socket.
    pub socket: PathBuf,
    /// Version of the swarmnet daemon, for `Server:` and `/version`.
    pub swarmnet_version: String,
}

/// Shared by all connections.
pub(crate) struct App {
    pub(crate) control: Arc<dyn ControlPlane>,
    pub(crate) engine: Engine,
    pub(crate) swarmnet_version: String,
    /// Owns the connections, tunnels and engine connections.
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

impl App {
    /// Returns the API version clients are told now.
    pub(crate) fn announced(&self) -> ApiVersion {
        version::announced(self.engine.facts().map(|facts| facts.range))
    }

    /// Returns the cluster's state.
    ///
    /// # Errors
    /// Docker's text where this node is no manager; `DeadlineExceeded` after 20 s.
    pub(crate) async fn tables(&self) -> Result<Arc<Tables>, ApiError> {
        let read = timeout(CALL_TIMEOUT, self.control.read());
        Ok(read.await.map_err(|_| CallError::deadline())??)
    }

    /// Asks the managers to change something.
    pub(crate) async fn ask(&self, call: Call) -> Result<Reply, ApiError> {
        let answer = timeout(CALL_TIMEOUT, self.control.call(call));
        Ok(answer.await.map_err(|_| CallError::deadline())??)
    }
}

/// One request on its way to an answer.
pub(crate) struct Exchange {
    pub(crate) app: Arc<App>,
    /// The API version this request is served in.
    pub(crate) version: ApiVersion,
    pub(crate) path: Path,
    pub(crate) query: Query,
    pub(crate) request: Request<Incoming>,
}

impl Exchange {
    /// Reads the body as JSON of the shape `T`.
    ///
    /// # Errors
    /// 400 (type, syntax), 408 (slow), 413 (too large).
    pub(crate) async fn document<T: Shape>(&mut self) -> Result<Document, ApiError> {
        let bytes = body::read_json(&mut self.request).await?;
        json::read::<T>(&bytes)
    }
}
