//! HTTP on the plugin socket: one POST per call, JSON in raw bodies.
//!
//! The engine sends an empty `Host`, no `Content-Type`, and sometimes no body at all; errors go
//! back as JSON with status 200.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wire_up::{CallError, Plugin};

/// Longest answer to the engine, which itself has no deadline.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request; the longest ones carry a few dozen port mappings.
const BODY_MAX: usize = 1 << 20;
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until told to stop.
pub async fn run(listener: UnixListener, plugin: Arc<Plugin>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok((stream, _))) => {
                connections.spawn(serve(stream, Arc::clone(&plugin)));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "accepting a plugin connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, plugin: Arc<Plugin>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&plugin)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a plugin connection ended early");
    }
}

async fn answer(
    request: Request<Incoming>,
    plugin: Arc<Plugin>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let call = async {
        let body = Limited::new(request.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|_| CallError::Body)?.to_bytes();
        plugin.call(&path, &body).await
    };
    let answer = bounded(call).await.unwrap_or_else(|error| {
        tracing::warn!(call = %path, %error, "a plugin call failed");
        let key = if path.starts_with("/IpamDriver.") { "Error" } else { "Err" };
        json!({ key: error.to_string() })
    });
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let json = "application/vnd.docker.plugins.v1.2+json";
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(json));
    Ok(response)
}

async fn bounded(call: impl Future<Output = Result<Value, CallError>>) -> Result<Value, CallError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(CallError::Timeout))
}
