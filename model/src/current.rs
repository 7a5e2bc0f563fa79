//! Pure: is a task what its service asks for now?

use crate::constraint::Constraint;
use crate::service::Service;
use crate::tables::Tables;
use crate::task::{Task, TaskSpec};

/// True if the task is what the service's spec asks for, and for a job, part of its present
/// execution.
///
/// Other constraints alone do not make a task outdated while its node satisfies them.
pub fn is_current(task: &Task, service: &Service, tables: &Tables) -> bool {
    if task.job_iteration != service.job.map(|job| job.iteration) {
        return false;
    }
    let wanted = &service.spec.task;
    if task.endpoint_spec != service.spec.endpoint || !is_same_but_constraints(&task.spec, wanted) {
        return false;
    }
    if task.spec.placement.constraints == wanted.placement.constraints {
        return true;
    }
    let node = task.node_id.as_ref().and_then(|id| tables.nodes.get(id));
    let constraints = Constraint::parse_all(&wanted.placement.constraints);
    node.zip(constraints.ok())
        .is_some_and(|(node, constraints)| constraints.iter().all(|c| c.matches(node)))
}

/// Every field is named, so that a new one is not forgotten.
fn is_same_but_constraints(a: &TaskSpec, b: &TaskSpec) -> bool {
    let TaskSpec { container, resources, restart, placement, networks, log_driver, force_update } =
        a;
    let crate::placement::Placement { constraints: _, spread, platforms, max_replicas } = placement;
    *container == b.container
        && *resources == b.resources
        && *restart == b.restart
        && *networks == b.networks
        && *log_driver == b.log_driver
        && *spread == b.placement.spread
        && *platforms == b.placement.platforms
        && *max_replicas == b.placement.max_replicas
        && *force_update == b.force_update
}
