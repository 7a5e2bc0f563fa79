//! Pure: which nodes a task may run on, and how a refusal is told.

use std::collections::BTreeMap;

use swarmnet_model::constraint::architecture;
use swarmnet_model::placement::Platform;
use swarmnet_model::{Availability, Constraint, Node, NodeState, Task};

use super::nodes::{Load, host_ports};

/// The filter that refused a node. In the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    NotReady,
    Resources,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

impl Refusal {
    fn explain(self, nodes: usize) -> String {
        let count = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        match self {
            Self::NotReady => format!("{count} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {count}"),
            Self::Constraints => format!("scheduling constraints not satisfied on {count}"),
            Self::Platform => format!("unsupported platform on {count}"),
            Self::HostPort => format!("host-mode port already in use on {count}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// What one task asks of a node, prepared once.
pub(super) struct Needs<'t> {
    task: &'t Task,
    constraints: Vec<Constraint>,
}

impl<'t> Needs<'t> {
    pub(super) fn of(task: &'t Task) -> Self {
        // Expressions were checked when the spec was accepted.
        let constraints = Constraint::parse_all(&task.spec.placement.constraints);
        Self { task, constraints: constraints.unwrap_or_default() }
    }

    /// Returns the first filter that refuses the node.
    pub(super) fn refusal(&self, load: &Load<'_>) -> Option<Refusal> {
        let (task, node) = (self.task, load.node);
        let placement = &task.spec.placement;
        if !takes_new_tasks(node) {
            Some(Refusal::NotReady)
        } else if !has_resources(task, load) {
            Some(Refusal::Resources)
        } else if !self.constraints.iter().all(|constraint| constraint.matches(node)) {
            Some(Refusal::Constraints)
        } else if !runs_on(node, &placement.platforms) {
            Some(Refusal::Platform)
        } else if host_ports(task).any(|port| load.host_ports.contains(&port)) {
            Some(Refusal::HostPort)
        } else {
            let placed = u64::try_from(load.of(&task.service_id).tasks).unwrap_or(u64::MAX);
            let full = placement.max_replicas > 0 && placed >= placement.max_replicas;
            full.then_some(Refusal::MaxReplicas)
        }
    }
}

fn takes_new_tasks(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

fn has_resources(task: &Task, load: &Load<'_>) -> bool {
    let (cpus, memory) =
        load.node.description.as_ref().map_or((0, 0), |d| (d.nano_cpus, d.memory_bytes));
    let wanted = &task.spec.resources;
    let fits =
        |wanted: i64, used: i64, total: i64| wanted <= 0 || used.saturating_add(wanted) <= total;
    fits(wanted.reserve_nano_cpus, load.nano_cpus, cpus)
        && fits(wanted.reserve_memory_bytes, load.memory_bytes, memory)
}

/// True if the node is one of the platforms; an empty list or field means any.
pub fn runs_on(node: &Node, platforms: &[Platform]) -> bool {
    let Some(description) = &node.description else { return platforms.is_empty() };
    let same = |wanted: &str, found: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(found);
    platforms.is_empty()
        || platforms.iter().any(|platform| {
            let wanted = architecture(&platform.architecture);
            same(wanted, architecture(&description.architecture))
                && same(&platform.os, &description.os)
        })
}

/// Tells in Docker's words why no node was fit: what refused most nodes comes first.
pub(super) fn explain(refusals: &BTreeMap<Refusal, usize>) -> String {
    let mut by_count: Vec<_> = refusals.iter().collect();
    by_count.sort_by_key(|(refusal, nodes)| (std::cmp::Reverse(**nodes), **refusal));
    let reasons: Vec<_> =
        by_count.into_iter().map(|(refusal, nodes)| refusal.explain(*nodes)).collect();
    if reasons.is_empty() {
        "no suitable node".to_owned()
    } else {
        format!("no suitable node ({})", reasons.join("; "))
    }
}
