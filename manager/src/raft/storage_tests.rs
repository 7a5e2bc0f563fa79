//! The log, the snapshot and the state machine against openraft's rules, crashes and damage.

use std::path::Path;
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader, RaftSnapshotBuilder};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use swarmnet_model::{ClusterId, NodeId, NodeState, NodeStatus, Timestamp};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::disk::LogError;
use super::log_store::LogStore;
use super::record::{Damaged, Kind, Sealer};
use super::snapshot::{SnapshotError, SnapshotFile};
use super::state_machine::StateMachine;
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};
use crate::store::{Change, Transaction};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&[7; 32], &ClusterId::from_text("c"), &NodeId::from_text("n")))
}

fn open(directory: &Path) -> Result<(LogStore, oneshot::Receiver<()>), LogError> {
    LogStore::open(&directory.join("log.redb"), sealer())
}

fn machine(directory: &Path) -> Result<StateMachine, SnapshotError> {
    StateMachine::open(SnapshotFile::new(directory.to_owned(), sealer()))
        .map(|(machine, _)| machine)
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> Entry {
    let status = NodeStatus {
        state: NodeState::Ready,
        message: format!("message {index}"),
        addr: [10, 0, 0, 1].into(),
    };
    let change = Change::SetNodeStatus { id: NodeId::from_text("n1"), status };
    let transaction = Transaction { now: Timestamp(1), changes: [change].into() };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(transaction) }
}

async fn filled(directory: &Path, indexes: std::ops::RangeInclusive<u64>) {
    let (mut log, closed) = open(directory).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.blocking_append(indexes.map(|index| entry(3, index))).await.unwrap();
    drop(log);
    closed.await.unwrap_err();
}

/// Rewrites the file's records with the writer gone.
fn tamper(directory: &Path, change: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) {
    let database = Database::open(directory.join("log.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(ENTRIES).unwrap());
    transaction.commit().unwrap();
}

/// What a crash leaves behind: everything fsynced, but not the newest commit mark.
pub(crate) fn forget_commit_mark(state_dir: &Path) {
    let marks: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");
    let database = Database::open(state_dir.join("raft/log.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let removed = transaction.open_table(marks).unwrap().remove("commit mark").unwrap().is_some();
    transaction.commit().unwrap();
    assert!(removed);
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = open(directory.path()).unwrap();
        let machine = machine(directory.path()).unwrap();
        Ok((directory, log, machine))
    }
}

#[test]
fn the_storage_keeps_openrafts_rules() {
    Suite::test_all(Builder).unwrap();
}

#[tokio::test]
async fn what_was_flushed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    let (mut log, _) = open(directory.path()).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(3, 5)));
    let entries = log.try_get_log_entries(2..=4).await.unwrap();
    assert_eq!(entries, [entry(3, 2), entry(3, 3), entry(3, 4)]);
}

#[tokio::test]
async fn truncation_and_purge_last_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=9).await;
    let (mut log, closed) = open(directory.path()).unwrap();
    log.purge(log_id(3, 3)).await.unwrap();
    log.truncate(log_id(3, 7)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(3, 6)));
    log.blocking_append([entry(4, 7)]).await.unwrap();
    log.save_committed(Some(log_id(4, 7))).await.unwrap();
    drop(log);
    closed.await.unwrap_err();

    let (mut log, _) = open(directory.path()).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(3, 3)));
    assert_eq!(state.last_log_id, Some(log_id(4, 7)));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(4, 7)));
    let entries = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, [entry(3, 4), entry(3, 5), entry(3, 6), entry(4, 7)]);
}

#[tokio::test]
async fn old_entries_come_from_disk_and_new_ones_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    let (mut log, _) = open(directory.path()).unwrap();
    log.blocking_append((6..=8).map(|index| entry(3, index))).await.unwrap();
    let entries = log.try_get_log_entries(4..8).await.unwrap();
    assert_eq!(entries, [entry(3, 4), entry(3, 5), entry(3, 6), entry(3, 7)]);
    assert_eq!(log.limited_get_log_entries(7, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_limited_read_is_never_empty_and_never_skips() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    let (log, _) = open(directory.path()).unwrap();
    for bytes_max in [0, 500, 900] {
        let entries = log.read(1, 6, bytes_max).await.unwrap();
        assert!(!entries.is_empty());
        let expected: Vec<_> = (1..=entries.len() as u64).map(|index| entry(3, index)).collect();
        assert_eq!(entries, expected);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    tamper(directory.path(), |table| {
        let mut record = table.get(4).unwrap().unwrap().value().to_vec();
        let last = record.len() - 1;
        record[last] ^= 1;
        table.insert(4, record.as_slice()).unwrap();
    });
    let Err(error) = open(directory.path()) else { panic!("the damage was not noticed") };
    assert!(matches!(error, LogError::Damaged(Damaged { kind: Kind::Entry, index: 4 })));
    assert_eq!(
        error.to_string(),
        "the log entry at index 4 is damaged, moved, or sealed with another key"
    );
}

#[tokio::test]
async fn swapped_and_missing_records_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    tamper(directory.path(), |table| {
        let record = table.get(2).unwrap().unwrap().value().to_vec();
        table.insert(3, record.as_slice()).unwrap();
    });
    let error = open(directory.path()).err();
    assert!(matches!(error, Some(LogError::Damaged(Damaged { index: 3, .. }))), "{error:?}");
    tamper(directory.path(), |table| drop(table.remove(3).unwrap()));
    let error = open(directory.path()).err();
    assert!(matches!(error, Some(LogError::Gap { index: 3 })), "{error:?}");
}

#[tokio::test]
async fn nothing_on_disk_can_be_read_without_the_key() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1..=5).await;
    let mut machine = machine(directory.path()).unwrap();
    machine.apply([entry(3, 1)]).await.unwrap();
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for word in [&b"message"[..], b"now", b"tables"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word));
        }
    }
    let database = Database::open(directory.path().join("log.redb")).unwrap();
    let table = database.begin_read().unwrap().open_table(ENTRIES).unwrap();
    assert_eq!(table.iter().unwrap().count(), 5);
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut built = machine(directory.path()).unwrap();
    built.apply([entry(3, 1)]).await.unwrap();
    let snapshot = built.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut again = machine(directory.path()).unwrap();
    assert_eq!(again.applied_state().await.unwrap().0, snapshot.meta.last_log_id);

    let path = directory.path().join("snapshot");
    let mut record = std::fs::read(&path).unwrap();
    let middle = record.len() / 2;
    record[middle] ^= 0x10;
    std::fs::write(&path, record).unwrap();
    assert!(matches!(machine(directory.path()), Err(SnapshotError::Damaged(_))));
}

#[tokio::test]
async fn a_late_snapshot_does_not_replace_a_newer_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut built = machine(directory.path()).unwrap();
    built.apply([entry(3, 1)]).await.unwrap();
    let mut late = built.get_snapshot_builder().await;
    built.apply([entry(3, 2)]).await.unwrap();
    built.get_snapshot_builder().await.build_snapshot().await.unwrap();
    late.build_snapshot().await.unwrap();
    let kept = built.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.meta.last_log_id, Some(log_id(3, 2)));
}
