//! Pure: the view's attachments of this node and the engine's containers → what to tell the managers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use swarmnet_model::view::{Backend, BackendState, NodeView};
use swarmnet_model::{AttachCall, Attachment, NodeId, TaskId};

use crate::engine::PlainContainer;
use crate::inputs::{backends, network};
use crate::plugin::networks::engine_name;

/// Characters of a container's id by which views know it.
const SHORT_ID: usize = 12;

/// What follows from a look at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tell(AttachCall),
    /// No container has been seen with it yet: the engine may still be making it for somebody who
    /// has gone away.
    Unseen(TaskId),
}

/// Returns the attachments of this node's plain containers.
pub(crate) fn own<'a>(view: &'a NodeView, node: &'a NodeId) -> impl Iterator<Item = &'a Backend> {
    backends(view).filter(move |b| b.service_id.is_none() && b.node_id == *node)
}

/// Returns the engine networks that this node's plain containers need.
pub(crate) fn engine_networks(view: &NodeView, node: &NodeId) -> BTreeSet<String> {
    let attachments = own(view, node).flat_map(|backend| &backend.attachments);
    attachments.filter_map(|a| network(view, &a.network_id)).map(engine_name).collect()
}

/// Compares; what the API is at work on (`held`) is left out.
pub(crate) fn plan(
    view: &NodeView,
    node: &NodeId,
    containers: &[PlainContainer],
    held: &BTreeSet<TaskId>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for backend in own(view, node).filter(|backend| !held.contains(&backend.task_id)) {
        let has = |container: &PlainContainer, attachment: &Attachment| {
            let place = place(view, attachment);
            place.is_some_and(|place| container.endpoints.contains(&place))
        };
        let found = containers.iter().find(|c| backend.attachments.iter().any(|a| has(c, a)));
        let Some(container) = found else {
            actions.push(gone(backend));
            continue;
        };
        let off = backend.attachments.iter().filter(|attachment| !has(container, attachment));
        actions.extend(off.map(|attachment| {
            let from = Some((attachment.network_id.clone(), attachment.address.ip()));
            Action::Tell(AttachCall::Detach { id: backend.task_id.clone(), from })
        }));
        actions.extend(news(backend, container).map(Action::Tell));
    }
    actions
}

fn place(view: &NodeView, attachment: &Attachment) -> Option<(String, Ipv4Addr)> {
    let network = network(view, &attachment.network_id)?;
    Some((engine_name(network), attachment.address.ip()))
}

fn gone(backend: &Backend) -> Action {
    let id = backend.task_id.clone();
    // Once it was reported, the short id is the last alias: it was there, and it is gone, or off all
    // its networks.
    let is_short_id =
        |alias: &String| alias.len() == SHORT_ID && alias.chars().all(|c| c.is_ascii_hexdigit());
    let reported = |a: &Attachment| a.aliases.last().is_some_and(is_short_id);
    if backend.attachments.iter().any(reported) {
        Action::Tell(AttachCall::Detach { id, from: None })
    } else {
        Action::Unseen(id)
    }
}

fn news(backend: &Backend, container: &PlainContainer) -> Option<AttachCall> {
    let short = container.id.get(..SHORT_ID).unwrap_or(&container.id);
    let known = |a: &Attachment| a.aliases.last().is_some_and(|alias| alias == short);
    // A node that is down shows its containers as not running; it cannot be this one.
    let running = backend.state == BackendState::Active;
    let same = backend.task_name == container.name
        && backend.attachments.iter().all(known)
        && running == container.running;
    (!same).then(|| AttachCall::Report {
        id: backend.task_id.clone(),
        name: container.name.clone(),
        container_id: container.id.clone(),
        running: container.running,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
