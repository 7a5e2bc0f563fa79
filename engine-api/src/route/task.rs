//! Tasks.

use swarmnet_model::current::is_current;
use swarmnet_model::{
    AttachedContainer, CallError, DesiredState, NodeId, ServiceId, Tables, Task, TaskState,
};

use crate::app::Exchange;
use crate::convert::task as convert;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::reference::{Named, resolve, same_only};
use crate::reply::{self, Answer};
use crate::route::{node, service};

const FILTERS: [&str; 8] =
    ["id", "name", "service", "node", "label", "desired-state", "runtime", "_up-to-date"];

pub(crate) async fn list(x: Exchange) -> Answer {
    let filters = Filters::parse(x.query.get("filters"), &FILTERS)?;
    check_states(&filters)?;
    let tables = x.app.tables().await?;
    let wanted = Wanted::resolve(&filters, &tables)?;
    let fitting = tables.tasks.values().filter(|task| wanted.fits(task, &tables));
    let tasks = fitting.map(|task| convert::task(task, &tables));
    let attached = tables.attached.values().filter(|container| wanted.fits_attached(container));
    let attached = attached.map(|container| convert::plain_container(container, &tables));
    reply::ok(&tasks.chain(attached).collect::<Vec<_>>())
}

pub(crate) async fn inspect(x: Exchange, id: &str) -> Answer {
    let tables = x.app.tables().await?;
    match find(&tables, id) {
        Ok(task) => reply::ok(&convert::task(task, &tables)),
        Err(error) => {
            let container = find_attached(&tables, id).ok_or(error)?;
            reply::ok(&convert::plain_container(container, &tables))
        }
    }
}

/// Returns the task a reference means.
pub(super) fn find<'a>(tables: &'a Tables, reference: &str) -> Result<&'a Task, CallError> {
    let names: Vec<(String, &Task)> =
        tables.tasks.values().map(|task| (task.container_name(), &**task)).collect();
    let named = names
        .iter()
        .map(|(name, task)| Named { id: task.id.as_str(), name, object: *task })
        .collect();
    resolve("task", reference, named, same_only)
}

/// To Docker's users a plain container on swarm networks is a task, too.
fn find_attached<'a>(tables: &'a Tables, reference: &str) -> Option<&'a AttachedContainer> {
    let all = tables.attached.values();
    let named = all.map(|of| Named { id: of.id.as_str(), name: "", object: &**of }).collect();
    resolve("task", reference, named, same_only).ok()
}

fn check_states(filters: &Filters) -> Result<(), ApiError> {
    let known = |word: &String| TaskState::ALL.iter().any(|state| state.as_str() == word);
    match filters.values("desired-state").iter().find(|word| !known(word)) {
        Some(word) => Err(ApiError::bad_request(format!("Invalid desired-state filter: '{word}'"))),
        None => Ok(()),
    }
}

/// Filters with their references resolved.
struct Wanted<'a> {
    filters: &'a Filters,
    services: Vec<ServiceId>,
    nodes: Vec<NodeId>,
}

impl<'a> Wanted<'a> {
    fn resolve(filters: &'a Filters, tables: &Tables) -> Result<Self, CallError> {
        let services = filters.values("service").iter();
        let nodes = filters.values("node").iter();
        Ok(Self {
            filters,
            services: services
                .map(|reference| service::find(tables, reference).map(|found| found.id.clone()))
                .collect::<Result<_, _>>()?,
            nodes: nodes
                .map(|reference| node::find(tables, reference).map(|found| found.id.clone()))
                .collect::<Result<_, _>>()?,
        })
    }

    fn fits(&self, task: &Task, tables: &Tables) -> bool {
        let filters = self.filters;
        (!filters.has("service") || self.services.contains(&task.service_id))
            && (!filters.has("node")
                || task.node_id.as_ref().is_some_and(|node| self.nodes.contains(node)))
            && filters.prefix("id", task.id.as_str())
            && filters.prefix("name", &task.name())
            && filters.labels("label", &task.service_labels)
            && filters.any("desired-state", |wanted| wanted == task.desired_state.as_str())
            && filters.any("runtime", |wanted| wanted == "container")
            && (!filters.has("_up-to-date") || is_up_to_date(task, tables))
    }

    /// Plain containers are listed only when they are asked for.
    fn fits_attached(&self, container: &AttachedContainer) -> bool {
        let filters = self.filters;
        let of_services = ["service", "label", "_up-to-date"];
        filters.values("runtime").iter().any(|wanted| wanted == "attachment")
            && !of_services.iter().any(|key| filters.has(key))
            && (!filters.has("node") || self.nodes.contains(&container.node_id))
            && filters.prefix("id", container.id.as_str())
            && filters.prefix("name", &container.name)
            && filters.any("desired-state", |wanted| wanted == DesiredState::Running.as_str())
    }
}

fn is_up_to_date(task: &Task, tables: &Tables) -> bool {
    let service = tables.services.get(&task.service_id);
    service.is_some_and(|service| is_current(task, service, tables))
}
