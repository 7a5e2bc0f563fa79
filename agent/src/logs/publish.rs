//! The lines of one reader: from this node's containers to the reader's manager, within its credit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::limits::{LOG_BATCH_BYTES, LOG_MESSAGE_BYTES_MAX};
use swarmnet_model::{ItemKey, LogOrder, Task, TaskId, TaskState, TaskStatus};
use swarmnet_proto::logs::cost;
use swarmnet_proto::v1;
use swarmnet_proto::v1::logs_client::LogsClient;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::reader::{LogReader, Source};
use super::run::LogParts;
use crate::inputs::tasks;

/// From the call to the manager's first word.
const ANSWER: Duration = Duration::from_secs(5);
/// From the last line to the manager's end of the call: the reader may be slow to take what is under
/// way.
const LAST_WORD: Duration = Duration::from_secs(3_600);
/// Logs of one reader that are open at a time; each is a connection to the engine. Logs of ended
/// tasks end by themselves, and no node runs more containers of a service.
const OPEN_LOGS_MAX: usize = 1_024;
/// Lines on their way from the containers' logs into a batch.
const LINES_QUEUED_MAX: usize = 16;

/// Sends what the order asks for until everything is sent or the manager ends it.
///
/// # Errors
/// The manager's refusal, or that it cannot be reached.
pub(super) async fn publish(parts: &LogParts, addr: &str, order: LogOrder) -> Result<(), Status> {
    let (batches, outgoing) = mpsc::channel(1);
    let subscription = order.subscription.clone();
    let first = v1::LogBatch { subscription, lines: Vec::new() };
    batches.try_send(first).expect("the queue is new and has room for one");
    // A connection of its own: a reader that stands still holds nobody else up.
    let mut client = LogsClient::new((parts.connect)(addr))
        .max_decoding_message_size(LOG_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(LOG_MESSAGE_BYTES_MAX);
    let answer = timeout(ANSWER, open(&mut client, outgoing)).await;
    let mut credits = answer.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
    let credit = Semaphore::new(0);
    let (sender, lines) = mpsc::channel(LINES_QUEUED_MAX);
    let sent = async {
        // Both end: the readers with the last log, the pump with the last reader.
        tokio::join!(read_all(parts, order, sender), pump(lines, batches, &credit));
    };
    tokio::select! {
        ended = take_credits(&mut credits, &credit) => return ended,
        () = sent => {}
    }
    // Everything is under way: the manager ends the call when it has taken it.
    let last = take_credits(&mut credits, &credit);
    timeout(LAST_WORD, last).await.unwrap_or(Ok(()))
}

async fn open(
    client: &mut LogsClient<Channel>,
    outgoing: mpsc::Receiver<v1::LogBatch>,
) -> Result<Streaming<v1::LogCredit>, Status> {
    let answer = client.publish(ReceiverStream::new(outgoing)).await?;
    Ok(answer.into_inner())
}

/// Takes the manager's credit until it ends the call.
async fn take_credits(
    credits: &mut Streaming<v1::LogCredit>,
    credit: &Semaphore,
) -> Result<(), Status> {
    while let Some(more) = credits.message().await? {
        let room = Semaphore::MAX_PERMITS - credit.available_permits();
        credit.add_permits(usize::try_from(more.bytes).unwrap_or(usize::MAX).min(room));
    }
    Ok(())
}

/// Sends lines in batches: what is there, as far as there is credit.
async fn pump(
    mut lines: mpsc::Receiver<v1::LogLine>,
    batches: mpsc::Sender<v1::LogBatch>,
    credit: &Semaphore,
) {
    while let Some(line) = lines.recv().await {
        let mut batch = v1::LogBatch { lines: vec![line], ..v1::LogBatch::default() };
        let mut bytes = cost(&batch);
        while usize::try_from(bytes).is_ok_and(|bytes| bytes < LOG_BATCH_BYTES)
            && let Ok(line) = lines.try_recv()
        {
            batch.lines.push(line);
            bytes = cost(&batch);
        }
        // The semaphore is never closed; a batch is smaller than the window.
        let Ok(room) = credit.acquire_many(bytes).await else { return };
        room.forget();
        if batches.send(batch).await.is_err() {
            return;
        }
    }
}

/// Reads the logs of all tasks that are asked for; while the reader follows, also of new ones.
async fn read_all(parts: &LogParts, order: LogOrder, lines: mpsc::Sender<v1::LogLine>) {
    let reader = LogReader {
        engine: Arc::clone(&parts.engine),
        clock: Arc::clone(&parts.clock),
        options: order.options.clone(),
        lines,
    };
    let open = Arc::new(Semaphore::new(OPEN_LOGS_MAX));
    let (mut told, mut reported) = (parts.told.clone(), parts.reporter.changes());
    let mut begun = BTreeSet::new();
    let mut reading = JoinSet::new();
    loop {
        told.mark_unchanged();
        reported.mark_unchanged();
        for source in new_sources(parts, &order, &mut begun) {
            let last = order.resume.get(&source.task_id).copied();
            let (reader, open) = (reader.clone(), Arc::clone(&open));
            reading.spawn(async move {
                let _turn = open.acquire_owned().await.expect("the semaphore is never closed");
                reader.read(source, last).await;
            });
        }
        if !order.options.follow {
            while reading.join_next().await.is_some() {}
            return;
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            changed = reported.changed() => if changed.is_err() { return },
            Some(_) = reading.join_next() => {}
        }
    }
}

/// Returns the containers whose log is to be read and is not yet.
fn new_sources(parts: &LogParts, order: &LogOrder, begun: &mut BTreeSet<TaskId>) -> Vec<Source> {
    // A statement of its own: the borrow is a lock.
    let view = Arc::clone(&parts.told.borrow().view);
    begun.retain(|id| view.contains_key(&ItemKey::Task(id.clone())));
    let wanted = tasks(&view).map(|assigned| &assigned.task);
    let mut sources = Vec::new();
    for task in wanted.filter(|task| order.selector.covers(task) && !begun.contains(&task.id)) {
        let own = parts.reporter.status(&task.id);
        if let Some(container) = container_of(task, own) {
            sources.push(Source::new(task, container));
        }
    }
    begun.extend(sources.iter().map(|source| source.task_id.clone()));
    sources
}

/// Returns the task's container once it has been started: the engine follows no other.
fn container_of(task: &Task, own: Option<TaskStatus>) -> Option<String> {
    let status = own.as_ref().unwrap_or(&task.status);
    let known = status.container.as_ref().or(task.status.container.as_ref());
    let started = known.filter(|_| status.state >= TaskState::Running);
    started.map(|container| container.container_id.clone()).filter(|id| !id.is_empty())
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
