//! Pure: moves a task off a drained node without a gap, where the service starts new tasks first.
//!
//! The old task serves until its successor runs. A drain has an end nevertheless: when no node can
//! take the successor, when its tries fail too often, or when it does not run in time, the old task
//! stops as without start-first.

use swarmnet_model::current::is_current;
use swarmnet_model::{DesiredState, Service, Task, TaskState, update_rules};

use super::Pass;
use super::slot::Slot;
use super::update::{is_refused, starts_first};

/// Successors that may fail before the old task stops without one.
const FAILED_SUCCESSORS_MAX: usize = 3;

impl<'a> Pass<'a> {
    /// Returns true if the move is looked after here.
    pub(super) fn move_serving(
        &mut self,
        service: &Service,
        slot: &Slot<'a>,
        leaving: &[&'a Task],
    ) -> bool {
        let serves = |task: &&&Task| task.status.state == TaskState::Running && !self.is_lost(task);
        let Some(old) = leaving.iter().find(serves).copied() else { return false };
        if !starts_first(service, self.tables) || self.is_hopeless(service, slot, old) {
            return false;
        }
        let staying: Vec<_> = slot.live().filter(|task| !leaving_has(leaving, task)).collect();
        let idle: Vec<_> = leaving.iter().filter(|task| task.id != old.id).copied().collect();
        self.wish_all(&idle, DesiredState::Shutdown);
        if staying.iter().any(|task| task.status.state == TaskState::Running) {
            self.wish(old, DesiredState::Shutdown);
        } else if let [only] = staying.as_slice() {
            self.start(service, slot, only);
        } else if staying.len() > 1 {
            self.hand_over(service, &staying);
        } else if !idle.is_empty() {
            // What was on its way on the drained node ends first; the next pass goes on.
        } else if self.successors(service, slot, old).is_empty() {
            self.create(service, &slot.key, DesiredState::Running);
        } else {
            self.restart(service, slot);
        }
        true
    }

    /// True if the old task must stop without a successor beside it.
    fn is_hopeless(&mut self, service: &Service, slot: &Slot<'a>, old: &Task) -> bool {
        let tried = self.successors(service, slot, old);
        let has_failed =
            |task: &&&Task| matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
        let live: Vec<_> = tried.iter().filter(|task| task.is_live()).collect();
        let failed = tried.iter().filter(has_failed).count();
        if live.iter().any(|task| is_refused(task)) || failed >= FAILED_SUCCESSORS_MAX {
            return true;
        }
        let deadline = update_rules::deadline(&service.spec, self.tables);
        let due = live.first().zip(deadline).map(|(task, deadline)| task.created_at.plus(deadline));
        match due {
            Some(due) if self.now < due => {
                self.plan.wake_by(due);
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    /// The tasks of the present spec that the slot got after `old`, on other nodes.
    fn successors(&self, service: &Service, slot: &Slot<'a>, old: &Task) -> Vec<&'a Task> {
        let younger = |task: &&Task| (task.created_at, &task.id) > (old.created_at, &old.id);
        let current = |task: &&Task| is_current(task, service, self.tables);
        let elsewhere = |task: &&Task| task.node_id != old.node_id;
        let tasks = slot.tasks.iter().copied();
        tasks.filter(younger).filter(current).filter(elsewhere).collect()
    }
}

fn leaving_has(leaving: &[&Task], task: &Task) -> bool {
    leaving.iter().any(|other| other.id == task.id)
}
