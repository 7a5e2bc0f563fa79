//! Bodies: reading those meant for swarmnet within bounds; the type of all answers' bodies.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::limits::{BODY_BYTES_MAX, REQUEST_ARRIVAL};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Body of every answer, and of every request to the engine.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn streamed(incoming: Incoming) -> Body {
    incoming.map_err(BoxError::from).boxed_unsync()
}

/// Reads a JSON body: at most 4 MiB within 30 s, of the right type.
///
/// # Errors
/// 413, 408, or Docker's texts about the type.
pub(crate) async fn read_json(request: &mut Request<Incoming>) -> Result<Bytes, ApiError> {
    let has_body = !request.body().is_end_stream();
    check_type(request.headers(), has_body)?;
    read(request).await
}

/// Reads a body of any type: at most 4 MiB within 30 s.
///
/// # Errors
/// 413, 408, 400 for a body that broke off.
pub(crate) async fn read(request: &mut Request<Incoming>) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request body too large");
    if announced_length(request.headers()).is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let body = Limited::new(request.body_mut(), BODY_BYTES_MAX);
    match timeout(REQUEST_ARRIVAL, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(ApiError::bad_request(format!("error reading request body: {error}")))
        }
        Err(_) => {
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "request body did not arrive in time"))
        }
    }
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Checks that a body is announced as JSON.
fn check_type(headers: &HeaderMap, has_body: bool) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE).filter(|value| !value.is_empty()) else {
        return match has_body {
            true => Err(malformed("", "mime: no media type")),
            false => Ok(()),
        };
    };
    let text = value.to_str().map_err(|_| malformed("?", "mime: invalid media type"))?;
    let media_type = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/json" => Ok(()),
        "" => Err(malformed(text, "mime: no media type")),
        other if other.contains(char::is_whitespace) => {
            Err(malformed(text, "mime: expected slash after first token"))
        }
        other if has_body => Err(ApiError::bad_request(format!(
            "unsupported Content-Type header ({other}): must be 'application/json'"
        ))),
        _ => Ok(()),
    }
}

fn malformed(text: &str, reason: &str) -> ApiError {
    ApiError::bad_request(format!("malformed Content-Type header ({text}): {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_be_announced_as_json() {
        let check = |value: Option<&str>, has_body| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_TYPE, value.parse().unwrap());
            }
            check_type(&headers, has_body).map_err(|error| error.message().to_owned())
        };
        assert_eq!(check(Some("application/json"), true), Ok(()));
        assert_eq!(check(Some("Application/JSON; charset=utf-8"), true), Ok(()));
        assert_eq!(check(None, false), Ok(()));
        assert_eq!(check(Some("text/plain"), false), Ok(()), "CLI 20.10 sends it without a body");
        assert_eq!(
            check(Some("text/plain"), true).unwrap_err(),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
        assert!(check(None, true).unwrap_err().starts_with("malformed Content-Type header ("));
        assert!(check(Some("a b c"), true).unwrap_err().starts_with("malformed Content-Type"));
    }
}
