//! Raft's log: recent entries in memory, all of them on disk, one thread that writes.
//!
//! ```text
//!   append, vote, truncate, purge ─► queue ─► writer thread: everything queued, one transaction,
//!                                             one fsync ─► callbacks
//!   read ◄─ recent entries (a suffix of the log) ◄─ disk for what is older
//! ```
//!
//! What stays true: writes reach the disk in the order Raft asked for them; an entry can be read
//! from the moment `append` returns; a callback fires only after the fsync; an entry leaves memory
//! only after it is on disk. The commit mark travels with the next write: losing it costs nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::{mpsc, oneshot};

use super::disk::{Batch, Contents, Disk, LogError, Write};
use super::record::Sealer;
use super::types::{Entry, LogId, StorageError, TypeConfig, Vote};

/// Encoded bytes of entries kept in memory; appliers and replication read the newest ones.
const RECENT_BYTES_MAX: usize = 32 << 20;
/// Encoded bytes of one replication request: well below the bound of a message.
const REPLICATION_BYTES_MAX: usize = 8 << 20;
/// Requests that wait for the writer; Raft waits when it is full.
const QUEUE_MAX: usize = 1_024;
/// Requests written in one transaction.
const GROUP_MAX: usize = 256;

/// The log of one manager; clones read the same log.
#[derive(Clone)]
pub(super) struct LogStore {
    disk: Arc<Disk>,
    state: Arc<Mutex<State>>,
    writer: mpsc::Sender<Job>,
}

/// What is known without touching the disk.
struct State {
    contents: Contents,
    /// A suffix of the log, without holes.
    recent: BTreeMap<u64, Recent>,
    recent_bytes: usize,
}

struct Recent {
    entry: Arc<Entry>,
    bytes: usize,
    /// Only what is on disk may leave memory.
    flushed: bool,
}

/// A request to the writer with its answer.
struct Job {
    writes: Vec<Write>,
    done: Done,
}

enum Done {
    Appended(LogFlushed<TypeConfig>),
    Told(oneshot::Sender<Result<(), Arc<LogError>>>),
    /// The commit mark: nobody waits, and it needs no fsync of its own.
    Nobody,
}

impl LogStore {
    /// Opens the log in `path`; the receiver fires when its file has been closed again.
    ///
    /// # Errors
    /// `LogError`: a damaged, moved or missing record is named with its index.
    pub(super) fn open(
        path: &Path,
        sealer: Arc<Sealer>,
    ) -> Result<(Self, oneshot::Receiver<()>), LogError> {
        let (closed, closing) = oneshot::channel();
        let (disk, contents) = Disk::open(path, sealer, closed)?;
        let disk = Arc::new(disk);
        let state =
            Arc::new(Mutex::new(State { contents, recent: BTreeMap::new(), recent_bytes: 0 }));
        let (writer, jobs) = mpsc::channel(QUEUE_MAX);
        let thread = Writer { disk: Arc::clone(&disk), state: Arc::clone(&state), jobs };
        std::thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || thread.run())
            .map_err(redb::Error::Io)?;
        Ok((Self { disk, state, writer }, closing))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    async fn send(&self, writes: Vec<Write>, done: Done) -> Result<(), LogError> {
        self.writer.send(Job { writes, done }).await.map_err(|_| LogError::Stopped)
    }

    async fn send_and_wait(&self, write: Write) -> Result<(), AnyError> {
        let (told, answer) = oneshot::channel();
        self.send(vec![write], Done::Told(told)).await.map_err(|error| AnyError::new(&error))?;
        match answer.await {
            Ok(result) => result.map_err(|error| AnyError::new(&*error)),
            Err(_) => Err(AnyError::new(&LogError::Stopped)),
        }
    }

    /// Reads `from..to` up to a size, from disk what memory does not hold.
    pub(super) async fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let (oldest_recent, recent) = self.state().recent_in(from, to);
        let mut batch = Batch::default();
        if from < oldest_recent {
            let (disk, to) = (Arc::clone(&self.disk), to.min(oldest_recent));
            let reading = tokio::task::spawn_blocking(move || disk.read(from, to, bytes_max));
            batch = reading.await.map_err(|_| LogError::Stopped)??;
        }
        for (entry, bytes) in recent {
            if batch.full || !batch.admits(bytes, bytes_max) {
                break;
            }
            batch.entries.push(Entry::clone(&entry));
        }
        Ok(batch.entries)
    }
}

impl State {
    /// Returns the first index in memory, and what lies in `from..to` of memory.
    fn recent_in(&self, from: u64, to: u64) -> (u64, Vec<(Arc<Entry>, usize)>) {
        let next = self.contents.last.map_or(0, |last| last.index + 1);
        let oldest = self.recent.keys().next().copied().unwrap_or(next);
        let part = if from < to { Some(self.recent.range(from..to)) } else { None };
        let found = part
            .into_iter()
            .flatten()
            .map(|(_, recent)| (Arc::clone(&recent.entry), recent.bytes))
            .collect();
        (oldest, found)
    }

    fn append(&mut self, entry: Arc<Entry>, bytes: usize) {
        let log_id = entry.log_id;
        self.recent.insert(log_id.index, Recent { entry, bytes, flushed: false });
        self.recent_bytes += bytes;
        self.contents.last = Some(log_id);
    }

    fn drop_recent(&mut self, gone: impl Fn(u64) -> bool) {
        self.recent.retain(|index, _| !gone(*index));
        self.recent_bytes = self.recent.values().map(|recent| recent.bytes).sum();
    }

    /// Marks entries as written and lets the oldest go if memory holds too many bytes.
    fn flushed(&mut self, indexes: impl Iterator<Item = u64>) {
        for index in indexes {
            if let Some(recent) = self.recent.get_mut(&index) {
                recent.flushed = true;
            }
        }
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.first_entry().filter(|oldest| oldest.get().flushed)
            else {
                break;
            };
            self.recent_bytes -= oldest.remove().bytes;
        }
    }
}

/// The one thread that writes.
struct Writer {
    disk: Arc<Disk>,
    state: Arc<Mutex<State>>,
    jobs: mpsc::Receiver<Job>,
}

impl Writer {
    /// Ends when the last `LogStore` is gone and everything queued is written.
    fn run(mut self) {
        let mut late = Vec::new();
        while let Some(first) = self.jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX {
                let Ok(job) = self.jobs.try_recv() else { break };
                group.push(job);
            }
            self.write_group(group, &mut late);
        }
        if let Err(error) = self.disk.write(&late) {
            tracing::warn!(%error, "commit mark not saved; the next start applies it again");
        }
    }

    /// Writes a group with one fsync; a group of commit marks alone waits for the next one.
    fn write_group(&self, group: Vec<Job>, late: &mut Vec<Write>) {
        let waited_for = group.iter().any(|job| !matches!(job.done, Done::Nobody));
        let mut writes = std::mem::take(late);
        let mut answers = Vec::new();
        for job in group {
            writes.extend(job.writes);
            answers.push(job.done);
        }
        if !waited_for {
            // Only the newest mark matters.
            late.extend(writes.pop());
            return;
        }
        let result = self.disk.write(&writes).map_err(Arc::new);
        if result.is_ok() {
            let indexes = writes.iter().filter_map(|write| match write {
                Write::Append { log_id, .. } => Some(log_id.index),
                Write::Vote(_)
                | Write::Committed(_)
                | Write::TruncateFrom(_)
                | Write::PurgeUpTo(_) => None,
            });
            self.state.lock().expect("no holder of this lock panics").flushed(indexes);
        }
        for answer in answers {
            answer.give(&result);
        }
    }
}

impl Done {
    fn give(self, result: &Result<(), Arc<LogError>>) {
        match self {
            Self::Appended(flushed) => {
                flushed.log_io_completed(result.clone().map_err(io::Error::other));
            }
            // Who asked may have gone; the write stands.
            Self::Told(told) => drop(told.send(result.clone())),
            Self::Nobody => {}
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await.map_err(read_error)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, REPLICATION_BYTES_MAX).await.map_err(read_error)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = self.state();
        Ok(LogState { last_purged_log_id: state.contents.purged, last_log_id: state.contents.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.send_and_wait(Write::Vote(*vote)).await.map_err(StorageIOError::write_vote)?;
        self.state().contents.vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.state().contents.vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.state().contents.committed = committed;
        let writes = vec![Write::Committed(committed)];
        Ok(self.send(writes, Done::Nobody).await.map_err(write_error)?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.state().contents.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut writes = Vec::new();
        for entry in entries {
            let encoded = swarmnet_proto::document::encode(&entry);
            let (log_id, bytes) = (entry.log_id, encoded.len());
            self.state().append(Arc::new(entry), bytes);
            writes.push(Write::Append { log_id, encoded });
        }
        Ok(self.send(writes, Done::Appended(callback)).await.map_err(write_error)?)
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let from = log_id.index;
        let write = Write::TruncateFrom(from);
        self.send_and_wait(write).await.map_err(StorageIOError::write_logs)?;
        let before = self.read(from.saturating_sub(1), from, usize::MAX).await;
        let last = before.map_err(read_error)?.last().map(|entry| entry.log_id);
        let mut state = self.state();
        state.drop_recent(|index| index >= from);
        state.contents.last = last.or(state.contents.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.send_and_wait(Write::PurgeUpTo(log_id)).await.map_err(StorageIOError::write_logs)?;
        let mut state = self.state();
        state.drop_recent(|index| index <= log_id.index);
        state.contents.purged = Some(log_id);
        state.contents.last = state.contents.last.max(Some(log_id));
        Ok(())
    }
}

fn read_error(error: LogError) -> StorageError {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

fn write_error(error: LogError) -> StorageIOError<u64> {
    StorageIOError::write_logs(AnyError::new(&error))
}
