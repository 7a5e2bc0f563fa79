//! The manager: keeps the cluster state in Raft and decides what every node should do.
//!
//! Owns: the store, Raft, the control loops, the certificate authority and the gRPC services of
//! managers. Does not own: the HTTP API (`engine-api`), or anything that happens on a node (`agent`).
//!
//! ```text
//!   Call ──► control ──┐                       ┌──► allocator, orchestrator, scheduler, enforcer, …
//!                      ├─ propose ─► raft ─► store (Tables) ── watch ──┤
//!   agent ─► dispatcher┘                       └──► discovery ─► dispatcher ─► agents
//! ```
//!
//! What stays true: every write is a `store::Change` inside a Raft entry; loops run on the leader
//! only, plan on a snapshot and propose; every node of the cluster applies the same entries and so
//! holds the same tables.

mod address;
pub mod allocator;
pub mod ca;
pub mod control;
pub mod discovery;
pub mod dispatcher;
pub mod enforcer;
pub mod events;
mod follow;
pub mod ids;
pub mod leader;
#[cfg(test)]
mod leader_tests;
pub mod logs;
mod manager;
#[cfg(test)]
mod manager_tests;
pub mod orchestrator;
pub mod plan;
pub mod raft;
pub mod reaper;
pub mod rejoin;
pub mod scheduler;
pub mod store;
#[cfg(test)]
mod world;

pub use manager::{Manager, ManagerConfig, ManagerError};
