//! The gRPC service of logs: nodes send lines to readers here.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use swarmnet_model::limits::{LOG_ATTRIBUTES_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_WINDOW_BYTES};
use swarmnet_model::{LogLine, LogSource, NodeId, Role, TaskId, Timestamp};
use swarmnet_proto::logs::cost;
use swarmnet_proto::transport::TlsContext;
use swarmnet_proto::v1;
use swarmnet_proto::v1::logs_server::Logs;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::broker::{Broker, Sending};
use crate::store::Store;

/// From the call to its first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// [`LOG_WINDOW_BYTES`] as it is counted.
const WINDOW: u32 = 128 << 10;
const _: () = assert!(WINDOW as usize == LOG_WINDOW_BYTES, "one bound, two types");

/// Serves agents.
pub struct LogsService {
    broker: Broker,
    store: Store,
    tls: TlsContext,
}

impl LogsService {
    pub fn new(broker: Broker, store: Store, tls: TlsContext) -> Self {
        Self { broker, store, tls }
    }
}

type Credits = Pin<Box<dyn Stream<Item = Result<v1::LogCredit, Status>> + Send>>;

#[tonic::async_trait]
impl Logs for LogsService {
    type PublishStream = Credits;

    async fn publish(
        &self,
        request: Request<Streaming<v1::LogBatch>>,
    ) -> Result<Response<Credits>, Status> {
        let peer = self.tls.require(&request, &[Role::Worker, Role::Manager])?;
        let mut batches = request.into_inner();
        let first = timeout(FIRST_MESSAGE, batches.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no first message"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("subscription: missing"))?;
        let sending = self
            .broker
            .join(&first.subscription, &peer.node_id)
            .ok_or_else(|| Status::not_found("nobody waits for these lines"))?;
        let (store, node) = (self.store.clone(), peer.node_id);
        let incoming = Incoming { sending: Some(sending), batches, store, node, granted: false };
        Ok(Response::new(Box::pin(unfold(incoming, |mut incoming| async move {
            let credit = incoming.next().await?;
            Some((credit, incoming))
        }))))
    }
}

/// One node's lines on their way to one reader.
struct Incoming {
    /// `None` once it has ended.
    sending: Option<Sending>,
    batches: Streaming<v1::LogBatch>,
    store: Store,
    node: NodeId,
    /// The node knows how much it may send.
    granted: bool,
}

impl Incoming {
    /// Takes the next batch; returns the room it leaves when the reader has it. A node that sends
    /// more than it may is held back by HTTP/2's own window.
    async fn next(&mut self) -> Option<Result<v1::LogCredit, Status>> {
        let sending = self.sending.take()?;
        if !self.granted {
            self.granted = true;
            self.sending = Some(sending);
            return Some(Ok(v1::LogCredit { bytes: WINDOW }));
        }
        let message = tokio::select! {
            message = self.batches.message() => message,
            () = sending.left() => return None,
        };
        let batch = match message {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                sending.complete();
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        let bytes = cost(&batch);
        let lines = match self.lines(&sending, batch.lines) {
            Ok(lines) => lines,
            Err(error) => return Some(Err(error)),
        };
        if !lines.is_empty() && !sending.send(lines).await {
            return None;
        }
        self.sending = Some(sending);
        Some(Ok(v1::LogCredit { bytes }))
    }

    /// Keeps the lines of the node's own tasks that are asked for; one that is gone has no reader.
    fn lines(&self, sending: &Sending, lines: Vec<v1::LogLine>) -> Result<Vec<LogLine>, Status> {
        let tables = self.store.snapshot();
        let mut kept = Vec::with_capacity(lines.len());
        for line in lines {
            let task_id = TaskId::from_text(line.task_id);
            let Some(task) = tables.tasks.get(&task_id) else { continue };
            if task.node_id.as_ref() != Some(&self.node) || !sending.selector().covers(task) {
                return Err(Status::permission_denied("task_id: not a task of this node"));
            }
            if line.text.len() > LOG_LINE_BYTES_MAX
                || line.attributes.len() > LOG_ATTRIBUTES_BYTES_MAX
            {
                return Err(Status::invalid_argument("text: longer than a line may be"));
            }
            kept.push(LogLine {
                node_id: self.node.clone(),
                service_id: task.service_id.clone(),
                task_id,
                source: if line.stderr { LogSource::Stderr } else { LogSource::Stdout },
                time: Timestamp(line.time_ns),
                attributes: line.attributes,
                text: line.text,
            });
        }
        Ok(kept)
    }
}
