//! What every node must know: its tasks, the networks they use, services, backends and peers.
//!
//! Owns: the pure computation of a node's view from a snapshot ([`views::Views`]) and the barrier
//! before a stop signal ([`drain`]). Does not own: sending it (`dispatcher`).
//!
//! ```text
//!   Tables ──Views::of(node)──► NodeView ──dispatcher──► agent
//! ```
//!
//! Stays true: a node hears of a network only while it has a task or a plain
//! container there; of a service only if it
//! shares a network with it or the service publishes ports; a backend is known (`Placed`) from the
//! moment its task has a node, so that peers believe its address before its first packet.

pub mod drain;
pub mod plan;
pub mod views;
