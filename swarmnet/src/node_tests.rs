//! The node's state machine with real managers on loopback, agents that only pretend, and no engine
//! unless a test makes one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use swarmnet_engine_api::{
    AttachRequest, Attached, ControlPlane, InitRequest, JoinRequest, LocalNetworks, LocalState,
};
use swarmnet_model::{
    Availability, Call, CallError, ClusterSpec, Code, NetworkId, NodeId, Role, TaskId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent_role::{AgentParts, AgentRole, Agents, Managers};
use crate::control_plane::NodeControl;
use crate::node::Node;

/// Agents that do nothing; what managers would tell of the node's role, the test tells.
struct IdleAgents(watch::Sender<Managers>, watch::Sender<Option<Role>>);

struct IdleAgent(watch::Sender<Managers>, watch::Sender<Option<Role>>);

#[async_trait]
impl Agents for IdleAgents {
    async fn start(&self, parts: AgentParts) -> anyhow::Result<Arc<dyn AgentRole>> {
        let managers = parts.managers.into_iter().map(|addr| (None, addr)).collect();
        self.0.send_replace(managers);
        Ok(Arc::new(IdleAgent(self.0.clone(), self.1.clone())))
    }
}

#[async_trait]
impl AgentRole for IdleAgent {
    fn managers(&self) -> watch::Receiver<Managers> {
        self.0.subscribe()
    }

    fn role(&self) -> watch::Receiver<Option<Role>> {
        self.1.subscribe()
    }

    fn local_networks(&self) -> LocalNetworks {
        LocalNetworks::default()
    }

    async fn attach(&self, _: AttachRequest) -> Result<Attached, CallError> {
        Err(CallError::no_leader())
    }

    async fn detach(&self, _: &TaskId, _: Option<&NetworkId>) -> Result<(), CallError> {
        Err(CallError::no_leader())
    }

    async fn ready(&self) {}

    async fn stop(&self) {}

    async fn leave(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A node of a test, by its control plane.
struct TestNode {
    dir: tempfile::TempDir,
    port: u16,
    control: NodeControl,
    managers: watch::Sender<Managers>,
    role: watch::Sender<Option<Role>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl TestNode {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        Self::start_in(dir, port).await
    }

    async fn start_in(dir: tempfile::TempDir, port: u16) -> Self {
        let (managers, role) = (watch::Sender::new(Vec::new()), watch::Sender::new(None));
        let (mut node, requests, status) = Node::new(
            dir.path().join("state"),
            dir.path().join("engine.sock"),
            Arc::new(IdleAgents(managers.clone(), role.clone())),
        );
        node.resume().await;
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(node.run(stop.clone()));
        let control = NodeControl::new(requests, status);
        Self { dir, port, control, managers, role, stop, tasks }
    }

    async fn stop(mut self) -> (tempfile::TempDir, u16) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        (self.dir, self.port)
    }

    fn init_request(&self) -> InitRequest {
        InitRequest {
            listen_addr: format!("127.0.0.1:{}", self.port),
            advertise_addr: "127.0.0.1".into(),
            data_path_addr: String::new(),
            data_path_port: 0,
            address_pools: vec![],
            subnet_size_bits: 24,
            force_new_cluster: false,
            availability: Availability::Active,
            spec: ClusterSpec::default(),
        }
    }

    async fn init(&self) -> NodeId {
        self.control.init(self.init_request()).await.unwrap()
    }

    fn join_request(&self, manager: &Self, token: &str) -> JoinRequest {
        JoinRequest {
            listen_addr: format!("127.0.0.1:{}", self.port),
            advertise_addr: String::new(),
            data_path_addr: String::new(),
            remote_addrs: vec![format!("127.0.0.1:{}", manager.port)],
            token: token.to_owned(),
            availability: Availability::Active,
        }
    }

    async fn worker_token(&self) -> String {
        let tables = self.control.read().await.unwrap();
        tables.cluster.as_ref().unwrap().join_tokens.worker.expose().to_owned()
    }

    /// Asserts that nothing of a swarm is on disk.
    fn assert_no_trace(&self) {
        for name in ["certificates", "node.json", "raft"] {
            assert!(!self.dir.path().join("state").join(name).exists(), "{name} is left");
        }
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

const ALREADY: &str = "This node is already part of a swarm. Use \"docker swarm leave\" to leave \
                       this swarm and join another one.";

#[tokio::test]
async fn outside_a_swarm_everything_says_how_to_get_in() {
    let node = TestNode::start().await;
    let text = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm \
                join\" to connect this node to swarm and try again.";
    let error = node.control.read().await.unwrap_err();
    assert_eq!((error.code, error.to_string().as_str()), (Code::Unavailable, text));
    let call = Call::RemoveNetwork { id: NetworkId::from_text("n") };
    assert_eq!(node.control.call(call).await.unwrap_err().to_string(), text);
    let error = node.control.leave(false).await.unwrap_err();
    assert_eq!(error.to_string(), "This node is not part of a swarm");
    assert_eq!(node.control.local_node().state, LocalState::Inactive);
    node.stop().await;
}

#[tokio::test]
async fn init_makes_a_manager_and_a_second_one_is_refused() {
    let node = TestNode::start().await;
    let id = node.init().await;
    let local = node.control.local_node();
    assert_eq!((local.state, local.is_manager), (LocalState::Active, true));
    assert_eq!(local.node_id.as_ref(), Some(&id));
    assert_eq!(local.addr, Some("127.0.0.1".parse().unwrap()));
    let tables = node.control.read().await.unwrap();
    assert_eq!(tables.nodes.len(), 1);
    assert_eq!(tables.ingress_network().unwrap().spec.name, "ingress");
    assert_eq!(node.control.raft_view().leader, Some(id));
    let again = node.control.init(node.init_request()).await.unwrap_err();
    assert_eq!((again.code, again.to_string().as_str()), (Code::Unavailable, ALREADY));
    let token = node.worker_token().await;
    let join = node.control.join(node.join_request(&node, &token)).await.unwrap_err();
    assert_eq!(join.to_string(), ALREADY);
    node.stop().await;
}

#[tokio::test]
async fn the_last_manager_leaves_only_by_force_and_leaves_no_trace() {
    let node = TestNode::start().await;
    let first = node.init().await;
    let refused = node.control.leave(false).await.unwrap_err().to_string();
    assert!(refused.contains("Removing the last manager erases all current state"), "{refused}");
    assert_eq!(node.control.local_node().state, LocalState::Active);
    node.control.leave(true).await.unwrap();
    assert_eq!(node.control.local_node().state, LocalState::Inactive);
    node.assert_no_trace();
    assert_ne!(node.init().await, first, "a swarm of its own again");
    node.stop().await;
}

#[tokio::test]
async fn a_refused_init_leaves_no_trace() {
    let node = TestNode::start().await;
    let bad_port = InitRequest { data_path_port: 80, ..node.init_request() };
    let bad_addr = InitRequest { advertise_addr: "0.0.0.0".into(), ..node.init_request() };
    for request in [bad_port, bad_addr] {
        let error = node.control.init(request).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        node.assert_no_trace();
    }
    let taken = std::net::TcpListener::bind(("127.0.0.1", node.port)).unwrap();
    let error = node.control.init(node.init_request()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("listening on 127.0.0.1:{}", node.port)), "{error}");
    node.assert_no_trace();
    assert_eq!(node.control.local_node().state, LocalState::Inactive);
    drop(taken);
    node.init().await;
    node.stop().await;
}

#[tokio::test]
async fn a_manager_is_itself_again_after_a_restart() {
    let node = TestNode::start().await;
    let id = node.init().await;
    let token = node.worker_token().await;
    let (dir, port) = node.stop().await;
    let node = TestNode::start_in(dir, port).await;
    assert_eq!(node.control.local_node().node_id, Some(id));
    assert_eq!(node.worker_token().await, token);
    node.stop().await;
}

#[tokio::test]
async fn a_worker_joins_says_what_it_is_and_leaves() {
    let (manager, worker) = (TestNode::start().await, TestNode::start().await);
    manager.init().await;
    let token = manager.worker_token().await;
    worker.control.join(worker.join_request(&manager, &token)).await.unwrap();
    let local = worker.control.local_node();
    assert_eq!((local.state, local.is_manager), (LocalState::Active, false));
    assert_eq!(local.managers, [(None, format!("127.0.0.1:{}", manager.port))]);
    let error = worker.control.read().await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.to_string().contains("Worker nodes can't be used to view or modify"), "{error}");
    let nodes = manager.control.read().await.unwrap().nodes.clone();
    assert!(nodes.contains_key(&local.node_id.unwrap()));
    worker.control.leave(false).await.unwrap();
    worker.assert_no_trace();
    worker.stop().await;
    manager.stop().await;
}

#[tokio::test]
async fn a_second_manager_joins_and_both_answer() {
    let (first, second) = (TestNode::start().await, TestNode::start().await);
    first.init().await;
    let tables = first.control.read().await.unwrap();
    let token = tables.cluster.as_ref().unwrap().join_tokens.manager.expose().to_owned();
    second.control.join(second.join_request(&first, &token)).await.unwrap();
    assert!(second.control.local_node().is_manager);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let members = second.control.read().await.map_or(0, |tables| {
            tables.nodes.values().filter(|node| node.manager.is_some()).count()
        });
        if members == 2 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the second manager does not catch up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.stop().await;
    first.stop().await;
}

/// Waits for a state that must be reached.
async fn eventually(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !reached().await {
        assert!(tokio::time::Instant::now() < deadline, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl TestNode {
    fn id(&self) -> NodeId {
        self.control.local_node().node_id.unwrap()
    }

    /// Wishes another role for a node, asking this manager.
    async fn give_role(&self, id: &NodeId, role: Role) -> Result<(), CallError> {
        let present = self.control.read().await?.nodes[id].clone();
        let spec = swarmnet_model::NodeSpec { role, ..present.spec.clone() };
        let version = present.version;
        self.control.call(Call::UpdateNode { id: id.clone(), version, spec }).await.map(drop)
    }

    /// Tells the node what its agent would hear from `manager`'s leader.
    async fn hear(&self, manager: &Self) -> Role {
        let tables = manager.control.read().await.unwrap();
        let members = tables.nodes.values().filter_map(|node| {
            node.manager.as_ref().map(|member| (Some(node.id.clone()), member.addr.clone()))
        });
        self.managers.send_replace(members.collect());
        let role = tables.nodes[&self.id()].next_role();
        self.role.send_replace(Some(role));
        role
    }

    async fn becomes_manager(&self, asked: &Self) {
        asked.give_role(&self.id(), Role::Manager).await.unwrap();
        assert_eq!(self.hear(asked).await, Role::Manager);
        eventually("it is a manager", async || self.control.local_node().is_manager).await;
        eventually("it is in Raft and answers", async || {
            self.control.read().await.is_ok_and(|tables| tables.nodes[&self.id()].manager.is_some())
        })
        .await;
    }

    async fn becomes_worker(&self, asked: &Self) {
        eventually("the demotion is accepted", async || {
            asked.give_role(&self.id(), Role::Worker).await.is_ok()
        })
        .await;
        eventually("it has left Raft", async || {
            asked
                .control
                .read()
                .await
                .is_ok_and(|tables| tables.nodes[&self.id()].manager.is_none())
        })
        .await;
        assert_eq!(self.hear(asked).await, Role::Worker);
        eventually("it is a worker", async || !self.control.local_node().is_manager).await;
        assert!(!self.dir.path().join("state/raft").exists(), "the log is left on disk");
        let error = self.control.read().await.unwrap_err();
        assert!(error.to_string().contains("Worker nodes can't be used to view"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_change_in_place_also_of_the_leader() {
    let (first, second) = (TestNode::start().await, TestNode::start().await);
    first.init().await;
    let token = first.worker_token().await;
    second.control.join(second.join_request(&first, &token)).await.unwrap();
    let last = first.give_role(&first.id(), Role::Worker).await.unwrap_err().to_string();
    assert!(last.ends_with("attempting to demote the last manager of the swarm"), "{last}");

    second.becomes_manager(&first).await;
    eventually("both vote", async || first.control.raft_view().reachable.len() == 2).await;
    first.becomes_worker(&second).await;
    assert_eq!(second.control.raft_view().leader, Some(second.id()));
    // Back again, under a new id in Raft; and it survives a restart.
    first.becomes_manager(&second).await;
    let id = first.id();
    let (dir, port) = first.stop().await;
    let first = TestNode::start_in(dir, port).await;
    assert_eq!(first.id(), id);
    eventually("it answers", async || first.control.read().await.is_ok()).await;
    first.becomes_worker(&second).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn bad_tokens_are_refused_in_dockers_words() {
    let (ours, theirs) = (TestNode::start().await, TestNode::start().await);
    let joiner = TestNode::start().await;
    ours.init().await;
    theirs.init().await;
    let good = ours.worker_token().await;
    let foreign = theirs.worker_token().await;
    let wrong_secret = format!("{}{}", &good[..60], "0".repeat(25));
    let join = async |token: &str| {
        let error = joiner.control.join(joiner.join_request(&ours, token)).await.unwrap_err();
        (error.code, error.to_string())
    };
    let invalid = Code::InvalidArgument;
    assert_eq!(join("SWMTKN-1-nonsense").await, (invalid, "invalid join token".into()));
    assert_eq!(
        join(&wrong_secret).await,
        (
            invalid,
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join \
             this cluster"
                .into()
        )
    );
    let (code, text) = join(&foreign).await;
    assert_eq!(code, invalid);
    assert!(text.starts_with("remote CA does not match fingerprint. Expected: "), "{text}");
    assert_eq!(joiner.control.local_node().state, LocalState::Inactive);
    joiner.assert_no_trace();
    for node in [ours, theirs, joiner] {
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_without_answer_goes_on_in_the_background_until_the_node_leaves() {
    let (absent, joiner) = (TestNode::start().await, TestNode::start().await);
    let token = "SWMTKN-1-0xdwn4gbg2dw815sd1iujcxomvqxt5dlm3fuqqphewrclky7xb-\
                 8grb89se7fgg71dttahmugmux";
    let error = joiner.control.join(joiner.join_request(&absent, token)).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.to_string().starts_with("Timeout was reached before node joined."), "{error}");
    let local = joiner.control.local_node();
    assert_eq!((local.state, local.node_id), (LocalState::Pending, None));
    assert_eq!(local.managers, [(None, format!("127.0.0.1:{}", absent.port))]);
    let again = joiner.control.join(joiner.join_request(&absent, token)).await.unwrap_err();
    assert_eq!(again.to_string(), ALREADY);
    joiner.control.leave(false).await.unwrap();
    assert_eq!(joiner.control.local_node().state, LocalState::Inactive);
    joiner.stop().await;
    absent.stop().await;
}

#[tokio::test]
async fn beside_an_engine_in_a_swarm_of_its_own_nothing_begins() {
    let node = TestNode::start().await;
    let socket = node.dir.path().join("engine.sock");
    let mut engine = JoinSet::new();
    engine.spawn(swarm_engine(UnixListener::bind(&socket).unwrap()));
    let error = node.control.init(node.init_request()).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    let text = error.to_string();
    let command = format!("docker -H unix://{} swarm leave --force", socket.display());
    assert!(text.contains(&command), "{text}");
    node.assert_no_trace();
    node.stop().await;
}

/// Answers `/info` as an engine in swarm mode does.
async fn swarm_engine(listener: UnixListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let body = r#"{"ServerVersion":"20.10.24","Swarm":{"LocalNodeState":"active"}}"#;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await;
    }
}

#[tokio::test]
async fn a_damaged_membership_is_shown_and_can_be_left() {
    let node = TestNode::start().await;
    node.init().await;
    let (dir, port) = node.stop().await;
    let certificate = dir.path().join("state/certificates/swarm-node.crt");
    write(&certificate, "nonsense").unwrap();
    let node = TestNode::start_in(dir, port).await;
    let local = node.control.local_node();
    assert_eq!(local.state, LocalState::Error);
    assert!(local.error.contains("swarm-node.crt is damaged"), "{}", local.error);
    assert_eq!(node.control.init(node.init_request()).await.unwrap_err().to_string(), ALREADY);
    node.control.leave(true).await.unwrap();
    node.init().await;
    node.stop().await;
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
