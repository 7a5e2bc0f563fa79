//! Pure: brings outdated slots to the present spec, some at a time, and judges how it goes.
//!
//! Read from the snapshot: an update is on while the service's update status says so, and the first
//! current task that a slot got since the update started is its *attempt*. Attempts tell which slots
//! are done, which are under way, and which have failed.

use std::time::Duration;

use swarmnet_model::current::is_current;
use swarmnet_model::{
    DesiredState, FailureAction, Service, Tables, Task, TaskState, Timestamp, UpdateConfig,
    UpdateOrder, UpdateState, UpdateStatus, update_rules,
};

use super::Pass;
use super::slot::Slot;
use crate::store::Change;

/// True if the old task may stop now: its successor runs, or, where the old one stops first, is
/// ready or cannot even be placed beside it.
pub(super) fn may_replace(service: &Service, successor: &Task, tables: &Tables) -> bool {
    let state = successor.status.state;
    if starts_first(service, tables) {
        return state == TaskState::Running;
    }
    state >= TaskState::Ready || is_refused(successor)
}

/// True if no node can take the task.
pub(super) fn is_refused(task: &Task) -> bool {
    refusal(task).is_some()
}

/// Returns why no node can take the task.
fn refusal(task: &Task) -> Option<&str> {
    task.status.err.as_deref().filter(|_| task.status.state <= TaskState::Pending)
}

/// True if new tasks run before old ones stop: asked for, and possible.
pub(super) fn starts_first(service: &Service, tables: &Tables) -> bool {
    let config = config(service);
    config.order == UpdateOrder::StartFirst
        && update_rules::stops_first(&service.spec, &config, tables).is_none()
}

fn config(service: &Service) -> UpdateConfig {
    let rolling_back = service
        .update_status
        .as_ref()
        .is_some_and(|status| status.state == UpdateState::RollbackStarted);
    let config = if rolling_back { &service.spec.rollback } else { &service.spec.update };
    config.clone().unwrap_or_default()
}

/// Where a slot stands.
enum Place<'a> {
    /// Nothing was done for it yet.
    Outdated,
    /// It got an attempt; `old` tasks may still live beside it.
    Attempted { attempt: &'a Task, old: Vec<&'a Task> },
    /// Up to date without this update.
    Current,
    /// A replacement that an earlier update began goes on.
    Busy,
}

/// The update as the snapshot shows it.
struct Progress<'s, 'a> {
    outdated: Vec<&'s Slot<'a>>,
    /// By creation.
    attempts: Vec<(&'a Task, Vec<&'a Task>)>,
    busy: usize,
    config: UpdateConfig,
    /// When an attempt should run at the latest, after its creation; `None`: it may take for ever.
    deadline: Option<Duration>,
    now: Timestamp,
}

impl<'a> Pass<'a> {
    /// Starts, continues or ends the update of a service. Slots come with whether this pass has
    /// planned something for them already.
    pub(super) fn update(&mut self, service: &Service, slots: &[(bool, Slot<'a>)]) {
        let state = service.update_status.as_ref().map(|status| status.state);
        let started_at = match (state, &service.update_status) {
            (Some(UpdateState::Paused | UpdateState::RollbackPaused), _) => return,
            (Some(UpdateState::Updating | UpdateState::RollbackStarted), Some(status)) => {
                status.started_at
            }
            (None | Some(_), _) => {
                let outdated = |slot: &Slot<'a>| match self.place(service, slot, self.now) {
                    Place::Outdated | Place::Busy => true,
                    Place::Attempted { old, .. } => !old.is_empty(),
                    Place::Current => false,
                };
                if !slots.iter().any(|(tended, slot)| !tended && outdated(slot)) {
                    return;
                }
                self.set_status(service, UpdateState::Updating, self.in_progress(service));
                self.now
            }
        };
        let progress = self.progress(service, slots, started_at);
        if let Some(task) = progress.failure()
            && self.act_on_failure(service, &progress, task)
        {
            return;
        }
        self.tell(service, &progress);
        self.give_up_old(&progress);
        self.take_next(service, &progress);
        if !slots.iter().any(|(tended, _)| *tended) {
            self.complete(service, &progress, started_at);
        }
    }

    fn in_progress(&self, service: &Service) -> String {
        match update_rules::stops_first(&service.spec, &config(service), self.tables) {
            Some(why) => format!("update in progress ({why})"),
            None => "update in progress".to_owned(),
        }
    }

    /// Says in the update's status what a task waits for that is to run beside its predecessor; nobody
    /// stops that one for it.
    fn tell(&mut self, service: &Service, progress: &Progress<'_, 'a>) {
        let updating = |status: &&UpdateStatus| status.state == UpdateState::Updating;
        let Some(status) = service.update_status.as_ref().filter(updating) else { return };
        let waits = progress.attempts.iter().filter(|(_, old)| !old.is_empty());
        let refused = waits.filter_map(|(task, _)| refusal(task)).next();
        let message = match refused.filter(|_| starts_first(service, self.tables)) {
            Some(refusal) => {
                format!("update in progress (waits for room beside the old task: {refusal})")
            }
            None => self.in_progress(service),
        };
        if status.message != message {
            self.push_status(service, UpdateStatus { message, ..status.clone() });
        }
    }

    fn place(&self, service: &Service, slot: &Slot<'a>, started_at: Timestamp) -> Place<'a> {
        let current = |task: &&Task| is_current(task, service, self.tables);
        let (new, old): (Vec<_>, Vec<_>) = slot.live().partition(current);
        // One that lost its node before it ran was no attempt; its successor is.
        let moved = |task: &Task| {
            task.desired_state.is_terminal() && task.status.state < TaskState::Running
        };
        let since = slot.tasks.iter().copied().filter(|task| task.created_at >= started_at);
        match since.filter(|task| !moved(task)).find(current) {
            Some(attempt) => Place::Attempted { attempt, old },
            None if !old.is_empty() && !new.is_empty() => Place::Busy,
            None if old.is_empty() && (!new.is_empty() || current(&slot.newest())) => {
                Place::Current
            }
            None => Place::Outdated,
        }
    }

    fn progress<'s>(
        &mut self,
        service: &Service,
        slots: &'s [(bool, Slot<'a>)],
        started_at: Timestamp,
    ) -> Progress<'s, 'a> {
        let mut progress = Progress {
            outdated: Vec::new(),
            attempts: Vec::new(),
            busy: 0,
            config: config(service),
            deadline: update_rules::deadline(&service.spec, self.tables),
            now: self.now,
        };
        for (tended, slot) in slots {
            match self.place(service, slot, started_at) {
                Place::Outdated if !tended => progress.outdated.push(slot),
                Place::Attempted { attempt, old } => progress.attempts.push((attempt, old)),
                Place::Outdated | Place::Busy => progress.busy += 1,
                Place::Current => {}
            }
        }
        progress.attempts.sort_by_key(|(task, _)| (task.created_at, &task.id));
        for (attempt, _) in progress.attempts.iter().filter(|(task, _)| is_coming(task)) {
            let due = progress.deadline.map(|deadline| attempt.created_at.plus(deadline));
            if let Some(due) = due.filter(|due| self.now < *due) {
                self.plan.wake_by(due);
            }
        }
        progress
    }

    /// Returns true if the update ends here.
    fn act_on_failure(
        &mut self,
        service: &Service,
        progress: &Progress<'_, 'a>,
        task: &Task,
    ) -> bool {
        let state = service.update_status.as_ref().map(|status| status.state);
        let rolling_back = state == Some(UpdateState::RollbackStarted);
        let reason = progress.reason(task);
        match (progress.config.failure_action, rolling_back) {
            (FailureAction::Continue, _) => return false,
            (FailureAction::Pause | FailureAction::Rollback, true) => {
                let message = format!("rollback paused {reason}");
                self.set_status(service, UpdateState::RollbackPaused, message);
            }
            (FailureAction::Rollback, false) if self.can_roll_back(service) => {
                self.roll_back(service, format!("update rolled back {reason}"));
            }
            (FailureAction::Pause | FailureAction::Rollback, false) => {
                let message = format!("update paused {reason}");
                self.set_status(service, UpdateState::Paused, message);
            }
        }
        true
    }

    /// A spec whose networks are gone cannot come back.
    fn can_roll_back(&self, service: &Service) -> bool {
        service.previous_spec.as_ref().is_some_and(|spec| {
            let known = |id| self.tables.kept_network(id).is_some();
            spec.task.networks.iter().all(|network| known(&network.network_id))
        })
    }

    fn roll_back(&mut self, service: &Service, message: String) {
        let mut back = service.clone();
        let Some(previous) = back.previous_spec.take() else { return };
        back.spec = previous;
        back.registry = back.registry.rolled_back();
        back.update_status = Some(UpdateStatus {
            state: UpdateState::RollbackStarted,
            started_at: self.now,
            completed_at: None,
            message,
        });
        let expected = service.spec_version;
        self.plan.changes.push(Change::UpdateService { service: Box::new(back), expected });
    }

    /// A failure that is put up with: the slot is the new spec's, and its policy restarts it.
    fn give_up_old(&mut self, progress: &Progress<'_, 'a>) {
        for (attempt, old) in &progress.attempts {
            if attempt.status.state.is_terminal() {
                self.wish_all(old, DesiredState::Shutdown);
            }
        }
    }

    /// Begins as many outdated slots as may be under way at once.
    fn take_next(&mut self, service: &Service, progress: &Progress<'_, 'a>) {
        if progress.outdated.is_empty() {
            return;
        }
        let mut room = match usize::try_from(progress.config.parallelism) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(parallelism) => parallelism.saturating_sub(progress.busy),
        };
        for (attempt, old) in &progress.attempts {
            let rested = attempt.updated_at.plus(progress.config.delay);
            let running = attempt.status.state >= TaskState::Running && old.is_empty();
            if progress.is_late(attempt) {
                continue;
            }
            if !running {
                room = room.saturating_sub(1);
            } else if self.now < rested {
                room = room.saturating_sub(1);
                self.plan.wake_by(rested);
            }
        }
        for slot in progress.outdated.iter().take(room) {
            let occupied = slot.tasks.iter().any(|task| task.is_live() || self.is_stopping(task));
            let waits = occupied && !starts_first(service, self.tables);
            let desired = if waits { DesiredState::Ready } else { DesiredState::Running };
            self.create(service, &slot.key, desired);
        }
    }

    fn complete(&mut self, service: &Service, progress: &Progress<'_, 'a>, started_at: Timestamp) {
        let under_way = |(attempt, old): &(&Task, Vec<&Task>)| {
            !progress.is_late(attempt)
                && (attempt.status.state < TaskState::Running || !old.is_empty())
        };
        let open = progress.busy > 0 || !progress.outdated.is_empty();
        if open || progress.attempts.iter().any(under_way) {
            return;
        }
        let running = progress
            .attempts
            .iter()
            .filter(|(attempt, _)| attempt.status.state == TaskState::Running)
            .map(|(attempt, _)| attempt.updated_at.plus(progress.last_monitor()));
        match running.max() {
            Some(stable) if self.now < stable => self.plan.wake_by(stable),
            Some(_) | None => {
                let status = service.update_status.as_ref();
                let rollback = UpdateState::RollbackStarted;
                let (state, message) = match status.map(|status| status.state) {
                    Some(state) if state == rollback => {
                        (UpdateState::RollbackCompleted, "rollback completed")
                    }
                    Some(_) | None => (UpdateState::Completed, "update completed"),
                };
                self.push_status(
                    service,
                    UpdateStatus {
                        state,
                        started_at,
                        completed_at: Some(self.now),
                        message: message.to_owned(),
                    },
                );
            }
        }
    }

    fn set_status(&mut self, service: &Service, state: UpdateState, message: String) {
        let status = service.update_status.as_ref();
        let started_at = match state {
            UpdateState::Updating => self.now,
            UpdateState::Paused
            | UpdateState::Completed
            | UpdateState::RollbackStarted
            | UpdateState::RollbackPaused
            | UpdateState::RollbackCompleted => status.map_or(self.now, |status| status.started_at),
        };
        self.push_status(service, UpdateStatus { state, started_at, completed_at: None, message });
    }

    fn push_status(&mut self, service: &Service, status: UpdateStatus) {
        self.plan.changes.push(Change::SetUpdateStatus {
            id: service.id.clone(),
            spec_version: service.spec_version,
            status: Some(status),
        });
    }
}

impl Progress<'_, '_> {
    /// Returns the task whose failure is one too many.
    fn failure(&self) -> Option<&Task> {
        let failures: Vec<_> =
            (0..self.attempts.len()).filter(|index| self.counts_as_failure(*index)).collect();
        let slots = self.attempts.len() + self.outdated.len() + self.busy;
        let too_many = is_above(failures.len(), slots, self.config.max_failure_ratio);
        let last = failures
            .into_iter()
            .map(|index| self.attempts[index].0)
            .max_by_key(|task| (task.updated_at, &task.id))?;
        too_many.then_some(last)
    }

    /// Docker's words, and ours for what Docker waits for.
    fn reason(&self, task: &Task) -> String {
        match self.deadline {
            Some(deadline) if self.is_late(task) => {
                let refusal = refusal(task).map(|why| format!(": {why}")).unwrap_or_default();
                format!("because task {} did not run within {deadline:?}{refusal}", task.id)
            }
            Some(_) | None => format!("due to failure or early termination of task {}", task.id),
        }
    }

    /// True if the attempt should be running by now.
    fn is_late(&self, attempt: &Task) -> bool {
        let past = |deadline| self.now >= attempt.created_at.plus(deadline);
        is_coming(attempt) && self.deadline.is_some_and(past)
    }

    /// True if the attempt ended by itself within the monitor period, or does not come to run.
    ///
    /// An ended task does not tell when it had begun to run. But by the time the update had begun as
    /// many further slots as may be under way at once, this one was done; without such a slot any
    /// end counts.
    fn counts_as_failure(&self, index: usize) -> bool {
        let (attempt, _) = &self.attempts[index];
        let failed = matches!(
            attempt.status.state,
            TaskState::Complete | TaskState::Failed | TaskState::Rejected
        );
        if self.is_late(attempt) {
            return true;
        }
        let ahead = usize::try_from(self.config.parallelism).unwrap_or(0);
        let later = if ahead == 0 { None } else { self.attempts.get(index + ahead) };
        failed
            && later.is_none_or(|(later, _)| {
                attempt.updated_at <= later.created_at.plus(self.config.monitor())
            })
    }

    /// The last slot is watched a little longer where the delay is as long as the monitor period.
    fn last_monitor(&self) -> Duration {
        let (monitor, delay) = (self.config.monitor(), self.config.delay);
        if delay >= monitor { delay + Duration::from_secs(1) } else { monitor }
    }
}

/// True if the task may still come to run.
fn is_coming(task: &Task) -> bool {
    task.is_live() && task.status.state < TaskState::Running
}

fn is_above(failures: usize, slots: usize, ratio: f32) -> bool {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    count(failures) > f64::from(ratio) * count(slots)
}
