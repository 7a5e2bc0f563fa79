//! Pure: which part of the large maps a new view changes.
//!
//! Addresses, services and backends can be a hundred thousand entries, of which a change concerns
//! ten. A round that knows what the last one has settled works on a part: the services whose items
//! differ, with all their backends. The planners are the same as for everything; they get a view
//! that holds only the part, and what the kernel has under the part's keys.
//!
//! Everything is planned for at the start, after a failure, when much differs, and every now and
//! then to find what others have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarmnet_ebpf::abi::EpKey;
use swarmnet_model::view::{DiffItem, ServiceItem};
use swarmnet_model::{Item, ItemKey, NetworkId, NodeId, NodeView, ServiceId, TaskId};

use crate::inputs::{Inputs, backends, services, tasks};
use crate::plugin::journal::Endpoint;
use crate::{balancer, overlay};

/// Beyond so many items that differ, planning for everything costs less than finding the part.
const CHANGED_MAX: usize = 10_000;

/// What the large maps were last brought to.
#[derive(Clone, Debug)]
pub struct Settled {
    inputs: Inputs,
    /// What of the view goes into every part.
    few: NodeView,
    /// Backends of the view, by service.
    members: BTreeSet<(ServiceId, TaskId)>,
}

/// What differs between the view that is settled and the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    services: BTreeSet<ServiceId>,
    /// With the services they belonged and belong to.
    backends: BTreeMap<TaskId, [Option<ServiceId>; 2]>,
    peers: BTreeSet<NodeId>,
    networks: BTreeSet<NetworkId>,
    /// True if more than addresses and backends may follow: devices, ports, settings.
    pub host: bool,
}

/// The services and backends that a round works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    services: BTreeSet<ServiceId>,
    backends: BTreeSet<TaskId>,
}

/// Inputs that hold a part only, as it should be and as it was settled.
#[derive(Clone, Debug)]
pub struct Partial {
    pub new: Inputs,
    pub old: Inputs,
}

/// Keys of the large maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub eps: BTreeSet<EpKey>,
    pub services: BTreeSet<u32>,
    pub backends: BTreeSet<u32>,
}

/// How much of the large maps is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    Everything,
    Keys(Keys),
}

impl Keys {
    /// Adds the keys of what is desired.
    pub fn add(&mut self, overlay: &overlay::State, balancer: &balancer::State) {
        self.eps.extend(overlay.eps.keys());
        self.services.extend(balancer.services.keys());
        self.backends.extend(balancer.backends.keys());
    }
}

impl Settled {
    /// Everything that `inputs` asks for is in the maps.
    pub fn new(inputs: Inputs) -> Self {
        // A set that is made of a list at once costs a fraction of one that grows.
        let members = backends(&inputs.view)
            .filter_map(|backend| Some((backend.service_id.clone()?, backend.task_id.clone())));
        let members = members.collect();
        Self { few: few(&inputs.view), inputs, members }
    }

    /// The part that `change` concerned is in the maps as well.
    pub fn advance(&mut self, inputs: Inputs, change: &Change) {
        if change.host {
            self.few = few(&inputs.view);
        }
        self.inputs = inputs;
        for (task, [old, new]) in &change.backends {
            if let Some(old) = old {
                self.members.remove(&(old.clone(), task.clone()));
            }
            if let Some(new) = new {
                self.members.insert((new.clone(), task.clone()));
            }
        }
    }

    /// Returns what differs in a newer view, in the time of what differs; `None` if that is much.
    pub fn change(&self, view: &NodeView) -> Option<Change> {
        let mut change = Change::default();
        for (number, item) in self.inputs.view.diff(view).enumerate() {
            if number >= CHANGED_MAX {
                return None;
            }
            match item {
                DiffItem::Add(key, new) => change.note(key, None, Some(new)),
                DiffItem::Update { old: (key, old), new: (_, new) } => {
                    change.note(key, Some(old), Some(new));
                }
                DiffItem::Remove(key, old) => change.note(key, Some(old), None),
            }
        }
        Some(change)
    }

    /// True if the same node has the same devices and endpoints.
    pub fn has_same_endpoints(&self, inputs: &Inputs) -> bool {
        Arc::ptr_eq(&self.inputs.journal, &inputs.journal) || self.inputs.journal == inputs.journal
    }

    /// Returns the part that must be worked on; `None` if that is everything.
    pub fn partial(&self, inputs: &Inputs, change: &Change) -> Option<Partial> {
        // Without its own address a node has nothing.
        if self.inputs.node_id != inputs.node_id || change.peers.contains(&inputs.node_id) {
            return None;
        }
        let part = self.part(inputs, change);
        let restricted = |inputs: &Inputs, few: NodeView| Inputs {
            view: Arc::new(part.of(&inputs.view, few)),
            ..inputs.clone()
        };
        let now = if change.host { few(&inputs.view) } else { self.few.clone() };
        let old = restricted(&self.inputs, self.few.clone());
        Some(Partial { new: restricted(inputs, now), old })
    }

    fn part(&self, inputs: &Inputs, change: &Change) -> Part {
        let mut part = Part { services: change.services.clone(), ..Part::default() };
        for (task, services) in &change.backends {
            part.backends.insert(task.clone());
            part.services.extend(services.iter().flatten().cloned());
        }
        self.add_moved_endpoints(inputs, &mut part);
        for inputs in [&self.inputs, inputs] {
            part.add_touching(&inputs.view, change);
        }
        let members = part.services.iter().flat_map(|service| self.members_of(service));
        part.backends.extend(members.cloned());
        part
    }
}

impl Settled {
    fn members_of<'a>(&'a self, service: &'a ServiceId) -> impl Iterator<Item = &'a TaskId> {
        let first = (service.clone(), TaskId::from_text(""));
        let members = self.members.range(first..).take_while(move |(of, _)| of == service);
        members.map(|(_, task)| task)
    }
}

impl Settled {
    /// Adds what has an endpoint on this node that came, went or changed.
    fn add_moved_endpoints(&self, now: &Inputs, part: &mut Part) {
        if Arc::ptr_eq(&self.inputs.journal, &now.journal)
            && Arc::ptr_eq(&self.inputs.snapshot, &now.snapshot)
        {
            return;
        }
        let (before, after) = (locals(&self.inputs), locals(now));
        let differs = |id: &&String| before.get(*id) != after.get(*id);
        let ids: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
        for id in ids.iter().filter(|id| differs(id)) {
            let found = [before.get(*id), after.get(*id)].into_iter().flatten();
            part.add_tasks(&now.view, found.map(|(endpoint, _)| &endpoint.task));
            let found = [before.get(*id), after.get(*id)].into_iter().flatten();
            part.add_tasks(&self.inputs.view, found.map(|(endpoint, _)| &endpoint.task));
        }
    }
}

/// Joined endpoints with the index of their device.
fn locals(inputs: &Inputs) -> BTreeMap<&String, (&Endpoint, Option<u32>)> {
    let index = |id: &str, endpoint| inputs.device_of(id, endpoint).map(|link| link.index);
    let joined = inputs.journal.joined();
    joined.map(|(id, endpoint)| (id, (endpoint, index(id, endpoint)))).collect()
}

impl Change {
    fn note(&mut self, key: &ItemKey, old: Option<&Item>, new: Option<&Item>) {
        match key {
            ItemKey::Settings => self.host = true,
            ItemKey::Peer(node) => {
                self.host = true;
                self.peers.insert(node.clone());
            }
            ItemKey::Network(network) => {
                self.host = true;
                self.networks.insert(network.clone());
            }
            ItemKey::Service(service) => {
                self.host |= publishes(old) || publishes(new);
                self.services.insert(service.clone());
            }
            ItemKey::Backend(task) => {
                self.backends.insert(task.clone(), [service_of(old), service_of(new)]);
            }
            // A task's progress concerns nothing here, unless it holds ports of this node.
            ItemKey::Task(_) => {
                let stays = old.is_some() && new.is_some();
                self.host |= !stays || has_host_ports(old) || has_host_ports(new);
            }
        }
    }
}

fn publishes(item: Option<&Item>) -> bool {
    matches!(item, Some(Item::Service(ServiceItem { ports, .. })) if !ports.is_empty())
}

fn has_host_ports(item: Option<&Item>) -> bool {
    let Some(Item::Task(task)) = item else { return false };
    task.task.host_ports().next().is_some()
}

fn service_of(item: Option<&Item>) -> Option<ServiceId> {
    if let Some(Item::Backend(backend)) = item { backend.service_id.clone() } else { None }
}

impl Part {
    /// Adds what lies on changed nodes and networks; one walk over the view, and seldom.
    fn add_touching(&mut self, view: &NodeView, change: &Change) {
        if change.peers.is_empty() && change.networks.is_empty() {
            return;
        }
        for service in services(view) {
            if service.vips.iter().any(|vip| change.networks.contains(&vip.network_id)) {
                self.services.insert(service.id.clone());
            }
        }
        for backend in backends(view) {
            let mut on = backend.attachments.iter();
            if change.peers.contains(&backend.node_id)
                || on.any(|attachment| change.networks.contains(&attachment.network_id))
            {
                self.backends.insert(backend.task_id.clone());
                self.services.extend(backend.service_id.clone());
            }
        }
    }

    fn add_tasks<'a>(&mut self, view: &NodeView, tasks: impl Iterator<Item = &'a TaskId>) {
        for task in tasks {
            let service = service_of(view.get(&ItemKey::Backend(task.clone())));
            self.backends.insert(task.clone());
            self.services.extend(service);
        }
    }

    /// Returns what a view says about the part, and what is few.
    fn of(&self, view: &NodeView, few: NodeView) -> NodeView {
        let services = self.services.iter().cloned().map(ItemKey::Service);
        let backends = self.backends.iter().cloned().map(ItemKey::Backend);
        copied(view, services.chain(backends), few)
    }
}

/// Returns what of a view no part is without: settings, peers, networks, and own tasks that hold ports
/// of this node. It is another one only after a change of the host.
fn few(view: &NodeView) -> NodeView {
    let first_service = ItemKey::Service(ServiceId::from_text(""));
    let few = view.range(..first_service).map(|(key, item)| (key.clone(), item.clone()));
    let own = tasks(view).filter(|task| task.task.host_ports().next().is_some());
    copied(view, own.map(|task| ItemKey::Task(task.task.id.clone())), few.collect())
}

fn copied(view: &NodeView, keys: impl Iterator<Item = ItemKey>, mut to: NodeView) -> NodeView {
    for key in keys {
        if let Some(item) = view.get(&key) {
            to.insert(key, item.clone());
        }
    }
    to
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
