//! This manager's membership in the Raft group: start, who leads, reading what is current, stop.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::error::{InitializeError, RaftError};
use openraft::{Config, ServerState, SnapshotPolicy};
use swarmnet_model::defaults::SNAPSHOT_INTERVAL;
use swarmnet_model::{ClusterId, NodeId, Tables};
use swarmnet_proto::transport::TlsContext;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::log_store::LogStore;
use super::network::{Heard, Network, RaftService};
use super::record::Sealer;
use super::snapshot::SnapshotFile;
use super::state_machine::StateMachine;
use super::types::{Member, Metrics, Raft};
use super::{DataKeyError, LogError, RaftProposer, SnapshotError, data_key, membership};
use crate::store::Store;

/// A leader is heard from this often; also how long one replication request may take.
const HEARTBEAT_MS: u64 = 100;
/// A follower waits for the lease (the longer bound) and then a random time between the two: with
/// these, a lost leader is replaced 1.2 to 1.6 s after its last word.
const ELECTION_MS: (u64, u64) = (400, 800);
/// A leader that no majority has answered for this long is not shown as one.
const QUORUM_SILENCE_MS: u64 = 2_000;
/// A manager the leader has not heard from for this long is unreachable.
const UNHEARD_MAX: Duration = Duration::from_secs(2);
/// One piece of a snapshot on the wire, and how long it may take.
const SNAPSHOT_PIECE_BYTES: u64 = 4 << 20;
const SNAPSHOT_PIECE_TIMEOUT_MS: u64 = 10_000;
/// Entries kept behind a snapshot for followers that lag a little; Docker Swarm's number.
const ENTRIES_KEPT: u64 = 500;
/// Longest wait at the stop for the log's file to be closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What this manager is in the group.
pub struct RaftConfig {
    /// Holds the manager's files, in `raft/`.
    pub state_dir: PathBuf,
    pub cluster_id: ClusterId,
    pub raft_id: u64,
    pub member: Member,
    pub tls: TlsContext,
}

/// Why Raft could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the Raft directory {path} cannot be made")]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    DataKey(#[from] DataKeyError),
    #[error(transparent)]
    Log(LogError),
    #[error(transparent)]
    Snapshot(SnapshotError),
    #[error(
        "this manager's Raft files are unusable. Restore them from a backup; or, if other managers \
         still have a quorum, run `docker swarm leave --force` here and join again"
    )]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("Raft could not start from its log")]
    Raft(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the start was cut off")]
    CutOff,
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Damaged(_) | LogError::Undecodable { .. } | LogError::Gap { .. } => {
                Self::Unusable(Box::new(error))
            }
            LogError::Open { ref source, .. } if matches!(**source, redb::Error::Corrupted(_)) => {
                Self::Unusable(Box::new(error))
            }
            LogError::Open { .. } | LogError::Database(_) | LogError::Stopped => Self::Log(error),
        }
    }
}

impl From<SnapshotError> for StartError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Damaged(_) | SnapshotError::Undecodable(_) => {
                Self::Unusable(Box::new(error))
            }
            SnapshotError::Io { .. } | SnapshotError::Stopped => Self::Snapshot(error),
        }
    }
}

/// Why nothing can be read as current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("this manager does not lead, or no majority confirms that it does")]
    NotLeading,
    #[error("this manager did not apply the index in time")]
    Behind,
}

/// Who leads, as far as this manager knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    Own,
    Other(Member),
    Unknown,
}

/// How another manager answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    Unknown,
    Unreachable,
    Reachable,
}

/// The group as this manager sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    pub leader: Option<NodeId>,
    /// Only the leader hears from everybody; a follower vouches for itself and the leader.
    pub managers: BTreeMap<NodeId, Reachability>,
}

/// Raft, running.
pub struct RaftGroup {
    raft: Raft,
    own: Member,
    raft_id: u64,
    tables: watch::Receiver<Arc<Tables>>,
    heard: Heard,
    tls: TlsContext,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

impl RaftGroup {
    /// Opens the files, checking every record, and starts Raft.
    ///
    /// # Errors
    /// `StartError` names the file or record that cannot be used.
    pub async fn start(config: RaftConfig) -> Result<Self, StartError> {
        let RaftConfig { state_dir, cluster_id, raft_id, member, tls } = config;
        let node_id = member.node_id.clone();
        let opening = spawn_blocking(move || open(&state_dir.join("raft"), &cluster_id, &node_id));
        let opened = opening.await.map_err(|_| StartError::CutOff)??;
        let heard = Heard::default();
        let network = Network::new(tls.clone(), heard.clone());
        let raft = Raft::new(raft_id, openraft_config(), network, opened.log, opened.machine)
            .await
            .map_err(|error| StartError::Raft(Box::new(error)))?;
        let closed = Mutex::new(Some(opened.closed));
        Ok(Self { raft, own: member, raft_id, tables: opened.tables, heard, tls, closed })
    }

    /// Makes a new group of this manager alone; nothing happens if it is in a group already.
    ///
    /// # Errors
    /// `Raft` if Raft has stopped.
    pub async fn found(&self) -> Result<(), StartError> {
        let members = BTreeMap::from([(self.raft_id, self.own.clone())]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(StartError::Raft(Box::new(error))),
        }
    }

    /// The receiver of the tables as they are applied here.
    pub fn tables(&self) -> watch::Receiver<Arc<Tables>> {
        self.tables.clone()
    }

    /// A proposer through this manager.
    pub fn proposer(&self) -> RaftProposer {
        RaftProposer::new(self.raft.clone())
    }

    /// The gRPC service the other managers call.
    pub fn service(&self) -> RaftService {
        RaftService::new(self.raft.clone(), self.tls.clone())
    }

    /// True if Raft has ended by itself, for lack of a disk that takes its log.
    pub fn has_failed(&self) -> bool {
        self.raft.metrics().borrow().running_state.is_err()
    }

    /// Returns who leads now.
    pub fn leader(&self) -> Leader {
        self.leader_in(&self.raft.metrics().borrow())
    }

    fn leader_in(&self, metrics: &Metrics) -> Leader {
        let membership = metrics.membership_config.membership();
        let leader = match metrics.current_leader {
            Some(id) if id == self.raft_id => return self.own_leadership(metrics),
            Some(id) => membership.get_node(&id),
            None => None,
        };
        leader.map_or(Leader::Unknown, |member| Leader::Other(member.clone()))
    }

    fn own_leadership(&self, metrics: &Metrics) -> Leader {
        let alone = metrics.membership_config.membership().voter_ids().all(|id| id == self.raft_id);
        let silence = metrics.millis_since_quorum_ack.unwrap_or(0);
        if alone || silence < QUORUM_SILENCE_MS { Leader::Own } else { Leader::Unknown }
    }

    /// Returns who leads as soon as that is known, `Unknown` after `patience`.
    pub async fn await_leader(&self, patience: Duration) -> Leader {
        let mut metrics = self.raft.metrics();
        let known = metrics.wait_for(|metrics| self.leader_in(metrics) != Leader::Unknown);
        match timeout(patience, known).await {
            Ok(Ok(metrics)) => self.leader_in(&metrics),
            Ok(Err(_)) | Err(_) => Leader::Unknown,
        }
    }

    /// Returns the term in which this manager leads, waiting for it; `None` when Raft has stopped.
    pub async fn await_leadership(&self) -> Option<u64> {
        let mut metrics = self.raft.server_metrics();
        let led = metrics.wait_for(|metrics| metrics.state == ServerState::Leader).await;
        led.ok().map(|metrics| metrics.vote.leader_id.term)
    }

    /// Returns when this manager no longer leads in `term`.
    pub async fn await_end_of_leadership(&self, term: u64) {
        let mut metrics = self.raft.server_metrics();
        let ended = metrics.wait_for(|metrics| {
            metrics.state != ServerState::Leader || metrics.vote.leader_id.term != term
        });
        // An error says that Raft has stopped: that ends leadership as well.
        let _ = ended.await;
    }

    /// Returns the index that a reader must have applied to see all that is acknowledged by now.
    ///
    /// # Errors
    /// `NotLeading` unless a majority confirms this leader.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let (read, _) = self.raft.get_read_log_id().await.map_err(|_| ReadError::NotLeading)?;
        Ok(read.map_or(0, |log_id| log_id.index))
    }

    /// Waits until the tables here hold everything up to `index`.
    ///
    /// # Errors
    /// `Behind` after `patience`.
    pub async fn wait_applied(&self, index: u64, patience: Duration) -> Result<(), ReadError> {
        let wait = self.raft.wait(Some(patience));
        let applied = wait.applied_index_at_least(Some(index), "read").await;
        applied.map(drop).map_err(|_| ReadError::Behind)
    }

    /// Returns who leads and who answers.
    pub fn view(&self) -> RaftView {
        let metrics = self.raft.metrics().borrow().clone();
        let leader = match self.leader_in(&metrics) {
            Leader::Own => Some(self.own.node_id.clone()),
            Leader::Other(member) => Some(member.node_id),
            Leader::Unknown => None,
        };
        let leads = leader.as_ref() == Some(&self.own.node_id);
        let reachability = |id: u64, member: &Member| {
            if id == self.raft_id || leader.as_ref() == Some(&member.node_id) {
                Reachability::Reachable
            } else if !leads {
                Reachability::Unknown
            } else if self.heard.within(id, UNHEARD_MAX) {
                Reachability::Reachable
            } else {
                Reachability::Unreachable
            }
        };
        let members = metrics.membership_config.membership().nodes();
        let managers = members
            .map(|(id, member)| (member.node_id.clone(), reachability(*id, member)))
            .collect();
        RaftView { leader, managers }
    }

    /// Keeps the membership right; on the leader only, until cancelled.
    pub async fn run_membership(&self, store: Store, cancel: CancellationToken) {
        membership::run(self.raft.clone(), store, cancel).await;
    }

    /// Returns the ids that vote; none while the membership is being changed.
    #[cfg(test)]
    pub(crate) fn voters(&self) -> std::collections::BTreeSet<u64> {
        let observed = membership::observe(&self.raft.metrics().borrow());
        if observed.joint.is_none() { observed.voters } else { Default::default() }
    }

    /// Takes a snapshot now and purges all entries it covers.
    #[cfg(test)]
    pub(crate) async fn compact(&self) {
        let applied = self.raft.metrics().borrow().last_applied;
        let upto = applied.expect("something was written").index;
        self.raft.trigger().snapshot().await.expect("Raft runs");
        let wait = self.raft.wait(Some(CLOSE_TIMEOUT));
        wait.metrics(|m| m.snapshot >= applied, "snapshot").await.expect("it is built");
        self.raft.trigger().purge_log(upto).await.expect("Raft runs");
        wait.metrics(|m| m.purged >= applied, "purge").await.expect("entries go");
    }

    /// Stops Raft and waits until its files are closed, so that they can be opened again.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop in order");
        }
        let closed = self.closed.lock().expect("no holder of this lock panics").take();
        if let Some(closed) = closed
            && timeout(CLOSE_TIMEOUT, closed).await.is_err()
        {
            tracing::warn!("the Raft log is still open");
        }
    }
}

struct Opened {
    log: LogStore,
    closed: oneshot::Receiver<()>,
    machine: StateMachine,
    tables: watch::Receiver<Arc<Tables>>,
}

/// Blocking: reads and opens every record.
fn open(directory: &Path, cluster: &ClusterId, node: &NodeId) -> Result<Opened, StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| StartError::Directory { path: directory.to_owned(), source })?;
    let path = directory.join("log.redb");
    let key = data_key::load(directory, path.exists())?;
    let sealer = Arc::new(Sealer::new(&key, cluster, node));
    let (log, closed) = LogStore::open(&path, Arc::clone(&sealer))?;
    let file = SnapshotFile::new(directory.to_owned(), sealer);
    let (machine, tables) = StateMachine::open(file)?;
    Ok(Opened { log, closed, machine, tables })
}

fn openraft_config() -> Arc<Config> {
    let config = Config {
        cluster_name: "swarmnet".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        install_snapshot_timeout: SNAPSHOT_PIECE_TIMEOUT_MS,
        snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_INTERVAL),
        // A snapshot must be able to end the lag.
        replication_lag_threshold: SNAPSHOT_INTERVAL * 2,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        ..Config::default()
    };
    Arc::new(config.validate().expect("the constants above fit each other"))
}
