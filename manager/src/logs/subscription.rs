//! One reader's stream: asks the nodes, takes their lines, tells of those that are away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt, unfold};
use swarmnet_model::{
    CallError, Code, LogLine, LogOrder, LogSource, NodeId, Tables, TaskId, Timestamp,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::broker::Reading;
use super::plan::{Plan, Progress};
use crate::store::Store;

/// How often a reader that follows looks for new tasks and nodes.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Has the leader put orders into sessions; whether it could shows by what the nodes do.
pub type Ask = Arc<dyn Fn(Vec<(NodeId, LogOrder)>) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a reader gets: lines in batches; after an error nothing comes.
pub type LogStream = std::pin::Pin<Box<dyn Stream<Item = Result<Vec<LogLine>, CallError>> + Send>>;

/// One reader.
pub struct Subscription {
    reading: Reading,
    store: Store,
    ask: Ask,
    asking: FuturesUnordered<BoxFuture<'static, ()>>,
    progress: Progress,
    /// What nodes are asked, but for what they have sent already.
    order: LogOrder,
    /// The last snapshot that was planned on. A reader that does not follow stays with the first.
    seen: Option<Arc<Tables>>,
    /// Time of each task's last line.
    resume: BTreeMap<TaskId, Timestamp>,
    due: Instant,
    finished: bool,
    /// This manager stops.
    stop: CancellationToken,
}

impl Subscription {
    pub fn new(
        reading: Reading,
        store: Store,
        ask: Ask,
        order: LogOrder,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reading,
            store,
            ask,
            asking: FuturesUnordered::new(),
            progress: Progress::default(),
            order,
            seen: None,
            resume: BTreeMap::new(),
            due: Instant::now(),
            finished: false,
            stop,
        }
    }

    /// Returns the lines. They are asked for when the stream is first polled; dropping it ends every
    /// node's part at once.
    pub fn stream(self) -> LogStream {
        Box::pin(unfold(self, |mut subscription| async move {
            let item = subscription.next().await?;
            Some((item, subscription))
        }))
    }

    async fn next(&mut self) -> Option<Result<Vec<LogLine>, CallError>> {
        loop {
            if let Some(lines) = self.pass() {
                return Some(Ok(lines));
            }
            if self.finished {
                return None;
            }
            let reader = self.reading.noticed();
            tokio::select! {
                lines = self.reading.lines() => return Some(Ok(self.taken(lines))),
                () = reader.event() => {}
                Some(()) = self.asking.next() => {}
                () = sleep_until(self.due) => {}
                () = self.stop.cancelled() => {
                    self.finished = true;
                    let text = "the manager on this node is stopping";
                    return Some(Err(CallError::api(Code::Unavailable, text)));
                }
            }
        }
    }

    /// Plans if something may have changed; returns lines that the reader must see before others.
    fn pass(&mut self) -> Option<Vec<LogLine>> {
        let (now, follow) = (Instant::now(), self.order.options.follow);
        let events = self.reading.events();
        if events.is_empty() && now < self.due {
            return None;
        }
        for (node, event) in events {
            self.progress.note(&node, event, follow, now);
        }
        let tables = match &self.seen {
            Some(first) if !follow => Arc::clone(first),
            Some(_) | None => self.store.snapshot(),
        };
        let plan = self.progress.plan(&tables, &self.order.selector, follow, now);
        self.seen = Some(Arc::clone(&tables));
        self.due = self.next_look(&plan, now);
        self.ask(&plan);
        self.resume.retain(|task, _| tables.tasks.contains_key(task));
        let missing = plan.missing.iter();
        let mut lines: Vec<_> =
            missing.filter_map(|(node, task)| self.warning(&tables, node, task)).collect();
        if plan.finished {
            // Lines were queued before the last node said that it has finished.
            match self.reading.queued() {
                Some(queued) => {
                    self.due = now;
                    lines.extend(self.taken(queued));
                }
                None => self.finished = true,
            }
        }
        (!lines.is_empty()).then_some(lines)
    }

    fn next_look(&self, plan: &Plan, now: Instant) -> Instant {
        // Far enough away to be never: a reader that does not follow waits for its nodes only.
        let never = now + Duration::from_secs(3_600);
        let look = if self.order.options.follow { now + LOOK_PAUSE } else { never };
        plan.wake_at.map_or(look, |at| at.min(look))
    }

    fn ask(&mut self, plan: &Plan) {
        if plan.ask.is_empty() {
            return;
        }
        let order = |node: &NodeId| {
            let own = |task: &TaskId| {
                let known = self.seen.as_ref().and_then(|tables| tables.tasks.get(task));
                known.is_some_and(|task| task.node_id.as_ref() == Some(node))
            };
            let resume = self.resume.iter().filter(|(task, _)| own(task));
            let resume = resume.map(|(task, time)| (task.clone(), *time)).collect();
            (node.clone(), LogOrder { resume, ..self.order.clone() })
        };
        let orders = plan.ask.iter().map(order).collect();
        self.asking.push((self.ask)(orders));
    }

    fn taken(&mut self, lines: Vec<LogLine>) -> Vec<LogLine> {
        let now = self.store.now();
        for line in &lines {
            let time = if line.time == Timestamp::UNSET { now } else { line.time };
            self.resume.insert(line.task_id.clone(), time);
        }
        lines
    }

    fn warning(&self, tables: &Tables, node: &NodeId, task: &TaskId) -> Option<LogLine> {
        let task = tables.tasks.get(task)?;
        let text = format!("warning: incomplete log stream: node {node} is not available\n");
        Some(LogLine {
            node_id: node.clone(),
            service_id: task.service_id.clone(),
            task_id: task.id.clone(),
            source: LogSource::Stderr,
            time: self.store.now(),
            attributes: String::new(),
            text: text.into_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{Clock, LogOptions, LogSelector, ServiceId};

    use super::*;
    use crate::logs::Broker;
    use crate::world::{START, World};

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            START
        }
    }

    const WEB: &str = "
        node n1
        node n2 down
        service web replicas=2
        task web.1 t1 n1 running
        task web.2 t2 n2 running
    ";

    #[tokio::test]
    async fn a_node_that_is_away_is_named_also_while_the_last_lines_of_another_wait() {
        let world = World::given(WEB);
        let line = LogLine {
            node_id: NodeId::from_text("n1"),
            service_id: ServiceId::from_text("web"),
            task_id: TaskId::from_text("t1"),
            source: LogSource::Stdout,
            time: START,
            attributes: String::new(),
            text: b"last\n".to_vec(),
        };
        let selector = LogSelector::Service(line.service_id.clone());
        let broker = Broker::default();
        let reading = broker.open("s".to_owned(), selector.clone()).unwrap();
        let sending = broker.join("s", &line.node_id).unwrap();
        assert!(sending.send(vec![line.clone()]).await);
        sending.complete();
        let order = LogOrder {
            subscription: "s".to_owned(),
            manager: NodeId::from_text("m1"),
            selector,
            options: LogOptions::default(),
            resume: BTreeMap::new(),
        };
        let ask: Ask = Arc::new(|_| Box::pin(async {}));
        let store = Store::in_memory(world.tables, Arc::new(Still));
        let reader = Subscription::new(reading, store, ask, order, CancellationToken::new());
        let batches: Vec<_> = reader.stream().collect().await;
        let lines = batches.into_iter().flat_map(Result::unwrap);
        let texts: Vec<_> = lines.map(|line| String::from_utf8(line.text).unwrap()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("node n2 is not available")), "{texts:?}");
        assert!(texts.contains(&"last\n".to_owned()), "{texts:?}");
    }
}
