//! Pure: one slot per node that fits.

use std::collections::BTreeMap;

use swarmnet_model::placement::Platform;
use swarmnet_model::{Availability, Constraint, DesiredState, Node, NodeState, Service, TaskState};

use super::slot::{Slot, SlotKey};
use super::{Pass, goal};
use crate::enforcer::violates_constraints;
use crate::store::Change;
use swarmnet_model::placement::runs_on;

/// Which nodes a service that runs on every node runs on.
pub(super) struct Eligible<'s> {
    constraints: Vec<Constraint>,
    platforms: &'s [Platform],
}

impl<'s> Eligible<'s> {
    pub(super) fn of(service: &'s Service) -> Self {
        let placement = &service.spec.task.placement;
        Self {
            // Expressions were checked when the spec was accepted.
            constraints: Constraint::parse_all(&placement.constraints).unwrap_or_default(),
            platforms: &placement.platforms,
        }
    }

    /// True if what runs there may stay.
    pub(super) fn fits(&self, node: &Node) -> bool {
        node.spec.availability != Availability::Drain
            && self.constraints.iter().all(|constraint| constraint.matches(node))
            && runs_on(node, self.platforms)
    }

    pub(super) fn takes_new(&self, node: &Node) -> bool {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && self.fits(node)
    }
}

impl<'a> Pass<'a> {
    /// Makes a slot on every node that fits and ends those on nodes that do not; returns the slots to
    /// be kept alive.
    pub(super) fn spread(
        &mut self,
        service: &Service,
        slots: BTreeMap<SlotKey, Slot<'a>>,
    ) -> Vec<Slot<'a>> {
        let eligible = Eligible::of(service);
        self.fill(service, &eligible, &slots);
        let mut kept = Vec::new();
        for slot in slots.into_values() {
            if self.is_kept(&eligible, &slot) {
                kept.push(slot);
            }
        }
        kept
    }

    /// Makes a task on every node that takes one and has no slot yet.
    pub(super) fn fill(
        &mut self,
        service: &Service,
        eligible: &Eligible<'_>,
        slots: &BTreeMap<SlotKey, Slot<'a>>,
    ) {
        for node in self.tables.nodes.values().filter(|node| eligible.takes_new(node)) {
            let key = SlotKey::Node(node.id.clone());
            if !slots.contains_key(&key) {
                self.create(service, &key, goal(service));
            }
        }
    }

    /// Ends the slot if its node does not fit; true if the node takes new tasks.
    pub(super) fn is_kept(&mut self, eligible: &Eligible<'_>, slot: &Slot<'a>) -> bool {
        let node = match &slot.key {
            SlotKey::Node(id) => self.tables.nodes.get(id),
            SlotKey::Number(_) => None,
        };
        match node {
            None => self.wish_all(&slot.tasks, DesiredState::Remove),
            Some(node) if !eligible.fits(node) => self.end_unfit(node, slot),
            Some(node) if eligible.takes_new(node) => return true,
            // Nothing new there, and what runs stays.
            Some(_) => {}
        }
        false
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
