//! The running agent of one node: what is started, in which order, how it stops.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::view::{Item, ItemKey, NetworkItem};
use swarmnet_model::{
    CallError, Clock, NetworkId, NodeId, NodeView, PublishedPort, Role, TaskId, TaskStatus,
};
use swarmnet_proto::transport::TlsContext;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::attach::desk::{AttachRequest, Attached, Desk};
use crate::attach::follow::Follower;
use crate::attach::leases::Leases;
use crate::backoff::seed;
use crate::dataplane::{DataPlane, NodeWiring};
use crate::engine::watch::{EVENT_QUEUE, follow};
use crate::engine::{DockerEngine, Engine, EngineFacts, EngineNetwork};
use crate::farewell;
use crate::inputs::tasks;
use crate::local::{LocalError, LocalState, keep_written};
use crate::logs::run::{self as logs, LogParts};
use crate::managers::Managers;
use crate::report::Reporter;
use crate::session::{Connect, SessionParts, Sessions};
use crate::task::engine_networks::EngineNetworks;
use crate::task::runner::{Runner, RunnerParts, Told};
use crate::task::{GATEWAY_LABEL_VALUE, STORED_GENERATION, Wiring};

/// What an agent needs to start.
pub struct AgentConfig {
    pub tls: TlsContext,
    pub node_id: NodeId,
    /// The system's host name.
    pub hostname: String,
    /// `host:port` of managers to try; those the cluster names later are tried first.
    pub managers: watch::Receiver<Vec<String>>,
    /// `None`: the managers take the address they see.
    pub advertise_addr: Option<Ipv4Addr>,
    pub state_dir: PathBuf,
    /// The Docker Engine's own socket.
    pub engine_socket: PathBuf,
    pub data_plane: DataPlane,
    pub clock: Arc<dyn Clock>,
}

/// What an agent is made of; tests put their own engine, data plane and managers here.
pub struct AgentParts {
    pub connect: Connect,
    pub node_id: NodeId,
    pub hostname: String,
    pub managers: watch::Receiver<Vec<String>>,
    pub advertise_addr: Option<Ipv4Addr>,
    pub state_dir: PathBuf,
    pub engine: Arc<dyn Engine>,
    pub wiring: Arc<dyn Wiring>,
    pub clock: Arc<dyn Clock>,
}

/// A swarm network that this node's engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNetwork {
    pub network: NetworkItem,
    pub engine_id: String,
    pub engine_name: String,
}

/// The networks of swarmnet on this node's engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNetworks {
    pub networks: Vec<LocalNetwork>,
    /// Engine name of the gateway network, if the engine has it.
    pub gateway_engine_name: Option<String>,
    /// Host-mode ports that this node serves, by task.
    pub host_ports: BTreeMap<TaskId, Vec<PublishedPort>>,
}

/// Why leaving the swarm left something behind.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    #[error("tasks of this node could not be removed within {} s", .within.as_secs())]
    TasksRemain { within: Duration },
    #[error(transparent)]
    Local(#[from] LocalError),
}

/// Handle to the running agent. Stop it before it is dropped: its parts run on otherwise.
pub struct Agent {
    sessions: CancellationToken,
    rest: CancellationToken,
    children: TaskTracker,
    local: LocalState,
    desk: Desk,
    told: watch::Sender<Told>,
    managers: watch::Receiver<Vec<(NodeId, String)>>,
    role: watch::Receiver<Option<Role>>,
    problem: watch::Receiver<Option<String>>,
    engine: watch::Receiver<Option<EngineFacts>>,
    networks: watch::Receiver<Vec<EngineNetwork>>,
    idle: watch::Receiver<bool>,
}

impl Agent {
    /// Starts an agent. The data plane runs already; the stored view is used at once.
    pub fn start(config: AgentConfig) -> Self {
        let tls = config.tls;
        Self::start_parts(AgentParts {
            connect: Arc::new(move |addr| tls.channel(addr)),
            hostname: config.hostname,
            managers: config.managers,
            advertise_addr: config.advertise_addr,
            state_dir: config.state_dir,
            engine: Arc::new(DockerEngine::new(config.engine_socket)),
            wiring: Arc::new(NodeWiring {
                plane: config.data_plane,
                node_id: config.node_id.clone(),
            }),
            node_id: config.node_id,
            clock: config.clock,
        })
    }

    /// Starts an agent from its parts: engine follower, runner, sessions, writer of local state.
    pub fn start_parts(parts: AgentParts) -> Self {
        let local = LocalState::new(&parts.state_dir);
        let view = Arc::new(stored(local.view(&parts.node_id)));
        let reporter = Arc::new(Reporter::new(known_statuses(&local, &view)));
        parts.wiring.set_view(STORED_GENERATION, Arc::clone(&view));

        let seed = seed(parts.node_id.as_str());
        let told = watch::Sender::new(Told { view: Arc::clone(&view), complete: false });
        let (kept, idle) = (watch::Sender::new(Arc::clone(&view)), watch::Sender::new(false));
        let (learned, role) = (watch::Sender::new(Vec::new()), watch::Sender::new(None));
        let problem = watch::Sender::new(Some("no session with a manager yet".to_owned()));
        let (facts, networks) = (watch::Sender::new(None), watch::Sender::new(Vec::new()));
        let (wake, wakes) = mpsc::channel(EVENT_QUEUE);
        let (plain, plain_events) = watch::channel(0);
        let desk = desk(&parts, told.subscribe(), learned.subscribe(), networks.clone());
        let follower = Follower::new(&parts, desk.clone(), plain_events);
        let agent = Self {
            sessions: CancellationToken::new(),
            rest: CancellationToken::new(),
            children: TaskTracker::new(),
            local: local.clone(),
            desk: desk.clone(),
            told: told.clone(),
            managers: learned.subscribe(),
            role: role.subscribe(),
            problem: problem.subscribe(),
            engine: facts.subscribe(),
            networks: networks.subscribe(),
            idle: idle.subscribe(),
        };
        let log_parts = log_parts(&parts, told.subscribe(), &reporter, learned.subscribe());
        let (log_orders, ordered) = mpsc::channel(logs::ORDERS_QUEUED_MAX);
        let runner = Runner::new(RunnerParts {
            engine: Arc::clone(&parts.engine),
            wiring: Arc::clone(&parts.wiring),
            reporter: Arc::clone(&reporter),
            clock: parts.clock,
            node_id: parts.node_id.clone(),
            hostname: parts.hostname.clone(),
            facts: facts.subscribe(),
            told: told.subscribe(),
            wakes,
            networks: Arc::clone(&desk.engine_networks),
            idle,
        });
        let sessions = SessionParts {
            connect: parts.connect,
            node_id: parts.node_id.clone(),
            hostname: parts.hostname,
            advertise_addr: parts.advertise_addr,
            managers: parts.managers,
            facts: facts.subscribe(),
            reporter: Arc::clone(&reporter),
            wiring: parts.wiring,
            told,
            stored: kept.clone(),
            learned,
            role,
            problem,
            log_orders,
        };
        let (rest, spawn) = (|| agent.rest.clone(), &agent.children);
        spawn.spawn(keep_written(local, parts.node_id, kept.subscribe(), reporter, rest()));
        spawn.spawn(follow(parts.engine, facts, wake, plain, rest(), seed));
        spawn.spawn(logs::run(log_parts, ordered, rest()));
        spawn.spawn(runner.run(rest()));
        spawn.spawn(follower.run(rest()));
        let sessions = Sessions::new(sessions, NodeView::clone(&view));
        spawn.spawn(sessions.run(agent.sessions.clone(), seed));
        agent.children.close();
        agent
    }

    /// Stops the agent. Containers, networks and the data plane stay as they are.
    pub async fn stop(&self) {
        self.sessions.cancel();
        self.rest.cancel();
        self.children.wait().await;
    }

    /// Leaves the swarm: tells the managers, stops and removes every task of this node, forgets what
    /// it was told.
    ///
    /// The agent has stopped when this returns, with or without an error. Take the data plane down
    /// afterwards: containers need it to be disconnected.
    ///
    /// # Errors
    /// `TasksRemain` when the engine did not finish in time: the containers left carry the node's
    /// label. `Local` when the stored state could not be removed.
    pub async fn leave(&self, within: Duration) -> Result<(), LeaveError> {
        self.sessions.cancel();
        // Before the first container ends: no node sends its clients here any more.
        farewell::say(&self.desk.managers).await;
        self.told.send_replace(Told { view: Arc::default(), complete: true });
        let mut idle = self.idle.clone();
        let removed = timeout(within, idle.wait_for(|idle| *idle)).await.map(drop);
        self.stop().await;
        self.local.remove()?;
        removed.map_err(|_| LeaveError::TasksRemain { within })
    }

    /// Returns once the managers have told this node everything (or the agent has stopped).
    pub async fn ready(&self) {
        let mut told = self.told.subscribe();
        // The sender lives as long as `self`.
        let _ = told.wait_for(|told| told.complete).await;
    }

    /// Managers as the cluster names them: node and `host:port`; empty until the first session.
    pub fn managers(&self) -> watch::Receiver<Vec<(NodeId, String)>> {
        self.managers.clone()
    }

    /// The role the cluster wants this node to have; `None` until the first session.
    pub fn role(&self) -> watch::Receiver<Option<Role>> {
        self.role.clone()
    }

    /// Why there is no session with a manager; `None` while there is one.
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.clone()
    }

    /// What the engine says of itself; `None` while it does not answer.
    pub fn engine(&self) -> watch::Receiver<Option<EngineFacts>> {
        self.engine.clone()
    }

    /// Gets addresses on swarm networks for a plain container of this node.
    ///
    /// # Errors
    /// What its user reads; nothing is left behind then.
    pub async fn attach(&self, request: &AttachRequest) -> Result<Attached, CallError> {
        self.desk.attach(request).await
    }

    /// Takes a plain container off all swarm networks, or off one.
    ///
    /// # Errors
    /// No manager was told; the agent tells them later, when the engine shows it.
    pub async fn detach(&self, id: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError> {
        let Some(network) = network else { return self.desk.detach(id, None).await };
        let view = self.view();
        let Some(Item::Backend(known)) = view.get(&ItemKey::Backend(id.clone())) else {
            return Ok(());
        };
        let held: Vec<_> =
            known.attachments.iter().filter(|a| a.network_id == *network).cloned().collect();
        self.desk.detach(id, Some(&held)).await
    }

    /// Returns the view this node works on; `swarmnet debug` shows its names.
    pub fn view(&self) -> Arc<NodeView> {
        Arc::clone(&self.told.borrow().view)
    }

    /// Returns the swarm networks that are present on this node's engine.
    pub fn local_networks(&self) -> LocalNetworks {
        local_networks(&self.networks.borrow(), &self.view())
    }
}

fn desk(
    parts: &AgentParts,
    told: watch::Receiver<Told>,
    learned: watch::Receiver<Vec<(NodeId, String)>>,
    seen: watch::Sender<Vec<EngineNetwork>>,
) -> Desk {
    let managers =
        Managers { connect: Arc::clone(&parts.connect), known: parts.managers.clone(), learned };
    let leases = Leases::default();
    let engine_networks = EngineNetworks::new(Arc::clone(&parts.engine), leases.clone(), seen);
    Desk {
        managers: Arc::new(managers),
        engine_networks: Arc::new(engine_networks),
        wiring: Arc::clone(&parts.wiring),
        told,
        leases,
        state_dir: parts.state_dir.clone(),
    }
}

/// Statuses of an earlier life, of tasks that are still this node's.
fn known_statuses(local: &LocalState, view: &NodeView) -> BTreeMap<TaskId, TaskStatus> {
    let mut statuses = stored(local.statuses());
    statuses.retain(|task, _| view.contains_key(&ItemKey::Task(task.clone())));
    statuses
}

fn log_parts(
    parts: &AgentParts,
    told: watch::Receiver<Told>,
    reporter: &Arc<Reporter>,
    managers: watch::Receiver<Vec<(NodeId, String)>>,
) -> LogParts {
    LogParts {
        connect: Arc::clone(&parts.connect),
        engine: Arc::clone(&parts.engine),
        clock: Arc::clone(&parts.clock),
        told,
        reporter: Arc::clone(reporter),
        managers,
    }
}

fn local_networks(present: &[EngineNetwork], view: &NodeView) -> LocalNetworks {
    let mut local = LocalNetworks { host_ports: host_ports(view), ..LocalNetworks::default() };
    for network in present {
        if network.label == GATEWAY_LABEL_VALUE {
            local.gateway_engine_name = Some(network.name.clone());
            continue;
        }
        let key = ItemKey::Network(NetworkId::from_text(&network.label));
        if let Some(Item::Network(item)) = view.get(&key) {
            local.networks.push(LocalNetwork {
                network: item.clone(),
                engine_id: network.id.clone(),
                engine_name: network.name.clone(),
            });
        }
    }
    local
}

/// A port is withdrawn as soon as its task should end.
fn host_ports(view: &NodeView) -> BTreeMap<TaskId, Vec<PublishedPort>> {
    let wanted = tasks(view).filter(|assigned| !assigned.task.desired_state.is_terminal());
    let ports = wanted.map(|assigned| {
        let ports = assigned.task.host_ports().cloned().collect::<Vec<_>>();
        (assigned.task.id.clone(), ports)
    });
    ports.filter(|(_, ports)| !ports.is_empty()).collect()
}

/// A stored state that cannot be used is as good as none; it is replaced soon.
fn stored<T: Default>(read: Result<T, LocalError>) -> T {
    read.unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "stored state ignored");
        T::default()
    })
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
