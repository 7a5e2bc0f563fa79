//! Pure: two states of the cluster → what happened between them.

use std::collections::BTreeMap;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use swarmnet_model::event::{Event, EventAction, EventKind};
use swarmnet_model::{Network, Node, NodeId, Service, ServiceMode, Tables, Timestamp};

use crate::raft::{RaftView, Reachability};

/// What events are told of.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub tables: std::sync::Arc<Tables>,
    pub raft: RaftView,
}

/// Returns what happened: networks, services, nodes, each by id.
pub fn events(before: &State, after: &State, now: Timestamp) -> Vec<Event> {
    let (old, new) = (&before.tables, &after.tables);
    let mut events = Vec::new();
    compare(&old.networks, &new.networks, |old, new| {
        let kept =
            |network: Option<&Network>| network.filter(|network| !network.pending_delete).cloned();
        events.extend(network(kept(old).as_ref(), kept(new).as_ref(), now));
    });
    compare(&old.services, &new.services, |old, new| {
        let kept =
            |service: Option<&Service>| service.is_some_and(|service| !service.pending_delete);
        events.extend(service(old.filter(|_| kept(old)), new.filter(|_| kept(new)), now));
    });
    compare(&old.nodes, &new.nodes, |old, new| events.extend(node(old, new, before, after, now)));
    // Who leads is no part of the tables.
    for (id, node) in &new.nodes {
        let same =
            old.nodes.get(id).is_some_and(|old| std::sync::Arc::ptr_eq(old, node) || old == node);
        if same {
            let changes = raft_changes(id, before, after);
            events.extend(updated(EventKind::Node, id.as_str(), name_of(node), changes, now));
        }
    }
    events
}

/// Calls for every object that is not the same, by key.
fn compare<K: Ord + Clone, V: PartialEq>(
    before: &OrdMap<K, std::sync::Arc<V>>,
    after: &OrdMap<K, std::sync::Arc<V>>,
    mut each: impl FnMut(Option<&V>, Option<&V>),
) {
    for difference in before.diff(after) {
        match difference {
            DiffItem::Add(_, new) => each(None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => each(Some(old), Some(new)),
            DiffItem::Remove(_, old) => each(Some(old), None),
        }
    }
}

type Changes = BTreeMap<String, String>;

fn network(old: Option<&Network>, new: Option<&Network>, now: Timestamp) -> Option<Event> {
    let of = |network: &Network, action, time| {
        event(
            EventKind::Network,
            action,
            network.id.as_str(),
            &network.spec.name,
            Changes::new(),
            time,
        )
    };
    match (old, new) {
        (None, Some(new)) => Some(of(new, EventAction::Create, new.created_at)),
        (Some(old), None) => Some(of(old, EventAction::Remove, now)),
        (Some(old), Some(new)) if old.version != new.version => {
            Some(of(new, EventAction::Update, new.updated_at))
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn service(old: Option<&Service>, new: Option<&Service>, now: Timestamp) -> Option<Event> {
    let of = |service: &Service, action, changes, time| {
        event(EventKind::Service, action, service.id.as_str(), &service.spec.name, changes, time)
    };
    match (old, new) {
        (None, Some(new)) => Some(of(new, EventAction::Create, Changes::new(), new.created_at)),
        (Some(old), None) => Some(of(old, EventAction::Remove, Changes::new(), now)),
        (Some(old), Some(new)) if old.version != new.version => {
            Some(of(new, EventAction::Update, service_changes(old, new), new.updated_at))
        }
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn service_changes(old: &Service, new: &Service) -> Changes {
    let mut changes = Changes::new();
    let image = |service: &Service| Some(service.spec.task.container.image.clone());
    note(&mut changes, "image", image(old), image(new));
    let replicas = |service: &Service| match service.spec.mode {
        ServiceMode::Replicated { replicas } => Some(replicas.to_string()),
        ServiceMode::Global | ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => None,
    };
    note(&mut changes, "replicas", replicas(old), replicas(new));
    let state = |service: &Service| {
        service.update_status.as_ref().map(|status| status.state.as_str().to_owned())
    };
    note(&mut changes, "updatestate", state(old), state(new));
    changes
}

fn node(
    old: Option<&Node>,
    new: Option<&Node>,
    before: &State,
    after: &State,
    now: Timestamp,
) -> Option<Event> {
    let of = |node: &Node, action, changes, time| {
        event(EventKind::Node, action, node.id.as_str(), name_of(node), changes, time)
    };
    match (old, new) {
        (None, Some(new)) => Some(of(new, EventAction::Create, Changes::new(), new.created_at)),
        (Some(old), None) => Some(of(old, EventAction::Remove, Changes::new(), now)),
        (Some(old), Some(new)) => {
            let mut changes = raft_changes(&new.id, before, after);
            changes.extend(node_changes(old, new));
            (old != new).then(|| of(new, EventAction::Update, changes, new.updated_at))
        }
        (None, None) => None,
    }
}

fn node_changes(old: &Node, new: &Node) -> Changes {
    let mut changes = Changes::new();
    let word = |text: &str| Some(text.to_owned());
    let availability = |node: &Node| word(node.spec.availability.as_str());
    note(&mut changes, "availability", availability(old), availability(new));
    note(&mut changes, "role", word(old.role.as_str()), word(new.role.as_str()));
    let state = |node: &Node| word(node.status.state.as_str());
    note(&mut changes, "state", state(old), state(new));
    changes
}

/// What changed for a manager; of one that comes or goes its role tells.
fn raft_changes(id: &NodeId, before: &State, after: &State) -> Changes {
    let mut changes = Changes::new();
    let is_manager =
        |state: &State| state.tables.nodes.get(id).is_some_and(|node| node.manager.is_some());
    // Until somebody leads nothing is known, and then everybody would have changed.
    let known = before.raft.leader.is_some() && after.raft.leader.is_some();
    if !known || !is_manager(before) || !is_manager(after) {
        return changes;
    }
    let leads = |state: &State| Some((state.raft.leader.as_ref() == Some(id)).to_string());
    note(&mut changes, "leader", leads(before), leads(after));
    let reached = |state: &State| {
        let word = match state.raft.managers.get(id)? {
            Reachability::Unknown => return None,
            Reachability::Unreachable => "unreachable",
            Reachability::Reachable => "reachable",
        };
        Some(word.to_owned())
    };
    if let (Some(old), Some(new)) = (reached(before), reached(after)) {
        note(&mut changes, "reachability", Some(old), Some(new));
    }
    changes
}

/// Notes a change; a value that was not there before, or is not any more, has one side only.
fn note(changes: &mut Changes, what: &str, old: Option<String>, new: Option<String>) {
    if old == new {
        return;
    }
    changes.extend(old.map(|old| (format!("{what}.old"), old)));
    changes.extend(new.map(|new| (format!("{what}.new"), new)));
}

fn name_of(node: &Node) -> &str {
    let described = || node.description.as_ref().map(|description| description.hostname.as_str());
    node.spec.name.as_deref().filter(|name| !name.is_empty()).or_else(described).unwrap_or("")
}

fn updated(
    kind: EventKind,
    id: &str,
    name: &str,
    changes: Changes,
    now: Timestamp,
) -> Option<Event> {
    (!changes.is_empty()).then(|| event(kind, EventAction::Update, id, name, changes, now))
}

fn event(
    kind: EventKind,
    action: EventAction,
    id: &str,
    name: &str,
    mut attributes: Changes,
    time: Timestamp,
) -> Event {
    attributes.insert("name".to_owned(), name.to_owned());
    Event { kind, action, id: id.to_owned(), attributes, time }
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
