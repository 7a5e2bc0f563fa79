//! The runner: gives every task that something happened to, to one worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::{Clock, NodeId, NodeView, TaskId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::collect::Needed;
use super::engine_networks::EngineNetworks;
use super::entry::Entry;
use super::networks::Wiring;
use super::prepare::{NodeFacts, Preparer};
use super::worker::{Done, Next, Worker};
use crate::attach::plan::engine_networks;
use crate::engine::watch::Wake;
use crate::engine::{Engine, EngineError, EngineFacts};
use crate::inputs::{assigned, tasks};
use crate::report::Reporter;

/// Everything is looked at this often, whatever the events said.
const SAFETY_PERIOD: Duration = Duration::from_secs(10);
/// A network that lost its last task stays this long: the successor may need it again.
const NETWORK_LINGER: Duration = Duration::from_secs(2);

/// The view the runner works on.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub view: Arc<NodeView>,
    /// False for a view from disk: what it does not name may exist all the same.
    pub complete: bool,
}

/// What the runner is made of.
pub struct RunnerParts {
    pub engine: Arc<dyn Engine>,
    pub wiring: Arc<dyn Wiring>,
    pub reporter: Arc<Reporter>,
    pub clock: Arc<dyn Clock>,
    pub node_id: NodeId,
    pub hostname: String,
    pub facts: watch::Receiver<Option<EngineFacts>>,
    pub told: watch::Receiver<Told>,
    pub wakes: mpsc::Receiver<Wake>,
    /// The engine's networks of ours.
    pub networks: Arc<EngineNetworks>,
    /// True while neither a task nor a network is left.
    pub idle: watch::Sender<bool>,
}

/// Runs this node's tasks.
pub struct Runner {
    entries: BTreeMap<TaskId, Entry>,
    worker: Arc<Worker>,
    jobs: JoinSet<Outcome>,
    node_id: NodeId,
    told: watch::Receiver<Told>,
    wakes: mpsc::Receiver<Wake>,
    idle: watch::Sender<bool>,
    complete: bool,
    view: Arc<NodeView>,
    /// A look for containers without a task is under way.
    searching: bool,
    /// One such look has succeeded since the first full view.
    searched: bool,
    /// Networks are being removed: nothing may be prepared meanwhile.
    collecting: bool,
    collect_at: Option<Instant>,
}

enum Outcome {
    Done(Done),
    Found(Result<BTreeMap<String, TaskId>, EngineError>),
    Collected(Result<(), EngineError>),
}

impl Runner {
    pub fn new(parts: RunnerParts) -> Self {
        let node = NodeFacts { node_id: parts.node_id.clone(), hostname: parts.hostname };
        let preparer = Preparer::new(
            Arc::clone(&parts.engine),
            Arc::clone(&parts.wiring),
            node,
            parts.facts,
            parts.networks,
        );
        let worker = Worker::new(parts.engine, parts.wiring, parts.reporter, parts.clock, preparer);
        Self {
            entries: BTreeMap::new(),
            worker: Arc::new(worker),
            jobs: JoinSet::new(),
            node_id: parts.node_id,
            told: parts.told,
            wakes: parts.wakes,
            idle: parts.idle,
            complete: false,
            view: Arc::default(),
            searching: false,
            searched: false,
            collecting: false,
            collect_at: None,
        }
    }

    /// Runs until cancelled. Work under way is dropped: every part of it can be repeated.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut safety = interval(SAFETY_PERIOD);
        safety.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.told.mark_changed();
        loop {
            self.give_out();
            self.tell_idle();
            let wake_at = self.wake_at();
            tokio::select! {
                changed = self.told.changed() => match changed {
                    Ok(()) => self.take_view(),
                    Err(_) => return,
                },
                Some(wake) = self.wakes.recv() => self.take_wake(&wake),
                Some(outcome) = self.jobs.join_next() => match outcome {
                    Ok(outcome) => self.take(outcome),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                _ = safety.tick() => self.look_at_all(),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn take_view(&mut self) {
        let told = self.told.borrow_and_update().clone();
        self.view = told.view;
        for task in tasks(&self.view) {
            let id = &task.task.id;
            self.entries
                .entry(id.clone())
                .and_modify(|entry| entry.assign(Some(task)))
                .or_insert_with(|| Entry::new(id, Some(task)));
        }
        if !told.complete {
            return;
        }
        for (id, entry) in &mut self.entries {
            if assigned(&self.view, id).is_none() {
                entry.assign(None);
            }
        }
        if !std::mem::replace(&mut self.complete, true) {
            let known = self.entries.keys().cloned().collect();
            self.worker.wiring.forget_others(&known);
            self.search();
            self.collect_soon();
        } else if self.view.is_empty() {
            // What stayed for the next task has no next task to wait for.
            self.collect_at = Some(Instant::now());
        }
    }

    fn take_wake(&mut self, wake: &Wake) {
        match wake {
            Wake::All => self.look_at_all(),
            Wake::Task(id) => match self.entries.get_mut(id) {
                Some(entry) => entry.touch(),
                None => self.search(),
            },
        }
    }

    fn look_at_all(&mut self) {
        self.entries.values_mut().for_each(Entry::touch);
        self.search();
        if self.collect_at.is_none() {
            self.collect_soon();
        }
    }

    /// Asks the engine for containers whose task is unknown here, and for our networks.
    fn search(&mut self) {
        if std::mem::replace(&mut self.searching, true) {
            return;
        }
        let (worker, node_id) = (Arc::clone(&self.worker), self.node_id.clone());
        self.jobs.spawn(async move {
            let find = async {
                worker.preparer.networks.refresh().await?;
                worker.engine.task_containers(&node_id).await
            };
            Outcome::Found(find.await)
        });
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done(done) => self.take_done(done),
            Outcome::Found(found) => {
                self.searching = false;
                match found {
                    Ok(found) => self.take_found(found),
                    Err(error) => debug!(%error, "containers and networks not listed"),
                }
            }
            Outcome::Collected(result) => {
                self.collecting = false;
                if let Err(error) = result {
                    warn!(%error, "engine networks not removed");
                }
            }
        }
    }

    fn take_done(&mut self, done: Done) {
        let id = done.task_id.clone();
        let over = done.next == Next::Forget;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.end(done);
            // A task may have come back while its remains were removed.
            if over && assigned(&self.view, &id).is_none() {
                self.entries.remove(&id);
                self.worker.reporter.forget(&id);
            }
        }
        if over || self.is_over(&id) {
            self.collect_soon();
        }
    }

    fn take_found(&mut self, containers: BTreeMap<String, TaskId>) {
        self.searched |= self.complete;
        for (container, task) in containers {
            match self.entries.get_mut(&task) {
                Some(entry) => entry.found(container),
                // Before the first full view, nothing is known to be a stray.
                None if !self.complete => {}
                None => {
                    info!(task.id = %task, container, "container without a task");
                    self.entries.insert(task.clone(), Entry::stray(&task, container));
                }
            }
        }
    }

    /// Gives every due task to a worker, or removes networks when it is time.
    fn give_out(&mut self) {
        let now = Instant::now();
        if self.collect_at.is_some_and(|at| at <= now) {
            self.collect();
        }
        for (id, entry) in &mut self.entries {
            let may_prepare = entry.memory.networks.is_none() && !entry.wish.is_end();
            if entry.is_due(now) && !(self.collecting && may_prepare) {
                let job = entry.begin(id, &self.view);
                let worker = Arc::clone(&self.worker);
                self.jobs.spawn(async move { Outcome::Done(worker.work(job).await) });
            }
        }
    }

    fn collect_soon(&mut self) {
        self.collect_at = Some(Instant::now() + NETWORK_LINGER);
    }

    fn is_over(&self, id: &TaskId) -> bool {
        self.worker.reporter.status(id).is_some_and(|status| status.state.is_terminal())
    }

    /// Removes networks that no task needs, unless a task has yet to say what it needs: then the end
    /// of that task's preparation, or the safety period, asks again.
    fn collect(&mut self) {
        self.collect_at = None;
        // An empty view: the node leaves.
        let by_tasks = engine_networks(&self.view, &self.node_id);
        let mut needed = Needed { gateway: !self.view.is_empty(), by_tasks };
        for (id, entry) in &self.entries {
            let over = self.is_over(id);
            match &entry.memory.networks {
                Some(networks) if !over => {
                    needed.by_tasks.extend(networks.iter().cloned());
                }
                None if entry.is_working() || !(over || entry.wish.is_end()) => return,
                _ => {}
            }
        }
        if self.collecting || !self.complete {
            return;
        }
        self.collecting = true;
        let worker = Arc::clone(&self.worker);
        self.jobs.spawn(async move {
            Outcome::Collected(worker.preparer.networks.remove_unused(&needed).await)
        });
    }

    fn tell_idle(&self) {
        let idle = self.searched
            && self.entries.is_empty()
            && !self.collecting
            && !self.searching
            && self.worker.preparer.networks.is_empty();
        self.idle.send_if_modified(|told| std::mem::replace(told, idle) != idle);
    }

    fn wake_at(&self) -> Option<Instant> {
        let entries = self.entries.values().filter_map(Entry::wake_at);
        entries.chain(self.collect_at).min()
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
