//! The real loop over a store in memory: what a session receives, and when a stop signal may go.

use std::sync::atomic::{AtomicU64, Ordering};

use swarmnet_model::{
    Clock, DesiredState, EndpointSpec, Item, ItemKey, Node, NodeSpec, NodeState, NodeStatus,
    PortSpec, PublishMode, Role, Service, ServiceEndpoint, ServiceId, ServiceMode, ServiceSpec,
    Task, TaskSpec, TaskState, TaskStatus, Timestamp, Version, ViewUpdate,
};
use swarmnet_proto::document;
use tokio::time::timeout;

use super::*;
use crate::store::Change;

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp(1)
    }
}

struct Agent {
    stream: mpsc::Receiver<v1::SessionMessage>,
    session_id: String,
    generation: u64,
}

struct World {
    store: Store,
    requests: mpsc::Sender<Request>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

fn node_id(text: &str) -> NodeId {
    NodeId::from_text(text)
}

fn node(id: &str) -> Node {
    Node {
        id: node_id(id),
        version: Version(0),
        spec_version: Version(0),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        spec: NodeSpec::default(),
        description: None,
        status: NodeStatus {
            state: NodeState::Unknown,
            message: String::new(),
            addr: Ipv4Addr::UNSPECIFIED,
        },
        role: Role::Worker,
        manager: None,
    }
}

fn service() -> Service {
    let port = PortSpec {
        name: String::new(),
        protocol: Default::default(),
        target_port: 80,
        published_port: 30_000,
        mode: PublishMode::Ingress,
    };
    Service {
        id: ServiceId::from_text("web"),
        version: Version(0),
        spec_version: Version(0),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        spec: ServiceSpec {
            name: "web".into(),
            labels: BTreeMap::new(),
            task: TaskSpec::default(),
            mode: ServiceMode::Replicated { replicas: 1 },
            update: None,
            rollback: None,
            endpoint: EndpointSpec::default(),
            document: Default::default(),
        },
        previous_spec: None,
        endpoint: Some(ServiceEndpoint { ports: vec![port], ..ServiceEndpoint::default() }),
        update_status: None,
        job: None,
        pending_delete: false,
        registry: Default::default(),
    }
}

fn running_task() -> Task {
    Task {
        id: TaskId::from_text("t1"),
        version: Version(0),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        service_id: ServiceId::from_text("web"),
        service_name: "web".into(),
        service_labels: BTreeMap::new(),
        slot: 1,
        job_iteration: None,
        node_id: Some(node_id("n1")),
        spec: TaskSpec::default(),
        endpoint_spec: EndpointSpec::default(),
        document: Default::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(Timestamp(0), TaskState::Running, "started"),
        attachments: Vec::new(),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
    }
}

impl World {
    fn start() -> Self {
        let store = Store::for_tests(Arc::new(StillClock));
        let (requests, receiver) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let bits = AtomicU64::new(1);
        let ids = Box::new(move || u128::from(bits.fetch_add(1, Ordering::Relaxed)));
        tasks.spawn(run(store.clone(), receiver, ids, cancel.clone()));
        Self { store, requests, cancel, tasks }
    }

    async fn propose(&self, changes: Vec<Change>) {
        self.store.propose(changes).await.unwrap();
    }

    async fn open(&self, id: &str) -> Agent {
        let (stream, mut receiver) = stream_queue();
        let addr = [10, 20, 20, 1].into();
        self.requests.send(Request::Open { node_id: node_id(id), addr, stream }).await.unwrap();
        let first = timeout(Duration::from_secs(60), receiver.recv()).await.unwrap().unwrap();
        let update: ViewUpdate = document::decode("view_update", &first.view_update).unwrap();
        assert!(update.full && update.generation == 1);
        Agent { stream: receiver, session_id: first.session_id, generation: 1 }
    }

    async fn applied(&self, id: &str, agent: &Agent) {
        let request = Request::Applied {
            node_id: node_id(id),
            session_id: agent.session_id.clone(),
            generation: agent.generation,
        };
        self.requests.send(request).await.unwrap();
    }

    async fn node_state(&self, id: &str, wanted: NodeState) {
        let mut tables = self.store.watch();
        let is = |t: &Arc<Tables>| t.nodes[&node_id(id)].status.state == wanted;
        timeout(Duration::from_secs(60), tables.wait_for(is)).await.unwrap().unwrap();
    }

    async fn stop(mut self) {
        self.cancel.cancel();
        drop(self.requests);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Agent {
    /// Receives until an update says `wanted` of the task; returns nothing if the stream ends.
    async fn until_withdrawn(&mut self, wanted: bool) {
        let task = ItemKey::Task(TaskId::from_text("t1"));
        loop {
            let next = timeout(Duration::from_secs(60), self.stream.recv()).await;
            let message = next.expect("an update in time").expect("an open stream");
            if message.view_update.is_empty() {
                continue;
            }
            let update: ViewUpdate = document::decode("view_update", &message.view_update).unwrap();
            assert_eq!(update.generation, self.generation + 1, "generations have no gap");
            self.generation = update.generation;
            let found = update.put.iter().find(|(key, _)| *key == task);
            if let Some((_, Item::Task(assigned))) = found {
                let stopping = assigned.task.desired_state.is_terminal();
                if stopping && assigned.withdrawn == wanted {
                    return;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_signal_waits_until_every_node_has_withdrawn_the_backend() {
    let world = World::start();
    world
        .propose(vec![
            Change::CreateNode(Box::new(node("n1"))),
            Change::CreateNode(Box::new(node("n2"))),
            Change::CreateService(Box::new(service())),
            Change::CreateTask(Box::new(running_task())),
        ])
        .await;
    tokio::time::sleep(WITHDRAW_BOUND * 2).await;
    let mut first = world.open("n1").await;
    let mut second = world.open("n2").await;
    world.node_state("n1", NodeState::Ready).await;
    let desired = DesiredState::Shutdown;
    world.propose(vec![Change::SetDesiredState { id: TaskId::from_text("t1"), desired }]).await;
    first.until_withdrawn(false).await;
    while let Ok(message) = second.stream.try_recv() {
        second.generation += u64::from(!message.view_update.is_empty());
    }
    let told_at = Instant::now();
    world.applied("n1", &first).await;
    world.applied("n2", &second).await;
    first.until_withdrawn(true).await;
    assert!(told_at.elapsed() < WITHDRAW_BOUND, "acknowledged, so no need for the bound");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_cannot_keep_a_task_alive() {
    let world = World::start();
    world
        .propose(vec![
            Change::CreateNode(Box::new(node("n1"))),
            Change::CreateService(Box::new(service())),
            Change::CreateTask(Box::new(running_task())),
        ])
        .await;
    let mut agent = world.open("n1").await;
    let desired = DesiredState::Shutdown;
    world.propose(vec![Change::SetDesiredState { id: TaskId::from_text("t1"), desired }]).await;
    agent.until_withdrawn(true).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_heartbeats_is_down_and_with_a_session_ready_again() {
    let world = World::start();
    world.propose(vec![Change::CreateNode(Box::new(node("n1")))]).await;
    let _agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    world.node_state("n1", NodeState::Down).await;
    let _agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_stood_still_blames_no_node() {
    let world = World::start();
    world
        .propose(vec![
            Change::CreateNode(Box::new(node("n1"))),
            Change::CreateNode(Box::new(node("n2"))),
        ])
        .await;
    let _agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let mut tables = world.store.watch();
    let down = |t: &Arc<Tables>| t.nodes.values().any(|n| n.status.state == NodeState::Down);
    let early = timeout(Duration::from_secs(14), tables.wait_for(down)).await;
    assert!(early.is_err(), "the silence was the manager's own");
    world.node_state("n1", NodeState::Down).await;
    world.node_state("n2", NodeState::Down).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_restarts_is_not_down_before_its_heartbeats_are_missed() {
    let world = World::start();
    world.propose(vec![Change::CreateNode(Box::new(node("n1")))]).await;
    let agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.applied("n1", &agent).await;
    }
    drop(agent);
    // Something to tell the node, so that the broken stream is noticed at once.
    world.propose(vec![Change::CreateNode(Box::new(node("n2")))]).await;
    let mut tables = world.store.watch();
    let is_down = |t: &Arc<Tables>| t.nodes[&node_id("n1")].status.state == NodeState::Down;
    let early = timeout(Duration::from_secs(10), tables.wait_for(is_down)).await;
    assert!(early.is_err(), "a restart of ten seconds moves no task");
    world.node_state("n1", NodeState::Down).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_down_before_a_heartbeat_is_missed() {
    let world = World::start();
    world.propose(vec![Change::CreateNode(Box::new(node("n1")))]).await;
    let mut agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    let left_at = Instant::now();
    world.requests.send(Request::Leave { node_id: node_id("n1") }).await.unwrap();
    world.node_state("n1", NodeState::Down).await;
    assert!(left_at.elapsed() < HEARTBEAT_PERIOD, "known at once");
    let ended = async { while agent.stream.recv().await.is_some() {} };
    timeout(Duration::from_secs(60), ended).await.expect("the session ends");
    assert_eq!(world.store.snapshot().nodes[&node_id("n1")].status.message, "node left the swarm");
    let _agent = world.open("n1").await;
    world.node_state("n1", NodeState::Ready).await;
    world.stop().await;
}
