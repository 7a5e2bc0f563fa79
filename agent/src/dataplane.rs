//! The node's data plane as the rest of the agent sees it: a handle, its configuration, its errors.
//!
//! Owns: the start and the end of everything that forwards packets. Does not own: what is forwarded
//! (the view says it), containers (the engine), the order of a pass (`reconcile`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ipnetwork::Ipv4Network;
use swarmnet_model::{Attachment, Findings, NodeId, NodeView, Task, TaskId};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::balancer::conntrack;
use crate::balancer::sockets::{self, Sockets};
use crate::dns::{self, Resolver, Settings, Table, feed};
use crate::ingress::firewall;
use crate::inputs::MTU_AT_FIRST;
use crate::loader::{LoadError, Loader};
use crate::netlink::NetlinkError;
use crate::pass::{Feed, Parts, Passes};
use crate::plugin::journal::{Journal, JournalFile};
use crate::plugin::wire_up::Plugin;
use crate::plugin::{networks, server};
use crate::probe::{self, Order, Sources};
use crate::reconcile::{self, Channels, Command, Told};
use crate::sandbox::tracking;
use crate::task::networks::{PrepareError, STORED_GENERATION, TaskNetworks, Wiring};
use crate::task::resolv_files::ResolvFiles;

/// Joins and leaves that wait for the loop; the engine makes one network of a container at a time.
const COMMANDS_MAX: usize = 64;
/// Name of the plugin journal below the agent's state directory.
pub(crate) const JOURNAL: &str = "plugin.json";

/// Where the host says whom it asks for names itself.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How programs are put on devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    /// tcx, or the device stays without its program and the reason is reported.
    Tcx,
    /// clsact even where tcx exists.
    Clsact,
}

/// What a data plane needs to start.
#[derive(Debug)]
pub struct DataPlaneConfig {
    /// Mounted bpffs; pins go to `swarmnet/` below it.
    pub bpffs: PathBuf,
    /// Root of cgroup2 for socket load balancing; `None` looks in the usual places.
    pub cgroup2: Option<PathBuf>,
    pub attach: Attach,
    /// The journal is `agent/plugin.json` below it.
    pub state_dir: PathBuf,
    /// Socket of the engine's plugin protocol, already listening.
    pub plugin_listener: UnixListener,
    /// Node-local addresses of tasks are taken from here.
    pub gateway_pool: Ipv4Network,
}

/// Where on this machine the data plane lives.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub loader: Loader,
    pub cgroup2: Option<PathBuf>,
    pub pool: Ipv4Network,
}

impl DataPlaneConfig {
    fn places(&self) -> Places {
        Places {
            loader: Loader { bpffs: self.bpffs.clone(), attach: self.attach },
            cgroup2: self.cgroup2.clone(),
            pool: self.gateway_pool,
        }
    }

    /// Default of `gateway_pool`.
    pub const GATEWAY_POOL: &'static str = swarmnet_model::defaults::GATEWAY_POOL;
}

/// Why the data plane did not start or did not go.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    #[error("reading the data plane's files")]
    State(#[source] std::io::Error),
    #[error("opening netlink")]
    Netlink(#[from] NetlinkError),
    #[error("reading the network namespace's cookie (Linux 5.14 or later is needed)")]
    Cookie(#[source] std::io::Error),
    #[error("loading the eBPF programs")]
    Load(#[from] LoadError),
    #[error("reading the kernel's state: {reason}")]
    Unreadable { reason: String },
    #[error("taking the data plane down: {reason}")]
    Teardown { reason: String },
    #[error("the data plane has stopped")]
    Stopped,
}

/// Handle to the running data plane; cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    told: watch::Sender<Option<Told>>,
    commands: mpsc::Sender<Command>,
    orders: mpsc::Sender<Order>,
    applied: watch::Receiver<u64>,
    journal: Arc<JournalFile>,
    pool: Ipv4Network,
    names: Arc<Table>,
    resolv: ResolvFiles,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The data plane of one node as tasks and session use it.
#[derive(Clone, Debug)]
pub struct NodeWiring {
    pub plane: DataPlane,
    pub node_id: NodeId,
}

#[async_trait]
impl Wiring for NodeWiring {
    fn set_view(&self, generation: u64, view: Arc<NodeView>) {
        let complete = generation != STORED_GENERATION;
        self.plane.set_view(self.node_id.clone(), generation, view, complete);
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.plane.applied()
    }

    async fn prepare(&self, task: &Task, view: &NodeView) -> Result<TaskNetworks, PrepareError> {
        self.plane.prepare(task, view).await
    }

    async fn attach(
        &self,
        id: &TaskId,
        attachments: &[Attachment],
        view: &NodeView,
        gateway: bool,
    ) -> Result<TaskNetworks, PrepareError> {
        let gateway = gateway && !networks::all_internal(attachments, view);
        self.plane.wire(id, attachments, view, gateway)
    }

    async fn release(&self, task: &TaskId) {
        self.plane.release(task).await;
    }

    async fn forget(&self, task: &TaskId) {
        note(self.plane.inner.resolv.remove(task.as_str()));
    }

    fn forget_others(&self, tasks: &BTreeSet<TaskId>) {
        let ids = tasks.iter().map(ToString::to_string).collect();
        note(self.plane.inner.resolv.keep(&ids));
    }

    async fn probe(&self, test: u64) -> Findings {
        self.plane.probe(test).await
    }
}

impl DataPlane {
    /// Starts the plugin server and the reconcile loop; both serve outside a swarm too.
    ///
    /// The plugin answers before the programs are loaded: an engine that is booting waits for it.
    ///
    /// # Errors
    /// `DataPlaneError` says what is missing on this machine.
    pub async fn start(config: DataPlaneConfig) -> Result<Self, DataPlaneError> {
        let directory = config.state_dir.join("agent");
        let places = config.places();
        let boot_id = boot_id().map_err(DataPlaneError::State)?;
        let journal = JournalFile::open(directory.join(JOURNAL), &boot_id);
        let journal = Arc::new(journal.map_err(DataPlaneError::State)?);
        let (told, told_by) = watch::channel(None);
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let (orders, ordered) = mpsc::channel(1);
        let (wired_to, wired) = watch::channel(0);
        let (applied_to, applied) = watch::channel(0);
        let names = Arc::new(Table::default());
        let (mtu, mtu_of) = watch::channel(MTU_AT_FIRST);
        let (firewall, firewall_of) = watch::channel(None);
        let (sandboxes, sandboxes_of) = watch::channel(BTreeSet::new());
        let inner = Inner {
            told,
            commands: commands.clone(),
            orders,
            applied,
            journal: Arc::clone(&journal),
            pool: config.gateway_pool,
            names: Arc::clone(&names),
            resolv: ResolvFiles::of_tasks(&config.state_dir).map_err(DataPlaneError::State)?,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let plane = Self { inner: Arc::new(inner) };
        let mtu_tested = mtu_of.clone();
        let plugin =
            Plugin { journal: Arc::clone(&journal), told: told_by.clone(), commands, mtu: mtu_of };
        let stop = &plane.inner.stop;
        let tasks = &plane.inner.tasks;
        tasks.spawn(server::run(config.plugin_listener, Arc::new(plugin), stop.child_token()));
        let feed = Feed { told: told_by.clone(), wired: wired_to };
        let (journal_of, names_of) = (Arc::clone(&journal), Arc::clone(&names));
        let parts = Parts { feed, journal: journal_of, names: names_of, firewall, mtu, sandboxes };
        let load = Passes::start(&directory, places, parts).await;
        let passes = match load {
            Ok(passes) => passes,
            Err(error) => {
                plane.shutdown().await;
                return Err(error);
            }
        };
        let flows = passes.loaded_maps();
        let sockets = Sockets { maps: passes.loaded_maps(), journal, left: passes.backends_left() };
        let sources = Sources { maps: flows.clone(), told: told_by.clone(), mtu: mtu_tested };
        tasks.spawn(probe::run(ordered, sources, stop.child_token()));
        let fed = feed::Channels { told: told_by.clone(), wired, applied: applied_to };
        tasks.spawn(feed::run(names, Arc::clone(&plane.inner.journal), fed, stop.child_token()));
        let channels = Channels { told: told_by, commands: commanded };
        tasks.spawn(reconcile::run(passes, channels, stop.child_token()));
        tasks.spawn(firewall::run(firewall_of, stop.child_token()));
        tasks.spawn(tracking::run(sandboxes_of, stop.child_token()));
        tasks.spawn(conntrack::run(flows, stop.child_token()));
        tasks.spawn(sockets::run(sockets, stop.child_token()));
        Ok(plane)
    }

    /// Answers tasks that ask for names at these sockets, until [`Self::shutdown`]. Returns when it
    /// has begun: a node that has been told nothing yet has no answers.
    ///
    /// # Errors
    /// A thread cannot be made, or a socket cannot be used.
    pub async fn serve_names(&self, sockets: dns::Sockets) -> std::io::Result<()> {
        let names = Arc::clone(&self.inner.names);
        let mut fed = names.fed();
        // Until then queries wait in the socket: an answer made of nothing would be wrong.
        if fed.wait_for(|fed| *fed).await.is_err() {
            return Ok(());
        }
        let resolver = Resolver::start(sockets, names, Settings::new(RESOLV_CONF.into()))?;
        let stop = self.inner.stop.child_token();
        self.inner.tasks.spawn(async move {
            stop.cancelled().await;
            resolver.stop().await;
        });
        Ok(())
    }

    /// Hands over a newer view; `complete` is false for one read from disk: nothing may be removed.
    pub fn set_view(&self, node_id: NodeId, generation: u64, view: Arc<NodeView>, complete: bool) {
        self.inner.told.send_replace(Some(Told { node_id, generation, view, complete }));
    }

    /// Returns the generation that is fully written to the kernel, and answered by its names.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.applied.clone()
    }

    /// Returns the engine networks of a task and reserves its node-local address.
    ///
    /// # Errors
    /// `PrepareError`; `is_temporary` tells whether to try again.
    pub async fn prepare(
        &self,
        task: &Task,
        view: &NodeView,
    ) -> Result<TaskNetworks, PrepareError> {
        let gateway = networks::needs_gateway(task, view);
        let wired = self.wire(&task.id, &task.attachments, view, gateway)?;
        let write = || self.inner.resolv.write(task.id.as_str(), &task.spec.container.dns);
        let resolv_conf = (!task.attachments.is_empty()).then(write).transpose();
        Ok(TaskNetworks { resolv_conf: resolv_conf.map_err(PrepareError::ResolvConf)?, ..wired })
    }

    fn wire(
        &self,
        id: &TaskId,
        attachments: &[Attachment],
        view: &NodeView,
        gateway: bool,
    ) -> Result<TaskNetworks, PrepareError> {
        let mut networks = networks::overlays(id, attachments, view)?;
        let pool = self.inner.pool;
        let gateway = if gateway {
            let reserve = |journal: &mut Journal| journal.reserve_gateway(id, pool);
            let address = self.inner.journal.update(reserve).map_err(PrepareError::Journal)?;
            Some(address.ok_or(PrepareError::NoGatewayAddress)?)
        } else {
            None
        };
        networks.extend(gateway.map(|address| networks::gateway(id, address, pool)));
        Ok(TaskNetworks { networks, gateway, ..TaskNetworks::default() })
    }

    /// Forgets what was reserved for a task.
    pub async fn release(&self, task: &TaskId) {
        if let Err(error) = self.inner.journal.update(|journal| journal.gateways.remove(task)) {
            tracing::warn!(%error, task.id = %task, "writing the plugin journal");
        }
    }

    /// Sends frames to every peer and returns what came back.
    pub async fn probe(&self, test: u64) -> Findings {
        let stopped = || Findings {
            test,
            problem: Some("the data plane has stopped".to_owned()),
            ..Findings::default()
        };
        let (reply, answer) = oneshot::channel();
        if self.inner.orders.send(Order { test, reply }).await.is_err() {
            return stopped();
        }
        answer.await.unwrap_or_else(|_| stopped())
    }

    /// Returns what the next pass would change, as text; nothing if the kernel is right.
    ///
    /// # Errors
    /// `Unreadable` if the kernel could not be read, `Stopped` after [`Self::shutdown`].
    pub async fn pending(&self) -> Result<Vec<String>, DataPlaneError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Pending { reply };
        self.inner.commands.send(command).await.map_err(|_| DataPlaneError::Stopped)?;
        let pending = answer.await.map_err(|_| DataPlaneError::Stopped)?;
        pending.map_err(|reason| DataPlaneError::Unreadable { reason })
    }

    /// Stops loops and server; the kernel's state stays, packets keep flowing.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Takes down everything of ours: the node has left the swarm.
    ///
    /// # Errors
    /// `DataPlaneError` names what could not be removed.
    pub async fn remove_all(&self) -> Result<(), DataPlaneError> {
        self.inner.told.send_replace(None);
        let (reply, answer) = oneshot::channel();
        let command = Command::RemoveAll { reply };
        self.inner.commands.send(command).await.map_err(|_| DataPlaneError::Stopped)?;
        let removed = answer.await.map_err(|_| DataPlaneError::Stopped)?;
        removed.map_err(|reason| DataPlaneError::Teardown { reason })
    }
}

/// A file too many does no harm.
fn note(removed: std::io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "removing the resolv.conf of a task that is gone");
    }
}

/// Changes with every boot: devices and pins do not survive one.
fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
