//! The cluster state: read a snapshot, watch for a newer one, propose changes.
//!
//! Owns: `change.rs` (what may be written), `apply.rs` (tables + transaction → tables) and this
//! handle. Does not own: how a transaction reaches the other managers (`raft`, behind [`Proposer`]).
//!
//! ```text
//!   propose(changes) ─► Proposer (Raft, or memory in tests) ─► apply ─► watch ─► snapshot
//! ```
//!
//! What stays true: `apply` is the only writer; snapshots are values and never change; `watch` is
//! level-triggered (a slow reader misses states in between, never the last one); when `propose`
//! returns, the snapshot of this store holds the change.

mod apply;
mod change;
mod error;
mod memory;

use std::sync::Arc;

use async_trait::async_trait;
use swarmnet_model::{Clock, Tables, Timestamp, Version};
use tokio::sync::watch;

pub use apply::apply;
pub use change::{Change, Refused, Transaction};
pub use error::{LeaderHint, ProposeError};
pub use memory::MemoryProposer;

/// Carries a transaction to where it is applied.
#[async_trait]
pub trait Proposer: Send + Sync {
    /// Returns the version of the entry once it is applied here.
    async fn propose(&self, transaction: Transaction) -> Result<Version, ProposeError>;
}

/// A handle to the cluster state; cheap to clone.
#[derive(Clone)]
pub struct Store {
    tables: watch::Receiver<Arc<Tables>>,
    proposer: Arc<dyn Proposer>,
    clock: Arc<dyn Clock>,
}

impl Store {
    /// A store over tables that `proposer` applies to.
    pub fn new(
        tables: watch::Receiver<Arc<Tables>>,
        proposer: Arc<dyn Proposer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { tables, proposer, clock }
    }

    /// Returns the state as far as this manager has applied it.
    pub fn snapshot(&self) -> Arc<Tables> {
        self.tables.borrow().clone()
    }

    /// Returns a receiver whose value is always the newest snapshot.
    ///
    /// `changed()` fires for any state newer than the one last seen through this receiver, so
    /// `borrow_and_update` then wait has no gap.
    pub fn watch(&self) -> watch::Receiver<Arc<Tables>> {
        self.tables.clone()
    }

    /// Returns the time that the next proposal would carry.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Applies all of `changes` in one entry, or none; the time is the store's clock.
    ///
    /// Returns the version of the entry. Nothing to change is nothing written: the present version.
    ///
    /// # Errors
    /// `TooLarge` before anything is sent. `Refused`: a guard failed, nothing was applied.
    /// `NotLeader`, `Unavailable`, `TimedOut`: it may still be applied later.
    pub async fn propose(
        &self,
        changes: impl Into<Arc<[Change]>> + Send,
    ) -> Result<Version, ProposeError> {
        let changes = changes.into();
        if changes.is_empty() {
            return Ok(self.snapshot().version);
        }
        let transaction = Transaction { now: self.clock.now(), changes };
        error::check_size(&transaction)?;
        self.proposer.propose(transaction).await
    }
}
