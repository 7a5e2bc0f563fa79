//! Logs through whole managers: a reader on a follower, a node that the test plays.

use futures::StreamExt;
use swarmnet_model::{LogOptions, LogOrder, LogSelector, NodeDescription, ServiceId, TaskId};
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use swarmnet_proto::v1::logs_client::LogsClient;
use swarmnet_proto::{document, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code as GrpcCode, Streaming};

use super::*;
use crate::logs::subscription::LogStream;

/// Opens a node's session with the manager that leads.
async fn session(tls: &TlsContext, leader: &Host) -> Streaming<v1::SessionMessage> {
    let request = v1::SessionRequest {
        description: document::encode(&NodeDescription::default()),
        advertise_addr: "127.0.0.77".to_owned(),
    };
    let mut client = DispatcherClient::new(tls.channel(&leader.addr));
    timeout(PATIENCE, client.session(request)).await.unwrap().unwrap().into_inner()
}

/// Waits until the node is asked for logs.
async fn order(session: &mut Streaming<v1::SessionMessage>) -> LogOrder {
    let asked = async {
        loop {
            let message = session.message().await.unwrap().unwrap();
            if !message.log_order.is_empty() {
                return document::decode("log_order", &message.log_order).unwrap();
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("the node is never asked")
}

/// Begins to send to a reader; returns the way for lines and that for credit.
async fn publish(
    tls: &TlsContext,
    manager: &Host,
    subscription: &str,
) -> Result<(mpsc::Sender<v1::LogBatch>, Streaming<v1::LogCredit>), GrpcCode> {
    let (sender, batches) = mpsc::channel(4);
    let subscription = subscription.to_owned();
    sender.send(v1::LogBatch { subscription, lines: Vec::new() }).await.unwrap();
    let mut client = LogsClient::new(tls.channel(&manager.addr));
    let call = timeout(PATIENCE, client.publish(ReceiverStream::new(batches))).await.unwrap();
    call.map(|answer| (sender, answer.into_inner())).map_err(|status| status.code())
}

fn line(task: &TaskId, text: &str) -> v1::LogBatch {
    let line = v1::LogLine {
        task_id: task.to_string(),
        text: text.as_bytes().to_vec(),
        ..v1::LogLine::default()
    };
    v1::LogBatch { lines: vec![line], ..v1::LogBatch::default() }
}

async fn next(stream: &mut LogStream) -> Option<String> {
    let lines = timeout(PATIENCE, stream.next()).await.expect("nothing comes")?.unwrap();
    Some(lines.iter().map(|line| String::from_utf8(line.text.clone()).unwrap()).collect())
}

/// Three managers with a service whose tasks are on two workers; both have sessions.
struct Scene {
    hosts: [Host; 3],
    workers: [TlsContext; 2],
    sessions: Vec<Streaming<v1::SessionMessage>>,
    service: ServiceId,
}

impl Scene {
    async fn new() -> Self {
        let cluster = cluster();
        let hosts = three(&cluster).await;
        let store = hosts[0].manager().store();
        store
            .propose(vec![node("w1", Role::Worker, None), node("w2", Role::Worker, None)])
            .await
            .unwrap();
        let workers = ["w1", "w2"].map(|id| identity(&cluster, id, Role::Worker));
        let first = session(&workers[0], &hosts[0]).await;
        let create = Call::CreateService { spec: Box::new(service("web", 1)), registry_auth: None };
        let Ok(Reply::Created(id)) = hosts[0].manager().call(create).await else {
            panic!("the service was not created")
        };
        let scene =
            Self { hosts, workers, sessions: vec![first], service: ServiceId::from_text(id) };
        eventually("the task has a node", || scene.task().is_some()).await;
        scene
    }

    /// The task on the first worker.
    fn task(&self) -> Option<TaskId> {
        let tables = self.hosts[1].manager().store().snapshot();
        let on_node = |task: &&Arc<swarmnet_model::Task>| {
            task.node_id == Some(NodeId::from_text("w1"))
                && task.status.state >= TaskState::Assigned
        };
        tables.tasks.values().find(on_node).map(|task| task.id.clone())
    }

    fn read(&self, follow: bool) -> LogStream {
        let options = LogOptions { stdout: true, follow, ..LogOptions::default() };
        let selector = LogSelector::Service(self.service.clone());
        self.hosts[1].manager().logs(selector, options).unwrap()
    }

    /// Polls the reader's stream while the node waits to be asked.
    async fn asked(&mut self, stream: &mut LogStream) -> LogOrder {
        tokio::select! {
            order = order(&mut self.sessions[0]) => order,
            lines = stream.next() => panic!("nobody was asked and this came: {lines:?}"),
        }
    }

    async fn end(mut self) {
        for host in &mut self.hosts {
            host.kill().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_on_a_follower_gets_the_lines_of_the_node() {
    let mut scene = Scene::new().await;
    let task = scene.task().unwrap();
    let mut stream = scene.read(false);
    let order = scene.asked(&mut stream).await;
    assert_eq!(order.manager, NodeId::from_text("m2"), "the lines go straight to the reader");
    let (sender, mut credit) =
        publish(&scene.workers[0], &scene.hosts[1], &order.subscription).await.unwrap();
    assert!(credit.message().await.unwrap().unwrap().bytes > 0);
    let second = publish(&scene.workers[0], &scene.hosts[1], &order.subscription).await;
    assert_eq!(second.err(), Some(GrpcCode::NotFound), "a node sends once");
    sender.send(line(&task, "one\n")).await.unwrap();
    assert_eq!(next(&mut stream).await.as_deref(), Some("one\n"));
    assert!(credit.message().await.unwrap().unwrap().bytes > 0, "room comes back when it is read");
    sender.send(line(&task, "two\n")).await.unwrap();
    drop(sender);
    assert_eq!(next(&mut stream).await.as_deref(), Some("two\n"));
    assert_eq!(next(&mut stream).await, None);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_believed_about_its_own_tasks_only() {
    let mut scene = Scene::new().await;
    let task = scene.task().unwrap();
    let mut stream = scene.read(true);
    let order = scene.asked(&mut stream).await;
    let (sender, mut credit) =
        publish(&scene.workers[1], &scene.hosts[1], &order.subscription).await.unwrap();
    credit.message().await.unwrap();
    sender.send(line(&task, "forged\n")).await.unwrap();
    let refused = timeout(PATIENCE, credit.message()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), GrpcCode::PermissionDenied);
    let unknown = publish(&scene.workers[0], &scene.hosts[1], "guessed").await;
    assert_eq!(unknown.err(), Some(GrpcCode::NotFound));
    let (sender, _credit) =
        publish(&scene.workers[0], &scene.hosts[1], &order.subscription).await.unwrap();
    sender.send(line(&task, "true\n")).await.unwrap();
    assert_eq!(next(&mut stream).await.as_deref(), Some("true\n"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_where_it_broke_off_and_stops_when_the_reader_leaves() {
    let mut scene = Scene::new().await;
    let task = scene.task().unwrap();
    let mut stream = scene.read(true);
    let first = scene.asked(&mut stream).await;
    assert!(first.resume.is_empty());
    let (sender, credit) =
        publish(&scene.workers[0], &scene.hosts[1], &first.subscription).await.unwrap();
    let mut batch = line(&task, "one\n");
    batch.lines[0].time_ns = 5;
    sender.send(batch).await.unwrap();
    assert_eq!(next(&mut stream).await.as_deref(), Some("one\n"));
    drop((sender, credit));
    // Orders of the time before the break may be under way.
    let mut again = scene.asked(&mut stream).await;
    while again.resume.is_empty() {
        again = scene.asked(&mut stream).await;
    }
    assert_eq!(again.resume, [(task, Timestamp(5))].into());
    let (_sender, mut credit) =
        publish(&scene.workers[0], &scene.hosts[1], &again.subscription).await.unwrap();
    credit.message().await.unwrap();
    drop(stream);
    assert_eq!(timeout(PATIENCE, credit.message()).await.unwrap().unwrap(), None);
    scene.end().await;
}
