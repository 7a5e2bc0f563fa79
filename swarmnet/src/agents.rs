//! The real agent behind `agent_role`: beside the Docker Engine, on the running data plane.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use swarmnet_agent::attach::desk as attach;
use swarmnet_agent::dataplane::DataPlane;
use swarmnet_agent::engine::{DockerEngine, Engine, EngineError, take_down};
use swarmnet_agent::{Agent, AgentConfig};
use swarmnet_engine_api::{AttachRequest, Attached, AttachedEndpoint, LocalNetwork, LocalNetworks};
use swarmnet_model::{CallError, NetworkId, NodeId, NodeView, Role, TaskId};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent_role::{AgentParts, AgentRole, Agents, Managers};
use crate::clock::SystemClock;
use crate::config::Config;

/// For tasks to be stopped and removed; longer than the usual grace period of 10 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts agents on this machine.
pub(crate) struct EngineAgents {
    engine_socket: PathBuf,
    state_dir: PathBuf,
    plane: DataPlane,
}

impl EngineAgents {
    pub(crate) fn new(config: &Config, plane: DataPlane) -> Self {
        Self { engine_socket: config.engine.clone(), state_dir: config.state_dir.clone(), plane }
    }
}

#[async_trait]
impl Agents for EngineAgents {
    async fn start(&self, parts: AgentParts) -> anyhow::Result<Arc<dyn AgentRole>> {
        let AgentParts { tls, managers, advertise } = parts;
        let asked = watch::Sender::new(managers);
        let agent = Agent::start(AgentConfig {
            node_id: tls.node_id(),
            tls,
            hostname: hostname()?,
            managers: asked.subscribe(),
            advertise_addr: advertise,
            state_dir: self.state_dir.clone(),
            engine_socket: self.engine_socket.clone(),
            data_plane: self.plane.clone(),
            clock: Arc::new(SystemClock),
        });
        let heard = watch::Sender::new(Vec::new());
        let mut forwarding = JoinSet::new();
        forwarding.spawn(forward(agent.managers(), heard.clone()));
        Ok(Arc::new(RunningAgent {
            agent,
            heard,
            _asked: asked,
            _forwarding: forwarding,
            engine_socket: self.engine_socket.clone(),
            plane: self.plane.clone(),
        }))
    }
}

/// The system's host name.
fn hostname() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()?;
    name.into_string().map_err(|_| anyhow::anyhow!("the host name is not UTF-8"))
}

async fn forward(mut from: watch::Receiver<Vec<(NodeId, String)>>, to: watch::Sender<Managers>) {
    loop {
        let known: Managers =
            from.borrow_and_update().iter().map(|(id, a)| (Some(id.clone()), a.clone())).collect();
        to.send_replace(known);
        if from.changed().await.is_err() {
            return;
        }
    }
}

struct RunningAgent {
    agent: Agent,
    heard: watch::Sender<Managers>,
    /// Lives as long as the agent listens to it.
    _asked: watch::Sender<Vec<String>>,
    /// Ends with this.
    _forwarding: JoinSet<()>,
    engine_socket: PathBuf,
    plane: DataPlane,
}

#[async_trait]
impl AgentRole for RunningAgent {
    fn managers(&self) -> watch::Receiver<Managers> {
        self.heard.subscribe()
    }

    fn role(&self) -> watch::Receiver<Option<Role>> {
        self.agent.role()
    }

    fn local_networks(&self) -> LocalNetworks {
        let local = self.agent.local_networks();
        let networks = local.networks.into_iter().map(|present| LocalNetwork {
            id: present.network.id,
            name: present.network.name,
            internal: present.network.internal,
            attachable: present.network.attachable,
            subnet: present.network.subnet.subnet,
            gateway: present.network.subnet.gateway,
            vni: present.network.vni.get(),
            engine_id: present.engine_id,
            engine_name: present.engine_name,
        });
        LocalNetworks {
            view: NodeView::clone(&self.agent.view()),
            networks: networks.collect(),
            gateway_engine_name: local.gateway_engine_name.unwrap_or_default(),
            host_ports: local.host_ports,
        }
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, CallError> {
        let AttachRequest { id, name, networks, gateway, dns } = request;
        let request = attach::AttachRequest { id: id.clone(), name, networks, gateway, dns };
        let attached = self.agent.attach(&request).await?;
        let endpoints = attached.networks.networks.into_iter().map(|network| AttachedEndpoint {
            network_id: network.network_id,
            engine_name: network.engine_name,
            address: network.address,
            driver_options: network.driver_options,
        });
        let (overlays, gateway): (Vec<_>, Vec<_>) =
            endpoints.partition(|endpoint| endpoint.network_id.is_some());
        let lease = Box::new(attached.lease);
        let gateway = gateway.into_iter().next();
        let resolv_conf = attached.resolv_conf.to_string_lossy().into_owned();
        Ok(Attached { id, endpoints: overlays, gateway, resolv_conf, lease })
    }

    async fn detach(&self, id: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError> {
        self.agent.detach(id, network).await
    }

    async fn ready(&self) {
        self.agent.ready().await;
    }

    async fn stop(&self) {
        self.agent.stop().await;
    }

    async fn leave(&self) -> anyhow::Result<()> {
        let tasks = self.agent.leave(LEAVE_TIMEOUT).await;
        // The engine asks our plugin while it removes networks, so they go before the data plane.
        let networks = remove_networks(&DockerEngine::new(self.engine_socket.clone())).await;
        let plane = self.plane.remove_all().await;
        tasks?;
        networks?;
        Ok(plane?)
    }
}

/// Removes every container of the node's tasks, then our networks: for a node without an agent.
///
/// # Errors
/// The engine's; what is left is found again by its label.
pub(crate) async fn remove_from_engine(
    socket: &Path,
    node: Option<&NodeId>,
) -> Result<(), EngineError> {
    let engine = DockerEngine::new(socket.to_owned());
    if let Some(node) = node {
        for id in engine.task_containers(node).await?.keys() {
            engine.remove_container(id).await?;
        }
    }
    remove_networks(&engine).await
}

async fn remove_networks(engine: &DockerEngine) -> Result<(), EngineError> {
    for network in engine.networks().await? {
        take_down(engine, &network).await?;
    }
    Ok(())
}
