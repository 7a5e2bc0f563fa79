//! Requests to the engine's socket, for what `bollard` cannot say or do.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::EngineError;

/// A refusal is a sentence.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

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

/// Asks for something that comes as a stream; returns the status and the stream. The caller sets the
/// deadline of the answer's head.
///
/// # Errors
/// `Away` when there is no answer.
pub(super) async fn get(socket: &Path, path: &str) -> Result<(u16, Answer), EngineError> {
    let stream = UnixStream::connect(socket).await.map_err(away)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(away)?;
    let request = Request::get(path)
        .header("Host", "docker")
        .body(Empty::new())
        .expect("the headers are constants and the paths are ours");
    let exchange = Box::pin(async move { sender.send_request(request).await.map_err(away) });
    let (response, connection) = match select(exchange, Box::pin(connection)).await {
        Either::Left((response, connection)) => (response?, Some(connection)),
        Either::Right((ended, exchange)) => {
            ended.map_err(away)?;
            (exchange.await?, None)
        }
    };
    let status = response.status().as_u16();
    Ok((status, Answer { connection, response }))
}

type Driver = Pin<Box<Connection<TokioIo<UnixStream>, Empty<Bytes>>>>;

/// A body that is read as it comes, and the connection it comes from: dropped, both end.
pub(super) struct Answer {
    connection: Option<Driver>,
    response: Response<Incoming>,
}

impl Answer {
    /// Returns the whole of a refusal.
    ///
    /// # Errors
    /// `Away` if it breaks off or is no sentence.
    pub(super) async fn refusal(self) -> Result<Bytes, EngineError> {
        let body = Limited::new(self.response.into_body(), REFUSAL_BYTES_MAX).collect();
        let Some(connection) = self.connection else {
            return body.await.map(|body| body.to_bytes()).map_err(away);
        };
        match select(Box::pin(body), connection).await {
            Either::Left((body, _)) => body.map(|body| body.to_bytes()).map_err(away),
            Either::Right((_, body)) => body.await.map(|body| body.to_bytes()).map_err(away),
        }
    }
}

impl Stream for Answer {
    type Item = Result<Bytes, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // A broken connection shows as a broken body.
            self.connection = None;
        }
        loop {
            let body = Pin::new(self.response.body_mut());
            return match std::task::ready!(body.poll_frame(cx)) {
                None => Poll::Ready(None),
                Some(Err(error)) => Poll::Ready(Some(Err(away(error)))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Poll::Ready(Some(Ok(bytes))),
                    // Trailers say nothing here.
                    Err(_) => continue,
                },
            };
        }
    }
}

pub(super) fn away(error: impl std::fmt::Display) -> EngineError {
    EngineError::Away { reason: error.to_string() }
}
