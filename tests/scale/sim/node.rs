//! A simulated node: the whole session of an agent, and a task runs as soon as it is assigned.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use swarmnet_model::limits::{RPC_MESSAGE_BYTES_MAX, STATUSES_PER_REPORT};
use swarmnet_model::{
    Clock, Cluster, Item, ItemKey, NodeDescription, Role, TaskId, TaskState, TaskStatus, ViewUpdate,
};
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use swarmnet_proto::{document, v1};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{MachineClock, identity, node_addr, node_id};

/// Pause before a session that has ended is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

type Client = DispatcherClient<Channel>;

/// Starts nodes; they end when the set is dropped.
pub(crate) fn all(cluster: &Cluster, manager: &str, count: u32) -> JoinSet<()> {
    let mut nodes = JoinSet::new();
    for at in 0..count {
        let tls = identity(cluster, &node_id(at), Role::Worker);
        let client = DispatcherClient::new(tls.channel(manager))
            .max_decoding_message_size(RPC_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RPC_MESSAGE_BYTES_MAX);
        nodes.spawn(async move {
            loop {
                let Err(status) = session(at, client.clone()).await;
                eprintln!("node {at}: {status}");
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
        });
    }
    nodes
}

/// What the node has been told and has not answered yet.
#[derive(Default)]
struct Desk {
    todo: Mutex<Todo>,
    changed: Notify,
}

#[derive(Default)]
struct Todo {
    generation: u64,
    /// Where each task is, and where it should be.
    tasks: BTreeMap<TaskId, (TaskState, TaskState)>,
}

async fn session(at: u32, mut client: Client) -> Result<std::convert::Infallible, Status> {
    let description = NodeDescription {
        hostname: format!("node{at}"),
        os: "linux".to_owned(),
        architecture: "x86_64".to_owned(),
        nano_cpus: 64_000_000_000,
        memory_bytes: 256 << 30,
        engine_version: "simulated".to_owned(),
        ..NodeDescription::default()
    };
    let request = v1::SessionRequest {
        description: document::encode(&description),
        advertise_addr: node_addr(at).to_string(),
    };
    let mut stream = client.session(request).await?.into_inner();
    let first = stream.message().await?.ok_or_else(ended)?;
    let (id, period) = (first.session_id.clone(), Duration::from_millis(first.heartbeat_period_ms));
    let desk = Desk::default();
    desk.take(&first)?;
    tokio::select! {
        over = read(stream, &desk) => over,
        over = beat(client.clone(), id.clone(), period) => over,
        over = report(client.clone(), id.clone(), &desk) => over,
    }
}

fn ended() -> Status {
    Status::aborted("the manager has ended the session")
}

async fn read(
    mut stream: Streaming<v1::SessionMessage>,
    desk: &Desk,
) -> Result<std::convert::Infallible, Status> {
    loop {
        desk.take(&stream.message().await?.ok_or_else(ended)?)?;
    }
}

async fn beat(
    mut client: Client,
    session_id: String,
    period: Duration,
) -> Result<std::convert::Infallible, Status> {
    loop {
        tokio::time::sleep(period).await;
        client.heartbeat(v1::HeartbeatRequest { session_id: session_id.clone() }).await?;
    }
}

/// Tells what is new, each step of a task by itself.
async fn report(
    mut client: Client,
    session_id: String,
    desk: &Desk,
) -> Result<std::convert::Infallible, Status> {
    let mut told = 0;
    loop {
        let (generation, tasks) = desk.step();
        if tasks.is_empty() && generation == told {
            desk.changed.notified().await;
            continue;
        }
        let status = |state: TaskState| {
            document::encode(&TaskStatus::new(MachineClock.now(), state, state.as_str()))
        };
        let tasks = tasks
            .into_iter()
            .map(|(id, state)| v1::TaskReport { task_id: id.to_string(), status: status(state) });
        let request = v1::ReportRequest {
            session_id: session_id.clone(),
            tasks: tasks.collect(),
            applied_generation: generation,
        };
        client.report(request).await?;
        told = generation;
    }
}

impl Desk {
    /// Takes what a message says of the node's own tasks.
    fn take(&self, message: &v1::SessionMessage) -> Result<(), Status> {
        if message.view_update.is_empty() {
            return Ok(());
        }
        let update: ViewUpdate = document::decode("view_update", &message.view_update)
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut todo = self.todo.lock().unwrap();
        todo.generation = update.generation;
        for (_, item) in update.put {
            let Item::Task(assigned) = item else { continue };
            let task = &assigned.task;
            let goal = if task.desired_state.is_terminal() {
                TaskState::Shutdown
            } else {
                TaskState::Running
            };
            let entry = todo.tasks.entry(task.id.clone()).or_insert((task.status.state, goal));
            entry.1 = goal;
        }
        for key in update.removed {
            if let ItemKey::Task(id) = key {
                todo.tasks.remove(&id);
            }
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Moves every task one step on; returns what has changed.
    fn step(&self) -> (u64, Vec<(TaskId, TaskState)>) {
        let mut todo = self.todo.lock().unwrap();
        let generation = todo.generation;
        let behind = todo.tasks.iter_mut().filter(|(_, (is, goal))| is < goal);
        let stepped = behind.take(STATUSES_PER_REPORT).map(|(id, (is, goal))| {
            *is = if *is < TaskState::Accepted { TaskState::Accepted } else { *goal };
            (id.clone(), *is)
        });
        (generation, stepped.collect())
    }
}
