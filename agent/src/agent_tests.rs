use std::path::Path;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use swarmnet_model::connectivity::ProbeOrder;
use swarmnet_model::view::NetworkItem;
use swarmnet_model::{
    AttachCall, Attachment, CallError, DesiredState, Findings, NodeDescription, Subnet, TaskState,
    TaskStatus, ViewUpdate, Vni, WantedAttachment,
};
use swarmnet_proto::v1::dispatcher_server::{Dispatcher, DispatcherServer};
use swarmnet_proto::{document, v1};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::*;
use crate::engine::fake::FakeEngine;
use crate::task::fixture::{self, FakeWiring, FixedClock};

const DEADLINE: Duration = Duration::from_secs(20);

type Messages = mpsc::Sender<v1::SessionMessage>;

#[path = "agent_attach_tests.rs"]
mod attach;

/// A manager that the test plays: it hands out the sessions and notes what agents say.
#[derive(Default)]
struct Heard {
    leads: watch::Sender<bool>,
    /// Senders of the sessions, in order.
    sessions: watch::Sender<Vec<Messages>>,
    statuses: watch::Sender<BTreeMap<TaskId, TaskStatus>>,
    /// (session, generation), in order.
    applied: watch::Sender<Vec<(String, u64)>>,
    heartbeats: watch::Sender<u32>,
    description: watch::Sender<NodeDescription>,
    left: watch::Sender<bool>,
    found: watch::Sender<Option<Findings>>,
    /// About plain containers.
    asked: watch::Sender<Vec<AttachCall>>,
}

fn attachment(wanted: &WantedAttachment) -> Attachment {
    Attachment {
        network_id: NetworkId::from_text(&wanted.network),
        address: "10.0.1.5/24".parse().unwrap(),
        aliases: wanted.aliases.clone(),
    }
}

#[derive(Clone, Default)]
struct Manager(Arc<Heard>);

#[tonic::async_trait]
impl Dispatcher for Manager {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<v1::SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if !*self.0.leads.borrow() {
            return Err(Status::unavailable("this manager does not lead"));
        }
        let description = document::decode("description", &request.into_inner().description);
        self.0.description.send_replace(description.unwrap());
        let (sender, receiver) = mpsc::channel(16);
        self.0.sessions.send_modify(|sessions| sessions.push(sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }

    async fn heartbeat(
        &self,
        _request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        self.0.heartbeats.send_modify(|count| *count += 1);
        Ok(Response::new(v1::HeartbeatResponse { period_ms: 100 }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let report = request.into_inner();
        for task in report.tasks {
            let status = document::decode("status", &task.status).unwrap();
            let id = TaskId::from_text(task.task_id);
            self.0.statuses.send_modify(|statuses| drop(statuses.insert(id, status)));
        }
        let applied = (report.session_id, report.applied_generation);
        self.0.applied.send_modify(|all| all.push(applied));
        Ok(Response::new(v1::ReportResponse {}))
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        let description = document::decode("description", &request.into_inner().description);
        self.0.description.send_replace(description.unwrap());
        Ok(Response::new(v1::DescribeResponse {}))
    }

    async fn probed(
        &self,
        request: Request<v1::ProbedRequest>,
    ) -> Result<Response<v1::ProbedResponse>, Status> {
        let findings = document::decode("findings", &request.into_inner().findings).unwrap();
        self.0.found.send_replace(Some(findings));
        Ok(Response::new(v1::ProbedResponse {}))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<v1::AttachResponse>, Status> {
        if !*self.0.leads.borrow() {
            return Err(Status::unavailable("this manager does not lead"));
        }
        let call: AttachCall = document::decode("call", &request.into_inner().call).unwrap();
        let given = match &call {
            AttachCall::Attach { networks, .. } => networks.iter().map(attachment).collect(),
            AttachCall::Detach { .. } | AttachCall::Report { .. } => Vec::new(),
        };
        self.0.asked.send_modify(|asked| asked.push(call));
        let result: Result<Vec<Attachment>, CallError> = Ok(given);
        Ok(Response::new(v1::AttachResponse { result: document::encode(&result) }))
    }

    async fn leave(
        &self,
        _request: Request<v1::LeaveRequest>,
    ) -> Result<Response<v1::LeaveResponse>, Status> {
        if !*self.0.leads.borrow() {
            return Err(Status::unavailable("this manager does not lead"));
        }
        self.0.left.send_replace(true);
        Ok(Response::new(v1::LeaveResponse {}))
    }
}

/// Waits until what a manager has heard is as the test wants it.
async fn hears<T: Clone>(heard: &watch::Sender<T>, what: &str, is: impl FnMut(&T) -> bool) -> T {
    let mut receiver = heard.subscribe();
    let value = timeout(DEADLINE, receiver.wait_for(is)).await;
    value.unwrap_or_else(|_| panic!("never heard: {what}")).unwrap().clone()
}

impl Manager {
    /// Serves at a socket until the set is dropped.
    fn serve(&self, socket: &Path, servers: &mut tokio::task::JoinSet<()>) {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let service = DispatcherServer::new(self.clone());
        servers.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
    }

    /// Waits for the session of that number (from 0) and returns its stream.
    async fn session(&self, number: usize) -> Messages {
        let sessions = hears(&self.0.sessions, "session", |all| all.len() > number).await;
        sessions[number].clone()
    }

    async fn reaches(&self, task: &TaskId, state: TaskState) -> TaskStatus {
        let reached = |all: &BTreeMap<TaskId, TaskStatus>| {
            all.get(task).is_some_and(|status| status.state == state)
        };
        hears(&self.0.statuses, state.as_str(), reached).await[task].clone()
    }

    async fn has_applied(&self, session: &str, generation: u64) {
        let wanted = (session.to_owned(), generation);
        hears(&self.0.applied, "applied generation", |all| all.contains(&wanted)).await;
    }
}

fn message(session: &str, update: &ViewUpdate) -> v1::SessionMessage {
    v1::SessionMessage {
        probe: Vec::new(),
        role: String::new(),
        log_order: Vec::new(),
        session_id: session.to_owned(),
        heartbeat_period_ms: 100,
        managers: vec![v1::Manager { node_id: "m1".into(), addr: "m1".into() }],
        view_update: document::encode(update),
    }
}

fn assigned(desired: DesiredState) -> (ItemKey, Item) {
    let task = fixture::assigned("web", 1, desired);
    (ItemKey::Task(task.task.id.clone()), Item::Task(Box::new(task)))
}

fn network() -> (ItemKey, Item) {
    let item = NetworkItem {
        id: NetworkId::from_text("net"),
        name: "front".to_owned(),
        vni: Vni::new(4097).unwrap(),
        subnet: Subnet {
            subnet: "10.0.1.0/24".parse().unwrap(),
            range: None,
            gateway: [10, 0, 1, 1].into(),
        },
        internal: false,
        attachable: false,
        mtu: None,
        shown: Default::default(),
    };
    (ItemKey::Network(item.id.clone()), Item::Network(item))
}

fn full(generation: u64, put: Vec<(ItemKey, Item)>) -> ViewUpdate {
    ViewUpdate { generation, full: true, put, removed: Vec::new() }
}

fn increment(generation: u64, put: Vec<(ItemKey, Item)>) -> ViewUpdate {
    ViewUpdate { generation, full: false, put, removed: Vec::new() }
}

/// A cluster of managers `m0`, `m1` that the test plays, and what an agent needs.
struct Stage {
    directory: tempfile::TempDir,
    managers: [Manager; 2],
    engine: Arc<FakeEngine>,
    addresses: watch::Sender<Vec<String>>,
    _servers: tokio::task::JoinSet<()>,
}

fn stage() -> Stage {
    let directory = tempfile::tempdir().unwrap();
    let managers = [Manager::default(), Manager::default()];
    let mut servers = tokio::task::JoinSet::new();
    for (number, manager) in managers.iter().enumerate() {
        manager.serve(&directory.path().join(format!("m{number}")), &mut servers);
    }
    managers[1].0.leads.send_replace(true);
    Stage {
        directory,
        managers,
        engine: Arc::new(FakeEngine::new()),
        addresses: watch::Sender::new(vec!["m0".to_owned(), "m1".to_owned()]),
        _servers: servers,
    }
}

impl Stage {
    fn agent(&self) -> Agent {
        let directory = self.directory.path().to_owned();
        Agent::start_parts(AgentParts {
            connect: Arc::new(move |addr| {
                let socket = directory.join(addr);
                let connector = tower::service_fn(move |_| {
                    let socket = socket.clone();
                    async move { UnixStream::connect(socket).await.map(TokioIo::new) }
                });
                Endpoint::from_static("http://manager").connect_with_connector_lazy(connector)
            }),
            node_id: NodeId::from_text("n1"),
            hostname: "node01".to_owned(),
            managers: self.addresses.subscribe(),
            advertise_addr: None,
            state_dir: self.directory.path().to_owned(),
            engine: self.engine.clone(),
            wiring: Arc::new(FakeWiring::default()),
            clock: Arc::new(FixedClock),
        })
    }
}

fn web() -> TaskId {
    TaskId::from_text("web-1")
}

#[tokio::test]
async fn an_agent_finds_the_leader_runs_what_it_is_told_and_reports() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    assert_eq!(leader.0.description.borrow().engine_version, "fake");
    let view = vec![assigned(DesiredState::Running), network()];
    stream.send(message("s0", &full(1, view))).await.unwrap();
    let status = leader.reaches(&web(), TaskState::Running).await;
    assert_eq!(status.container.unwrap().container_id, "c1");
    leader.has_applied("s0", 1).await;
    timeout(DEADLINE, agent.ready()).await.unwrap();
    assert_eq!(*agent.problem().borrow(), None);
    assert_eq!(*agent.managers().borrow(), [(NodeId::from_text("m1"), "m1".to_owned())]);
    let local = agent.local_networks();
    assert_eq!(local.gateway_engine_name.as_deref(), Some("swarmnet_gateway"));
    assert_eq!((local.networks.len(), local.networks[0].network.name.as_str()), (1, "front"));
    hears(&leader.0.heartbeats, "heartbeats", |count| *count > 2).await;

    let mut stopping = fixture::assigned("web", 1, DesiredState::Shutdown);
    stopping.withdrawn = true;
    let item = Item::Task(Box::new(stopping));
    let update = increment(2, vec![(ItemKey::Task(web()), item)]);
    stream.send(message("s0", &update)).await.unwrap();
    leader.reaches(&web(), TaskState::Shutdown).await;
    leader.has_applied("s0", 2).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_probe_its_peers_tells_what_it_found() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    stream.send(message("s0", &full(1, Vec::new()))).await.unwrap();
    let test = u64::MAX;
    let probe = document::encode(&ProbeOrder { test });
    let order = v1::SessionMessage { probe, ..v1::SessionMessage::default() };
    stream.send(order).await.unwrap();
    let found = hears(&leader.0.found, "findings", Option::is_some).await;
    assert_eq!(found.unwrap().test, test);
    leader.has_applied("s0", 1).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_update_leads_to_a_new_session_that_restarts_nothing() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    let view = vec![assigned(DesiredState::Running)];
    stream.send(message("s0", &full(1, view.clone()))).await.unwrap();
    leader.reaches(&web(), TaskState::Running).await;
    stream.send(message("s0", &increment(3, vec![network()]))).await.unwrap();
    let stream = leader.session(1).await;
    leader.0.statuses.send_replace(BTreeMap::new());
    stream.send(message("s1", &full(1, view))).await.unwrap();
    leader.has_applied("s1", 1).await;
    // The view said "assigned": what a leader may have lost is told again.
    leader.reaches(&web(), TaskState::Running).await;
    assert_eq!(stage.engine.starts(&web()), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_node_works_from_its_stored_view_while_managers_are_away() {
    let stage = stage();
    let leader = &stage.managers[1];
    let agent = stage.agent();
    let stream = leader.session(0).await;
    let view = vec![assigned(DesiredState::Running)];
    stream.send(message("s0", &full(1, view.clone()))).await.unwrap();
    leader.reaches(&web(), TaskState::Running).await;
    agent.stop().await;

    leader.0.leads.send_replace(false);
    stage.engine.add_stray("other", &TaskId::from_text("other"), "n1");
    let before = stage.engine.show();
    let agent = stage.agent();
    stage.engine.remove_by_hand(&web());
    let problem = agent.problem();
    let mut waiting = problem.clone();
    let refused = waiting.wait_for(|text| text.as_ref().is_some_and(|t| t.contains("lead")));
    timeout(DEADLINE, refused).await.unwrap().unwrap();
    assert!(before.contains("other running"), "{before}");
    leader.0.leads.send_replace(true);
    let stream = leader.session(1).await;
    assert!(stage.engine.show().contains("other running"), "nothing goes before the full view");
    stream.send(message("s1", &full(1, view))).await.unwrap();
    let failed = leader.reaches(&web(), TaskState::Failed).await;
    assert_eq!(failed.err.as_deref(), Some("task: non-zero exit (137)"));
    agent.stop().await;
}

#[tokio::test]
async fn an_engine_that_goes_away_shows_in_the_description() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    stream.send(message("s0", &full(1, Vec::new()))).await.unwrap();
    leader.has_applied("s0", 1).await;
    stage.engine.set_away(true);
    stage.engine.end_events();
    let away = |description: &NodeDescription| description.engine_version.is_empty();
    hears(&leader.0.description, "engine away", away).await;
    stage.engine.set_away(false);
    hears(&leader.0.description, "engine back", |description| !away(description)).await;
    agent.stop().await;
}

#[tokio::test]
async fn leaving_removes_tasks_networks_and_what_was_stored() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    let view = vec![assigned(DesiredState::Running), network()];
    stream.send(message("s0", &full(1, view))).await.unwrap();
    leader.reaches(&web(), TaskState::Running).await;
    agent.leave(DEADLINE).await.unwrap();
    assert!(*leader.0.left.borrow() && !*stage.managers[0].0.left.borrow());
    assert_eq!(stage.engine.show(), "");
    assert!(!stage.directory.path().join("agent/view.json").exists());
    assert!(!stage.directory.path().join("agent/statuses.json").exists());
}

#[tokio::test]
async fn leaving_without_an_engine_says_that_tasks_remain() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    stream.send(message("s0", &full(1, vec![assigned(DesiredState::Running)]))).await.unwrap();
    leader.reaches(&web(), TaskState::Running).await;
    stage.engine.set_away(true);
    let left = agent.leave(Duration::from_millis(300)).await;
    assert!(matches!(left, Err(LeaveError::TasksRemain { .. })), "{left:?}");
}

#[tokio::test]
async fn a_node_leaves_although_no_manager_answers() {
    let stage = stage();
    let (agent, leader) = (stage.agent(), &stage.managers[1]);
    let stream = leader.session(0).await;
    let view = vec![assigned(DesiredState::Running)];
    stream.send(message("s0", &full(1, view))).await.unwrap();
    leader.reaches(&web(), TaskState::Running).await;
    leader.0.leads.send_replace(false);
    timeout(DEADLINE, agent.leave(DEADLINE)).await.expect("in time").unwrap();
    assert_eq!(stage.engine.show(), "");
    assert!(!*leader.0.left.borrow());
}
