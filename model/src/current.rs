//! Pure: is a task what its service asks for now?

use crate::constraint::Constraint;
use crate::placement::runs_on;
use crate::service::Service;
use crate::tables::Tables;
use crate::task::{Task, TaskSpec};

/// True if the task is what the service's spec asks for, and for a job, part of its present
/// execution.
///
/// Another placement alone does not make a task outdated while its node satisfies constraints and
/// platforms: `docker stack deploy` sends platforms only when it asks the registry.
pub fn is_current(task: &Task, service: &Service, tables: &Tables) -> bool {
    if task.job_iteration != service.job.map(|job| job.iteration) {
        return false;
    }
    let wanted = &service.spec.task;
    if task.endpoint_spec != service.spec.endpoint || !is_same_but_placement(&task.spec, wanted) {
        return false;
    }
    if task.spec.placement == wanted.placement {
        return true;
    }
    let node = task.node_id.as_ref().and_then(|id| tables.nodes.get(id));
    let constraints = Constraint::parse_all(&wanted.placement.constraints);
    node.zip(constraints.ok()).is_some_and(|(node, constraints)| {
        constraints.iter().all(|constraint| constraint.matches(node))
            && runs_on(node, &wanted.placement.platforms)
    })
}

/// Every field is named, so that a new one is not forgotten.
fn is_same_but_placement(a: &TaskSpec, b: &TaskSpec) -> bool {
    let TaskSpec {
        container,
        resources,
        restart,
        placement: _,
        networks,
        predefined,
        log_driver,
        force_update,
    } = a;
    *container == b.container
        && *resources == b.resources
        && *restart == b.restart
        && *networks == b.networks
        && *predefined == b.predefined
        && *log_driver == b.log_driver
        && *force_update == b.force_update
}
