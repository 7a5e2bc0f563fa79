//! Pure: jobs: in every execution each place completes once.
//!
//! An execution is an iteration: every update of the service begins a new one, and what is left of
//! older ones ends. A place that has completed is never tended again; one that has failed is, as
//! long as the restart policy allows.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::current::is_current;
use swarmnet_model::{DesiredState, Service, Task, TaskState};

use super::global::Eligible;
use super::slot::{Slot, SlotKey};
use super::{Pass, goal};
use crate::follow::CHANGES_PER_PASS;

/// Where a place stands in the present execution.
enum Stage {
    /// It has had no task yet; `occupied` while one of an older execution has not stopped.
    Vacant { occupied: bool },
    /// It has a task, or gets one again.
    Open,
    /// It has completed, or failed for good.
    Over,
}

impl<'a> Pass<'a> {
    /// Keeps up to `max_concurrent` slots open until `total` have completed, the lowest first.
    pub(super) fn replicated_job(
        &mut self,
        service: &Service,
        slots: BTreeMap<SlotKey, Slot<'a>>,
        max_concurrent: u64,
        total: u64,
    ) {
        let mut open = 0;
        let mut vacant = BTreeMap::new();
        let mut begun = BTreeSet::new();
        for (key, slot) in slots {
            if key >= SlotKey::Number(total) {
                self.wish_all(&slot.tasks, DesiredState::Remove);
                continue;
            }
            match self.execute(service, slot) {
                Stage::Vacant { occupied } => {
                    vacant.insert(key, occupied);
                    continue;
                }
                Stage::Open => open += 1,
                Stage::Over => {}
            }
            begun.insert(key);
        }
        let keys = (0..total).map(SlotKey::Number).filter(|key| !begun.contains(key));
        let room = usize::try_from(max_concurrent.saturating_sub(open)).unwrap_or(usize::MAX);
        // The next pass goes on.
        for key in keys.take(room.min(CHANGES_PER_PASS)) {
            let occupied = vacant.get(&key).copied().unwrap_or(false);
            self.begin(service, &key, occupied);
        }
    }

    /// Runs one task to its end on every node that fits, also on those that come later.
    pub(super) fn global_job(&mut self, service: &Service, slots: BTreeMap<SlotKey, Slot<'a>>) {
        let eligible = Eligible::of(service);
        self.fill(service, &eligible, &slots);
        for (key, slot) in slots {
            if !self.is_kept(&eligible, &slot) {
                let (outdated, _) = self.by_execution(service, &slot);
                self.wish_all(&outdated, DesiredState::Shutdown);
            } else if let Stage::Vacant { occupied } = self.execute(service, slot) {
                self.begin(service, &key, occupied);
            }
        }
    }

    /// A successor of what still stops is prepared, and starts after it.
    fn begin(&mut self, service: &Service, key: &SlotKey, occupied: bool) {
        let desired = if occupied { DesiredState::Ready } else { goal(service) };
        self.create(service, key, desired);
    }

    /// Ends what older executions left in a place, and brings the present one further.
    fn execute(&mut self, service: &Service, slot: Slot<'a>) -> Stage {
        let (outdated, current) = self.by_execution(service, &slot);
        let still_runs = outdated.iter().any(|task| task.is_live());
        self.wish_all(&outdated, DesiredState::Shutdown);
        if current.is_empty() {
            let stops = outdated.iter().any(|task| self.is_stopping(task));
            return Stage::Vacant { occupied: still_runs || stops };
        }
        if current.iter().any(|task| task.status.state == TaskState::Complete) {
            // A task of a lost node may complete after all, beside the one that replaced it.
            let twins: Vec<_> = current.into_iter().filter(|task| task.is_live()).collect();
            self.wish_all(&twins, DesiredState::Shutdown);
            return Stage::Over;
        }
        if still_runs {
            return Stage::Open;
        }
        // Older tasks matter only while they stop.
        let stopping = outdated.into_iter().filter(|task| self.is_stopping(task));
        let slot = Slot { key: slot.key, tasks: stopping.chain(current).collect() };
        let open = slot.live().next().is_some() || self.may_restart(service, &slot);
        self.tend(service, &slot);
        if open { Stage::Open } else { Stage::Over }
    }

    /// Returns the tasks of older executions and those of the present one, oldest first.
    fn by_execution(&self, service: &Service, slot: &Slot<'a>) -> (Vec<&'a Task>, Vec<&'a Task>) {
        slot.tasks.iter().copied().partition(|task| !is_current(task, service, self.tables))
    }
}
