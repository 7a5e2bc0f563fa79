//! Pure: what each node already carries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarmnet_model::{
    Node, NodeId, Protocol, PublishMode, ServiceId, Tables, Task, TaskState, Timestamp,
};

/// Failures of a service older than this are forgotten.
const FAILURE_MEMORY: Duration = Duration::from_secs(300);

/// A node and the tasks on it.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) node: &'a Node,
    /// Tasks that are meant to run.
    pub(super) tasks: usize,
    pub(super) services: BTreeMap<&'a ServiceId, ServiceLoad>,
    /// Reserved by every task that has not ended, the stopping ones included.
    pub(super) nano_cpus: i64,
    pub(super) memory_bytes: i64,
    pub(super) host_ports: BTreeSet<(Protocol, u16)>,
}

/// One service on one node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServiceLoad {
    pub(super) tasks: usize,
    pub(super) failures: usize,
}

impl<'a> Load<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node,
            tasks: 0,
            services: BTreeMap::new(),
            nano_cpus: 0,
            memory_bytes: 0,
            host_ports: BTreeSet::new(),
        }
    }

    pub(super) fn of(&self, service: &ServiceId) -> ServiceLoad {
        self.services.get(service).copied().unwrap_or_default()
    }

    /// Counts a task that is, or now will be, on the node.
    pub(super) fn add(&mut self, task: &'a Task) {
        if task.status.state.is_terminal() {
            return;
        }
        let resources = &task.spec.resources;
        self.nano_cpus = self.nano_cpus.saturating_add(resources.reserve_nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_add(resources.reserve_memory_bytes);
        self.host_ports.extend(host_ports(task));
        if task.is_live() {
            self.tasks += 1;
            self.services.entry(&task.service_id).or_default().tasks += 1;
        }
    }
}

/// Reads every node's load from the snapshot.
pub(super) fn observe(tables: &Tables, now: Timestamp) -> BTreeMap<&NodeId, Load<'_>> {
    let mut loads: BTreeMap<_, _> =
        tables.nodes.iter().map(|(id, node)| (id, Load::new(node))).collect();
    for task in tables.tasks.values().filter(|task| task.status.state >= TaskState::Assigned) {
        let Some(load) = task.node_id.as_ref().and_then(|id| loads.get_mut(id)) else { continue };
        load.add(task);
        let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
        if failed && now.since(task.updated_at) < FAILURE_MEMORY {
            load.services.entry(&task.service_id).or_default().failures += 1;
        }
    }
    loads
}

/// Returns the ports the task serves on its own node only.
pub(super) fn host_ports(task: &Task) -> impl Iterator<Item = (Protocol, u16)> {
    let ports = task.endpoint_spec.ports.iter();
    ports
        .filter(|port| port.mode == PublishMode::Host && port.published_port != 0)
        .map(|port| (port.protocol, port.published_port))
}
