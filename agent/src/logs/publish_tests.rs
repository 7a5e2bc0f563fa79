use std::pin::Pin;

use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use swarmnet_model::limits::LOG_WINDOW_BYTES;
use swarmnet_model::view::AssignedTask;
use swarmnet_model::{
    ContainerStatus, Item, ItemKey, LogOptions, LogSelector, NodeId, NodeView, ServiceId,
    TaskState, Timestamp,
};
use swarmnet_proto::v1::logs_server::{Logs, LogsServer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};

use super::*;
use crate::engine::fake::FakeEngine;
use crate::report::Reporter;
use crate::task::fixture::{FixedClock, task};
use crate::task::runner::Told;

const DEADLINE: Duration = Duration::from_secs(20);

/// A manager that the test plays: what comes is handed out, credit is given by hand.
struct Manager {
    batches: mpsc::Sender<v1::LogBatch>,
    credits: std::sync::Mutex<Option<mpsc::Receiver<Result<v1::LogCredit, Status>>>>,
}

#[tonic::async_trait]
impl Logs for Manager {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<v1::LogCredit, Status>> + Send>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::LogBatch>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let batches = self.batches.clone();
        let incoming = request.into_inner().filter_map(move |batch| {
            let batches = batches.clone();
            async move {
                batches.send(batch.ok()?).await.ok()?;
                None
            }
        });
        let credits = self.credits.lock().unwrap().take().unwrap();
        Ok(Response::new(Box::pin(futures::stream::select(incoming, ReceiverStream::new(credits)))))
    }
}

/// One node with containers, and the manager of one reader.
struct Scene {
    engine: Arc<FakeEngine>,
    parts: Arc<LogParts>,
    told: watch::Sender<Told>,
    batches: mpsc::Receiver<v1::LogBatch>,
    credits: mpsc::Sender<Result<v1::LogCredit, Status>>,
    _server: JoinSet<()>,
    _directory: tempfile::TempDir,
}

fn frame(text: &str) -> Vec<u8> {
    let line = format!("1970-01-01T00:00:01.000000002Z {text}\n");
    let length = u32::try_from(line.len()).unwrap().to_be_bytes();
    [&[1, 0, 0, 0][..], &length, line.as_bytes()].concat()
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("m1");
    let (sender, batches) = mpsc::channel(1);
    let (credits, given) = mpsc::channel(64);
    let manager = Manager { batches: sender, credits: std::sync::Mutex::new(Some(given)) };
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let router = Server::builder().add_service(LogsServer::new(manager));
        router.serve_with_incoming(incoming).await.unwrap();
    });
    let told = watch::Sender::new(Told { view: Arc::default(), complete: true });
    let engine = Arc::new(FakeEngine::new());
    let managers = vec![(NodeId::from_text("m1"), "m1".to_owned())];
    let parts = LogParts {
        connect: Arc::new(move |_| {
            let socket = socket.clone();
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://manager").connect_with_connector_lazy(connector)
        }),
        engine: engine.clone(),
        clock: Arc::new(FixedClock),
        told: told.subscribe(),
        reporter: Arc::new(Reporter::new(Default::default())),
        managers: watch::channel(managers).1,
    };
    let parts = Arc::new(parts);
    Scene { engine, parts, told, batches, credits, _server: server, _directory: directory }
}

impl Scene {
    /// Gives the node a task whose container runs.
    fn add(&self, service: &str, slot: u64) -> TaskId {
        let mut task = task(service, slot);
        let id = task.id.clone();
        task.status.state = TaskState::Running;
        let container_id = format!("container-of-{id}");
        self.engine.add_stray(&container_id, &id, "n1");
        task.status.container = Some(ContainerStatus { container_id, pid: 7, exit_code: 0 });
        let item = Item::Task(Box::new(AssignedTask {
            task: task.into(),
            withdrawn: false,
            registry_auth: None,
        }));
        self.told.send_modify(|told| {
            let view = NodeView::clone(&told.view).update(ItemKey::Task(id.clone()), item);
            told.view = Arc::new(view);
        });
        id
    }

    fn order(follow: bool) -> LogOrder {
        let options = LogOptions { stdout: true, follow, tail: Some(9), ..LogOptions::default() };
        LogOrder {
            subscription: "s1".to_owned(),
            manager: NodeId::from_text("m1"),
            selector: LogSelector::Service(ServiceId::from_text("web")),
            options,
            resume: Default::default(),
        }
    }

    fn publish(&self, order: LogOrder) -> JoinSet<Result<(), Status>> {
        let (parts, mut running) = (Arc::clone(&self.parts), JoinSet::new());
        running.spawn(async move { publish(&parts, "m1", order).await });
        running
    }

    async fn give(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap();
        self.credits.send(Ok(v1::LogCredit { bytes })).await.unwrap();
    }

    async fn batch(&mut self) -> v1::LogBatch {
        timeout(DEADLINE, self.batches.recv()).await.expect("nothing comes").unwrap()
    }

    async fn line(&mut self) -> (String, String) {
        let line = self.batch().await.lines.remove(0);
        (line.task_id, String::from_utf8(line.text).unwrap())
    }
}

#[tokio::test]
async fn the_lines_of_the_services_tasks_are_sent_and_the_call_ends() {
    let mut scene = scene();
    let web = scene.add("web", 1);
    let mute = scene.add("web", 2);
    scene.add("other", 1);
    scene.engine.set_written(&web, &frame("hello"));
    let mut running = scene.publish(Scene::order(false));
    assert_eq!(scene.batch().await.subscription, "s1");
    scene.give(LOG_WINDOW_BYTES).await;
    let mut lines = Vec::new();
    while lines.len() < 2 {
        lines.extend(scene.batch().await.lines);
    }
    let text = |line: &v1::LogLine| String::from_utf8(line.text.clone()).unwrap();
    let of = |task: &TaskId| lines.iter().find(|line| line.task_id == task.as_str()).unwrap();
    assert_eq!((text(of(&web)), of(&web).stderr), ("hello\n".to_owned(), false));
    assert_eq!(of(&web).time_ns, 1_000_000_002);
    let unreadable = "configured logging driver does not support reading\n";
    assert_eq!((text(of(&mute)), of(&mute).stderr), (unreadable.to_owned(), true));
    let asked = scene.engine.asked_logs();
    assert!(asked.iter().all(|asked| asked.tail == Some(9) && asked.timestamps && !asked.follow));
    drop(scene.credits);
    let ended = timeout(DEADLINE, running.join_next()).await.unwrap();
    assert!(ended.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn without_credit_nothing_is_sent_and_lines_wait_in_the_engine() {
    let mut scene = scene();
    let web = scene.add("web", 1);
    let written: Vec<u8> = (0..10_000).flat_map(|n| frame(&format!("line {n:05}"))).collect();
    scene.engine.set_written(&web, &written);
    let _running = scene.publish(Scene::order(false));
    assert!(scene.batch().await.lines.is_empty());
    let mut lines = 0;
    while lines < 10_000 {
        scene.give(LOG_WINDOW_BYTES).await;
        let (mut bytes, mut next) = (0, Some(scene.batch().await));
        // As much as fits, and no batch more.
        while let Some(batch) = next {
            bytes += usize::try_from(cost(&batch)).unwrap();
            for line in batch.lines {
                assert_eq!(String::from_utf8(line.text).unwrap(), format!("line {lines:05}\n"));
                lines += 1;
            }
            let further = timeout(Duration::from_millis(50), scene.batches.recv()).await;
            next = further.ok().flatten();
        }
        // Credit that a batch did not fit into is left for the next.
        assert!(bytes <= 2 * LOG_WINDOW_BYTES, "{bytes} bytes sent");
    }
}

#[tokio::test]
async fn a_followed_service_gets_its_new_tasks_until_the_manager_ends_the_call() {
    let mut scene = scene();
    let first = scene.add("web", 1);
    scene.engine.set_written(&first, &frame("first"));
    let mut running = scene.publish(Scene::order(true));
    scene.batch().await;
    scene.give(LOG_WINDOW_BYTES).await;
    assert_eq!(scene.line().await, (first.to_string(), "first\n".to_owned()));
    scene.engine.set_written(&TaskId::from_text("web-2"), &frame("second"));
    let second = scene.add("web", 2);
    assert_eq!(scene.line().await, (second.to_string(), "second\n".to_owned()));
    scene.credits.send(Err(Status::cancelled("the reader has left"))).await.unwrap();
    let ended = timeout(DEADLINE, running.join_next()).await.unwrap();
    assert_eq!(ended.unwrap().unwrap().unwrap_err().code(), tonic::Code::Cancelled);
}

#[test]
fn a_container_that_has_not_started_is_not_read_yet() {
    let mut task = task("web", 1);
    let container = ContainerStatus { container_id: "c1".to_owned(), pid: 0, exit_code: 0 };
    task.status.container = Some(container);
    let mut read = |state| {
        task.status.state = state;
        container_of(&task, None)
    };
    assert_eq!(read(TaskState::Starting), None);
    assert_eq!(read(TaskState::Running).as_deref(), Some("c1"));
    assert_eq!(read(TaskState::Failed).as_deref(), Some("c1"));
}

#[tokio::test]
async fn what_has_come_already_is_not_asked_for_again() {
    let mut scene = scene();
    let web = scene.add("web", 1);
    scene.engine.set_written(&web, &frame("later"));
    let resume = [(web, Timestamp(5_000_000_000))].into();
    let _running = scene.publish(LogOrder { resume, ..Scene::order(true) });
    scene.batch().await;
    scene.give(LOG_WINDOW_BYTES).await;
    scene.line().await;
    let asked = scene.engine.asked_logs();
    assert_eq!((asked[0].since, asked[0].tail), (Some(Timestamp(5_000_000_001)), None));
}
