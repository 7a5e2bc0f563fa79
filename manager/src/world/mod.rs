//! A cluster in a few lines of text, for tests of planners and calls: Given, When, Then.
//!
//! Ids are names. Times are seconds after [`START`]; `now` moves only by [`World::wait`].
//!
//! ```text
//!   node n1 [down|unknown] [pause|drain] [manager] [label.K=V] [cpus=N] [memory=MIB] [gpu=2|gpu=a,b]
//!           [engine.K=V] [Volume=nfs]
//!   network net 10.0.1.0/24 [removed]
//!   service web [replicas=N|global|job=TOTAL/CONCURRENT|global-job] [image=I] [net=A,B] [publish=8080:80/udp@host] [key=value…]
//!   task web.1 t1 n1|- STATE [desired=D] [at=S] [ended=S] [image=I] [iteration=N] [address=10.0.1.3]
//! ```

mod needs;
mod scenario;
mod show;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::container::Mount;
use swarmnet_model::restart::{RestartCondition, RestartPolicy};
use swarmnet_model::task::NetworkAttachmentSpec;
use swarmnet_model::update_rules::DEADLINE_LABEL;
use swarmnet_model::{
    Attachment, Availability, Cluster, ClusterId, ClusterSpec, ContainerSpec, DesiredState,
    EndpointMode, EndpointSpec, FailureAction, IpamConfig, JobStatus, JoinTokens, Network,
    NetworkId, NetworkSpec, Node, NodeDescription, NodeId, NodeSpec, NodeState, NodeStatus,
    PortSpec, Protocol, PublishMode, Role, SecretText, Service, ServiceEndpoint, ServiceId,
    ServiceMode, ServiceSpec, Tables, Task, TaskId, TaskSpec, TaskState, TaskStatus, Timestamp,
    UpdateConfig, UpdateOrder, Version, Vni,
};

use crate::allocator::ipam;
use crate::plan::Plan;
use crate::store::{Change, Transaction, apply};

pub(crate) use scenario::check;
use show::short;
pub(crate) use show::{long, show};

/// The time of `at=0`.
pub(crate) const START: Timestamp = Timestamp(1_000_000_000_000_000_000);

pub(crate) struct World {
    pub(crate) tables: Tables,
    pub(crate) now: Timestamp,
    last_id: u128,
}

pub(crate) type Planner = fn(&Tables, Timestamp, &mut dyn swarmnet_model::IdSource) -> Plan;

impl World {
    pub(crate) fn given(text: &str) -> Self {
        let mut world = Self { tables: Tables::default(), now: START, last_id: 0 };
        world.tables.version = Version(1);
        world.tables.cluster = Some(Arc::new(cluster()));
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            world.line(line);
        }
        world
    }

    /// Adds what one line says.
    pub(crate) fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[0] {
            "node" => self.put_node(&words),
            "network" => self.put_network(&words),
            "service" => {
                let service = service(words[1], &words[2..]);
                self.tables.services.insert(service.id.clone(), Arc::new(service));
            }
            "task" => self.put_task(&words),
            other => panic!("no such thing: {other}"),
        }
    }

    fn put_node(&mut self, words: &[&str]) {
        let last = u8::try_from(self.tables.nodes.len()).unwrap() + 1;
        let node = node(words[1], last, &words[2..]);
        self.tables.nodes.insert(node.id.clone(), Arc::new(node));
    }

    fn put_network(&mut self, words: &[&str]) {
        let subnet = ipam::complete(words[2].parse().unwrap(), &IpamConfig::default()).unwrap();
        let vni = Vni::FIRST_AUTOMATIC + u32::try_from(self.tables.networks.len()).unwrap();
        let ingress = words[1] == "ingress";
        let network = Network {
            id: NetworkId::from_text(words[1]),
            version: Version(1),
            created_at: START,
            updated_at: START,
            spec: NetworkSpec { name: words[1].to_owned(), ingress, ..NetworkSpec::default() },
            vni: Vni::new(vni).unwrap(),
            subnet,
            pending_delete: words.contains(&"removed"),
        };
        self.tables.networks.insert(network.id.clone(), Arc::new(network));
    }

    fn put_task(&mut self, words: &[&str]) {
        let (name, slot) = words[1].split_once('.').unwrap();
        let service = self.tables.services[&ServiceId::from_text(name)].clone();
        let mut task = task_of(&service, slot.parse().unwrap_or(0));
        task.id = TaskId::from_text(words[2]);
        task.node_id = (words[3] != "-").then(|| NodeId::from_text(words[3]));
        task.status.state = state(words[4]);
        for (key, value) in words[5..].iter().filter_map(|word| word.split_once('=')) {
            match key {
                "desired" => task.desired_state = desired(value),
                "image" => value.clone_into(&mut task.spec.container.image),
                "at" => task.created_at = at(value.parse().unwrap()),
                "iteration" => task.job_iteration = value.parse().ok(),
                "ended" => task.updated_at = at(value.parse().unwrap()),
                "address" => {
                    let network_id = task.spec.networks[0].network_id.clone();
                    let address = format!("{value}/24").parse().unwrap();
                    task.attachments = vec![Attachment { network_id, address, aliases: vec![] }];
                }
                other => panic!("no such word: {other}"),
            }
        }
        task.updated_at = task.updated_at.max(task.created_at);
        task.status.timestamp = task.updated_at;
        self.tables.tasks.insert(task.id.clone(), Arc::new(task));
    }

    /// Returns a copy of a network.
    pub(crate) fn network(&self, id: &str) -> Network {
        Network::clone(&self.tables.networks[&NetworkId::from_text(id)])
    }

    /// Edits a service in place, as `control` would have it written.
    pub(crate) fn edit(&mut self, id: &str, edit: impl FnOnce(&mut Service)) {
        let id = ServiceId::from_text(id);
        let mut service = Service::clone(&self.tables.services[&id]);
        edit(&mut service);
        self.tables.services.insert(id, Arc::new(service));
    }

    /// Gives the service a new spec with another image, as an update call does.
    pub(crate) fn update_image(&mut self, id: &str, image: &str) {
        self.update(id, &[&format!("image={image}")]);
    }

    /// Gives the service a new spec, as an update call does.
    pub(crate) fn update(&mut self, id: &str, words: &[&str]) {
        let mut service = Service::clone(&self.tables.services[&ServiceId::from_text(id)]);
        let expected = service.spec_version;
        service.previous_spec = Some(service.spec.clone());
        service.update_status = None;
        service.execute_again(self.now);
        put_words(&mut service, words);
        self.write(vec![Change::UpdateService { service: Box::new(service), expected }]);
    }

    pub(crate) fn set_node(&mut self, id: &str, state: NodeState) {
        let id = NodeId::from_text(id);
        let mut status = self.tables.nodes[&id].status.clone();
        status.state = state;
        self.write(vec![Change::SetNodeStatus { id, status }]);
    }

    pub(crate) fn drain(&mut self, id: &str, on: bool) {
        let mut node = Node::clone(&self.tables.nodes[&NodeId::from_text(id)]);
        node.spec.availability = if on { Availability::Drain } else { Availability::Active };
        let expected = node.spec_version;
        self.write(vec![Change::UpdateNode { node: Box::new(node), expected }]);
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    /// Returns how many ids planners have taken.
    pub(crate) fn ids_taken(&self) -> u128 {
        self.last_id
    }

    pub(crate) fn plan(&mut self, planner: Planner) -> Plan {
        let last_id = &mut self.last_id;
        let mut ids = || {
            *last_id += 1;
            *last_id
        };
        planner(&self.tables, self.now, &mut ids)
    }

    /// Plans and writes; returns the changes as text, then what the planner waits for.
    pub(crate) fn step(&mut self, planner: Planner) -> String {
        let plan = self.plan(planner);
        let mut text = show(&plan.changes);
        if let Some(wake_at) = plan.wake_at {
            text += &format!("wake in {:?}\n", wake_at.since(self.now));
        }
        self.write(plan.changes);
        text
    }

    pub(crate) fn write(&mut self, changes: Vec<Change>) {
        let index = self.tables.version.0 + 1;
        let transaction = Transaction { now: self.now, changes: changes.into() };
        let (tables, outcome) = apply(&self.tables, index, &transaction);
        outcome.expect("the planner plans only what fits");
        self.tables = tables;
    }

    /// Reports one task's new state, as its agent would.
    pub(crate) fn report(&mut self, id: &str, reached: &str) {
        let id = long(id);
        let task = &self.tables.tasks[&id];
        let node_id = task.node_id.clone().expect("only placed tasks are reported");
        let status = Box::new(TaskStatus::new(self.now, state(reached), reached));
        self.write(vec![Change::ReportTask { id, node_id, status }]);
    }

    /// Returns every task: name, id, node, desired and observed state, image.
    pub(crate) fn tasks(&self) -> String {
        let mut tasks: Vec<_> = self.tables.tasks.values().collect();
        tasks.sort_by_key(|task| (task.name(), task.created_at, task.id.clone()));
        let line = |task: &&Arc<Task>| {
            let node = task.node_id.as_ref().map_or("-", NodeId::as_str);
            let (wish, state) = (task.desired_state.as_str(), task.status.state.as_str());
            let image = &task.spec.container.image;
            format!("{} {} {node} {wish}/{state} {image}\n", task.name(), short(&task.id))
        };
        tasks.iter().map(line).collect()
    }
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_text("cluster"),
        version: Version(1),
        created_at: START,
        updated_at: START,
        spec: ClusterSpec::default(),
        root_ca: swarmnet_model::cluster::RootCa {
            certificate_pem: String::new(),
            key_pem: SecretText::default(),
        },
        join_tokens: JoinTokens { worker: SecretText::default(), manager: SecretText::default() },
        address_pools: vec!["10.0.0.0/8".parse().unwrap()],
        subnet_size_bits: 24,
        data_path_port: 4789,
        removed_nodes: BTreeMap::new(),
        next_raft_id: 2,
    }
}

fn node(id: &str, last: u8, words: &[&str]) -> Node {
    let mut node = Node {
        id: NodeId::from_text(id),
        version: Version(1),
        spec_version: Version(1),
        created_at: START,
        updated_at: START,
        spec: NodeSpec::default(),
        description: Some(NodeDescription {
            hostname: id.to_owned(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            nano_cpus: 2_000_000_000,
            memory_bytes: 4 << 30,
            engine_version: "20.10.24".to_owned(),
            ..NodeDescription::default()
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            addr: Ipv4Addr::new(10, 20, 20, last),
        },
        role: Role::Worker,
        manager: None,
    };
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => needs::node_word(&mut node, key, value),
            None => match *word {
                "down" => node.status.state = NodeState::Down,
                "unknown" => node.status.state = NodeState::Unknown,
                "pause" => node.spec.availability = Availability::Pause,
                "drain" => node.spec.availability = Availability::Drain,
                "manager" => {
                    (node.spec.role, node.role) = (Role::Manager, Role::Manager);
                    node.manager = Some(swarmnet_model::node::ManagerMember {
                        raft_id: last.into(),
                        addr: format!("10.20.20.{last}:2377"),
                    });
                }
                other => panic!("no such word: {other}"),
            },
        }
    }
    node
}

/// A spec that passes validation: one replica of nginx.
pub(crate) fn spec(name: &str) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "nginx".to_owned(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        },
        mode: ServiceMode::Replicated { replicas: 1 },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        document: Default::default(),
    }
}

/// A tmpfs mount at `target`.
pub(crate) fn mount(target: &str) -> Mount {
    Mount {
        kind: swarmnet_model::container::MountKind::Tmpfs {
            size_bytes: None,
            mode: None,
            options: Vec::new(),
        },
        source: String::new(),
        target: target.to_owned(),
        read_only: false,
        consistency: None,
    }
}

fn service(name: &str, words: &[&str]) -> Service {
    let mut service = Service {
        id: ServiceId::from_text(name),
        version: Version(1),
        spec_version: Version(1),
        created_at: START,
        updated_at: START,
        spec: spec(name),
        previous_spec: None,
        endpoint: None,
        update_status: None,
        job: None,
        pending_delete: false,
        registry: Default::default(),
    };
    put_words(&mut service, words);
    if words.contains(&"endpoint") {
        let (spec, ports) = (service.spec.endpoint.clone(), service.spec.endpoint.ports.clone());
        service.endpoint = Some(ServiceEndpoint { spec, ports, vips: Vec::new() });
    }
    service
}

const FIRST_EXECUTION: JobStatus = JobStatus { iteration: 0, last_execution: START };

fn put_words(service: &mut Service, words: &[&str]) {
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((*word, ""));
        if !service_word(service, key, value) && !policy_word(&mut service.spec, key, value) {
            panic!("no such word: {word}");
        }
    }
}

fn service_word(service: &mut Service, key: &str, value: &str) -> bool {
    let spec = &mut service.spec;
    match key {
        "replicas" => spec.mode = ServiceMode::Replicated { replicas: value.parse().unwrap() },
        "global" => spec.mode = ServiceMode::Global,
        "job" => {
            let (total, concurrent) = value.split_once('/').expect("job=TOTAL/CONCURRENT");
            let total_completions = total.parse().unwrap();
            let max_concurrent = concurrent.parse().unwrap();
            spec.mode = ServiceMode::ReplicatedJob { max_concurrent, total_completions };
            service.job.get_or_insert(FIRST_EXECUTION);
        }
        "global-job" => {
            spec.mode = ServiceMode::GlobalJob;
            service.job.get_or_insert(FIRST_EXECUTION);
        }
        "force" => spec.task.force_update += 1,
        "image" => value.clone_into(&mut spec.task.container.image),
        "net" => spec.task.networks = value.split(',').map(attach).collect(),
        "publish" => spec.endpoint.ports.push(port(value)),
        "dnsrr" => spec.endpoint.mode = EndpointMode::Dnsrr,
        "removed" => service.pending_delete = true,
        "endpoint" => {}
        _ => return needs::service_word(&mut spec.task, key, value),
    }
    true
}

fn policy_word(spec: &mut ServiceSpec, key: &str, value: &str) -> bool {
    let restart = spec.task.restart.get_or_insert_with(RestartPolicy::default);
    let update = spec.update.get_or_insert_with(UpdateConfig::default);
    let seconds = || Duration::from_secs(value.parse().unwrap());
    match (key, value) {
        ("deadline", _) => {
            spec.labels.insert(DEADLINE_LABEL.to_owned(), value.to_owned());
        }
        ("restart", "none") => restart.condition = RestartCondition::None,
        ("restart", "on-failure") => restart.condition = RestartCondition::OnFailure,
        ("restart", "any") => restart.condition = RestartCondition::Any,
        ("restart-delay", _) => restart.delay = Some(seconds()),
        ("attempts", _) => restart.max_attempts = value.parse().unwrap(),
        ("window", _) => restart.window = seconds(),
        ("parallelism", _) => update.parallelism = value.parse().unwrap(),
        ("delay", _) => update.delay = seconds(),
        ("monitor", _) => update.monitor = Some(seconds()),
        ("ratio", _) => update.max_failure_ratio = value.parse().unwrap(),
        ("order", "start-first") => update.order = UpdateOrder::StartFirst,
        ("action", "continue") => update.failure_action = FailureAction::Continue,
        ("action", "rollback") => update.failure_action = FailureAction::Rollback,
        _ => return false,
    }
    true
}

fn attach(id: &str) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        network_id: NetworkId::from_text(id),
        aliases: Vec::new(),
        driver_options: BTreeMap::new(),
    }
}

/// Parses `[published:]target[/udp|/sctp][@host]`.
pub(crate) fn port(text: &str) -> PortSpec {
    let (rest, mode) = match text.strip_suffix("@host") {
        Some(rest) => (rest, PublishMode::Host),
        None => (text, PublishMode::Ingress),
    };
    let (numbers, protocol) = match rest.split_once('/') {
        Some((numbers, "udp")) => (numbers, Protocol::Udp),
        Some((numbers, "sctp")) => (numbers, Protocol::Sctp),
        Some((numbers, _)) => (numbers, Protocol::Tcp),
        None => (rest, Protocol::Tcp),
    };
    let (published, target) = numbers.split_once(':').unwrap_or(("0", numbers));
    PortSpec {
        name: String::new(),
        protocol,
        target_port: target.parse().unwrap(),
        published_port: published.parse().unwrap(),
        mode,
    }
}

fn task_of(service: &Service, slot: u64) -> Task {
    Task {
        id: TaskId::from_text(""),
        version: Version(1),
        created_at: START,
        updated_at: START,
        service_id: service.id.clone(),
        service_name: service.spec.name.clone(),
        service_labels: BTreeMap::new(),
        slot,
        job_iteration: service.job.map(|job| job.iteration),
        node_id: None,
        spec: service.spec.task.clone(),
        endpoint_spec: service.spec.endpoint.clone(),
        document: service.spec.document.clone(),
        desired_state: if service.spec.mode.is_job() {
            DesiredState::Complete
        } else {
            DesiredState::Running
        },
        status: TaskStatus::new(START, TaskState::New, ""),
        attachments: Vec::new(),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
    }
}

pub(crate) fn state(text: &str) -> TaskState {
    let found = TaskState::ALL.into_iter().find(|state| state.as_str() == text);
    found.unwrap_or_else(|| panic!("no such state: {text}"))
}

fn desired(text: &str) -> DesiredState {
    match text {
        "ready" => DesiredState::Ready,
        "running" => DesiredState::Running,
        "complete" => DesiredState::Complete,
        "shutdown" => DesiredState::Shutdown,
        "remove" => DesiredState::Remove,
        other => panic!("no such desired state: {other}"),
    }
}
