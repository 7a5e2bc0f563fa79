//! Pure: ends tasks whose node no longer meets what they ask for: a label, role or availability has
//! changed, or the node has become smaller. The orchestrator replaces them elsewhere.
//!
//! What runs counts as it was made (the task's own spec). Of a node that has too little, the oldest
//! tasks keep their place. A node that is away, paused or drained is not judged: drained ones are
//! emptied by the orchestrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use swarmnet_model::{
    Availability, Constraint, GenericResource, IdSource, Node, NodeDescription, NodeId, NodeState,
    Tables, Task, TaskId, TaskState, Timestamp,
};

use crate::plan::Plan;
use crate::store::Change;

/// Plans on one snapshot alone.
pub fn plan(tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
    Enforcer::default().plan(tables, now, ids)
}

/// True if the task asks for another kind of node than the one it is on.
pub fn violates_constraints(task: &Task, node: &Node) -> bool {
    let constraints = &task.spec.placement.constraints;
    // Expressions were checked when the spec was accepted.
    let parsed = Constraint::parse_all(constraints).unwrap_or_default();
    !parsed.iter().all(|constraint| constraint.matches(node))
}

/// The enforcer of one leader: looks at nodes of which something has changed.
#[derive(Default)]
pub struct Enforcer {
    tables: Tables,
    /// Tasks on each node that ask for something of it.
    asking: BTreeMap<NodeId, BTreeSet<TaskId>>,
    /// Nodes to look at; one stays until there is nothing to say of it.
    dirty: BTreeSet<NodeId>,
}

impl Enforcer {
    /// Returns the tasks that may not stay.
    pub fn plan(&mut self, tables: &Tables, _now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
        self.follow(tables);
        let mut plan = Plan::default();
        for id in std::mem::take(&mut self.dirty) {
            let before = plan.changes.len();
            if let Some(node) = self.tables.nodes.get(&id) {
                let tasks = self.asking.get(&id).into_iter().flatten();
                let tasks = tasks.filter_map(|id| self.tables.tasks.get(id)).collect();
                plan.changes.extend(judge(node, tasks));
            }
            if plan.changes.len() > before {
                self.dirty.insert(id);
            }
        }
        plan
    }

    fn follow(&mut self, tables: &Tables) {
        let old = std::mem::replace(&mut self.tables, tables.clone());
        for difference in old.nodes.diff(&tables.nodes) {
            let id = match difference {
                DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } => id,
                DiffItem::Remove(id, _) => id,
            };
            self.dirty.insert(id.clone());
        }
        for difference in old.tasks.diff(&tables.tasks) {
            let (old, new) = match difference {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            let (was, is) = (old.and_then(place), new.and_then(place));
            if was == is {
                continue;
            }
            if let Some((node, task)) = was {
                let empty = self.asking.get_mut(node).is_some_and(|tasks| {
                    tasks.remove(task);
                    tasks.is_empty()
                });
                if empty {
                    self.asking.remove(node);
                }
            }
            if let Some((node, task)) = is {
                self.asking.entry(node.clone()).or_default().insert(task.clone());
                self.dirty.insert(node.clone());
            }
        }
    }
}

/// Returns where a task is that takes part and asks for something of its node.
fn place(task: &Arc<Task>) -> Option<(&NodeId, &TaskId)> {
    let resources = &task.spec.resources;
    let asks = !task.spec.placement.constraints.is_empty()
        || resources.reserve_nano_cpus > 0
        || resources.reserve_memory_bytes > 0
        || !task.assigned_generic.is_empty();
    let there = task.is_live() && task.status.state >= TaskState::Assigned;
    (asks && there).then_some(task.node_id.as_ref()?).map(|node| (node, &task.id))
}

/// Returns the rejections on one node.
fn judge(node: &Node, mut tasks: Vec<&Arc<Task>>) -> Vec<Change> {
    let judged =
        node.status.state == NodeState::Ready && node.spec.availability == Availability::Active;
    let Some(description) = node.description.as_ref().filter(|_| judged) else {
        return Vec::new();
    };
    tasks.sort_by_key(|task| (task.created_at, &task.id));
    let mut left = Left::of(description);
    let mut stays = |task: &Task| !violates_constraints(task, node) && left.take(task);
    let rejected = tasks.into_iter().filter(|task| !stays(task));
    rejected.map(|task| Change::RejectTask { id: task.id.clone() }).collect()
}

/// What of a node's resources the tasks so far have left.
struct Left<'n> {
    nano_cpus: i64,
    memory_bytes: i64,
    discrete: BTreeMap<&'n str, i64>,
    named: BTreeSet<(&'n str, &'n str)>,
    /// False while the engine has not told what the machine has.
    known: bool,
}

impl<'n> Left<'n> {
    fn of(description: &'n NodeDescription) -> Self {
        let mut left = Self {
            nano_cpus: description.nano_cpus,
            memory_bytes: description.memory_bytes,
            discrete: BTreeMap::new(),
            named: BTreeSet::new(),
            known: !description.engine_version.is_empty(),
        };
        for resource in &description.generic {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let sum = left.discrete.entry(kind).or_default();
                    *sum = sum.saturating_add(*value);
                }
                GenericResource::Named { kind, value } => {
                    left.named.insert((kind, value));
                }
            }
        }
        left
    }

    /// Takes what the task holds; false, and nothing taken, if that is not there.
    fn take(&mut self, task: &Task) -> bool {
        let wanted = &task.spec.resources;
        let (cpus, memory) = (wanted.reserve_nano_cpus.max(0), wanted.reserve_memory_bytes.max(0));
        let fits = cpus <= self.nano_cpus
            && memory <= self.memory_bytes
            && task.assigned_generic.iter().all(|resource| self.has(resource));
        if !self.known || !fits {
            return !self.known;
        }
        self.nano_cpus -= cpus;
        self.memory_bytes -= memory;
        for resource in &task.assigned_generic {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    if let Some(left) = self.discrete.get_mut(kind.as_str()) {
                        *left -= value;
                    }
                }
                GenericResource::Named { kind, value } => {
                    self.named.retain(|name| *name != (kind.as_str(), value.as_str()));
                }
            }
        }
        true
    }

    fn has(&self, resource: &GenericResource) -> bool {
        match resource {
            GenericResource::Discrete { kind, value } => {
                self.discrete.get(kind.as_str()).is_some_and(|left| value <= left)
            }
            GenericResource::Named { kind, value } => {
                self.named.contains(&(kind.as_str(), value.as_str()))
            }
        }
    }
}

#[cfg(test)]
#[path = "enforcer_tests.rs"]
mod tests;
