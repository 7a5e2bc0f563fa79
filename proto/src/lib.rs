//! The wire between nodes: gRPC services, and how model objects travel in them.
//!
//! Owns: the `.proto` files, the generated code, [`document`] (objects as JSON documents),
//! [`transport`] (mutual TLS, the caller's identity and role) and [`gate`] (how much one peer may have
//! of what all share).
//! Does not own: what a call does (`manager`, `agent::session`), issuing certificates (`manager::ca`).
//!
//! Protobuf carries the envelopes (sessions, generations, certificates). Objects travel as JSON
//! documents of the model's serde types: a service spec already is a JSON document with fields this
//! version may not know, and a second hand-kept copy of each type could only drift from the first.

pub mod document;
pub mod gate;
pub mod logs;
pub mod transport;

/// Generated from `swarmnet/v1/*.proto`.
#[expect(
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("swarmnet.v1");
}
