//! Answers: status, JSON with a line end, the headers every answer carries.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use crate::body::{self, Body};
use crate::error::ApiError;
use crate::version::ApiVersion;

/// What a handler gives back.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

const API_VERSION: HeaderName = HeaderName::from_static("api-version");
const OSTYPE: HeaderName = HeaderName::from_static("ostype");
const EXPERIMENTAL: HeaderName = HeaderName::from_static("docker-experimental");

/// 200 with a JSON value.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// 201 with a JSON value.
pub(crate) fn created(value: &impl Serialize) -> Answer {
    json(StatusCode::CREATED, value)
}

/// A status and no body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(response)
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut bytes = serde_json::to_vec(value).map_err(|error| {
        let message = format!("cannot write the answer: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    bytes.push(b'\n');
    Ok(typed(status, "application/json", bytes))
}

fn typed(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
}

/// Writes a refusal.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    if error.is_plain_text() {
        let text = format!("{}\n", error.message()).into_bytes();
        return typed(error.status(), "text/plain; charset=utf-8", text);
    }
    let mut bytes = serde_json::to_vec(&Message { message: error.message() })
        .expect("one field of text is JSON");
    bytes.push(b'\n');
    typed(error.status(), "application/json", bytes)
}

/// Sets the headers that say who answers, in place of the engine's.
pub(crate) fn identify(headers: &mut HeaderMap, announced: ApiVersion, swarmnet_version: &str) {
    let server = format!("swarmnet/{swarmnet_version} (linux)");
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let values = [
        (API_VERSION, text(&announced.to_string())),
        (OSTYPE, text("linux")),
        (EXPERIMENTAL, text("false")),
        (SERVER, text(&server)),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}
