//! Pure: when an ended task gets a successor, and when a prepared task may start.
//!
//! A successor is made at once with the wish `Ready` and starts after the delay, so that the image is
//! there by then. The delay counts from the successor's creation, by the leader's clock.

use swarmnet_model::current::is_current;
use swarmnet_model::defaults::OLD_TASK_STOP_WAIT;
use swarmnet_model::restart::{RestartCondition, RestartPolicy};
use swarmnet_model::{DesiredState, Service, Task, TaskState, Timestamp};

use super::slot::Slot;
use super::{Pass, goal};

impl<'a> Pass<'a> {
    /// Nothing of the slot lives: makes a successor if the policy allows one.
    pub(super) fn restart(&mut self, service: &Service, slot: &Slot<'a>) {
        let policy = service.spec.task.restart.clone().unwrap_or_default();
        let ended = slot.newest();
        let current = is_current(ended, service, self.tables);
        if !self.may_restart(service, slot) {
            self.wish(ended, DesiredState::Shutdown);
            return;
        }
        let in_delay = ended.desired_state == DesiredState::Ready && current;
        let due = ended.created_at.plus(policy.delay());
        if in_delay && self.now < due {
            self.plan.wake_by(due);
            return;
        }
        let stopping = slot.tasks.iter().any(|task| self.is_stopping(task));
        let delayed = current && failed_by_itself(ended) && !policy.delay().is_zero();
        let desired = if stopping || delayed { DesiredState::Ready } else { goal(service) };
        self.create(service, &slot.key, desired);
        self.wish(ended, DesiredState::Shutdown);
    }

    /// True if the policy gives the slot's newest task, which has ended, a successor.
    pub(super) fn may_restart(&self, service: &Service, slot: &Slot<'a>) -> bool {
        let policy = service.spec.task.restart.clone().unwrap_or_default();
        let ended = slot.newest();
        match (policy.condition, ended.status.state) {
            (RestartCondition::None, _) | (RestartCondition::OnFailure, TaskState::Complete) => {
                return false;
            }
            (RestartCondition::OnFailure | RestartCondition::Any, _) => {}
        }
        policy.max_attempts == 0
            || !is_current(ended, service, self.tables)
            || !failed_by_itself(ended)
            || restarts(&policy, slot, ended) < policy.max_attempts
    }

    /// Lets the slot's only live task run once its predecessors have stopped and its delay is over.
    pub(super) fn start(&mut self, service: &Service, slot: &Slot<'a>, task: &'a Task) {
        if task.desired_state != DesiredState::Ready {
            return;
        }
        let policy = service.spec.task.restart.clone().unwrap_or_default();
        let stopped = slot
            .tasks
            .iter()
            .filter(|other| self.is_stopping(other))
            .map(|other| other.updated_at.plus(OLD_TASK_STOP_WAIT));
        let due = stopped.chain(self.delay_end(&policy, slot, task)).max();
        match due {
            Some(due) if self.now < due => self.plan.wake_by(due),
            Some(_) | None => self.wish(task, goal(service)),
        }
    }

    /// Returns when the restart delay of `task` is over, if it has one.
    fn delay_end(&self, policy: &RestartPolicy, slot: &Slot<'a>, task: &Task) -> Option<Timestamp> {
        let index = slot.tasks.iter().position(|other| other.id == task.id)?;
        let before = slot.tasks.get(index.checked_sub(1)?)?;
        let retried = failed_by_itself(before) && same_spec(before, task);
        (retried && !self.is_drained(before)).then(|| task.created_at.plus(policy.delay()))
    }
}

/// Counts the restarts since the slot got its present spec, inside the window before the last end.
/// Moving away from a node is no restart.
fn restarts(policy: &RestartPolicy, slot: &Slot<'_>, ended: &Task) -> u64 {
    let same: Vec<_> = slot.tasks.iter().rev().take_while(|task| same_spec(task, ended)).collect();
    let restarted = same.windows(2).filter(|pair| failed_by_itself(pair[1])).map(|pair| pair[0]);
    let inside = restarted.filter(|task| {
        policy.window.is_zero() || ended.updated_at.since(task.created_at) <= policy.window
    });
    u64::try_from(inside.count()).unwrap_or(u64::MAX)
}

/// True if nobody wished the task to end.
fn failed_by_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
        && !task.status.is_enforced()
}

fn same_spec(a: &Task, b: &Task) -> bool {
    a.spec == b.spec && a.endpoint_spec == b.endpoint_spec && a.job_iteration == b.job_iteration
}
