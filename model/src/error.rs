//! Pure: what a refused call says, in Docker's words and classes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Class of a refused call; `engine-api` maps it to HTTP, `proto` to gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    InvalidArgument,
    FailedPrecondition,
    OutOfRange,
    NotFound,
    AlreadyExists,
    /// A stale version (`update out of sequence`); shown as `Unknown`, answered with 409.
    Conflict,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
    Unavailable,
    /// No leader: shown as `Unknown`, answered with 503.
    NoLeader,
    DeadlineExceeded,
    Internal,
}

impl Code {
    /// Returns the name in `rpc error: code = …`.
    pub fn rpc_name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::OutOfRange => "OutOfRange",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict | Self::NoLeader => "Unknown",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unauthenticated => "Unauthenticated",
            Self::Unimplemented => "Unimplemented",
            Self::Unavailable => "Unavailable",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Internal => "Internal",
        }
    }
}

/// Who refused: managers' texts carry the prefix `rpc error: code = X desc = `, the API's do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    Manager,
    Api,
}

/// A refused call. `Display` is what the user reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    pub code: Code,
    pub layer: Layer,
    pub message: String,
}

impl std::error::Error for CallError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Layer::Manager => {
                write!(f, "rpc error: code = {} desc = {}", self.code.rpc_name(), self.message)
            }
            Layer::Api => f.write_str(&self.message),
        }
    }
}

impl CallError {
    /// A manager's refusal (prefixed text).
    pub fn manager(code: Code, message: impl Into<String>) -> Self {
        Self { code, layer: Layer::Manager, message: message.into() }
    }

    /// The API layer's refusal (bare text).
    pub fn api(code: Code, message: impl Into<String>) -> Self {
        Self { code, layer: Layer::Api, message: message.into() }
    }

    /// A manager's `InvalidArgument`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::manager(Code::InvalidArgument, message)
    }

    /// `<kind> <reference> not found`, bare, 404.
    pub fn not_found(kind: &str, reference: &str) -> Self {
        Self::api(Code::NotFound, format!("{kind} {reference} not found"))
    }

    /// Too few managers are reachable.
    pub fn no_leader() -> Self {
        Self::manager(
            Code::NoLeader,
            "The swarm does not have a leader. It's possible that too few managers are online. \
             Make sure more than half of the managers are online.",
        )
    }

    /// The write lost a race against another write of the same spec.
    pub fn out_of_sequence() -> Self {
        Self::manager(Code::Conflict, "update out of sequence")
    }

    /// The cluster did not answer in time.
    pub fn deadline() -> Self {
        Self::manager(Code::DeadlineExceeded, "context deadline exceeded")
    }
}
