//! Pure: what each node already carries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::{Node, NodeId, Protocol, ServiceId, Task, TaskState, Timestamp};

use super::generic::Held;
use super::given::{Given, key, named_ports};

/// Failures of a service older than this are forgotten.
const FAILURE_MEMORY: Duration = Duration::from_secs(300);

/// A node and the tasks on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// `None` if the node is gone and its tasks are not.
    pub(super) node: Option<Arc<Node>>,
    /// Tasks that are meant to run.
    pub(super) tasks: usize,
    services: BTreeMap<ServiceId, ServiceLoad>,
    /// Reserved by every task that has not ended, the stopping ones included.
    pub(super) nano_cpus: i64,
    pub(super) memory_bytes: i64,
    pub(super) generic: Held,
    host_ports: BTreeMap<(Protocol, u16), usize>,
}

/// One service on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ServiceLoad {
    tasks: usize,
    /// When tasks failed, and how many at that moment.
    failures: BTreeMap<Timestamp, usize>,
}

impl Load {
    /// Returns how many tasks of the service are meant to run here.
    pub(super) fn tasks_of(&self, service: &ServiceId) -> usize {
        self.services.get(service).map_or(0, |load| load.tasks)
    }

    /// Returns how often the service has failed here lately.
    pub(super) fn failures_of(&self, service: &ServiceId, now: Timestamp) -> usize {
        let Some(load) = self.services.get(service) else { return 0 };
        let recent = load.failures.iter().filter(|(at, _)| now.since(**at) < FAILURE_MEMORY);
        recent.map(|(_, count)| count).sum()
    }

    pub(super) fn serves(&self, port: (Protocol, u16)) -> bool {
        self.host_ports.contains_key(&port)
    }

    /// Counts a task that is, or now will be, on the node, which gives it this.
    pub(super) fn add(&mut self, task: &Task, given: &Given) {
        if let Some(at) = failed_at(task) {
            *self.service(task).failures.entry(at).or_default() += 1;
        }
        if task.status.state.is_terminal() {
            return;
        }
        let resources = &task.spec.resources;
        self.nano_cpus = self.nano_cpus.saturating_add(resources.reserve_nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_add(resources.reserve_memory_bytes);
        self.generic.add(&given.generic);
        for port in served(task, given) {
            *self.host_ports.entry(port).or_default() += 1;
        }
        if task.is_live() {
            self.tasks += 1;
            self.service(task).tasks += 1;
        }
    }

    /// Takes back what [`Self::add`] has counted for the very same task.
    pub(super) fn remove(&mut self, task: &Task, given: &Given) {
        if let Some(at) = failed_at(task) {
            less_one(&mut self.service(task).failures, &at);
        }
        if !task.status.state.is_terminal() {
            let resources = &task.spec.resources;
            self.nano_cpus = self.nano_cpus.saturating_sub(resources.reserve_nano_cpus);
            self.memory_bytes = self.memory_bytes.saturating_sub(resources.reserve_memory_bytes);
            self.generic.remove(&given.generic);
            for port in served(task, given) {
                less_one(&mut self.host_ports, &port);
            }
        }
        if task.is_live() {
            self.tasks -= 1;
            self.service(task).tasks -= 1;
        }
        if self.services.get(&task.service_id) == Some(&ServiceLoad::default()) {
            self.services.remove(&task.service_id);
        }
    }

    fn service(&mut self, task: &Task) -> &mut ServiceLoad {
        self.services.entry(task.service_id.clone()).or_default()
    }
}

/// Returns the node that carries the task: one is named for a global task before it is placed.
pub(super) fn carrier(task: &Task) -> Option<&NodeId> {
    task.node_id.as_ref().filter(|_| task.status.state >= TaskState::Assigned)
}

/// Returns the ports that the node serves for the task alone.
fn served(task: &Task, given: &Given) -> impl Iterator<Item = (Protocol, u16)> {
    named_ports(task).chain(given.ports.iter().map(key))
}

fn failed_at(task: &Task) -> Option<Timestamp> {
    let failed = matches!(task.status.state, TaskState::Failed | TaskState::Rejected);
    (failed && !task.status.is_enforced()).then_some(task.updated_at)
}

fn less_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
