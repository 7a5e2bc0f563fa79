//! Pure: which of the fit nodes a task goes to.

use std::collections::BTreeMap;

use swarmnet_model::{Node, NodeId, ServiceId, Task};

use super::nodes::Load;

/// From this many recent failures on, a node is a service's last choice.
const FAULTY_FROM: usize = 5;

/// Returns the best of `fit`: spread over the labels the service names, then the least loaded.
pub(super) fn best<'a>(fit: &[&Load<'a>], task: &Task) -> Option<&'a NodeId> {
    choose(fit, &task.spec.placement.spread, &task.service_id)
}

/// Each distinct value of the first label is a branch; the one with the fewest tasks of the service
/// is taken, and inside it the next label decides.
fn choose<'a>(fit: &[&Load<'a>], spread: &[String], service: &ServiceId) -> Option<&'a NodeId> {
    let Some((label, rest)) = spread.split_first() else {
        return fit.iter().min_by_key(|load| rank(load, service)).map(|load| &load.node.id);
    };
    let mut branches: BTreeMap<&str, Vec<&Load<'a>>> = BTreeMap::new();
    for load in fit {
        branches.entry(value(load.node, label)).or_default().push(load);
    }
    let tasks =
        |branch: &[&Load<'a>]| -> usize { branch.iter().map(|load| load.of(service).tasks).sum() };
    let least = branches.into_values().min_by_key(|branch| tasks(branch))?;
    choose(&least, rest, service)
}

fn rank<'l>(load: &'l Load<'_>, service: &ServiceId) -> (usize, usize, usize, &'l NodeId) {
    let here = load.of(service);
    let faulty = if here.failures >= FAULTY_FROM { here.failures } else { 0 };
    (faulty, here.tasks, load.tasks, &load.node.id)
}

fn value<'a>(node: &'a Node, label: &str) -> &'a str {
    let of_engine = || {
        let name = label.strip_prefix("engine.labels.")?;
        node.description.as_ref()?.engine_labels.get(name)
    };
    let found = match label.strip_prefix("node.labels.") {
        Some(name) => node.spec.labels.get(name),
        None => of_engine(),
    };
    found.map_or("", String::as_str)
}
