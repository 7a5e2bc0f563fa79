//! What the runner keeps of one task.

use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::view::AssignedTask;
use swarmnet_model::{NodeView, SecretText, Task, TaskId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::step::Wish;
use super::worker::{Done, Job, Memory, Next};
use crate::backoff::{Backoff, seed};

/// First and longest wait after something temporary was in the way.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));

pub(super) struct Entry {
    task: Option<Arc<Task>>,
    registry_auth: Option<SecretText>,
    pub(super) wish: Wish,
    pub(super) memory: Memory,
    /// Since when the task should end.
    ending_since: Option<Instant>,
    /// Something happened since the last look.
    dirty: bool,
    /// Present while a worker has the task.
    working: Option<CancellationToken>,
    wake_at: Option<Instant>,
    /// Seen by its label while a worker had the task.
    found: Option<String>,
    backoff: Backoff,
}

impl Entry {
    pub(super) fn new(task_id: &TaskId, assigned: Option<&AssignedTask>) -> Self {
        let wish = Wish::of(assigned);
        Self {
            task: assigned.map(|assigned| Arc::clone(&assigned.task)),
            registry_auth: assigned.and_then(|assigned| assigned.registry_auth.clone()),
            wish,
            memory: Memory::default(),
            ending_since: wish.is_end().then(Instant::now),
            dirty: true,
            working: None,
            wake_at: None,
            found: None,
            backoff: Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1, seed(task_id.as_str())),
        }
    }

    /// A container without a task: to be looked at once, and removed.
    pub(super) fn stray(task_id: &TaskId, container: String) -> Self {
        let mut entry = Self::new(task_id, None);
        entry.memory.container = Some(container);
        entry
    }

    /// The engine has this container of the task, under whatever name.
    pub(super) fn found(&mut self, container: String) {
        self.found = Some(container);
        if self.working.is_none() {
            self.take_found();
        }
    }

    /// A worker looks for the container by name; one that was renamed is known by its label only.
    fn take_found(&mut self) {
        let found = self.found.take();
        if self.memory.container.is_none() && found.is_some() {
            self.memory.container = found;
            self.touch();
        }
    }

    /// Takes the present assignment; `None`: it is no longer assigned.
    pub(super) fn assign(&mut self, assigned: Option<&AssignedTask>) {
        let wish = Wish::of(assigned);
        if let Some(assigned) = assigned {
            self.task = Some(Arc::clone(&assigned.task));
            self.registry_auth.clone_from(&assigned.registry_auth);
        }
        if wish == self.wish {
            return;
        }
        if wish.is_end() {
            self.ending_since.get_or_insert_with(Instant::now);
            if let Some(working) = &self.working {
                working.cancel();
            }
        } else {
            self.ending_since = None;
        }
        self.wish = wish;
        self.touch();
    }

    /// Look at it as soon as possible.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn is_working(&self) -> bool {
        self.working.is_some()
    }

    /// True if a worker should have it now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let woken = self.wake_at.is_some_and(|at| at <= now);
        self.working.is_none() && (self.dirty || woken)
    }

    /// Returns when it wants to be looked at without any event.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.wake_at.filter(|_| self.working.is_none())
    }

    /// Gives the task to a worker.
    pub(super) fn begin(&mut self, task_id: &TaskId, view: &Arc<NodeView>) -> Job {
        let cancel = CancellationToken::new();
        self.working = Some(cancel.clone());
        self.dirty = false;
        self.wake_at = None;
        Job {
            task_id: task_id.clone(),
            task: self.task.clone(),
            registry_auth: self.registry_auth.clone(),
            wish: self.wish,
            memory: self.memory.clone(),
            waited: self.ending_since.map_or(Duration::ZERO, |since| since.elapsed()),
            view: Arc::clone(view),
            cancel,
        }
    }

    /// Takes the task back from its worker.
    pub(super) fn end(&mut self, done: Done) {
        self.working = None;
        self.memory = done.memory;
        self.take_found();
        let wait = match done.next {
            Next::Retry => Some(self.backoff.next_wait()),
            Next::After(wait) => Some(wait),
            Next::Rest | Next::Forget => None,
        };
        if done.next != Next::Retry {
            self.backoff.reset();
        }
        self.wake_at = wait.map(|wait| Instant::now() + wait);
    }
}
