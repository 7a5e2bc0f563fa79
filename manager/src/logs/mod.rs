//! Logs of services and tasks: this manager's readers, and the nodes whose lines they read.
//!
//! Owns: who reads what here ([`broker`]), which nodes are asked and which are away ([`plan`]), one
//! reader's stream ([`subscription`]), how orders reach the leader ([`orders`]), the gRPC service
//! ([`service`]). Does not own: the lines (agents read them from their engines), how Docker's users
//! see them (`engine-api`).
//!
//! ```text
//!   reader ─► subscription ──order──► leader ──session──► agent
//!      ▲                                                    │ reads its engine's logs
//!      └── bounded queue ◄── Publish (credit) ◄─────────────┘
//! ```
//!
//! Stays true: a node sends no more than it has credit for, and gets credit when the reader has taken
//! what came, so a slow reader stops the engines' logs and fills no memory; a node is believed only
//! about its own tasks; a node that is away costs its reader one line. Who leads matters only while
//! nodes are being asked.

pub mod broker;
pub mod orders;
mod plan;
pub mod service;
pub mod subscription;

pub use broker::Broker;
