//! Pure: one slot per node that fits.

use std::collections::BTreeMap;

use swarmnet_model::{Availability, Constraint, DesiredState, Node, NodeState, Service, TaskState};

use super::Pass;
use super::slot::{Slot, SlotKey};
use crate::enforcer::violates_constraints;
use crate::scheduler::runs_on;
use crate::store::Change;

impl<'a> Pass<'a> {
    /// Makes a slot on every node that fits and ends those on nodes that do not; returns the slots to
    /// be kept alive.
    pub(super) fn spread(
        &mut self,
        service: &Service,
        slots: BTreeMap<SlotKey, Slot<'a>>,
    ) -> Vec<Slot<'a>> {
        let placement = &service.spec.task.placement;
        // Expressions were checked when the spec was accepted.
        let constraints = Constraint::parse_all(&placement.constraints).unwrap_or_default();
        let fits = |node: &Node| {
            node.spec.availability != Availability::Drain
                && constraints.iter().all(|constraint| constraint.matches(node))
                && runs_on(node, &placement.platforms)
        };
        let takes_new = |node: &Node| {
            node.status.state == NodeState::Ready
                && node.spec.availability == Availability::Active
                && fits(node)
        };
        let tables = self.tables;
        for node in tables.nodes.values().filter(|node| takes_new(node)) {
            let key = SlotKey::Node(node.id.clone());
            if !slots.contains_key(&key) {
                self.create(service, &key, DesiredState::Running);
            }
        }
        let mut kept = Vec::new();
        for (key, slot) in slots {
            let node = match &key {
                SlotKey::Node(id) => tables.nodes.get(id),
                SlotKey::Number(_) => None,
            };
            match node {
                None => self.wish_all(&slot.tasks, DesiredState::Remove),
                Some(node) if !fits(node) => self.end_unfit(node, &slot),
                Some(node) if takes_new(node) => kept.push(slot),
                // Nothing new there, and what runs stays.
                Some(_) => {}
            }
        }
        kept
    }

    /// A task that the node has changed away from says so, whoever finds it first.
    fn end_unfit(&mut self, node: &Node, slot: &Slot<'a>) {
        let drained = node.spec.availability == Availability::Drain;
        for task in slot.live() {
            let placed = task.status.state >= TaskState::Assigned;
            if placed && !drained && violates_constraints(task, node) {
                self.plan.changes.push(Change::RejectTask { id: task.id.clone() });
            } else {
                self.wish(task, DesiredState::Shutdown);
            }
        }
    }
}
