//! The snapshot on disk: one sealed file, replaced whole.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use swarmnet_model::Tables;
use swarmnet_proto::document;

use super::data_key::write_file;
use super::record::{Damaged, Kind, Place, Sealer};
use super::types::{LogId, SnapshotMeta};

/// Why a snapshot cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot file {path} cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error("the snapshot cannot be decoded")]
    Undecodable(#[source] serde_json::Error),
    #[error("the snapshot's task was cut off")]
    Stopped,
}

/// A snapshot as it travels and rests: what it covers, and the tables as a document.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) meta: SnapshotMeta,
    pub(super) tables: Vec<u8>,
}

impl Stored {
    pub(super) fn new(meta: SnapshotMeta, tables: &Tables) -> Self {
        Self { meta, tables: document::encode(tables) }
    }

    pub(super) fn tables(&self) -> Result<Tables, SnapshotError> {
        serde_json::from_slice(&self.tables).map_err(SnapshotError::Undecodable)
    }
}

/// The file that holds the newest snapshot.
#[derive(Clone)]
pub(super) struct SnapshotFile {
    directory: PathBuf,
    path: PathBuf,
    sealer: Arc<Sealer>,
    /// What the file covers. Held while writing: a built snapshot never replaces a newer one that
    /// was installed meanwhile.
    covers: Arc<Mutex<Option<LogId>>>,
}

impl SnapshotFile {
    pub(super) fn new(directory: PathBuf, sealer: Arc<Sealer>) -> Self {
        let path = directory.join("snapshot");
        Self { directory, path, sealer, covers: Arc::default() }
    }

    /// Reads the file; `None` if there is none yet. Blocking.
    pub(super) fn load(&self) -> Result<Option<Stored>, SnapshotError> {
        let record = match fs::read(&self.path) {
            Ok(record) => record,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io(source)),
        };
        let damaged = || Damaged { kind: Kind::Snapshot, index: 0 };
        let (place, plaintext) =
            self.sealer.open_any(Kind::Snapshot, &record).ok_or_else(damaged)?;
        let (length, rest) = plaintext.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (meta, tables) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let meta: SnapshotMeta =
            serde_json::from_slice(meta).map_err(SnapshotError::Undecodable)?;
        if place != place_of(&meta) {
            return Err(Damaged { kind: Kind::Snapshot, index: place.index }.into());
        }
        *self.covers.lock().expect("no holder of this lock panics") = meta.last_log_id;
        Ok(Some(Stored { meta, tables: tables.to_vec() }))
    }

    /// Replaces the file unless it covers more already. Blocking.
    pub(super) fn save(&self, stored: &Stored) -> Result<(), SnapshotError> {
        let mut covers = self.covers.lock().expect("no holder of this lock panics");
        if *covers > stored.meta.last_log_id {
            return Ok(());
        }
        let meta = document::encode(&stored.meta);
        let length = u32::try_from(meta.len()).expect("a membership has far less than 4 GiB");
        let mut plaintext = Vec::with_capacity(4 + meta.len() + stored.tables.len());
        plaintext.extend(length.to_le_bytes());
        plaintext.extend(meta);
        plaintext.extend(&stored.tables);
        let record = self.sealer.seal(place_of(&stored.meta), &plaintext);
        write_file(&self.directory, &self.path, &record).map_err(|source| self.io(source))?;
        *covers = stored.meta.last_log_id;
        Ok(())
    }

    fn io(&self, source: io::Error) -> SnapshotError {
        SnapshotError::Io { path: self.path.clone(), source }
    }
}

fn place_of(meta: &SnapshotMeta) -> Place {
    let (index, term) =
        meta.last_log_id.map_or((0, 0), |log_id| (log_id.index, log_id.leader_id.term));
    Place { kind: Kind::Snapshot, index, term }
}
