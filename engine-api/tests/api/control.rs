//! A control plane in memory: what a manager answers, without any cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use ipnetwork::Ipv4Network;
use swarmnet_engine_api::{
    AttachRequest, Attached, AttachedEndpoint, ControlPlane, InitRequest, JoinRequest,
    LocalNetwork, LocalNetworks, LocalNode, LocalState, LogStream, RaftView, SwarmEvents,
};
use swarmnet_model::cluster::{Cluster, JoinTokens, RootCa};
use swarmnet_model::event::Event;
use swarmnet_model::node::ManagerMember;
use swarmnet_model::view::{Backend, BackendState, NetworkItem, NetworkShown, Peer};
use swarmnet_model::{
    Attachment, Call, CallError, ClusterId, ClusterSpec, Code, Connectivity, DesiredState, Item,
    ItemKey, LogLine, LogOptions, LogSelector, Network, NetworkId, NetworkSpec, Node,
    NodeDescription, NodeId, NodeSpec, NodeState, NodeStatus, Reply, Role, SecretText, Service,
    ServiceEndpoint, ServiceId, ServiceMode, ServiceSpec, Subnet, Tables, Task, TaskId, TaskState,
    TaskStatus, Timestamp, Version, Vip, Vni,
};

pub(crate) const MASTER: &str = "mam76vp6j0ribkwvvzvpbvdre";
pub(crate) const OVERLAY: &str = "vby3ukx1ii312sevyorhpn6y8";
const NOT_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or \
                           modify cluster state. Please run this command on a manager node or \
                           promote the current node to a manager.";

pub(crate) struct FakeControl {
    pub(crate) node: Mutex<LocalNode>,
    pub(crate) tables: Mutex<Tables>,
    pub(crate) networks: Mutex<LocalNetworks>,
    pub(crate) inits: Mutex<Vec<InitRequest>>,
    pub(crate) joins: Mutex<Vec<JoinRequest>>,
    pub(crate) leaves: Mutex<Vec<bool>>,
    pub(crate) calls: Mutex<Vec<Call>>,
    /// Lines of the next reader of logs, and how it asked.
    pub(crate) lines: Mutex<Vec<Result<Vec<LogLine>, CallError>>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) asked_logs: Mutex<Vec<(LogSelector, LogOptions)>>,
    /// Attachments that were given back.
    pub(crate) detached: Mutex<Vec<Option<NetworkId>>>,
}

impl FakeControl {
    fn new(node: LocalNode, tables: Tables) -> Self {
        Self {
            node: Mutex::new(node),
            tables: Mutex::new(tables),
            networks: Mutex::default(),
            inits: Mutex::default(),
            joins: Mutex::default(),
            leaves: Mutex::default(),
            calls: Mutex::default(),
            lines: Mutex::default(),
            events: Mutex::default(),
            asked_logs: Mutex::default(),
            detached: Mutex::default(),
        }
    }

    pub(crate) fn outside() -> Self {
        let node = LocalNode {
            state: LocalState::Inactive,
            is_manager: false,
            node_id: None,
            addr: None,
            managers: Vec::new(),
            error: String::new(),
        };
        Self::new(node, Tables::default())
    }

    pub(crate) fn worker() -> Self {
        Self::new(member(false), Tables::default())
    }

    pub(crate) fn manager() -> Self {
        let mut tables = Tables {
            version: Version(10),
            cluster: Some(Arc::new(cluster())),
            ..Tables::default()
        };
        let node = master();
        tables.nodes.insert(node.id.clone(), Arc::new(node));
        let ingress = network("g9ormv5g0d9uvfkfciwd1fn6p", "ingress", 0, true);
        let overlay = network(OVERLAY, "dca-overlay", 1, false);
        for network in [ingress, overlay] {
            tables.networks.insert(network.id.clone(), Arc::new(network));
        }
        Self::new(member(true), tables)
    }

    /// Puts the overlay on this node's engine.
    pub(crate) fn with_local_overlay(self) -> Self {
        let overlay = NetworkItem {
            id: NetworkId::from_text(OVERLAY),
            name: "dca-overlay".to_owned(),
            vni: Vni::new(4097).unwrap(),
            subnet: Subnet {
                subnet: "10.0.1.0/24".parse().unwrap(),
                range: None,
                gateway: "10.0.1.1".parse().unwrap(),
            },
            internal: false,
            attachable: false,
            mtu: None,
            shown: NetworkShown { created_at: now(), ..NetworkShown::default() },
        };
        let peer = Peer {
            node_id: NodeId::from_text(MASTER),
            hostname: "master".to_owned(),
            addr: "10.20.20.100".parse().unwrap(),
        };
        let backend = Backend {
            task_id: TaskId::from_text("t1"),
            task_name: "web.1".to_owned(),
            service_id: Some(ServiceId::from_text("s1")),
            node_id: peer.node_id.clone(),
            state: BackendState::Active,
            attachments: vec![Attachment {
                network_id: overlay.id.clone(),
                address: "10.0.1.3/24".parse().unwrap(),
                aliases: Vec::new(),
            }],
            gateway: None,
        };
        let view = [
            (ItemKey::Network(overlay.id.clone()), Item::Network(overlay)),
            (ItemKey::Peer(peer.node_id.clone()), Item::Peer(peer)),
            (ItemKey::Backend(backend.task_id.clone()), Item::Backend(backend)),
        ];
        *self.networks.lock().unwrap() = LocalNetworks {
            view: view.into_iter().collect(),
            networks: vec![LocalNetwork {
                id: NetworkId::from_text(OVERLAY),
                name: "dca-overlay".to_owned(),
                internal: false,
                attachable: false,
                subnet: "10.0.1.0/24".parse().unwrap(),
                gateway: "10.0.1.1".parse().unwrap(),
                vni: 4097,
                engine_id: crate::engine::PLUGIN_NETWORK_ID.to_owned(),
                engine_name: "swarmnet-dca".to_owned(),
            }],
            gateway_engine_name: "swarmnet-gw".to_owned(),
            ..LocalNetworks::default()
        };
        self
    }

    pub(crate) fn edit(&self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.tables.lock().unwrap());
    }

    fn create_service(tables: &mut Tables, spec: ServiceSpec) -> Result<Reply, CallError> {
        if tables.services.values().any(|service| service.spec.name == spec.name) {
            let text = format!(
                "name conflicts with an existing object: service {} already exists",
                spec.name
            );
            return Err(CallError::manager(Code::AlreadyExists, text));
        }
        let index = tables.version.0;
        let id = ServiceId::from_text(format!("svc{index:022}"));
        let ServiceMode::Replicated { replicas } = spec.mode else {
            return Err(CallError::manager(Code::Unimplemented, "mode"));
        };
        for slot in 1..=replicas {
            let task = task(&format!("t{index:04}x{slot:019}"), &id, &spec, slot, tables.version);
            tables.tasks.insert(task.id.clone(), Arc::new(task));
        }
        let service = Service {
            id: id.clone(),
            version: tables.version,
            spec_version: tables.version,
            created_at: now(),
            updated_at: now(),
            endpoint: Some(endpoint(&spec)),
            spec,
            previous_spec: None,
            update_status: None,
            job: None,
            pending_delete: false,
            registry: Default::default(),
        };
        tables.services.insert(id.clone(), Arc::new(service));
        Ok(Reply::Created(id.to_string()))
    }

    fn update_service(
        tables: &mut Tables,
        id: &ServiceId,
        version: Version,
        spec: Option<Box<ServiceSpec>>,
    ) -> Result<Reply, CallError> {
        let mut service = (*tables.services[id]).clone();
        if version < service.spec_version {
            return Err(CallError::out_of_sequence());
        }
        let next = match spec {
            Some(spec) => *spec,
            None => service.previous_spec.clone().ok_or_else(|| {
                let text = format!("service {id} does not have a previous spec");
                CallError::manager(Code::FailedPrecondition, text)
            })?,
        };
        service.previous_spec = Some(std::mem::replace(&mut service.spec, next));
        service.version = tables.version;
        service.spec_version = tables.version;
        tables.services.insert(id.clone(), Arc::new(service));
        Ok(Reply::Done)
    }

    fn create_network(tables: &mut Tables, spec: NetworkSpec) -> Reply {
        let index = u8::try_from(tables.networks.len()).unwrap();
        let mut made = network(&format!("net{index:022}"), &spec.name, index, false);
        made.spec = spec;
        let id = made.id.clone();
        tables.networks.insert(id.clone(), Arc::new(made));
        Reply::Created(id.to_string())
    }
}

#[async_trait]
impl ControlPlane for FakeControl {
    fn local_node(&self) -> LocalNode {
        self.node.lock().unwrap().clone()
    }

    async fn read(&self) -> Result<Arc<Tables>, CallError> {
        let node = self.local_node();
        match (node.state, node.is_manager) {
            (LocalState::Active, true) => Ok(Arc::new(self.tables.lock().unwrap().clone())),
            (LocalState::Active, false) => Err(CallError::api(Code::Unavailable, NOT_MANAGER)),
            _ => Err(CallError::api(Code::Unavailable, "no swarm")),
        }
    }

    fn raft_view(&self) -> RaftView {
        let master = NodeId::from_text(MASTER);
        RaftView { leader: Some(master.clone()), reachable: [(master, true)].into() }
    }

    async fn test_connectivity(&self) -> Result<Connectivity, CallError> {
        self.read().await?;
        Ok(Connectivity { nodes: Vec::new(), paths: Vec::new() })
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.calls.lock().unwrap().push(call.clone());
        let mut tables = self.tables.lock().unwrap();
        tables.version.0 += 1;
        match call {
            Call::CreateService { spec, .. } => Self::create_service(&mut tables, *spec),
            Call::UpdateService { id, version, spec, .. } => {
                Self::update_service(&mut tables, &id, version, spec)
            }
            Call::RemoveService { id } => {
                let mut service = (*tables.services[&id]).clone();
                service.pending_delete = true;
                tables.services.insert(id, Arc::new(service));
                Ok(Reply::Done)
            }
            Call::CreateNetwork { spec } => Ok(Self::create_network(&mut tables, *spec)),
            Call::RemoveNetwork { id } => {
                tables.networks.remove(&id);
                Ok(Reply::Done)
            }
            Call::UpdateCluster { spec, .. } => {
                let mut cluster = (**tables.cluster.as_ref().unwrap()).clone();
                cluster.spec = spec;
                tables.cluster = Some(Arc::new(cluster));
                Ok(Reply::Done)
            }
            Call::UpdateNode { id, spec, .. } => {
                let mut node = (*tables.nodes[&id]).clone();
                node.spec = spec;
                tables.nodes.insert(id, Arc::new(node));
                Ok(Reply::Done)
            }
            Call::RemoveNode { id, .. } => {
                tables.nodes.remove(&id);
                Ok(Reply::Done)
            }
        }
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<LogStream, CallError> {
        self.asked_logs.lock().unwrap().push((selector, options));
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        Ok(futures::stream::iter(lines).boxed())
    }

    fn events(&self, since: Option<Timestamp>) -> Option<SwarmEvents> {
        if !self.local_node().is_manager {
            return None;
        }
        let all = self.events.lock().unwrap().clone();
        let past = all.iter().filter(|e| since.is_some_and(|since| e.time >= since)).cloned();
        let next = all.iter().filter(|e| e.time > now()).cloned().collect::<Vec<_>>();
        let next = futures::stream::iter(next).chain(futures::stream::pending());
        Some(SwarmEvents { past: past.collect(), next: next.boxed() })
    }

    async fn init(&self, request: InitRequest) -> Result<NodeId, CallError> {
        self.inits.lock().unwrap().push(request);
        Ok(NodeId::from_text(MASTER))
    }

    async fn join(&self, request: JoinRequest) -> Result<(), CallError> {
        self.joins.lock().unwrap().push(request);
        Err(CallError::invalid("A valid join token is necessary to join this cluster"))
    }

    async fn leave(&self, force: bool) -> Result<(), CallError> {
        self.leaves.lock().unwrap().push(force);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        now()
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, CallError> {
        let tables = self.tables.lock().unwrap().clone();
        let mut endpoints = Vec::new();
        for wanted in &request.networks {
            let name = &wanted.network;
            let mut all = tables.networks.values();
            let found = all.find(|n| n.spec.name == *name || n.id.as_str() == name);
            let network = found.ok_or_else(|| CallError::not_found("network", name))?;
            if !network.spec.attachable {
                let cause = format!(
                    "Could not attach to network {name}: rpc error: code = PermissionDenied desc = \
                     network {name} not manually attachable"
                );
                return Err(CallError::api(Code::PermissionDenied, cause));
            }
            endpoints.push(AttachedEndpoint {
                network_id: Some(network.id.clone()),
                engine_name: format!("{}.plugin", network.spec.name),
                address: wanted.address.unwrap_or([10, 0, 1, 7].into()),
                driver_options: [("swarmnet.task".to_owned(), "t1".to_owned())].into(),
            });
        }
        let gateway = request.gateway.then(|| AttachedEndpoint {
            network_id: None,
            engine_name: "swarmnet_gateway".to_owned(),
            address: [172, 31, 240, 2].into(),
            driver_options: Default::default(),
        });
        Ok(Attached {
            id: request.id,
            endpoints,
            gateway,
            resolv_conf: String::new(),
            lease: Box::new(()),
        })
    }

    async fn detach(&self, _: &TaskId, network: Option<&NetworkId>) -> Result<(), CallError> {
        self.detached.lock().unwrap().push(network.cloned());
        Ok(())
    }

    fn local_networks(&self) -> LocalNetworks {
        self.networks.lock().unwrap().clone()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp(1_795_356_684_952_910_942)
}

fn member(is_manager: bool) -> LocalNode {
    LocalNode {
        state: LocalState::Active,
        is_manager,
        node_id: Some(NodeId::from_text(MASTER)),
        addr: Some("10.20.20.100".parse().unwrap()),
        managers: vec![(Some(NodeId::from_text(MASTER)), "10.20.20.100:2377".to_owned())],
        error: String::new(),
    }
}

fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_text("otty595esgm9lo4pipkqqid92"),
        version: Version(3),
        created_at: now(),
        updated_at: now(),
        spec: ClusterSpec::default(),
        root_ca: RootCa {
            certificate_pem: include_str!("../fixtures/root.pem").to_owned(),
            key_pem: SecretText::new("TOP-SECRET"),
        },
        join_tokens: JoinTokens {
            worker: SecretText::new("SWMTKN-1-worker"),
            manager: SecretText::new("SWMTKN-1-manager"),
        },
        address_pools: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size_bits: 24,
        data_path_port: 4789,
        removed_nodes: BTreeMap::new(),
        next_raft_id: 2,
    }
}

pub(crate) fn master() -> Node {
    let plugins = [("Log", "json-file"), ("Network", "swarmnet"), ("Volume", "local")];
    Node {
        id: NodeId::from_text(MASTER),
        version: Version(9),
        spec_version: Version(9),
        created_at: now(),
        updated_at: now(),
        spec: NodeSpec { role: Role::Manager, ..NodeSpec::default() },
        description: Some(NodeDescription {
            hostname: "master".to_owned(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            nano_cpus: 2_000_000_000,
            memory_bytes: 25_276_514_304,
            engine_version: "20.10.24+dfsg1".to_owned(),
            engine_labels: BTreeMap::new(),
            plugins: plugins.map(|(kind, name)| (kind.to_owned(), name.to_owned())).to_vec(),
            generic: Vec::new(),
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            addr: "10.20.20.100".parse().unwrap(),
        },
        role: Role::Manager,
        manager: Some(ManagerMember { raft_id: 1, addr: "10.20.20.100:2377".to_owned() }),
    }
}

fn network(id: &str, name: &str, index: u8, ingress: bool) -> Network {
    let subnet: Ipv4Network = format!("10.0.{index}.0/24").parse().unwrap();
    Network {
        id: NetworkId::from_text(id),
        version: Version(5),
        created_at: now(),
        updated_at: now(),
        spec: NetworkSpec { name: name.to_owned(), ingress, ..NetworkSpec::default() },
        vni: Vni::new(4096 + u32::from(index)).unwrap(),
        subnet: Subnet { subnet, range: None, gateway: subnet.nth(1).unwrap() },
        pending_delete: false,
    }
}

fn endpoint(spec: &ServiceSpec) -> ServiceEndpoint {
    let mut ports = spec.endpoint.ports.clone();
    for (port, number) in ports.iter_mut().filter(|port| port.published_port == 0).zip(30_000..) {
        port.published_port = number;
    }
    let vip = |network: &swarmnet_model::task::NetworkAttachmentSpec| Vip {
        network_id: network.network_id.clone(),
        address: "10.0.1.2/24".parse().unwrap(),
    };
    let vips = spec.task.networks.iter().map(vip).collect();
    ServiceEndpoint { spec: spec.endpoint.clone(), ports, vips }
}

fn task(id: &str, service: &ServiceId, spec: &ServiceSpec, slot: u64, version: Version) -> Task {
    let attach = |network: &swarmnet_model::task::NetworkAttachmentSpec| Attachment {
        network_id: network.network_id.clone(),
        address: "10.0.1.3/24".parse().unwrap(),
        aliases: Vec::new(),
    };
    Task {
        id: TaskId::from_text(id),
        version,
        created_at: now(),
        updated_at: now(),
        service_id: service.clone(),
        service_name: spec.name.clone(),
        service_labels: spec.labels.clone(),
        slot,
        job_iteration: None,
        node_id: Some(NodeId::from_text(MASTER)),
        spec: spec.task.clone(),
        endpoint_spec: spec.endpoint.clone(),
        document: spec.document.clone(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(now().plus(Duration::from_secs(1)), TaskState::Running, "started"),
        attachments: spec.task.networks.iter().map(attach).collect(),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
    }
}
