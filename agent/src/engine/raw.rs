//! One request to the engine's socket, for what `bollard` cannot say.

use std::path::Path;

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::EngineError;

/// Posts a JSON document and returns status and body. The caller sets the deadline.
///
/// # Errors
/// `Away` when there is no complete answer.
pub(super) async fn post(
    socket: &Path,
    path: &str,
    document: &serde_json::Value,
) -> Result<(u16, Bytes), EngineError> {
    let request = Request::post(path)
        .header("Host", "docker")
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(document.to_string())))
        .expect("the headers are constants and the paths are ours");
    exchange(socket, async move |mut sender| {
        let response = sender.send_request(request).await.map_err(away)?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(away)?.to_bytes();
        Ok((status, body))
    })
    .await
}

/// Makes one exchange over a connection of its own.
///
/// # Errors
/// `Away` when there is no connection, and what the exchange says.
pub(super) async fn exchange<T>(
    socket: &Path,
    exchange: impl AsyncFnOnce(SendRequest<Full<Bytes>>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let stream = UnixStream::connect(socket).await.map_err(away)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(away)?;
    let exchange = exchange(sender);
    // The connection must be driven while the exchange waits; its end means there is no answer.
    match select(Box::pin(exchange), Box::pin(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((ended, exchange)) => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(away(error)),
        },
    }
}

pub(super) fn away(error: impl std::fmt::Display) -> EngineError {
    EngineError::Away { reason: error.to_string() }
}
