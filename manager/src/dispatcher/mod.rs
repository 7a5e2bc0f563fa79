//! Sessions of agents: sends each node its view, hears statuses, decides which nodes are alive.
//!
//! Owns: one session per node ([`session`]), the loop that keeps them right ([`run`]), node liveness
//! ([`liveness`]), the gRPC service ([`service`]), one entry for many reports ([`combine`]), and the
//! connectivity test ([`connectivity`]). Does not own: what a view holds (`discovery`).
//!
//! ```text
//!   Tables ── discovery ──► view per session ── difference ──► stream to the agent
//!   agent ── Report ── combine ──► store (statuses), and Told (applied generation) ──► withdrawn tasks
//! ```
//!
//! Stays true: only the leader has sessions; a session's generations grow by one; a session that
//! cannot keep up is ended and starts anew with a full view; nothing here is needed after a leader
//! change, it is all made again from the snapshot and the agents' sessions.

pub mod assess;
pub mod combine;
pub mod connectivity;
mod encoded;
pub mod liveness;
pub mod run;
pub mod service;

pub mod session;
