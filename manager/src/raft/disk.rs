//! The log's file: one redb database, each value a sealed record. Blocking; callers own the threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::record::{Damaged, Kind, Place, Sealer};
use super::types::{Entry, LogId, Vote};

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// The marks, by the name of their kind.
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");
/// redb's own page cache; entries are cached decoded, so this one may be small.
const PAGE_CACHE_BYTES: usize = 8 << 20;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the Raft log {path} cannot be opened")]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("the Raft log cannot be read or written")]
    Database(#[source] Box<redb::Error>),
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the {} at index {index} cannot be decoded", kind.as_str())]
    Undecodable { kind: Kind, index: u64, source: serde_json::Error },
    #[error("the log entry at index {index} is missing")]
    Gap { index: u64 },
    #[error("the log has stopped")]
    Stopped,
}

impl<E: Into<redb::Error>> From<E> for LogError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// One change of the file, in the order Raft asked for them.
pub(super) enum Write {
    Append {
        log_id: LogId,
        encoded: Vec<u8>,
    },
    Vote(Vote),
    Committed(Option<LogId>),
    /// Removes this index and all after it.
    TruncateFrom(u64),
    /// Removes up to this entry, inclusive.
    PurgeUpTo(LogId),
}

/// What the file said when it was opened.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The last entry, or the last purged one.
    pub(super) last: Option<LogId>,
}

/// The open file. When the last holder lets go, the file is closed and `closed` fires.
pub(super) struct Disk {
    database: Database,
    sealer: Arc<Sealer>,
    // After `database`: fields are dropped in this order.
    _closed: oneshot::Sender<()>,
}

impl Disk {
    /// Opens or creates the file and opens every record in it: damage is found before it matters.
    pub(super) fn open(
        path: &Path,
        sealer: Arc<Sealer>,
        closed: oneshot::Sender<()>,
    ) -> Result<(Self, Contents), LogError> {
        let database =
            Database::builder().set_cache_size(PAGE_CACHE_BYTES).create(path).map_err(|error| {
                LogError::Open { path: path.into(), source: Box::new(error.into()) }
            })?;
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.open_table(MARKS)?;
        transaction.commit()?;
        let disk = Self { database, sealer, _closed: closed };
        let contents = disk.contents()?;
        Ok((disk, contents))
    }

    fn contents(&self) -> Result<Contents, LogError> {
        let mut contents = Contents {
            vote: self.mark(Kind::Vote)?,
            committed: self.mark(Kind::Committed)?.flatten(),
            purged: self.mark(Kind::Purged)?,
            last: None,
        };
        contents.last = contents.purged;
        let transaction = self.database.begin_read()?;
        for row in transaction.open_table(ENTRIES)?.iter()? {
            let (index, record) = row?;
            let index = index.value();
            if contents.last.is_some_and(|last| last.index + 1 != index) {
                return Err(LogError::Gap {
                    index: contents.last.map_or(0, |last| last.index + 1),
                });
            }
            contents.last = Some(self.entry(index, record.value())?.log_id);
        }
        Ok(contents)
    }

    /// Reads entries `from..to` until their records exceed `bytes_max`, at least one.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Batch, LogError> {
        let mut batch = Batch::default();
        let transaction = self.database.begin_read()?;
        for row in transaction.open_table(ENTRIES)?.range(from..to)? {
            let (index, record) = row?;
            let record = record.value();
            if !batch.admits(record.len(), bytes_max) {
                break;
            }
            batch.entries.push(self.entry(index.value(), record)?);
        }
        Ok(batch)
    }

    fn entry(&self, index: u64, record: &[u8]) -> Result<Entry, LogError> {
        let (term, plaintext) = self.sealer.open(Kind::Entry, index, record)?;
        let entry: Entry = decode(Kind::Entry, index, &plaintext)?;
        if entry.log_id.index == index && entry.log_id.leader_id.term == term {
            Ok(entry)
        } else {
            Err(Damaged { kind: Kind::Entry, index }.into())
        }
    }

    fn mark<T: DeserializeOwned>(&self, kind: Kind) -> Result<Option<T>, LogError> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(MARKS)?;
        let Some(record) = table.get(kind.as_str())? else { return Ok(None) };
        let (_, plaintext) = self.sealer.open(kind, 0, record.value())?;
        decode(kind, 0, &plaintext).map(Some)
    }

    /// Applies the writes in order and returns once they are on disk, all of them or none.
    pub(super) fn write(&self, writes: &[Write]) -> Result<(), LogError> {
        let transaction = self.database.begin_write()?;
        for write in writes {
            match write {
                Write::Append { log_id, encoded } => {
                    let (index, term) = (log_id.index, log_id.leader_id.term);
                    let place = Place { kind: Kind::Entry, index, term };
                    let record = self.sealer.seal(place, encoded);
                    transaction.open_table(ENTRIES)?.insert(index, record.as_slice())?;
                }
                Write::Vote(vote) => self.put_mark(&transaction, Kind::Vote, vote)?,
                Write::Committed(log_id) => {
                    self.put_mark(&transaction, Kind::Committed, log_id)?;
                }
                Write::TruncateFrom(index) => {
                    transaction.open_table(ENTRIES)?.retain_in(*index.., |_, _| false)?;
                }
                Write::PurgeUpTo(log_id) => {
                    transaction.open_table(ENTRIES)?.retain_in(..=log_id.index, |_, _| false)?;
                    self.put_mark(&transaction, Kind::Purged, log_id)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn put_mark<T: Serialize>(
        &self,
        transaction: &WriteTransaction,
        kind: Kind,
        mark: &T,
    ) -> Result<(), LogError> {
        let plaintext = swarmnet_proto::document::encode(mark);
        let record = self.sealer.seal(Place { kind, index: 0, term: 0 }, &plaintext);
        transaction.open_table(MARKS)?.insert(kind.as_str(), record.as_slice())?;
        Ok(())
    }
}

/// Entries read so far, bounded by the size of their records.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    bytes: usize,
    pub(super) full: bool,
}

impl Batch {
    /// Says whether one more record fits; the first always does.
    pub(super) fn admits(&mut self, bytes: usize, bytes_max: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.full = self.full || (self.bytes > bytes_max && !self.entries.is_empty());
        !self.full
    }
}

fn decode<T: DeserializeOwned>(kind: Kind, index: u64, plaintext: &[u8]) -> Result<T, LogError> {
    serde_json::from_slice(plaintext).map_err(|source| LogError::Undecodable {
        kind,
        index,
        source,
    })
}
