//! Pure: which services a newer snapshot concerns, for planners that look at one service at a time.
//!
//! A service is looked at again when it or one of its tasks has changed, when its planner wanted to
//! look again by now, and as long as its last look planned something: what was planned may not have
//! been written. A change of anything else (nodes, networks, the cluster) concerns every service. So a
//! planner that reads, besides these, only the service and its own tasks plans the same as one that
//! looks at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use swarmnet_model::{ServiceId, Tables, Task, TaskId, Timestamp};

use crate::plan::Plan;

/// A pass stops here and goes on with the next: what is planned is held in memory until it is written.
pub(crate) const CHANGES_PER_PASS: usize = 20_000;

/// What one planner has looked at.
pub(crate) struct Follower {
    /// False for a change of a task (from the first to the second) that its planner does not see.
    matters: fn(&Task, &Task) -> bool,
    tables: Tables,
    /// Of the last snapshot; finding each among all tasks would cost more than looking at it.
    tasks: BTreeMap<ServiceId, BTreeMap<TaskId, Arc<Task>>>,
    /// Services to look at, and ids of services that tasks still name.
    dirty: BTreeSet<ServiceId>,
    wakes: BTreeMap<ServiceId, Timestamp>,
}

impl Follower {
    /// A follower for a planner that sees of a task's changes only those that matter.
    pub(crate) fn new(matters: fn(&Task, &Task) -> bool) -> Self {
        Self {
            matters,
            tables: Tables::default(),
            tasks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            wakes: BTreeMap::new(),
        }
    }

    /// Looks at every service that may have something to plan; `look` gets its tasks by id.
    pub(crate) fn pass(
        &mut self,
        tables: &Tables,
        now: Timestamp,
        mut look: impl FnMut(&ServiceId, &[&Arc<Task>], &mut Plan),
    ) -> Plan {
        self.follow(tables);
        let due = self.wakes.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone());
        self.dirty.extend(due);
        let mut plan = Plan::default();
        for id in std::mem::take(&mut self.dirty) {
            if plan.changes.len() >= CHANGES_PER_PASS {
                self.dirty.insert(id);
                continue;
            }
            let tasks: Vec<_> =
                self.tasks.get(&id).into_iter().flat_map(BTreeMap::values).collect();
            let mut looked = Plan::default();
            look(&id, &tasks, &mut looked);
            match looked.wake_at {
                Some(at) => self.wakes.insert(id.clone(), at),
                None => self.wakes.remove(&id),
            };
            if !looked.changes.is_empty() {
                self.dirty.insert(id);
            }
            plan.changes.append(&mut looked.changes);
        }
        plan.wake_at = self.wakes.values().min().copied();
        plan
    }

    fn follow(&mut self, tables: &Tables) {
        let old = std::mem::replace(&mut self.tables, tables.clone());
        for difference in old.services.diff(&tables.services) {
            let (DiffItem::Add(id, _)
            | DiffItem::Update { new: (id, _), .. }
            | DiffItem::Remove(id, _)) = difference;
            self.dirty.insert(id.clone());
        }
        for difference in old.tasks.diff(&tables.tasks) {
            let (old, new) = match difference {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            self.note_task(old, new);
        }
        let same = old.nodes.ptr_eq(&tables.nodes)
            && old.networks.ptr_eq(&tables.networks)
            && old.cluster == tables.cluster;
        if !same {
            self.dirty.extend(tables.services.keys().cloned());
            self.dirty.extend(self.tasks.keys().cloned());
        }
    }

    fn note_task(&mut self, old: Option<&Arc<Task>>, new: Option<&Arc<Task>>) {
        let matters = old.zip(new).is_none_or(|(old, new)| (self.matters)(old, new));
        if let Some(task) = old.or(new).filter(|_| matters)
            && !self.dirty.contains(&task.service_id)
        {
            self.dirty.insert(task.service_id.clone());
        }
        // A task stays with its service.
        match (old, new) {
            (_, Some(task)) => {
                let tasks = self.tasks.entry(task.service_id.clone()).or_default();
                tasks.insert(task.id.clone(), Arc::clone(task));
            }
            (Some(task), None) => {
                if let Some(tasks) = self.tasks.get_mut(&task.service_id) {
                    tasks.remove(&task.id);
                    if tasks.is_empty() {
                        self.tasks.remove(&task.service_id);
                    }
                }
            }
            (None, None) => {}
        }
    }
}
