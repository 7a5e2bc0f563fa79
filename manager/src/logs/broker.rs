//! Who reads logs on this manager, and the nodes that send to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use swarmnet_model::limits::LOG_READERS_MAX;
use swarmnet_model::{LogLine, LogSelector, NodeId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::plan::NodeEvent;

/// Batches of lines that wait for their reader; the nodes wait with the next ones.
const QUEUED_BATCHES_MAX: usize = 8;

/// The readers of this manager, by the id of their subscription.
#[derive(Clone, Default)]
pub struct Broker(Arc<Mutex<BTreeMap<String, Arc<Reader>>>>);

/// One reader, as the nodes that send to it see it.
pub struct Reader {
    pub selector: LogSelector,
    lines: mpsc::Sender<Vec<LogLine>>,
    /// The last event of each node that the reader's own loop has not seen yet.
    events: Mutex<BTreeMap<NodeId, NodeEvent>>,
    noticed: Notify,
    /// Nodes that are sending.
    sending: Mutex<BTreeSet<NodeId>>,
    /// The reader has left.
    left: CancellationToken,
}

/// The reader's own end: what comes is taken here; dropped, everybody stops.
pub struct Reading {
    broker: Broker,
    id: String,
    reader: Arc<Reader>,
    lines: mpsc::Receiver<Vec<LogLine>>,
}

/// A node's right to send to one reader.
pub struct Sending {
    node: NodeId,
    reader: Arc<Reader>,
    complete: bool,
}

impl Broker {
    /// Adds a reader; `None` while there are too many.
    pub fn open(&self, id: String, selector: LogSelector) -> Option<Reading> {
        let mut readers = self.readers();
        if readers.len() >= LOG_READERS_MAX {
            return None;
        }
        let (sender, lines) = mpsc::channel(QUEUED_BATCHES_MAX);
        let reader = Arc::new(Reader {
            selector,
            lines: sender,
            events: Mutex::default(),
            noticed: Notify::new(),
            sending: Mutex::default(),
            left: CancellationToken::new(),
        });
        readers.insert(id.clone(), Arc::clone(&reader));
        Some(Reading { broker: self.clone(), id, reader, lines })
    }

    /// Lets a node send to a reader; `None` if there is no such reader, or the node sends already.
    pub fn join(&self, id: &str, node: &NodeId) -> Option<Sending> {
        let reader = self.readers().get(id).cloned()?;
        if !locked(&reader.sending).insert(node.clone()) {
            return None;
        }
        reader.notice(node, NodeEvent::Began);
        Some(Sending { node: node.clone(), reader, complete: false })
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Reader>>> {
        locked(&self.0)
    }
}

impl Reader {
    fn notice(&self, node: &NodeId, event: NodeEvent) {
        locked(&self.events).insert(node.clone(), event);
        self.noticed.notify_one();
    }
}

impl Reading {
    /// Returns the next lines.
    pub async fn lines(&mut self) -> Vec<LogLine> {
        // The sender lives in `reader`.
        self.lines.recv().await.unwrap_or_default()
    }

    /// Returns what nodes did since the last call; empty if only the lines show it.
    pub(super) fn events(&self) -> BTreeMap<NodeId, NodeEvent> {
        std::mem::take(&mut *locked(&self.reader.events))
    }

    /// Returns lines that have come already.
    pub fn queued(&mut self) -> Option<Vec<LogLine>> {
        self.lines.try_recv().ok()
    }

    /// Returns what to wait on for the next event.
    pub fn noticed(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }
}

impl Reader {
    /// Returns once something has happened since the last time this returned.
    pub async fn event(&self) {
        self.noticed.notified().await;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.broker.readers().remove(&self.id);
        self.reader.left.cancel();
    }
}

impl Sending {
    pub fn selector(&self) -> &LogSelector {
        &self.reader.selector
    }

    /// Hands lines over, as soon as the reader takes them; false if it has left.
    pub async fn send(&self, lines: Vec<LogLine>) -> bool {
        tokio::select! {
            sent = self.reader.lines.send(lines) => sent.is_ok(),
            () = self.reader.left.cancelled() => false,
        }
    }

    /// Returns when the reader has left.
    pub async fn left(&self) {
        self.reader.left.cancelled().await;
    }

    /// The node has sent everything.
    pub fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let event = if self.complete { NodeEvent::Completed } else { NodeEvent::BrokeOff };
        // In this order: what the node begins next is noticed after the end.
        self.reader.notice(&self.node, event);
        locked(&self.reader.sending).remove(&self.node);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No operation on what they hold can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
