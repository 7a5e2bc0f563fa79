//! Pure: which nodes a task may run on, and how a refusal is told.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::container::MountKind;
use swarmnet_model::placement::runs_on;
use swarmnet_model::{
    Availability, Constraint, GenericResource, Node, NodeDescription, NodeState, Protocol, Task,
};

use super::generic;
use super::given::{Given, choose_ports, named_ports};
use super::nodes::Load;
use crate::allocator::ports::PortPool;

/// The filter that refused a node. In the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refusal {
    NotReady,
    Resources,
    Plugins,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

/// How many nodes each filter has refused.
pub(super) type Refusals = BTreeMap<Refusal, usize>;

impl Refusal {
    fn explain(self, nodes: usize) -> String {
        let count = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        match self {
            Self::NotReady => format!("{count} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {count}"),
            Self::Plugins => format!("missing plugin on {count}"),
            Self::Constraints => format!("scheduling constraints not satisfied on {count}"),
            Self::Platform => format!("unsupported platform on {count}"),
            Self::HostPort => format!("host-mode port already in use on {count}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// What a task asks of a node, prepared once for all tasks that ask the same.
pub(super) struct Needs<'t> {
    task: &'t Task,
    constraints: Vec<Constraint>,
    volume_drivers: BTreeSet<&'t str>,
    named_ports: Vec<(Protocol, u16)>,
}

impl<'t> Needs<'t> {
    pub(super) fn of(task: &'t Task) -> Self {
        // Expressions were checked when the spec was accepted.
        let constraints = Constraint::parse_all(&task.spec.placement.constraints);
        Self {
            task,
            constraints: constraints.unwrap_or_default(),
            volume_drivers: volume_drivers(task).collect(),
            named_ports: named_ports(task).collect(),
        }
    }

    /// True if `other` asks for the same, so that one look at the nodes does for both.
    pub(super) fn are_those_of(&self, other: &Task) -> bool {
        let (a, b) = (&self.task.spec, &other.spec);
        self.task.service_id == other.service_id
            && self.task.node_id.is_some() == other.node_id.is_some()
            && a.placement == b.placement
            && a.resources == b.resources
            && a.log_driver == b.log_driver
            && a.container.mounts == b.container.mounts
            && self.task.endpoint_spec.ports == other.endpoint_spec.ports
    }

    /// Returns what the task gets there, or the first filter that refuses the node.
    pub(super) fn check(&self, load: &Load, mesh: &PortPool) -> Result<Given, Refusal> {
        let Some(node) = &load.node else { return Err(Refusal::NotReady) };
        if !takes_new_tasks(node) {
            return Err(Refusal::NotReady);
        }
        let generic = resources(self.task, load).ok_or(Refusal::Resources)?;
        if !self.has_plugins(node) {
            return Err(Refusal::Plugins);
        }
        if !self.constraints.iter().all(|constraint| constraint.matches(node)) {
            return Err(Refusal::Constraints);
        }
        if !runs_on(node, &self.task.spec.placement.platforms) {
            return Err(Refusal::Platform);
        }
        if self.named_ports.iter().any(|port| load.serves(*port)) {
            return Err(Refusal::HostPort);
        }
        let ports = choose_ports(self.task, load, mesh).ok_or(Refusal::HostPort)?;
        let bound = self.task.spec.placement.max_replicas;
        let placed = u64::try_from(load.tasks_of(&self.task.service_id)).unwrap_or(u64::MAX);
        if bound > 0 && placed >= bound {
            return Err(Refusal::MaxReplicas);
        }
        Ok(Given { generic, ports })
    }

    /// Overlay networks need no look: every node brings their driver itself.
    fn has_plugins(&self, node: &Node) -> bool {
        // Nothing is known of a node whose engine has not answered yet.
        let known = |d: &&NodeDescription| !d.engine_version.is_empty();
        let Some(description) = node.description.as_ref().filter(known) else { return true };
        let volumes = self.volume_drivers.iter().all(|name| has(description, "Volume", name));
        let log = self.task.spec.log_driver.as_ref().map_or("", |driver| &driver.name);
        volumes && (matches!(log, "" | "none") || has_log_driver(description, log))
    }
}

/// Engines that do not list their log drivers may have any.
fn has_log_driver(description: &NodeDescription, name: &str) -> bool {
    !description.plugins.iter().any(|(kind, _)| kind == "Log") || has(description, "Log", name)
}

/// A plugin may be called without its tag.
fn has(description: &NodeDescription, kind: &str, name: &str) -> bool {
    let same = |found: &str| found == name || found.strip_suffix(":latest") == Some(name);
    description.plugins.iter().any(|(of, found)| of == kind && same(found))
}

/// Returns the drivers of the task's volumes that are not part of every engine.
fn volume_drivers(task: &Task) -> impl Iterator<Item = &str> {
    let mounts = task.spec.container.mounts.iter();
    mounts
        .filter_map(|mount| match &mount.kind {
            MountKind::Volume { driver: Some(driver), .. } => Some(driver.name.as_str()),
            MountKind::Volume { driver: None, .. }
            | MountKind::Bind { .. }
            | MountKind::Tmpfs { .. }
            | MountKind::Image { .. }
            | MountKind::Npipe => None,
        })
        .filter(|name| !matches!(*name, "" | "local"))
}

fn takes_new_tasks(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

/// Returns the generic resources the task gets if the node has enough of everything left.
fn resources(task: &Task, load: &Load) -> Option<Vec<GenericResource>> {
    let wanted = &task.spec.resources;
    let description = load.node.as_ref()?.description.as_ref();
    let (cpus, memory) = description.map_or((0, 0), |d| (d.nano_cpus, d.memory_bytes));
    let fits =
        |wanted: i64, used: i64, total: i64| wanted <= 0 || used.saturating_add(wanted) <= total;
    if !fits(wanted.reserve_nano_cpus, load.nano_cpus, cpus)
        || !fits(wanted.reserve_memory_bytes, load.memory_bytes, memory)
    {
        return None;
    }
    if wanted.reserve_generic.is_empty() {
        return Some(Vec::new());
    }
    generic::choose(&wanted.reserve_generic, description.map_or(&[], |d| &d.generic), &load.generic)
}

/// Tells in Docker's words why no node was fit: what refused most nodes comes first.
pub(super) fn explain(refusals: &Refusals) -> String {
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
