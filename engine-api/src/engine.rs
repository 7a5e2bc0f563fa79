//! The way to the node's Docker Engine: one HTTP connection per request over its unix socket.
//!
//! A connection per request keeps upgrades, half-sent bodies and clients that go away simple: the
//! connection ends with the exchange it was made for. It costs some 50 µs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::limits::{
    ENGINE_ANSWER, ENGINE_ANSWER_BYTES_MAX, ENGINE_ANSWER_IN_DOUBT, ENGINE_CONNECT, ENGINE_INFO,
    ENGINE_VERSION_WAIT, HEAD_BYTES_MAX,
};
use crate::version::{ApiVersion, EngineRange};

/// Version that swarmnet's own questions are written for.
const INTERNAL_VERSION: ApiVersion = ApiVersion::new(1, 41);

/// What is known of the engine without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EngineFacts {
    pub(crate) range: EngineRange,
    /// `Builder-Version` of its ping; tells the CLI which builder to use.
    pub(crate) builder_version: Option<String>,
}

/// The state of looking at the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// True once the first look has ended, whatever it found.
    pub(crate) looked: bool,
    /// The last facts; they stay while the engine is away, so that clients in the middle of
    /// something keep the version they negotiated.
    pub(crate) facts: Option<EngineFacts>,
}

/// A handle to the engine.
#[derive(Clone)]
pub(crate) struct Engine {
    socket: PathBuf,
    tracker: TaskTracker,
    seen: watch::Receiver<Seen>,
    /// Rung when a connection failed: the engine that comes back may be another one.
    doubt: Arc<Notify>,
    /// False from a failure to the next answer.
    answers: Arc<AtomicBool>,
}

/// An answer whose connection lives as long as it is held.
pub(crate) struct EngineAnswer {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: AbortOnDropHandle<()>,
}

impl Engine {
    pub(crate) fn new(
        socket: PathBuf,
        tracker: TaskTracker,
        seen: watch::Receiver<Seen>,
        doubt: Arc<Notify>,
    ) -> Self {
        Self { socket, tracker, seen, doubt, answers: Arc::new(AtomicBool::new(true)) }
    }

    pub(crate) fn facts(&self) -> Option<EngineFacts> {
        self.seen.borrow().facts.clone()
    }

    /// Waits a moment for the first look at the engine's version, which starts with the server.
    pub(crate) async fn wait_for_facts(&self) {
        let mut seen = self.seen.clone();
        // Whether it came in time or not, the request goes on with what is known.
        let _known = timeout(ENGINE_VERSION_WAIT, seen.wait_for(|seen| seen.looked)).await;
    }

    /// Returns the version to ask in for what a client asked in `wanted`.
    pub(crate) fn version_for(&self, wanted: ApiVersion) -> ApiVersion {
        self.facts().map_or(wanted, |facts| facts.range.clamp(wanted))
    }

    /// Sends a request and returns the head of the answer. No deadline: `docker wait` may take days;
    /// the client's going away ends it.
    ///
    /// # Errors
    /// 503 when the engine cannot be reached or breaks off before it answers.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<EngineAnswer, ApiError> {
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("docker"));
        let stream = match timeout(ENGINE_CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return Err(self.unreachable()),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| self.unreachable())?;
        let connection = AbortOnDropHandle::new(self.tracker.spawn(async move {
            // A broken connection shows as a broken answer; there is nobody else to tell.
            let _ended = connection.with_upgrades().await;
        }));
        match sender.send_request(request).await {
            Ok(response) => Ok(EngineAnswer { response, connection }),
            Err(error) => Err(self.broke_off(&error)),
        }
    }

    /// Asks for JSON on swarmnet's own account, in a version both sides know.
    ///
    /// # Errors
    /// The engine's refusal with its status and text; 503 when it cannot be asked.
    pub(crate) async fn get_json(&self, path: &str) -> Result<Value, ApiError> {
        let version = self.version_for(INTERNAL_VERSION);
        self.get_json_at(format!("/v{version}{path}")).await
    }

    /// As [`Self::get_json`] for a full path.
    ///
    /// # Errors
    /// As [`Self::get_json`].
    pub(crate) async fn get_json_at(&self, path: String) -> Result<Value, ApiError> {
        self.get_json_within(path, self.patience(ENGINE_ANSWER)).await
    }

    fn patience(&self, usual: Duration) -> Duration {
        if self.answers.load(Ordering::Relaxed) { usual } else { ENGINE_ANSWER_IN_DOUBT }
    }

    /// As [`Self::get_json_at`] with a deadline of one's own.
    ///
    /// # Errors
    /// As [`Self::get_json`].
    pub(crate) async fn get_json_within(
        &self,
        path: String,
        deadline: Duration,
    ) -> Result<Value, ApiError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .body(body::empty())
            .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
        let answer = async {
            let answer = self.send(request).await?;
            let status = answer.response.status();
            Ok::<_, ApiError>((status, self.collect(answer.response).await?))
        };
        let (status, bytes) = timeout(deadline, answer).await.map_err(|_| self.too_slow())??;
        self.answers.store(true, Ordering::Relaxed);
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) if !status.is_success() => Err(refusal(status, &value)),
            Ok(value) => Ok(value),
            Err(_) => Err(self.unreadable()),
        }
    }

    /// As [`Self::get_json_at`] for an answer that is going to be completed, or replaced if it does
    /// not come.
    ///
    /// # Errors
    /// As [`Self::get_json`], and 503 for anything but an object.
    pub(crate) async fn get_object(&self, path: String) -> Result<Value, ApiError> {
        let value = self.get_json_within(path, self.patience(ENGINE_INFO)).await?;
        if value.is_object() { Ok(value) } else { Err(self.unreadable()) }
    }

    /// Reads an answer that swarmnet is going to rewrite.
    ///
    /// # Errors
    /// 503 when it breaks off or exceeds the bound.
    pub(crate) async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ApiError> {
        let limited = Limited::new(response.into_body(), ENGINE_ANSWER_BYTES_MAX);
        let collected = limited.collect().await.map_err(|error| self.broke_off(&*error))?;
        Ok(collected.to_bytes())
    }

    pub(crate) fn unreachable(&self) -> ApiError {
        self.doubted();
        let socket = self.socket.display();
        ApiError::unavailable(format!(
            "Cannot connect to the Docker Engine on this node ({socket})"
        ))
    }

    fn doubted(&self) {
        self.answers.store(false, Ordering::Relaxed);
        self.doubt.notify_one();
    }

    fn broke_off(&self, error: &dyn std::error::Error) -> ApiError {
        self.doubted();
        let socket = self.socket.display();
        ApiError::unavailable(format!(
            "The Docker Engine on this node ({socket}) broke off the connection: {error}"
        ))
    }

    fn too_slow(&self) -> ApiError {
        self.doubted();
        let socket = self.socket.display();
        ApiError::unavailable(format!(
            "The Docker Engine on this node ({socket}) did not answer in time"
        ))
    }

    fn unreadable(&self) -> ApiError {
        let socket = self.socket.display();
        ApiError::unavailable(format!(
            "The answer of the Docker Engine on this node ({socket}) cannot be read"
        ))
    }
}

/// Passes on what the engine said.
fn refusal(status: StatusCode, value: &Value) -> ApiError {
    let message = value.get("message").and_then(Value::as_str).unwrap_or("no reason given");
    ApiError::new(status, message)
}
