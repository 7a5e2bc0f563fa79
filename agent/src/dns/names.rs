//! Pure: the node's view → the names of each network.
//!
//! | name | answer |
//! |---|---|
//! | service, its aliases | the VIP; without one all serving tasks |
//! | `tasks.` service, `tasks.` alias | all serving tasks |
//! | task (`web.1`), container (`web.1.<id>`, `docker run`'s name) | its address from placement to its end |
//! | aliases of a plain container | its address while it runs |
//! | any of them, `.` network | the same, on that network only |
//! | `_port._proto.` service | SRV: the port inside the network, and where |
//!
//! A service's names exist as long as the service does, with no address if nothing serves: nobody
//! then waits for an upstream that cannot know. Serving is running and healthy, not draining.
//! Several tasks of one name (`web.1` while it is replaced): the one that serves, else the coming
//! one, else the going one.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_model::view::{Backend, BackendState, NetworkItem, OrdMap, ServiceItem};
use swarmnet_model::{Attachment, NetworkId, NodeView, ServiceId, TaskId};

use super::name::{Name, before};
use super::sources::Source;
use crate::inputs::{backends, networks, service, services};

/// The names of all networks of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    networks: BTreeMap<NetworkId, Arc<Network>>,
    /// Backends whose service is not in the view: they speak of something else once it is.
    pub(super) orphans: BTreeMap<TaskId, ServiceId>,
}

/// The names of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    name: Option<Name>,
    subnet: Ipv4Network,
    /// Cheap to clone: a change of one name costs no walk over the others.
    entries: OrdMap<Name, Arc<Entry>>,
    reverse: OrdMap<Ipv4Addr, Arc<Holder>>,
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    name: Name,
    /// Ordered, each once.
    sources: Vec<Source>,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Ordered, each once.
    pub addresses: Vec<Ipv4Addr>,
    pub ports: Vec<Port>,
    /// Who speaks of it; ordered, each once.
    sources: Vec<Source>,
}

/// A port of a service, as SRV tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub target: Name,
}

/// What a network says of something: of a name, or of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Name(Name),
    Address(Ipv4Addr),
}

impl Network {
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.get(name).map(|entry| &**entry)
    }

    /// Returns what is known of `name` if it ends with the network's own.
    pub fn find_below(&self, name: &[u8]) -> Option<&Entry> {
        self.find(before(name, self.name.as_ref()?.as_bytes())?)
    }

    pub fn name_of(&self, addr: Ipv4Addr) -> Option<&Name> {
        self.reverse.get(&addr).map(|holder| &holder.name)
    }

    /// Returns who speaks of it.
    pub(super) fn sources(&self, key: &Key) -> &[Source] {
        let found = match key {
            Key::Name(name) => self.entries.get(name).map(|entry| &entry.sources),
            Key::Address(addr) => self.reverse.get(addr).map(|holder| &holder.sources),
        };
        found.map_or(&[], Vec::as_slice)
    }

    /// Says of `keys` what `other` says of them.
    pub(super) fn take(&mut self, other: &Self, keys: &BTreeSet<Key>) {
        for key in keys {
            match key {
                Key::Name(name) => match other.entries.get(name) {
                    Some(entry) => drop(self.entries.insert(name.clone(), Arc::clone(entry))),
                    None => drop(self.entries.remove(name)),
                },
                Key::Address(addr) => match other.reverse.get(addr) {
                    Some(holder) => drop(self.reverse.insert(*addr, Arc::clone(holder))),
                    None => drop(self.reverse.remove(addr)),
                },
            }
        }
    }

    /// Returns everything it speaks of.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let names = self.entries.keys().cloned().map(Key::Name);
        names.chain(self.reverse.keys().copied().map(Key::Address))
    }
}

impl Names {
    /// Builds the names of all networks of a view.
    pub fn build(view: &NodeView) -> Self {
        Self::of_some(view, &services(view).collect::<Vec<_>>(), backends(view))
    }

    /// Builds the names that some services and backends of a view speak of.
    pub(super) fn of_some<'a>(
        view: &'a NodeView,
        services: &[&'a ServiceItem],
        backends: impl Iterator<Item = &'a Backend>,
    ) -> Self {
        let mut orphans = BTreeMap::new();
        let mut drafts: BTreeMap<&NetworkId, Draft<'_>> =
            networks(view).map(|network| (&network.id, Draft::of(network))).collect();
        for service in services {
            drafts.iter_mut().for_each(|(id, draft)| draft.service(service, id));
        }
        // A service's backends after each other: its names are looked up once, not for each.
        let mut teams: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for backend in backends {
            teams.entry(backend.service_id.as_ref()).or_default().push(backend);
        }
        for (id, team) in teams {
            let service = id.and_then(|id| service(view, id));
            if let (Some(missing), None) = (id, service) {
                orphans.extend(team.iter().map(|it| (it.task_id.clone(), missing.clone())));
            }
            for (network, members) in by_network(&team) {
                if let Some(draft) = drafts.get_mut(network) {
                    draft.tasks(service, &members);
                }
            }
        }
        for service in services {
            drafts.iter_mut().for_each(|(id, draft)| draft.ports(service, id));
        }
        let finished = drafts.into_iter().map(|(id, draft)| (id.clone(), draft.finish()));
        Self { networks: finished.collect(), orphans }
    }

    pub fn network(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(id)
    }

    /// True if the address belongs to an overlay of this node.
    pub fn own(&self, addr: Ipv4Addr) -> bool {
        self.networks.values().any(|network| network.subnet.contains(addr))
    }

    pub(super) fn networks(&self) -> impl Iterator<Item = (&NetworkId, &Arc<Network>)> {
        self.networks.iter()
    }

    pub(super) fn set(&mut self, id: NetworkId, network: Network) {
        self.networks.insert(id, Arc::new(network));
    }
}

/// A network's names while they are collected.
struct Draft<'a> {
    network: &'a NetworkItem,
    name: Option<Name>,
    entries: BTreeMap<Name, Collected>,
    reverse: BTreeMap<Ipv4Addr, Holder>,
}

#[derive(Default)]
struct Collected {
    sources: Vec<Source>,
    serving: Vec<Ipv4Addr>,
    /// Tasks whose own name this is, of the best state only.
    own: Option<(BackendState, Vec<Ipv4Addr>)>,
    ports: Vec<Port>,
}

/// A backend on one network.
type Member<'a> = (&'a Backend, &'a Attachment);

fn by_network<'a>(team: &[&'a Backend]) -> BTreeMap<&'a NetworkId, Vec<Member<'a>>> {
    let mut members: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for backend in team {
        for attachment in &backend.attachments {
            members.entry(&attachment.network_id).or_default().push((*backend, attachment));
        }
    }
    members
}

impl<'a> Draft<'a> {
    fn of(network: &'a NetworkItem) -> Self {
        let name = Name::from_text(&network.name);
        Self { network, name, entries: BTreeMap::new(), reverse: BTreeMap::new() }
    }

    fn entry(&mut self, name: Name, source: &Source) -> &mut Collected {
        let entry = self.entries.entry(name).or_default();
        if entry.sources.is_empty() {
            // Most names have one: room for four would be taken and given back.
            entry.sources.reserve_exact(1);
        }
        entry.sources.push(source.clone());
        entry
    }

    /// Notes that an address serves under a name; `None` that the name exists.
    fn serve(&mut self, text: &str, addr: Option<Ipv4Addr>, source: &Source) {
        if let Some(name) = Name::from_text(text) {
            self.entry(name, source).serving.extend(addr);
        }
    }

    fn reverse(&mut self, addr: Ipv4Addr, name: &Name, source: &Source) {
        let Some(name) = self.below_network(name) else { return };
        match self.reverse.entry(addr) {
            MapEntry::Vacant(free) => {
                free.insert(Holder { name, sources: vec![source.clone()] });
            }
            MapEntry::Occupied(mut held) => {
                let holder = held.get_mut();
                holder.name = name;
                holder.sources.push(source.clone());
            }
        }
    }

    /// Returns a name with the network's own behind it.
    fn below_network(&self, name: &Name) -> Option<Name> {
        self.name.as_ref().map_or_else(|| Some(name.clone()), |network| name.below(network))
    }

    fn service(&mut self, service: &ServiceItem, id: &NetworkId) {
        let vip = vip_on(service, id);
        let wanted = service.networks.iter().find(|network| network.network_id == *id);
        if vip.is_none() && wanted.is_none() {
            return;
        }
        let source = Source::Service(service.id.clone());
        let aliases = wanted.into_iter().flat_map(|network| &network.aliases);
        for name in std::iter::once(&service.name).chain(aliases) {
            self.serve(name, vip, &source);
            self.serve(&format!("tasks.{name}"), None, &source);
        }
        if let Some((vip, name)) = vip.zip(Name::from_text(&service.name)) {
            self.reverse(vip, &name, &source);
        }
    }

    /// Takes in the backends of one service, or those of none.
    fn tasks(&mut self, service: Option<&ServiceItem>, members: &[Member<'_>]) {
        for member in members {
            self.task(*member, service);
        }
        if let Some(service) = service {
            let vip = vip_on(service, &self.network.id);
            self.serve_all(&format!("tasks.{}", service.name), members, None);
            self.serve_all(&service.name, members, vip);
        }
    }

    /// Notes that all of them serve under a name, or the VIP in their place.
    fn serve_all(&mut self, text: &str, members: &[Member<'_>], vip: Option<Ipv4Addr>) {
        let Some(name) = Name::from_text(text) else { return };
        let entry = self.entries.entry(name).or_default();
        for member in members {
            entry.sources.push(Source::Backend(member.0.task_id.clone()));
            entry.serving.extend(vip.or(serving(*member)));
        }
    }

    /// Takes in the names that a backend does not share with all others of its service.
    fn task(&mut self, member: Member<'_>, service: Option<&ServiceItem>) {
        let (backend, attachment) = member;
        let source = Source::Backend(backend.task_id.clone());
        let addr = attachment.address.ip();
        if let Some(name) =
            Name::from_text(&backend.task_name).filter(|_| backend.service_id.is_some())
        {
            self.entry(name, &source).own(backend.state, addr);
        }
        if let Some(name) = Name::from_text(&container_name(backend)) {
            self.reverse(addr, &name, &source);
            self.entry(name, &source).own(backend.state, addr);
        }
        let vip = service.and_then(|service| vip_on(service, &self.network.id));
        for alias in &attachment.aliases {
            if service.is_some() {
                self.serve(&format!("tasks.{alias}"), serving(member), &source);
            }
            self.serve(alias, vip.or(serving(member)), &source);
        }
    }

    fn ports(&mut self, service: &ServiceItem, id: &NetworkId) {
        let Some(name) = Name::from_text(&service.name) else { return };
        let Some(addresses) = self.entries.get(&name).map(|entry| entry.serving.clone()) else {
            return;
        };
        let known = vip_on(service, id).is_some()
            || service.networks.iter().any(|network| network.network_id == *id);
        let (true, Some(target)) = (known, self.below_network(&name)) else { return };
        let source = Source::Service(service.id.clone());
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let text = format!("_{}._{}.{}", port.name, port.protocol, service.name);
            if let Some(name) = Name::from_text(&text) {
                let entry = self.entry(name, &source);
                entry.serving.extend(&addresses);
                entry.ports.push(Port { number: port.target_port, target: target.clone() });
            }
        }
    }

    fn finish(self) -> Arc<Network> {
        let entries =
            self.entries.into_iter().map(|(name, found)| (name, Arc::new(found.finish())));
        Arc::new(Network {
            name: self.name,
            subnet: self.network.subnet.subnet,
            entries: entries.collect(),
            reverse: self.reverse.into_iter().map(|(addr, it)| (addr, it.finish())).collect(),
        })
    }
}

impl Collected {
    fn own(&mut self, state: BackendState, addr: Ipv4Addr) {
        let (best, addresses) = self.own.get_or_insert((state, Vec::with_capacity(1)));
        if rank(state) < rank(*best) {
            *best = state;
            addresses.clear();
        }
        if *best == state {
            addresses.push(addr);
        }
    }

    fn finish(mut self) -> Entry {
        let mut own = self.own.map(|(_, addresses)| addresses).unwrap_or_default();
        if self.serving.is_empty() {
            std::mem::swap(&mut self.serving, &mut own);
        }
        self.serving.extend(own);
        let addresses = ordered(self.serving);
        Entry { addresses, ports: self.ports, sources: ordered(self.sources) }
    }
}

impl Holder {
    fn finish(self) -> Arc<Self> {
        Arc::new(Self { name: self.name, sources: ordered(self.sources) })
    }
}

fn ordered<T: Ord>(mut many: Vec<T>) -> Vec<T> {
    many.sort_unstable();
    many.dedup();
    many.shrink_to_fit();
    many
}

fn serving((backend, attachment): Member<'_>) -> Option<Ipv4Addr> {
    (backend.state == BackendState::Active).then(|| attachment.address.ip())
}

fn container_name(backend: &Backend) -> String {
    match backend.service_id {
        Some(_) => format!("{}.{}", backend.task_name, backend.task_id),
        None => backend.task_name.clone(),
    }
}

/// The serving one, else the coming one, else the going one.
fn rank(state: BackendState) -> u8 {
    match state {
        BackendState::Active => 0,
        BackendState::Placed => 1,
        BackendState::Draining => 2,
        BackendState::Down => 3,
    }
}

fn vip_on(service: &ServiceItem, network: &NetworkId) -> Option<Ipv4Addr> {
    let vip = service.vips.iter().find(|vip| vip.network_id == *network)?;
    Some(vip.address.ip())
}
