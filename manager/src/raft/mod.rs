//! Raft: carries transactions to every manager, in one order, and keeps them on disk.
//!
//! Owns: openraft (nothing else names it), the log and snapshot on disk, the wire between managers
//! and who votes. Does not own: what a transaction means (`store::apply`).
//!
//! ```text
//!   proposer ─► openraft ─► log_store (memory + disk, sealed by record) ─► other managers (network)
//!                  └─► state_machine: store::apply ─► tables ─► watch
//! ```
//!
//! Files in the state directory's `raft/`: `dek` (data key), `log.redb`, `snapshot`.
//!
//! What stays true: nothing reaches the disk unsealed; a damaged or moved record stops the start
//! and is named; an acknowledged write is on the disks of a majority; Raft ids are never reused.

mod data_key;
mod disk;
mod group;
mod log_store;
mod membership;
mod network;
mod proposer;
mod record;
mod snapshot;
mod state_machine;
#[cfg(test)]
pub(crate) mod storage_tests;
mod types;

pub use data_key::DataKeyError;
pub use disk::LogError;
pub use group::{Leader, RaftConfig, RaftGroup, RaftView, Reachability, ReadError, StartError};
pub use network::RaftService;
pub use proposer::RaftProposer;
pub use record::{Damaged, Kind};
pub use snapshot::SnapshotError;
pub use types::Member;
