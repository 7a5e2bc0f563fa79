//! Pure: what a node gives to a task: generic resources, and numbers for host-mode ports that the
//! user left open.

use swarmnet_model::port::DYNAMIC_PORTS;
use swarmnet_model::{
    GenericResource, PortSpec, Protocol, PublishMode, PublishedPort, Task, TaskId,
};

use super::nodes::Load;
use crate::allocator::ports::PortPool;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) generic: Vec<GenericResource>,
    pub(super) ports: Vec<PublishedPort>,
}

impl Given {
    /// Returns what a task has that is placed already.
    pub(super) fn of(task: &Task) -> Self {
        Self { generic: task.assigned_generic.clone(), ports: task.chosen_ports.clone() }
    }
}

/// Returns the host-mode ports whose numbers the user has named.
pub(super) fn named_ports(task: &Task) -> impl Iterator<Item = (Protocol, u16)> {
    task.endpoint_spec.host_ports().map(key)
}

/// Returns the host-mode ports that may have any number.
pub(super) fn open_ports(task: &Task) -> impl Iterator<Item = &PortSpec> {
    let ports = task.endpoint_spec.ports.iter();
    ports.filter(|port| port.mode == PublishMode::Host && port.published_port == 0)
}

/// Gives the task's open ports numbers that nobody serves on the node; `None` if too few are left.
pub(super) fn choose_ports(
    task: &Task,
    load: &Load,
    mesh: &PortPool,
) -> Option<Vec<PublishedPort>> {
    let mut chosen: Vec<PublishedPort> = Vec::new();
    for open in open_ports(task) {
        let is_free = |number: &u16| {
            let wanted = (open.protocol, *number);
            !load.serves(wanted)
                && !mesh.is_held(wanted)
                && !chosen.iter().map(key).chain(named_ports(task)).any(|taken| taken == wanted)
        };
        let published_port = numbers(&task.id).find(is_free)?;
        chosen.push(PublishedPort { published_port, ..open.clone() });
    }
    Some(chosen)
}

pub(super) fn key(port: &PublishedPort) -> (Protocol, u16) {
    (port.protocol, port.published_port)
}

/// Returns every number of the range, each task beginning elsewhere: one that a program of the node
/// has taken, which nobody here knows, is not given to the next task as well.
fn numbers(id: &TaskId) -> impl Iterator<Item = u16> {
    let (first, count) = (*DYNAMIC_PORTS.start(), DYNAMIC_PORTS.end() - DYNAMIC_PORTS.start() + 1);
    let hash = |sum: u16, byte: u8| sum.wrapping_mul(31).wrapping_add(u16::from(byte));
    let begin = id.as_str().bytes().fold(0, hash) % count;
    (0..count).map(move |step| first + (begin + step) % count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_number_of_the_range_is_tried_once() {
        let all: Vec<u16> = numbers(&TaskId::from_text("x")).collect();
        let different: BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!(all.len(), different.len());
        assert_eq!(different, DYNAMIC_PORTS.collect());
        assert_ne!(numbers(&TaskId::from_text("y")).next(), all.first().copied());
    }
}
