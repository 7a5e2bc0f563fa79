//! The last view and the last statuses on disk: the node works while managers are away.
//!
//! Layout below the state directory, both mode 0600, replaced by rename:
//!
//! ```text
//!   agent/view.json       {"node_id": …, "items": [[key, item], …]}
//!   agent/statuses.json   {"<task id>": status, …}
//! ```
//!
//! A file that cannot be read is as good as none: the managers know everything in it, and what runs
//! is seen in the engine. It is reported, never repaired in place.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use swarmnet_model::view::{Item, ItemKey};
use swarmnet_model::{NodeId, NodeView, TaskId, TaskStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::report::Reporter;

/// Changes come in bursts; one write answers for all of them, and none is written while the node is
/// still busy with it. The files lag by so much, those of a large view by more.
const WRITE_DELAY: Duration = Duration::from_millis(500);
/// A large view takes its time to write: the delay is so many times longer, at most 5 % of a CPU.
const WRITE_SHARE: u32 = 20;

/// Why a file of the local state could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// The agent's files of one node.
#[derive(Clone, Debug)]
pub struct LocalState {
    directory: PathBuf,
}

/// Keys of a view are not text, so it is stored as a list of pairs.
#[derive(Serialize, Deserialize)]
struct StoredView {
    node_id: NodeId,
    items: Vec<(ItemKey, Item)>,
}

impl LocalState {
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("agent") }
    }

    /// Returns the last view this node was told; empty if there is none, or if it was another node's.
    ///
    /// # Errors
    /// `Read` or `Damaged`.
    pub fn view(&self, node_id: &NodeId) -> Result<NodeView, LocalError> {
        let own = self.last_view()?.filter(|(node, _)| node == node_id);
        Ok(own.map(|(_, view)| view).unwrap_or_default())
    }

    /// Returns the last view on disk and whose it is: names for `swarmnet debug` while the daemon is
    /// down.
    ///
    /// # Errors
    /// `Read` or `Damaged`.
    pub fn last_view(&self) -> Result<Option<(NodeId, NodeView)>, LocalError> {
        let stored: Option<StoredView> = self.read("view.json")?;
        Ok(stored.map(|stored| (stored.node_id, stored.items.into_iter().collect())))
    }

    /// Returns the last statuses of this node's tasks.
    ///
    /// # Errors
    /// `Read` or `Damaged`.
    pub fn statuses(&self) -> Result<BTreeMap<TaskId, TaskStatus>, LocalError> {
        Ok(self.read("statuses.json")?.unwrap_or_default())
    }

    /// Replaces the stored view.
    ///
    /// # Errors
    /// `Write`; the file is then as it was.
    pub fn write_view(&self, node_id: &NodeId, view: &NodeView) -> Result<(), LocalError> {
        let items = view.iter().map(|(key, item)| (key.clone(), without_secrets(item))).collect();
        self.write("view.json", &StoredView { node_id: node_id.clone(), items })
    }

    /// Replaces the stored statuses.
    ///
    /// # Errors
    /// `Write`; the file is then as it was.
    pub fn write_statuses(
        &self,
        statuses: &BTreeMap<TaskId, TaskStatus>,
    ) -> Result<(), LocalError> {
        self.write("statuses.json", statuses)
    }

    /// Removes the stored state: the node has left its swarm.
    ///
    /// # Errors
    /// `Write` names the first file that stays.
    pub fn remove(&self) -> Result<(), LocalError> {
        for name in ["view.json", "statuses.json"] {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LocalError::Write { path, source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LocalError> {
        let path = self.directory.join(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| LocalError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LocalError::Read { path, source }),
        }
    }

    /// A crash leaves the old file or the new one. Not synced: after a power cut the managers tell
    /// everything again.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), LocalError> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let text = serde_json::to_vec(value)
            .expect("model types have string keys and no failing serializers");
        let write = || {
            fs::create_dir_all(&self.directory)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(&text)?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| LocalError::Write { path: path.clone(), source })
    }
}

/// Keeps the files up to date until cancelled; the last state is written before it returns.
pub async fn keep_written(
    local: LocalState,
    node_id: NodeId,
    mut view: watch::Receiver<Arc<NodeView>>,
    reporter: Arc<Reporter>,
    stop: CancellationToken,
) {
    let mut statuses = reporter.changes();
    let mut delay = WRITE_DELAY;
    loop {
        let changed = tokio::select! {
            _ = view.changed() => Some((true, false)),
            _ = statuses.changed() => Some((false, true)),
            () = stop.cancelled() => None,
        };
        // At the end everything, whatever was written before.
        let last = changed.is_none()
            || stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none();
        let (of_view, of_statuses) = changed.filter(|_| !last).unwrap_or((true, true));
        let view_now = (of_view || view.has_changed().unwrap_or(false))
            .then(|| view.borrow_and_update().clone());
        let of_statuses = of_statuses || statuses.has_changed().unwrap_or(false);
        statuses.mark_unchanged();
        let statuses_now = of_statuses.then(|| reporter.statuses());
        let (local, node_id) = (local.clone(), node_id.clone());
        let began = Instant::now();
        // A disk may take its time; the agent's threads must not wait for it.
        let written = tokio::task::spawn_blocking(move || {
            view_now.map_or(Ok(()), |view| local.write_view(&node_id, &view))?;
            statuses_now.map_or(Ok(()), |statuses| local.write_statuses(&statuses))
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = &error as &dyn std::error::Error, "local state not written");
            }
            Err(error) => warn!(%error, "writing the local state was interrupted"),
        }
        if last {
            return;
        }
        delay = WRITE_DELAY.max(began.elapsed() * WRITE_SHARE);
    }
}

/// Credentials stay in memory: the managers tell them again.
fn without_secrets(item: &Item) -> Item {
    let mut item = item.clone();
    if let Item::Task(assigned) = &mut item {
        assigned.registry_auth = None;
    }
    item
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use swarmnet_model::view::AssignedTask;
    use swarmnet_model::{TaskState, Timestamp};

    use super::*;
    use crate::task::fixture;

    fn view() -> NodeView {
        let task = fixture::task("web", 1);
        let key = ItemKey::Task(task.id.clone());
        NodeView::unit(
            key,
            Item::Task(Box::new(AssignedTask {
                task: task.into(),
                withdrawn: false,
                registry_auth: None,
            })),
        )
    }

    #[test]
    fn view_and_statuses_survive_a_restart_for_the_same_node_only() {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalState::new(directory.path());
        let (own, other) = (NodeId::from_text("n1"), NodeId::from_text("n2"));
        assert_eq!(local.view(&own).unwrap(), NodeView::new());
        local.write_view(&own, &view()).unwrap();
        let statuses: BTreeMap<_, _> = [(
            TaskId::from_text("web-1"),
            TaskStatus::new(Timestamp(1), TaskState::Running, "started"),
        )]
        .into();
        local.write_statuses(&statuses).unwrap();
        assert_eq!(local.view(&own).unwrap(), view());
        assert_eq!(local.view(&other).unwrap(), NodeView::new());
        assert_eq!(local.statuses().unwrap(), statuses);
        let mode = fs::metadata(directory.path().join("agent/view.json")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        local.remove().unwrap();
        local.remove().unwrap();
        assert_eq!(local.statuses().unwrap(), BTreeMap::new());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalState::new(directory.path());
        local.write_statuses(&BTreeMap::new()).unwrap();
        fs::write(directory.path().join("agent/statuses.json"), "{").unwrap();
        let error = local.statuses().unwrap_err().to_string();
        assert!(error.ends_with("agent/statuses.json is damaged"), "{error}");
    }
}
