//! Pure: what a refused request says: class of error → HTTP status, `{"message":"…"}`.

use http::StatusCode;
use swarmnet_model::{CallError, Code};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// Docker answers clients that are too old in plain text: they may not know the JSON form.
    plain_text: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), plain_text: false }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// `<what> is not supported by this version of swarmnet`: never half done, never ignored.
    pub(crate) fn unsupported(what: &str) -> Self {
        let message = format!("{what} not supported by this version of swarmnet");
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// No such route, or no such method on it.
    pub(crate) fn page_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    pub(crate) fn plain(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message, plain_text: true }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn is_plain_text(&self) -> bool {
        self.plain_text
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self::new(status_of(error.code), error.to_string())
    }
}

fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Conflict => StatusCode::CONFLICT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable | Code::NoLeader | Code::DeadlineExceeded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_status_and_text() {
        let table: [(CallError, u16, &str); 6] = [
            (CallError::not_found("service", "x"), 404, "service x not found"),
            (
                CallError::out_of_sequence(),
                409,
                "rpc error: code = Unknown desc = update out of sequence",
            ),
            (
                CallError::deadline(),
                503,
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
            ),
            (
                CallError::invalid("meta: name must be provided"),
                400,
                "rpc error: code = InvalidArgument desc = meta: name must be provided",
            ),
            (
                CallError::manager(Code::Unimplemented, "renaming services is not supported"),
                501,
                "rpc error: code = Unimplemented desc = renaming services is not supported",
            ),
            (CallError::api(Code::Unavailable, "This node is not…"), 503, "This node is not…"),
        ];
        for (error, status, text) in table {
            let api = ApiError::from(error);
            assert_eq!((api.status().as_u16(), api.message()), (status, text));
        }
        assert_eq!(ApiError::from(CallError::no_leader()).status().as_u16(), 503);
    }
}
