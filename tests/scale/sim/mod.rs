//! A real manager (Raft on disk, gRPC with mutual TLS) for nodes that only say that they run tasks.

pub(crate) mod leader;
pub(crate) mod node;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmnet_manager::ca::{NodeKey, Subject, issue, new_root};
use swarmnet_manager::ids::OsIds;
use swarmnet_manager::store::{Change, Store};
use swarmnet_manager::{Manager, ManagerConfig};
use swarmnet_model::id::base36;
use swarmnet_model::limits::CHANGES_PER_TRANSACTION;
use swarmnet_model::node::ManagerMember;
use swarmnet_model::{
    Call, Clock, Cluster, ClusterId, ClusterSpec, ContainerSpec, Document, EndpointSpec,
    JoinTokens, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, SecretText, ServiceMode,
    ServiceSpec, Tables, TaskSpec, TaskState, Timestamp, Version,
};
use swarmnet_proto::transport::{NodeIdentity, TlsContext, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest time of one phase (all nodes join, all tasks run, all are gone), on a machine that has
/// other work as well.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const MANAGER: &str = "manager";
const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Certificates are checked against the machine's clock, so this one is the machine's as well.
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap())
    }
}

/// A cluster with one manager.
pub(crate) struct Swarm {
    cluster: Cluster,
    manager: Manager,
    addr: String,
    stop: CancellationToken,
    serving: JoinSet<()>,
    _files: TempDir,
}

/// How a cluster got its tasks.
pub(crate) struct Filled {
    /// From the first service's creation until every task runs.
    pub(crate) total: Duration,
    /// From the first task on a node to the last, Raft included.
    pub(crate) placing: Duration,
    /// Raft entries.
    pub(crate) entries: u64,
}

impl Swarm {
    /// Founds a cluster in which `nodes` workers are known and none has come yet.
    pub(crate) async fn found(nodes: u32) -> Self {
        let cluster = cluster();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let files = tempfile::tempdir().unwrap();
        let tls = identity(&cluster, MANAGER, Role::Manager);
        let member = ManagerMember { raft_id: 1, addr: addr.clone() };
        let bootstrap = vec![
            Change::PutCluster { cluster: Box::new(cluster.clone()), expected: None },
            known(MANAGER, Role::Manager, [10, 63, 0, 1].into(), Some(member)),
        ];
        let manager = Manager::start(ManagerConfig {
            state_dir: files.path().to_owned(),
            node_id: NodeId::from_text(MANAGER),
            raft_id: 1,
            cluster_id: cluster.id.clone(),
            advertise_addr: addr.clone(),
            tls: tls.clone(),
            clock: Arc::new(MachineClock),
            bootstrap: Some(bootstrap),
        })
        .await
        .unwrap();
        let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
        let (routes, until) = (manager.routes(), stop.clone());
        serving.spawn(async move { serve(listener, tls, routes, until).await.unwrap() });
        let workers: Vec<Change> =
            (0..nodes).map(|at| known(&node_id(at), Role::Worker, node_addr(at), None)).collect();
        for some in workers.chunks(CHANGES_PER_TRANSACTION) {
            manager.store().propose(some.to_vec()).await.unwrap();
        }
        Self { cluster, manager, addr, stop, serving, _files: files }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        self.manager.store().snapshot()
    }

    pub(crate) async fn wait(&self, what: &str, there: impl Fn(&Tables) -> bool) {
        until(self.manager.store(), what, there).await;
    }

    /// Creates services and waits until all their tasks run; looks at the state every so often.
    pub(crate) async fn fill(&self, services: u32, replicas: u64, look_every: Duration) -> Filled {
        let wanted = usize::try_from(u64::from(services) * replicas).unwrap();
        let (began, before) = (Instant::now(), self.tables().version);
        for service in 0..services {
            let spec = Box::new(spec(&format!("s{service}"), replicas));
            self.manager.call(Call::CreateService { spec, registry_auth: None }).await.unwrap();
        }
        let (mut first, mut last) = (None, None);
        loop {
            let tables = self.tables();
            let reached = |state: TaskState| {
                let tasks = tables.tasks.values();
                tasks.filter(|task| task.status.state >= state && task.is_live()).count()
            };
            let (placed, now) = (reached(TaskState::Assigned), Instant::now());
            if placed > 0 {
                first.get_or_insert(now);
            }
            if placed == wanted {
                last.get_or_insert(now);
            }
            if reached(TaskState::Running) == wanted {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "not in time: all run: {}", told(&tables));
            tokio::time::sleep(look_every).await;
        }
        let (first, last) = (first.unwrap_or(began), last.unwrap_or_else(Instant::now));
        let entries = self.tables().version.0 - before.0;
        Filled { total: began.elapsed(), placing: last - first, entries }
    }

    pub(crate) async fn remove_services(&self) {
        for id in self.tables().services.keys().cloned() {
            self.manager.call(Call::RemoveService { id }).await.unwrap();
        }
    }

    pub(crate) async fn stop(mut self) {
        self.manager.stop().await;
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

/// Waits for a state; says how far it got if the time does not suffice.
async fn until(store: &Store, what: &str, there: impl Fn(&Tables) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there(&store.snapshot()) {
        assert!(Instant::now() < deadline, "not in time: {what}: {}", told(&store.snapshot()));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// True once every worker has a session.
pub(crate) fn are_ready(tables: &Tables) -> bool {
    let mut workers = tables.nodes.values().filter(|node| node.manager.is_none());
    workers.all(|node| node.status.state == NodeState::Ready)
}

/// Says how far nodes and tasks are.
fn told(tables: &Tables) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for task in tables.tasks.values() {
        *counts.entry(task.status.state.as_str()).or_default() += 1;
    }
    let ready = tables.nodes.values().filter(|node| node.status.state == NodeState::Ready).count();
    format!("{ready} of {} nodes are ready, tasks: {counts:?}", tables.nodes.len())
}

pub(crate) fn node_id(at: u32) -> String {
    base36(u128::from(at) + 1)
}

pub(crate) fn node_addr(at: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 0, 0)) + at + 1)
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_text("scale"),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: ClusterSpec::default(),
        root_ca: new_root(MachineClock.now(), &mut OsIds).unwrap(),
        join_tokens: JoinTokens { worker: SecretText::new("w"), manager: SecretText::new("m") },
        address_pools: vec![],
        subnet_size_bits: 24,
        data_path_port: 4789,
        removed_nodes: BTreeMap::new(),
        next_raft_id: 2,
    }
}

/// A node that has not come yet.
pub(crate) fn known(
    id: &str,
    role: Role,
    addr: Ipv4Addr,
    manager: Option<ManagerMember>,
) -> Change {
    Change::CreateNode(Box::new(Node {
        id: NodeId::from_text(id),
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NodeSpec { role, ..NodeSpec::default() },
        description: None,
        status: NodeStatus { state: NodeState::Down, message: String::new(), addr },
        role,
        manager,
    }))
}

fn identity(cluster: &Cluster, id: &str, role: Role) -> TlsContext {
    let key = NodeKey::generate().unwrap();
    let subject = Subject {
        node_id: NodeId::from_text(id),
        role,
        cluster_id: cluster.id.clone(),
        life: CERTIFICATE_LIFE,
    };
    let (csr, now) = (key.csr_pem.as_bytes(), MachineClock.now());
    TlsContext::new(&NodeIdentity {
        certificate_pem: issue(&cluster.root_ca, csr, &subject, now, &mut OsIds).unwrap(),
        key_pem: key.key_pem,
        root_ca_pem: cluster.root_ca.certificate_pem.clone(),
    })
    .unwrap()
}

pub(crate) fn spec(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "nginx".to_owned(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        document: Document::default(),
    }
}
