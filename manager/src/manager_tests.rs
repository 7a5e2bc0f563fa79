//! Whole managers in one process, over real sockets, TLS and files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::node::ManagerMember;
use swarmnet_model::{
    Availability, Call, CallError, Clock, Cluster, ClusterId, ClusterSpec, Code, ContainerSpec,
    Document, EndpointSpec, JoinTokens, Node, NodeId, NodeSpec, NodeState, NodeStatus, Reply, Role,
    SecretText, ServiceMode, ServiceSpec, TaskSpec, TaskState, Timestamp, Version,
};
use swarmnet_proto::transport::join::channel_to_pinned_root;
use swarmnet_proto::transport::{NodeIdentity, TlsContext, serve};
use swarmnet_proto::v1::control_client::ControlClient;
use swarmnet_proto::v1::raft_client::RaftClient;
use swarmnet_proto::v1::{RaftMessage, ReadIndexRequest};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use crate::ca::{NodeKey, Subject, issue, new_root};
use crate::control::forward;
use crate::ids::OsIds;
use crate::raft::Reachability;
use crate::raft::storage_tests::forget_commit_mark;
use crate::store::{Change, ProposeError};
use crate::{Manager, ManagerConfig, ManagerError};

#[path = "manager_logs_tests.rs"]
mod logs;

const PATIENCE: Duration = Duration::from_secs(20);

/// Certificates are checked against the machine's clock, so this one is the machine's as well.
struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap())
    }
}

fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_text("c1"),
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

fn node(id: &str, role: Role, manager: Option<ManagerMember>) -> Change {
    Change::CreateNode(Box::new(Node {
        id: NodeId::from_text(id),
        version: Version::default(),
        spec_version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        spec: NodeSpec { role, availability: Availability::Active, ..NodeSpec::default() },
        description: None,
        status: NodeStatus {
            state: NodeState::Down,
            message: String::new(),
            addr: [127, 0, 0, 1].into(),
        },
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
        life: Duration::from_secs(3600),
    };
    let csr = key.csr_pem.as_bytes();
    let certificate_pem =
        issue(&cluster.root_ca, csr, &subject, MachineClock.now(), &mut OsIds).unwrap();
    TlsContext::new(&NodeIdentity {
        certificate_pem,
        key_pem: key.key_pem,
        root_ca_pem: cluster.root_ca.certificate_pem.clone(),
    })
    .unwrap()
}

fn service(name: &str, replicas: u64) -> ServiceSpec {
    ServiceSpec {
        name: name.into(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "nginx:latest".into(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        },
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: EndpointSpec::default(),
        document: Document::default(),
    }
}

/// Opens a call and never sends its message.
async fn begin_call(channel: Channel, path: &'static str) -> tonic::Code {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<RaftMessage, RaftMessage>::default();
    let message = tonic::Request::new(tokio_stream::pending::<RaftMessage>());
    let path = PathAndQuery::from_static(path);
    let answer = client.client_streaming(message, path, codec);
    timeout(PATIENCE, answer).await.expect("refused unheard").unwrap_err().code()
}

/// A manager with its listener and its files.
struct Host {
    id: String,
    raft_id: u64,
    addr: String,
    tls: TlsContext,
    directory: TempDir,
    running: Option<(Arc<Manager>, JoinSet<()>)>,
}

impl Host {
    /// A host that listens but runs no manager yet.
    async fn new(cluster: &Cluster, id: &str) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self {
            id: id.to_owned(),
            raft_id: 1,
            addr: listener.local_addr().unwrap().to_string(),
            tls: identity(cluster, id, Role::Manager),
            directory: tempfile::tempdir().unwrap(),
            running: None,
        };
        (host, listener)
    }

    /// The first manager of a new cluster.
    async fn found(cluster: &Cluster) -> Self {
        let (mut host, listener) = Self::new(cluster, "m1").await;
        let member = ManagerMember { raft_id: 1, addr: host.addr.clone() };
        let bootstrap = vec![
            Change::PutCluster { cluster: Box::new(cluster.clone()), expected: None },
            node("m1", Role::Manager, Some(member)),
        ];
        host.run(listener, Some(bootstrap)).await;
        host
    }

    /// One more manager, admitted by whom it asks.
    async fn join(cluster: &Cluster, id: &str, first: &Self, ask: &[String]) -> Self {
        first.manager().store().propose(vec![node(id, Role::Manager, None)]).await.unwrap();
        let (mut host, listener) = Self::new(cluster, id).await;
        host.raft_id = forward::join_raft(&host.tls, ask, &host.addr).await.unwrap();
        host.run(listener, None).await;
        host
    }

    fn config(&self, directory: &Path, bootstrap: Option<Vec<Change>>) -> ManagerConfig {
        ManagerConfig {
            state_dir: directory.to_owned(),
            node_id: NodeId::from_text(&self.id),
            raft_id: self.raft_id,
            cluster_id: ClusterId::from_text("c1"),
            advertise_addr: self.addr.clone(),
            tls: self.tls.clone(),
            clock: Arc::new(MachineClock),
            bootstrap,
        }
    }

    async fn run(&mut self, listener: TcpListener, bootstrap: Option<Vec<Change>>) {
        let config = self.config(self.directory.path(), bootstrap);
        let manager = Arc::new(Manager::start(config).await.unwrap());
        let serving = serve(listener, self.tls.clone(), manager.routes(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.unwrap() });
        self.running = Some((manager, tasks));
    }

    fn manager(&self) -> &Arc<Manager> {
        &self.running.as_ref().unwrap().0
    }

    /// Cuts all connections at once and closes the files.
    async fn kill(&mut self) {
        let (manager, mut tasks) = self.running.take().unwrap();
        tasks.shutdown().await;
        manager.stop().await;
    }

    async fn restart(&mut self) {
        let listener = TcpListener::bind(&self.addr).await.unwrap();
        self.run(listener, None).await;
    }

    fn leads(&self) -> bool {
        self.running.is_some()
            && self.manager().raft_view().leader == Some(NodeId::from_text(&self.id))
    }
}

/// Waits for a state.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "never came true: {what}");
}

async fn three(cluster: &Cluster) -> [Host; 3] {
    let first = Host::found(cluster).await;
    let second = Host::join(cluster, "m2", &first, std::slice::from_ref(&first.addr)).await;
    // A follower that knows the leader is as good to ask.
    eventually("m2 knows the leader", || second.manager().raft_view().leader.is_some()).await;
    let third = Host::join(cluster, "m3", &first, std::slice::from_ref(&second.addr)).await;
    let reachable = |view: BTreeMap<NodeId, Reachability>| {
        view.len() == 3 && view.values().all(|reached| *reached == Reachability::Reachable)
    };
    eventually("all are reachable", || reachable(first.manager().raft_view().managers)).await;
    eventually("all vote", || first.manager().voters().len() == 3).await;
    [first, second, third]
}

fn leader_of<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Option<&'a Host> {
    hosts.into_iter().find(|host| host.leads())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_manager_keeps_its_state_over_a_restart_and_leads_at_once() {
    let cluster = cluster();
    let started = Instant::now();
    let mut host = Host::found(&cluster).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    host.manager().store().propose(vec![node("w1", Role::Worker, None)]).await.unwrap();
    let before = host.manager().read().await.unwrap();
    host.kill().await;

    let started = Instant::now();
    host.restart().await;
    let after = host.manager().read().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    println!("led and read {:?} after the restart", started.elapsed());
    assert_eq!(after, before);
    host.manager().store().propose(vec![node("w2", Role::Worker, None)]).await.unwrap();
    assert_eq!(host.manager().read().await.unwrap().nodes.len(), 3);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_commit_mark_loses_nothing() {
    let mut host = Host::found(&cluster()).await;
    for index in 0..10 {
        let change = node(&format!("w{index}"), Role::Worker, None);
        host.manager().store().propose(vec![change]).await.unwrap();
    }
    let before = host.manager().read().await.unwrap();
    host.kill().await;
    forget_commit_mark(host.directory.path());
    host.restart().await;
    assert_eq!(host.manager().read().await.unwrap(), before);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loops_of_the_leader_run_and_a_service_gets_its_task() {
    let mut host = Host::found(&cluster()).await;
    let create = Call::CreateService { spec: Box::new(service("web", 2)), registry_auth: None };
    let Ok(Reply::Created(_)) = host.manager().call(create.clone()).await else {
        panic!("the service was not created")
    };
    let store = host.manager().store().clone();
    // Orchestrator, allocator and scheduler have each had their say: no node is ready here.
    let explained = || {
        let tables = store.snapshot();
        let waits = tables
            .tasks
            .values()
            .filter(|task| task.status.state == TaskState::Pending && task.status.err.is_some());
        waits.count() == 2
    };
    eventually("both tasks wait for a node", explained).await;
    let again = host.manager().call(create).await.unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists);
    // At rest, nothing is written.
    let at_rest = host.manager().read().await.unwrap().version;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(host.manager().read().await.unwrap().version, at_rest);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_off_is_finished_by_the_next() {
    let cluster = cluster();
    let (host, _listener) = Host::new(&cluster, "m1").await;
    let directory = host.directory.path();
    // Founded, but no entry: as after a crash between the two.
    let too_large = SecretText::new("x".repeat(2 << 20));
    let large = Cluster {
        join_tokens: JoinTokens { worker: too_large.clone(), manager: too_large },
        ..cluster.clone()
    };
    let put =
        |cluster: Cluster| vec![Change::PutCluster { cluster: Box::new(cluster), expected: None }];
    let refused = Manager::start(host.config(directory, Some(put(large)))).await;
    assert!(matches!(refused.err(), Some(ManagerError::Bootstrap(ProposeError::TooLarge { .. }))));
    for _ in 0..2 {
        let config = host.config(directory, Some(put(cluster.clone())));
        let manager = Manager::start(config).await.unwrap();
        assert_eq!(manager.store().snapshot().cluster.as_ref().unwrap().id, cluster.id);
        manager.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_write_is_refused_and_changes_nothing() {
    let mut host = Host::found(&cluster()).await;
    let before = host.manager().read().await.unwrap();
    let put = Change::PutCluster {
        cluster: Box::new((**before.cluster.as_ref().unwrap()).clone()),
        expected: Some(Version(999)),
    };
    let refused = host.manager().store().propose(vec![node("w1", Role::Worker, None), put]).await;
    assert_eq!(CallError::from(refused.unwrap_err()), CallError::out_of_sequence());
    assert_eq!(host.manager().read().await.unwrap(), before);
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_node_is_refused() {
    let cluster = cluster();
    let mut host = Host::found(&cluster).await;
    host.kill().await;
    host.id = "m9".into();
    let refused = Manager::start(host.config(host.directory.path(), None)).await.err().unwrap();
    let ManagerError::Raft(reason) = refused else { panic!("{refused}") };
    assert!(reason.to_string().contains("docker swarm leave --force"), "{reason}");
    let record = std::error::Error::source(&reason).expect("the record is named").to_string();
    assert!(record.contains("is damaged, moved, or sealed"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_join_and_what_one_writes_all_read() {
    let cluster = cluster();
    let mut hosts = three(&cluster).await;
    assert_eq!(hosts.each_ref().map(|host| host.raft_id), [1, 2, 3]);
    let first = hosts[0].manager();
    for index in 0..20 {
        let id = format!("w{index}");
        first.store().propose(vec![node(&id, Role::Worker, None)]).await.unwrap();
        for host in &hosts {
            let tables = host.manager().read().await.unwrap();
            assert!(tables.nodes.contains_key(&NodeId::from_text(&id)), "{} lacks {id}", host.id);
        }
    }
    // The next read waits for what the leader has acknowledged, wherever the call came in.
    let remove = Call::RemoveNode { id: NodeId::from_text("w3"), force: true };
    assert_eq!(hosts[2].manager().call(remove).await, Ok(Reply::Done));
    for host in &hosts {
        let tables = host.manager().read().await.unwrap();
        assert!(!tables.nodes.contains_key(&NodeId::from_text("w3")));
        assert_eq!(host.manager().raft_view().leader, Some(NodeId::from_text("m1")));
    }
    // Asking again gives the same id: the answer may have been lost.
    let again = forward::join_raft(&hosts[1].tls, &[hosts[2].addr.clone()], &hosts[1].addr).await;
    assert_eq!(again, Ok(2));
    for host in &mut hosts {
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manager_leads_soon_and_nothing_acknowledged_is_lost() {
    let cluster = cluster();
    let mut hosts = three(&cluster).await;
    for index in 0..50 {
        let change = node(&format!("w{index}"), Role::Worker, None);
        hosts[0].manager().store().propose(vec![change]).await.unwrap();
    }
    let written = hosts[0].manager().read().await.unwrap();
    let lost = Instant::now();
    hosts[0].kill().await;
    eventually("another leads", || leader_of(&hosts[1..]).is_some()).await;
    let took = lost.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    println!("another manager led after {took:?}");

    let leader = leader_of(&hosts[1..]).unwrap().manager().clone();
    let tables = leader.read().await.unwrap();
    assert_eq!(tables.nodes, written.nodes);
    leader.store().propose(vec![node("later", Role::Worker, None)]).await.unwrap();
    let unreachable = || leader.raft_view().managers[&NodeId::from_text("m1")];
    eventually("the lost one shows", || unreachable() == Reachability::Unreachable).await;

    hosts[0].restart().await;
    let later = NodeId::from_text("later");
    eventually("the returned one catches up", || {
        hosts[0].manager().store().snapshot().nodes.contains_key(&later)
    })
    .await;
    assert_eq!(hosts[0].manager().read().await.unwrap(), leader.read().await.unwrap());
    for host in &mut hosts {
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_neither_writes_nor_reads_as_current() {
    let cluster = cluster();
    let mut hosts = three(&cluster).await;
    hosts[1].kill().await;
    hosts[2].kill().await;
    let alone = hosts[0].manager();
    assert_eq!(alone.read().await.unwrap_err().code, Code::NoLeader);
    eventually("it says so", || alone.raft_view().leader.is_none()).await;
    let remove = Call::RemoveNode { id: NodeId::from_text("m3"), force: true };
    assert_eq!(alone.call(remove).await.unwrap_err(), CallError::no_leader());

    hosts[1].restart().await;
    eventually("two of three lead", || leader_of(&hosts[..2]).is_some()).await;
    assert!(hosts[0].manager().read().await.unwrap().nodes.contains_key(&NodeId::from_text("m3")));
    hosts[0].kill().await;
    hosts[1].kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_far_behind_gets_a_snapshot() {
    let cluster = cluster();
    let mut first = Host::found(&cluster).await;
    first.manager().store().propose(vec![node("w1", Role::Worker, None)]).await.unwrap();
    first.manager().compact().await;
    let mut second = Host::join(&cluster, "m2", &first, std::slice::from_ref(&first.addr)).await;
    eventually("it votes", || first.manager().voters().len() == 2).await;
    let tables = second.manager().read().await.unwrap();
    assert!(tables.nodes.contains_key(&NodeId::from_text("w1")));
    // And after its own restart it has it from its own disk.
    second.kill().await;
    second.restart().await;
    assert_eq!(second.manager().store().snapshot().nodes, tables.nodes);
    second.kill().await;
    first.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_strangers_get_nothing_of_raft() {
    let cluster = cluster();
    let mut host = Host::found(&cluster).await;
    let worker = identity(&cluster, "w1", Role::Worker);
    let refusal = RaftClient::new(worker.channel(&host.addr))
        .append_entries(RaftMessage { payload: b"{}".to_vec() })
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::PermissionDenied);
    let refusal = ControlClient::new(worker.channel(&host.addr))
        .read_index(ReadIndexRequest {})
        .await
        .unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::PermissionDenied);
    let asked = forward::join_raft(&worker, std::slice::from_ref(&host.addr), "").await;
    assert_eq!(asked.unwrap_err().code, Code::PermissionDenied);
    let stranger = || channel_to_pinned_root(&host.addr, &cluster.root_ca.certificate_pem).unwrap();
    for path in [
        "/swarmnet.v1.Raft/AppendEntries",
        "/swarmnet.v1.Raft/InstallSnapshot",
        "/swarmnet.v1.Control/Call",
        "/swarmnet.v1.Dispatcher/Report",
    ] {
        assert_eq!(begin_call(stranger(), path).await, tonic::Code::Unauthenticated, "{path}");
    }
    let path = "/swarmnet.v1.Raft/Vote";
    assert_eq!(begin_call(worker.channel(&host.addr), path).await, tonic::Code::PermissionDenied);
    // A manager's certificate alone is not enough: the cluster must know the node as a manager.
    let unknown = identity(&cluster, "m7", Role::Manager);
    let asked = forward::join_raft(&unknown, std::slice::from_ref(&host.addr), "").await;
    assert_eq!(asked.unwrap_err().code, Code::PermissionDenied);
    host.kill().await;
}
