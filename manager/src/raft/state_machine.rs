//! Raft's state machine: the tables in memory, rebuilt from snapshot and log at start.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use swarmnet_model::Tables;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::snapshot::{SnapshotError, SnapshotFile, Stored};
use super::types::{
    Entry, LogId, Membership, Outcome, Snapshot, SnapshotMeta, StorageError, TypeConfig,
};
use crate::store::apply;

/// Applies entries in order and publishes the tables after each batch.
pub(super) struct StateMachine {
    tables: watch::Sender<Arc<Tables>>,
    applied: Option<LogId>,
    membership: Membership,
    file: SnapshotFile,
}

impl StateMachine {
    /// Starts from the snapshot on disk, if there is one. Blocking.
    pub(super) fn open(
        file: SnapshotFile,
    ) -> Result<(Self, watch::Receiver<Arc<Tables>>), SnapshotError> {
        let (tables, applied, membership) = match file.load()? {
            None => (Tables::default(), None, Membership::default()),
            Some(stored) => {
                (stored.tables()?, stored.meta.last_log_id, stored.meta.last_membership)
            }
        };
        let (sender, receiver) = watch::channel(Arc::new(tables));
        Ok((Self { tables: sender, applied, membership, file }, receiver))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let before = self.tables.borrow().version;
        let mut tables = Tables::clone(&self.tables.borrow());
        let mut outcomes = Vec::new();
        for entry in entries {
            let mut outcome = Ok(());
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(transaction) => {
                    (tables, outcome) = apply(&tables, entry.log_id.index, transaction);
                }
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership.clone());
                }
            }
            self.applied = Some(entry.log_id);
            outcomes.push(outcome);
        }
        // Published before the proposers hear: whoever waited for a write then sees it.
        if tables.version != before {
            self.tables.send_replace(Arc::new(tables));
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            tables: self.tables.borrow().clone(),
            applied: self.applied,
            membership: self.membership.clone(),
            file: self.file.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let stored = Stored { meta: meta.clone(), tables: snapshot.into_inner() };
        let file = self.file.clone();
        let saving = spawn_blocking(move || {
            let tables = stored.tables()?;
            file.save(&stored)?;
            Ok(tables)
        });
        let tables = flatten(saving.await).map_err(write_error)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.tables.send_replace(Arc::new(tables));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let file = self.file.clone();
        let loaded = flatten(spawn_blocking(move || file.load()).await)
            .map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(loaded.map(into_snapshot))
    }
}

/// Writes a snapshot from a copy of the tables, beside the applying.
pub(super) struct SnapshotBuilder {
    tables: Arc<Tables>,
    applied: Option<LogId>,
    membership: Membership,
    file: SnapshotFile,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            // The same entries give the same tables, so the last entry names the snapshot.
            snapshot_id: self.applied.map_or_else(String::new, |log_id| log_id.to_string()),
        };
        let (tables, file) = (Arc::clone(&self.tables), self.file.clone());
        let building = spawn_blocking(move || {
            let stored = Stored::new(meta, &tables);
            file.save(&stored)?;
            Ok(stored)
        });
        let stored = flatten(building.await).map_err(write_error)?;
        Ok(into_snapshot(stored))
    }
}

fn into_snapshot(stored: Stored) -> Snapshot {
    Snapshot { meta: stored.meta, snapshot: Box::new(Cursor::new(stored.tables)) }
}

fn flatten<T>(
    joined: Result<Result<T, SnapshotError>, tokio::task::JoinError>,
) -> Result<T, SnapshotError> {
    joined.unwrap_or(Err(SnapshotError::Stopped))
}

fn write_error(error: SnapshotError) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(&error)).into()
}
