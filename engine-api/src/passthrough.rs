//! Requests for the engine: bytes untouched, nothing buffered, upgrades tunnelled.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderName, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio_util::task::AbortOnDropHandle;

use crate::app::Exchange;
use crate::body::{self, Body, BoxError};
use crate::engine::EngineAnswer;
use crate::error::ApiError;
use crate::reply::Answer;
use crate::stream;

/// Headers that belong to one connection (RFC 9110, 7.6.1) and are not passed on.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    HeaderName::from_static("trailer"),
    HeaderName::from_static("transfer-encoding"),
    // Answered by our own server before the body is read.
    EXPECT,
];

/// Passes a request on as it is.
pub(crate) async fn forward(exchange: Exchange) -> Answer {
    let path = engine_path(&exchange);
    let cancel = exchange.app.cancel.clone();
    let app = exchange.app;
    let mut request = exchange.request;
    let upgrade = wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (parts, incoming) = request.into_parts();
    let outgoing = outgoing(&parts, &path, body::streamed(incoming), upgrade.is_some())?;
    let EngineAnswer { mut response, connection } = app.engine.send(outgoing).await?;
    match upgrade {
        Some(client) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let engine = hyper::upgrade::on(&mut response);
            app.tracker.spawn(stream::tunnel(client, engine, connection, cancel));
            Ok(response.map(|_| body::empty()))
        }
        _ => Ok(relay(response, connection)),
    }
}

/// Passes a request on whose body has been read.
pub(crate) async fn forward_read(exchange: Exchange, bytes: Bytes) -> Answer {
    let path = engine_path(&exchange);
    let (parts, _) = exchange.request.into_parts();
    let outgoing = outgoing(&parts, &path, body::full(bytes), false)?;
    let answer = exchange.app.engine.send(outgoing).await?;
    Ok(relay(answer.response, answer.connection))
}

/// Passes a request without a body on to another path, given without the version.
///
/// # Errors
/// 503 when the engine cannot be reached.
pub(crate) async fn ask_path(exchange: &Exchange, path: &str) -> Result<EngineAnswer, ApiError> {
    let version = exchange.app.engine.version_for(exchange.version);
    let mut request = Request::builder()
        .method(exchange.request.method())
        .uri(format!("/v{version}{path}"))
        .body(body::empty())
        .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    *request.headers_mut() = passed_on(exchange.request.headers(), false);
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    exchange.app.engine.send(request).await
}

/// Asks the engine for something else than the client did, with the client's headers.
///
/// # Errors
/// 503 when the engine cannot be reached.
pub(crate) async fn ask_with(
    exchange: &Exchange,
    method: &Method,
    path: &str,
    document: Vec<u8>,
) -> Result<EngineAnswer, ApiError> {
    let version = exchange.app.engine.version_for(exchange.version);
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/v{version}{path}"))
        .body(body::full(document))
        .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    *request.headers_mut() = passed_on(exchange.request.headers(), false);
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json);
    exchange.app.engine.send(request).await
}

/// Turns the engine's answer into ours, streamed.
pub(crate) fn relay(
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
) -> Response<Body> {
    let (mut parts, incoming) = response.into_parts();
    parts.headers = passed_on(&parts.headers, false);
    parts.version = http::Version::HTTP_11;
    let body = Held { incoming, _connection: connection };
    Response::from_parts(parts, body.boxed_unsync())
}

/// Turns the engine's answer into ours with another body.
pub(crate) fn relay_bytes(head: http::response::Parts, bytes: Bytes) -> Response<Body> {
    let mut parts = head;
    parts.headers = passed_on(&parts.headers, false);
    parts.headers.remove(http::header::CONTENT_LENGTH);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, body::full(bytes))
}

/// Returns the path for the engine: its version, the rest and the query as the client wrote them.
fn engine_path(exchange: &Exchange) -> String {
    let version = exchange.app.engine.version_for(exchange.version);
    let rest = &exchange.path.rest;
    match exchange.request.uri().query() {
        Some(query) => format!("/v{version}{rest}?{query}"),
        None => format!("/v{version}{rest}"),
    }
}

fn outgoing(
    parts: &Parts,
    path: &str,
    body: Body,
    upgrade: bool,
) -> Result<Request<Body>, ApiError> {
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(path)
        .body(body)
        .map_err(|error| ApiError::bad_request(format!("invalid path: {error}")))?;
    *request.headers_mut() = passed_on(&parts.headers, upgrade);
    Ok(request)
}

fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let named: Vec<String> = tokens(headers);
    let mut passed = headers.clone();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP.iter().map(HeaderName::as_str)) {
        passed.remove(name);
    }
    if upgrade {
        passed.insert(CONNECTION, http::HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = headers.get(UPGRADE) {
            passed.insert(UPGRADE, protocol.clone());
        }
    }
    passed
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && tokens(headers).iter().any(|token| token == "upgrade")
}

/// Returns the names in `Connection`, lower case.
fn tokens(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .filter(|token| HeaderName::from_bytes(token.as_bytes()).is_ok())
        .collect()
}

/// The engine's body; dropping it ends the connection it comes from, also while no byte moves
/// (`docker logs -f` of a silent container whose reader went away).
struct Held {
    incoming: Incoming,
    _connection: AbortOnDropHandle<()>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.incoming).poll_frame(cx).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let client = headers(&[
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("x-registry-auth", "e30="),
        ]);
        assert_eq!(passed_on(&client, false), headers(&[("x-registry-auth", "e30=")]));
        assert!(!wants_upgrade(&client));
    }

    #[test]
    fn an_upgrade_is_passed_on_with_its_protocol() {
        let client = headers(&[("connection", "Upgrade"), ("upgrade", "h2c")]);
        assert!(wants_upgrade(&client));
        let passed = passed_on(&client, true);
        assert_eq!(
            (&passed[CONNECTION], &passed[UPGRADE]),
            (&"Upgrade".parse().unwrap(), &"h2c".parse().unwrap())
        );
        assert!(!wants_upgrade(&headers(&[("upgrade", "tcp")])), "without Connection it is noise");
    }
}
