//! One step after the other of one task, until it must wait for something.

use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::defaults::STOP_GRACE_PERIOD;
use swarmnet_model::{Clock, NodeView, SecretText, Task, TaskId, TaskState, TaskStatus, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::networks::Wiring;
use super::prepare::{Obstacle, Preparer};
use super::step::{self, Action, Prepared, Situation, Wish, step};
use crate::engine::container::grace_period;
use crate::engine::{ContainerFacts, Engine, EngineError};
use crate::report::Reporter;

/// Containers made, started or removed at the same time; the engine serialises much of it.
const CHANGES_MAX: usize = 8;
/// Containers in their grace period at the same time: they only wait.
const STOPS_MAX: usize = 256;

/// What is remembered of a task between steps; lost with the process, and found again.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) container: Option<String>,
    /// Networks of the container; `None` until they are known.
    pub(super) networks: Option<Vec<String>>,
    prepared: Option<Prepared>,
    unhealthy: bool,
    released: bool,
}

/// One task to look at.
pub(super) struct Job {
    pub(super) task_id: TaskId,
    /// The last assignment, also of a task that is no longer assigned; `None` for a container whose
    /// task is unknown.
    pub(super) task: Option<Arc<Task>>,
    pub(super) registry_auth: Option<SecretText>,
    pub(super) wish: Wish,
    pub(super) memory: Memory,
    pub(super) waited: Duration,
    pub(super) view: Arc<NodeView>,
    /// Ends a preparation whose task is no longer wanted.
    pub(super) cancel: CancellationToken,
}

/// What came of a job.
pub(super) struct Done {
    pub(super) task_id: TaskId,
    pub(super) memory: Memory,
    pub(super) next: Next,
}

/// When to look at the task again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When something happens.
    Rest,
    After(Duration),
    /// After a growing wait: something temporary is in the way.
    Retry,
    /// Never: nothing of it is left.
    Forget,
}

/// Does the steps of tasks.
pub(super) struct Worker {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) wiring: Arc<dyn Wiring>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) preparer: Preparer,
    changes: Semaphore,
    stops: Semaphore,
}

/// What an action did to the job.
enum Effect {
    /// Look at the container and step again.
    Look,
    End(Next),
}

impl Worker {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        wiring: Arc<dyn Wiring>,
        reporter: Arc<Reporter>,
        clock: Arc<dyn Clock>,
        preparer: Preparer,
    ) -> Self {
        let (changes, stops) = (Semaphore::new(CHANGES_MAX), Semaphore::new(STOPS_MAX));
        Self { engine, wiring, reporter, clock, preparer, changes, stops }
    }

    /// Works on one task until it must wait.
    pub(super) async fn work(&self, mut job: Job) -> Done {
        let next = match self.steps(&mut job).await {
            Ok(next) => next,
            Err(error) => {
                self.hinder(&job, &error);
                Next::Retry
            }
        };
        Done { task_id: job.task_id, memory: job.memory, next }
    }

    async fn steps(&self, job: &mut Job) -> Result<Next, EngineError> {
        loop {
            let container = self.look(job).await?;
            let action = self.settle(job, container.as_ref());
            match self.act(job, action, container.as_ref()).await? {
                Effect::Look => {}
                Effect::End(next) => return Ok(next),
            }
        }
    }

    /// A container of that name without the task's label is not the task's.
    async fn look(&self, job: &mut Job) -> Result<Option<ContainerFacts>, EngineError> {
        let name = job.task.as_deref().map(Task::container_name);
        let references = [job.memory.container.clone(), name];
        for reference in references.into_iter().flatten() {
            let found = self.engine.container(&reference).await?;
            let own = found.filter(|facts| facts.task_id.as_ref() == Some(&job.task_id));
            if let Some(facts) = own {
                job.memory.container = Some(facts.id.clone());
                job.memory.networks = Some(facts.networks.clone());
                return Ok(Some(facts));
            }
        }
        job.memory.container = None;
        Ok(None)
    }

    /// Steps until an action is left, and reports every status on the way.
    fn settle(&self, job: &Job, container: Option<&ContainerFacts>) -> Action {
        let ports = job.task.iter().flat_map(|task| task.host_ports());
        let host_ports: Vec<_> = ports.cloned().collect();
        loop {
            let status = self.status(job);
            let step = step(&Situation {
                wish: job.wish,
                status: &status,
                container,
                prepared: job.memory.prepared.as_ref(),
                host_ports: &host_ports,
                unhealthy: job.memory.unhealthy,
                released: job.memory.released,
                waited: job.waited,
                now: self.clock.now(),
            });
            if let Some(next) = step.status {
                info!(
                    task.id = %job.task_id, state = next.state.as_str(),
                    error = next.err.as_deref(), "task state"
                );
                self.reporter.put(&job.task_id, next);
            }
            if step.action != Action::Again {
                return step.action;
            }
        }
    }

    /// Whoever knows more: this node, or the managers it reported to in an earlier life.
    fn status(&self, job: &Job) -> TaskStatus {
        let assigned = job.task.as_ref().map(|task| task.status.clone());
        let own = self.reporter.status(&job.task_id);
        match (own, assigned) {
            (Some(own), Some(assigned)) if assigned.state > own.state => assigned,
            (Some(known), _) | (None, Some(known)) => known,
            // Only a container is known: whatever it is, it is over.
            (None, None) => TaskStatus::new(Timestamp::UNSET, TaskState::Remove, ""),
        }
    }

    async fn act(
        &self,
        job: &mut Job,
        action: Action,
        container: Option<&ContainerFacts>,
    ) -> Result<Effect, EngineError> {
        match action {
            Action::Rest | Action::Again => return Ok(Effect::End(Next::Rest)),
            Action::Forget => {
                self.wiring.forget(&job.task_id).await;
                return Ok(Effect::End(Next::Forget));
            }
            Action::AwaitWithdrawal { at_most } => return Ok(Effect::End(Next::After(at_most))),
            Action::Prepare => return Ok(self.prepare(job, container).await),
            Action::Start { container } => return self.start(job, &container).await,
            Action::StopUnhealthy { container } => {
                warn!(task.id = %job.task_id, "container is unhealthy");
                job.memory.unhealthy = true;
                self.stop(job, &container).await?;
            }
            Action::Stop { container } => self.stop(job, &container).await?,
            Action::Release => {
                self.wiring.release(&job.task_id).await;
                job.memory.released = true;
            }
            Action::Remove { container } => {
                let _turn = self.changes.acquire().await.expect("the semaphore is never closed");
                self.engine.remove_container(&container).await?;
            }
        }
        Ok(Effect::Look)
    }

    async fn prepare(&self, job: &mut Job, container: Option<&ContainerFacts>) -> Effect {
        let Some(task) = &job.task else { return Effect::End(Next::Rest) };
        let credentials = job.registry_auth.as_ref();
        let prepared = tokio::select! {
            prepared = self.preparer.prepare(task, credentials, &job.view, container) => prepared,
            () = job.cancel.cancelled() => return Effect::End(Next::Rest),
        };
        match prepared {
            Ok(prepared) => {
                job.memory.prepared = Some(prepared);
                job.memory.released = false;
                Effect::Look
            }
            Err(obstacle) => self.obstructed(job, &obstacle),
        }
    }

    fn obstructed(&self, job: &Job, obstacle: &Obstacle) -> Effect {
        if obstacle.is_temporary() {
            self.hinder(job, obstacle);
            return Effect::End(Next::Retry);
        }
        self.refuse(job, &obstacle.to_string());
        Effect::Look
    }

    async fn start(&self, job: &Job, container: &str) -> Result<Effect, EngineError> {
        let _turn = self.changes.acquire().await.expect("the semaphore is never closed");
        match self.engine.start_container(container).await {
            Ok(()) => Ok(Effect::Look),
            Err(error) if error.is_temporary() => Err(error),
            Err(error) => {
                self.refuse(job, &error.to_string());
                Ok(Effect::Look)
            }
        }
    }

    async fn stop(&self, job: &Job, container: &str) -> Result<(), EngineError> {
        let _turn = self.stops.acquire().await.expect("the semaphore is never closed");
        let grace = job.task.as_deref().map_or(STOP_GRACE_PERIOD, grace_period);
        match self.engine.stop_container(container, grace).await {
            Err(EngineError::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    fn refuse(&self, job: &Job, text: &str) {
        let status = step::refused(&self.status(job), self.clock.now(), text);
        info!(task.id = %job.task_id, state = status.state.as_str(), error = text, "task state");
        self.reporter.put(&job.task_id, status);
    }

    /// The state stays; the status says what is in the way.
    fn hinder(&self, job: &Job, error: &dyn std::error::Error) {
        let text = chain(error);
        debug!(task.id = %job.task_id, error = text, "task has to be tried again");
        let hindered = step::hindered(&self.status(job), self.clock.now(), &text);
        if let Some(status) = hindered.filter(|_| !job.wish.is_end()) {
            warn!(task.id = %job.task_id, error = text, "task has to wait");
            self.reporter.put(&job.task_id, status);
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
