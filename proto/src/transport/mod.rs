//! The one connection between nodes: gRPC over mutual TLS, and who is at its other end.
//!
//! Owns: certificates into TLS configurations ([`TlsContext`]), the server ([`serve`]), channels to
//! managers, the peer's identity on every request ([`PeerIdentity`], [`PeerAddr`]), and a joiner's
//! first contact ([`join`]). Does not own: issuing certificates (`manager::ca`), files (`swarmnet`).
//!
//! ```text
//!   node ──TLS 1.3, own certificate──► serve ──PeerIdentity──► service: require(roles)
//!   joiner ──TLS, no certificate─────► serve ──(no identity)─► Ca.GetRoot, Ca.Issue with a token
//! ```
//!
//! What stays true: a client talks only to a server whose certificate names `swarm-manager` and
//! descends from the cluster's root; the server believes no name but the certificate's.
//! Message size limits belong to the generated clients and services: set
//! `max_decoding_message_size(limits::RPC_MESSAGE_BYTES_MAX)` on each.

mod client;
mod context;
mod identity;
pub mod join;
mod pem;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use context::{IdentityError, TlsContext};
pub use identity::{NodeIdentity, PeerAddr, PeerIdentity};
pub use pem::RootDigest;
pub use server::serve;

/// The name in every manager's certificate that clients verify.
pub const MANAGER_SERVER_NAME: &str = "swarm-manager";
