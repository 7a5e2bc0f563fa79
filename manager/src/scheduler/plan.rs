//! Pure: places every waiting task, or says why it cannot be placed.
//!
//! What nodes carry is kept from snapshot to snapshot: a newer one costs what differs in it. The plan
//! is the same as one that begins with nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use swarmnet_model::{IdSource, NodeId, Tables, Task, TaskId, TaskState, Timestamp};

use super::filter::{Needs, Refusals, explain};
use super::given::{Given, open_ports};
use super::nodes::{Load, carrier};
use super::rank::{Branch, Candidate, Rank, rank};
use crate::allocator::ports::PortPool;
use crate::plan::Plan;
use crate::store::Change;

const ASSIGNED: &str = "scheduler assigned task to node";
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";

/// Plans on one snapshot alone.
pub fn plan(tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
    Scheduler::default().plan(tables, now, ids)
}

/// The scheduler of one leader.
#[derive(Default)]
pub struct Scheduler {
    tables: Tables,
    loads: BTreeMap<NodeId, Load>,
    /// Pending, and wished to run.
    waiting: BTreeSet<TaskId>,
}

/// Tasks of one service that ask for the same.
struct Group<'t> {
    needs: Needs<'t>,
    tasks: Vec<&'t Arc<Task>>,
}

impl Scheduler {
    /// Places the pending tasks, the service that waits longest first; each placement weighs on the
    /// next.
    pub fn plan(&mut self, tables: &Tables, now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
        self.follow(tables);
        let mut waiting: Vec<&Arc<Task>> =
            self.waiting.iter().filter_map(|id| self.tables.tasks.get(id)).collect();
        waiting.sort_by_key(|task| (task.created_at, &task.service_id, task.slot, &task.id));
        let asked = waiting.iter().any(|task| open_ports(task).next().is_some());
        let mesh = if asked { PortPool::observe(tables) } else { PortPool::default() };
        let (plan, placed) = (Plan::default(), Vec::new());
        let mut pass = Pass { loads: &mut self.loads, mesh, now, plan, placed };
        for group in groups(waiting) {
            pass.group(&group);
        }
        pass.finish()
    }

    /// Takes a newer snapshot.
    fn follow(&mut self, tables: &Tables) {
        let old = std::mem::replace(&mut self.tables, tables.clone());
        for difference in old.nodes.diff(&tables.nodes) {
            match difference {
                DiffItem::Add(id, node) | DiffItem::Update { new: (id, node), .. } => {
                    self.loads.entry(id.clone()).or_default().node = Some(Arc::clone(node));
                }
                DiffItem::Remove(id, _) => self.loads.entry(id.clone()).or_default().node = None,
            }
        }
        for difference in old.tasks.diff(&tables.tasks) {
            let (old, new) = match difference {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            self.recount(old, new);
        }
    }

    fn recount(&mut self, old: Option<&Arc<Task>>, new: Option<&Arc<Task>>) {
        if let Some(task) = old {
            self.waiting.remove(&task.id);
            if let Some(load) = carrier(task).and_then(|node| self.loads.get_mut(node)) {
                load.remove(task, &Given::of(task));
            }
        }
        if let Some(task) = new {
            if task.status.state == TaskState::Pending && !task.desired_state.is_terminal() {
                self.waiting.insert(task.id.clone());
            }
            if let Some(node) = carrier(task) {
                let load = self.loads.entry(node.clone()).or_default();
                load.add(task, &Given::of(task));
            }
        }
    }
}

/// Sorts tasks into groups, in the order of their first tasks.
fn groups<'t>(waiting: Vec<&'t Arc<Task>>) -> Vec<Group<'t>> {
    let mut groups: Vec<Group<'t>> = Vec::new();
    let mut of_service: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for task in waiting {
        let known = of_service.entry(&task.service_id).or_default();
        match known.iter().find(|index| groups[**index].needs.are_those_of(task)) {
            Some(index) => groups[*index].tasks.push(task),
            None => {
                known.push(groups.len());
                groups.push(Group { needs: Needs::of(task), tasks: vec![task] });
            }
        }
    }
    groups
}

/// One planning pass.
struct Pass<'s, 't> {
    loads: &'s mut BTreeMap<NodeId, Load>,
    /// Ports that every node serves; read only when a task asks for one that is free.
    mesh: PortPool,
    now: Timestamp,
    plan: Plan,
    /// What this pass has put onto the loads; it stays there only if the plan is carried out.
    placed: Vec<(NodeId, &'t Task, Given)>,
}

impl<'t> Pass<'_, 't> {
    fn group(&mut self, group: &Group<'t>) {
        match group.tasks.first() {
            Some(first) if first.node_id.is_none() => {
                self.spread(&group.needs, first, &group.tasks);
            }
            Some(_) | None => {
                for task in &group.tasks {
                    self.confirm(&group.needs, task);
                }
            }
        }
    }

    /// A global task runs on its own node or nowhere.
    fn confirm(&mut self, needs: &Needs<'_>, task: &'t Task) {
        let known = |load: &&Load| load.node.is_some();
        let mut refusals = Refusals::new();
        let load = task.node_id.as_ref().and_then(|id| self.loads.get(id)).filter(known);
        match (load.map(|load| needs.check(load, &self.mesh)), &task.node_id) {
            (Some(Ok(given)), Some(node)) => self.assign(task, node.clone(), given, CONFIRMED),
            (Some(Err(refusal)), _) => {
                refusals.insert(refusal, 1);
                self.plan.changes.extend(tell(task, &explain(&refusals)));
            }
            (Some(Ok(_)) | None, _) => {
                self.plan.changes.extend(tell(task, &explain(&refusals)));
            }
        }
    }

    fn spread(&mut self, needs: &Needs<'_>, first: &Task, tasks: &[&'t Arc<Task>]) {
        let mut refusals = Refusals::new();
        let known = self.loads.iter().filter(|(_, load)| load.node.is_some());
        let (nodes, candidates): (Vec<NodeId>, Vec<Candidate<'_>>) = known
            .enumerate()
            .map(|(index, (id, load))| {
                let checked = needs.check(load, &self.mesh);
                if let Err(refusal) = &checked {
                    *refusals.entry(*refusal).or_default() += 1;
                }
                (id.clone(), Candidate { index, load, fit: checked.is_ok() })
            })
            .unzip();
        let mut tree = Branch::of(&candidates, &first.spec.placement.spread, first, self.now);
        let mut left = tasks.iter();
        for task in left.by_ref() {
            let mut place = |index: usize| -> Option<Rank> {
                self.place(needs, task, &nodes[index], index, &mut refusals)
            };
            if !tree.take(&mut place) {
                let err = explain(&refusals);
                let waiting = std::iter::once(task).chain(left);
                self.plan.changes.extend(waiting.filter_map(|task| tell(task, &err)));
                return;
            }
        }
    }

    /// Puts the task onto a fit node; returns the node's rank for the next task if it is still fit.
    fn place(
        &mut self,
        needs: &Needs<'_>,
        task: &'t Task,
        node: &NodeId,
        index: usize,
        refusals: &mut Refusals,
    ) -> Option<Rank> {
        let given = needs.check(self.loads.get(node)?, &self.mesh).ok()?;
        self.assign(task, node.clone(), given, ASSIGNED);
        let load = self.loads.get(node)?;
        match needs.check(load, &self.mesh) {
            Ok(_) => Some(rank(index, load, task, self.now)),
            Err(refusal) => {
                *refusals.entry(refusal).or_default() += 1;
                None
            }
        }
    }

    fn assign(&mut self, task: &'t Task, node_id: NodeId, given: Given, message: &str) {
        if let Some(load) = self.loads.get_mut(&node_id) {
            load.add(task, &given);
        }
        self.plan.changes.push(Change::AssignTask {
            id: task.id.clone(),
            node_id: node_id.clone(),
            message: message.to_owned(),
            generic: given.generic.clone(),
            ports: given.ports.clone(),
        });
        self.placed.push((node_id, task, given));
    }

    /// The loads again say what is, and not what is planned.
    fn finish(self) -> Plan {
        for (node, task, given) in &self.placed {
            if let Some(load) = self.loads.get_mut(node) {
                load.remove(task, given);
            }
        }
        self.plan
    }
}

/// Tells why the task waits, unless it says so already.
fn tell(task: &Task, err: &str) -> Option<Change> {
    (task.status.err.as_deref() != Some(err)).then(|| Change::ExplainTask {
        id: task.id.clone(),
        message: task.status.message.clone(),
        err: Some(err.to_owned()),
    })
}

#[cfg(test)]
#[path = "properties.rs"]
mod properties;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
