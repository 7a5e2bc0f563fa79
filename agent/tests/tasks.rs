//! Tasks on a real Docker Engine with the real data plane: every way a task can go, the restart of
//! the agent, and what is left afterwards.

#![expect(clippy::unwrap_used, reason = "a test ends with a panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use support::{Host, beside, on_a_new_host, wait_for_state};
use swarmnet_agent::attach::leases::Leases;
use swarmnet_agent::dataplane::{Attach, DataPlane, DataPlaneConfig, NodeWiring};
use swarmnet_agent::engine::watch::{EVENT_QUEUE, follow};
use swarmnet_agent::engine::{DockerEngine, Engine};
use swarmnet_agent::report::Reporter;
use swarmnet_agent::task::runner::{Runner, RunnerParts, Told};
use swarmnet_agent::task::{EngineNetworks, Wiring};
use swarmnet_model::container::{Healthcheck, Mount, MountKind};
use swarmnet_model::view::{AssignedTask, NetworkItem, Peer, Settings};
use swarmnet_model::{
    Attachment, Clock, ClusterId, ContainerSpec, DesiredState, Document, EndpointSpec, Item,
    ItemKey, NetworkId, NodeId, NodeView, ServiceId, Subnet, Task, TaskId, TaskSpec, TaskState,
    TaskStatus, Timestamp, Version, Vni,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const NODE: &str = "node1";

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1)
    }
}

fn node_id() -> NodeId {
    NodeId::from_text(NODE)
}

fn network_id() -> NetworkId {
    NetworkId::from_text("network1")
}

/// A task `web.<slot>` that runs a shell script.
fn shell(slot: u8, script: &str) -> AssignedTask {
    let command = ["/bin/busybox", "sh", "-c", script];
    let container = ContainerSpec {
        image: "busybox".to_owned(),
        command: command.map(str::to_owned).to_vec(),
        env: vec!["SELF={{.Task.Name}}".to_owned()],
        stop_grace_period: Some(Duration::from_secs(1)),
        ..ContainerSpec::default()
    };
    let task = Task {
        id: TaskId::from_text(format!("task{slot}")),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        service_id: ServiceId::from_text("service1"),
        service_name: "web".to_owned(),
        service_labels: BTreeMap::new(),
        slot: u64::from(slot),
        job_iteration: None,
        node_id: Some(node_id()),
        spec: TaskSpec { container, ..TaskSpec::default() },
        endpoint_spec: EndpointSpec::default(),
        document: Document::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(Timestamp::UNSET, TaskState::Assigned, "assigned"),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
        attachments: vec![Attachment {
            network_id: network_id(),
            address: format!("10.0.1.{slot}/24").parse().unwrap(),
            aliases: Vec::new(),
        }],
    };
    AssignedTask { task: task.into(), withdrawn: false, registry_auth: None }
}

fn base_view() -> NodeView {
    let network = NetworkItem {
        id: network_id(),
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
    let settings = Settings {
        cluster_id: ClusterId::from_text("cluster1"),
        data_path_port: 4789,
        ingress: None,
    };
    let peer =
        Peer { node_id: node_id(), hostname: NODE.to_owned(), addr: [10, 20, 20, 100].into() };
    [
        (ItemKey::Settings, Item::Settings(settings)),
        (ItemKey::Peer(node_id()), Item::Peer(peer)),
        (ItemKey::Network(network_id()), Item::Network(network)),
    ]
    .into_iter()
    .collect()
}

async fn data_plane(host: &Host) -> DataPlane {
    let path = "/run/docker/plugins/swarmnet.sock";
    std::fs::create_dir_all("/run/docker/plugins").unwrap();
    DataPlane::start(DataPlaneConfig {
        bpffs: host.bpffs(),
        cgroup2: None,
        attach: Attach::Auto,
        state_dir: host.state(),
        plugin_listener: UnixListener::bind(path).unwrap(),
        gateway_pool: DataPlaneConfig::GATEWAY_POOL.parse().unwrap(),
    })
    .await
    .unwrap()
}

/// A runner over the host's engine.
struct Node {
    wiring: Arc<NodeWiring>,
    reporter: Arc<Reporter>,
    told: watch::Sender<Told>,
    idle: watch::Receiver<bool>,
    generation: u64,
    stop: CancellationToken,
    children: JoinSet<()>,
}

impl Node {
    fn start(host: &Host, plane: &DataPlane, generation: u64) -> Self {
        let socket = host.directory.path().join("docker.sock");
        let engine: Arc<dyn Engine> = Arc::new(DockerEngine::new(socket));
        let wiring = Arc::new(NodeWiring { plane: plane.clone(), node_id: node_id() });
        let reporter = Arc::new(Reporter::new(BTreeMap::new()));
        let (facts, idle) = (watch::Sender::new(None), watch::Sender::new(false));
        let (told, stop) = (watch::Sender::new(Told::default()), CancellationToken::new());
        let (wake, wakes) = mpsc::channel(EVENT_QUEUE);
        let idle_told = idle.subscribe();
        let runner = Runner::new(RunnerParts {
            engine: Arc::clone(&engine),
            wiring: wiring.clone(),
            reporter: reporter.clone(),
            clock: Arc::new(Still),
            node_id: node_id(),
            hostname: NODE.to_owned(),
            facts: facts.subscribe(),
            told: told.subscribe(),
            wakes,
            networks: Arc::new(EngineNetworks::new(
                Arc::clone(&engine),
                Leases::default(),
                watch::Sender::new(Vec::new()),
            )),
            idle,
        });
        let mut children = JoinSet::new();
        children.spawn(follow(engine, facts, wake, watch::Sender::new(0), stop.clone(), 1));
        children.spawn(runner.run(stop.clone()));
        Self { wiring, reporter, told, idle: idle_told, generation, stop, children }
    }

    fn tell<'a>(&mut self, tasks: impl IntoIterator<Item = &'a AssignedTask>) {
        let mut view = base_view();
        for task in tasks {
            let key = ItemKey::Task(task.task.id.clone());
            view.insert(key, Item::Task(Box::new(task.clone())));
        }
        let view = Arc::new(view);
        self.generation += 1;
        self.wiring.set_view(self.generation, Arc::clone(&view));
        self.told.send_replace(Told { view, complete: true });
    }

    /// As an agent that leaves the swarm: nothing is wanted any more, the gateway network neither.
    fn leave(&self) {
        self.told.send_replace(Told { view: Arc::default(), complete: true });
    }

    fn status(&self, task: &AssignedTask) -> Option<TaskStatus> {
        self.reporter.status(&task.task.id)
    }

    async fn reaches(&self, task: &AssignedTask, state: TaskState) -> TaskStatus {
        let what = format!("{} {}", task.task.id, state.as_str());
        wait_for_state(&what, || self.status(task).is_some_and(|s| s.state == state)).await;
        self.status(task).unwrap()
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.children.join_next().await {
            ended.unwrap();
        }
    }
}

/// Runs the docker CLI while the data plane serves its plugin calls.
async fn docker(host: &Arc<Host>, arguments: &str) -> String {
    let (host, arguments) = (Arc::clone(host), arguments.to_owned());
    beside(move || host.docker(&arguments.split(' ').collect::<Vec<_>>()).trim().to_owned()).await
}

#[test]
#[ignore = "needs root and a Docker Engine; run by make test"]
fn a_task_runs_survives_the_agent_and_leaves_nothing() {
    on_a_new_host(|mut host| async move {
        host.add_client();
        host.start_engine();
        let plane = data_plane(&host).await;
        let host = Arc::new(host);
        let mut node = Node::start(&host, &plane, 0);
        let web = shell(
            5,
            "/bin/busybox env; trap 'exit 0' TERM; while :; do /bin/busybox sleep 1; done",
        );
        node.tell([&web]);
        let status = node.reaches(&web, TaskState::Running).await;
        assert!(status.gateway.is_some());
        let labels = docker(&host, "inspect -f {{.Config.Labels}} web.5.task5").await;
        assert!(labels.contains("com.docker.swarm.service.name:web"), "{labels}");
        let container = status.container.unwrap();
        node.end().await;

        let mut node = Node::start(&host, &plane, 10);
        node.tell([&web]);
        let adopted = node.reaches(&web, TaskState::Running).await;
        assert_eq!(adopted.container, Some(container), "same container, same process");
        assert_eq!(adopted.gateway, status.gateway);
        assert!(docker(&host, "logs web.5.task5").await.contains("SELF=web.5.task5"));

        let mut ending = web.clone();
        Arc::make_mut(&mut ending.task).desired_state = DesiredState::Shutdown;
        ending.withdrawn = true;
        node.tell([&ending]);
        node.reaches(&web, TaskState::Shutdown).await;
        assert_eq!(docker(&host, "ps -aq --filter status=exited").await.lines().count(), 1);
        node.leave();
        let idle = node.idle.clone();
        wait_for_state("nothing left", || *idle.borrow()).await;
        assert_eq!(docker(&host, "ps -aq").await, "");
        assert_eq!(docker(&host, "network ls -q --filter driver=swarmnet").await, "");
        node.end().await;
        plane.shutdown().await;
    });
}

#[test]
#[ignore = "needs root and a Docker Engine; run by make test"]
fn every_failure_shows_in_the_engines_words() {
    on_a_new_host(|mut host| async move {
        host.add_client();
        host.start_engine();
        let plane = data_plane(&host).await;
        let host = Arc::new(host);
        let mut node = Node::start(&host, &plane, 0);
        let clean = shell(11, "exit 0");
        let bad = shell(12, "exit 3");
        let mut absent = shell(13, "");
        Arc::make_mut(&mut absent.task).spec.container.image = "127.0.0.1:1/none:1".to_owned();
        let mut unstartable = shell(14, "");
        Arc::make_mut(&mut unstartable.task).spec.container.command =
            vec!["/no/such/program".to_owned()];
        let mut mount = shell(15, "");
        Arc::make_mut(&mut mount.task).spec.container.mounts = vec![Mount {
            kind: MountKind::Bind {
                propagation: None,
                non_recursive: false,
                create_mountpoint: false,
                read_only_non_recursive: false,
                read_only_force_recursive: false,
            },
            source: "/no/such/source".to_owned(),
            target: "/data".to_owned(),
            read_only: false,
            consistency: None,
        }];
        let mut sick = shell(16, "while :; do /bin/busybox sleep 1; done");
        Arc::make_mut(&mut sick.task).spec.container.healthcheck = Some(Healthcheck {
            test: vec!["CMD".to_owned(), "/bin/busybox".to_owned(), "false".to_owned()],
            interval: Some(Duration::from_millis(100)),
            retries: 1,
            ..Healthcheck::default()
        });
        let killed = shell(17, "while :; do /bin/busybox sleep 1; done");
        node.tell([&clean, &bad, &absent, &unstartable, &mount, &sick, &killed]);

        assert_eq!(node.reaches(&clean, TaskState::Complete).await.message, "finished");
        let bad = node.reaches(&bad, TaskState::Failed).await;
        assert_eq!(bad.err.as_deref(), Some("task: non-zero exit (3)"));
        assert_eq!(bad.container.unwrap().exit_code, 3);
        let absent = node.reaches(&absent, TaskState::Rejected).await.err.unwrap();
        assert!(absent.contains("127.0.0.1:1"), "{absent}");
        let unstartable = node.reaches(&unstartable, TaskState::Failed).await.err.unwrap();
        assert!(unstartable.starts_with("starting container failed: "), "{unstartable}");
        assert!(unstartable.contains("no such file or directory"), "{unstartable}");
        let mount = node.reaches(&mount, TaskState::Rejected).await.err.unwrap();
        let text = "invalid mount config for type \"bind\": bind source path does not exist: /no/such/source";
        assert_eq!(mount, text);
        let sick = node.reaches(&sick, TaskState::Failed).await.err.unwrap();
        assert_eq!(sick, "task: non-zero exit (137): dockerexec: unhealthy container");
        node.reaches(&killed, TaskState::Running).await;
        docker(&host, "rm -f web.17.task17").await;
        let killed = node.reaches(&killed, TaskState::Failed).await.err.unwrap();
        assert_eq!(killed, "task: non-zero exit (137)");

        node.leave();
        let idle = node.idle.clone();
        wait_for_state("nothing left", || *idle.borrow()).await;
        node.end().await;
        plane.shutdown().await;
    });
}
