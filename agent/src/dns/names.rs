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

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_model::view::{Backend, BackendState, NetworkItem, OrdMap, ServiceItem};
use swarmnet_model::{NetworkId, NodeView, ServiceId, TaskId};

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
        for backend in backends {
            let service = backend.service_id.as_ref().and_then(|id| service(view, id));
            if let (Some(missing), None) = (&backend.service_id, service) {
                orphans.insert(backend.task_id.clone(), missing.clone());
            }
            for attachment in &backend.attachments {
                if let Some(draft) = drafts.get_mut(&attachment.network_id) {
                    let addr = attachment.address.ip();
                    draft.task(backend, addr, service, &attachment.aliases);
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
    serving: BTreeSet<Ipv4Addr>,
    /// Tasks whose own name this is, of the best state only.
    own: Option<(BackendState, BTreeSet<Ipv4Addr>)>,
    ports: Vec<Port>,
}

impl<'a> Draft<'a> {
    fn of(network: &'a NetworkItem) -> Self {
        let name = Name::from_text(&network.name);
        Self { network, name, entries: BTreeMap::new(), reverse: BTreeMap::new() }
    }

    fn entry(&mut self, text: &str, source: &Source) -> Option<&mut Collected> {
        let entry = self.entries.entry(Name::from_text(text)?).or_default();
        entry.sources.push(source.clone());
        Some(entry)
    }

    /// Notes that an address serves under a name; `None` that the name exists.
    fn serve(&mut self, text: &str, addr: Option<Ipv4Addr>, source: &Source) {
        if let Some(entry) = self.entry(text, source) {
            entry.serving.extend(addr);
        }
    }

    fn reverse(&mut self, addr: Ipv4Addr, text: &str, source: &Source) {
        let name = Name::from_text(text)
            .and_then(|name| self.name.as_ref().map_or(Some(name.clone()), |net| name.below(net)));
        let Some(name) = name else { return };
        let before = self.reverse.remove(&addr).map(|holder| holder.sources);
        let mut sources = before.unwrap_or_default();
        sources.push(source.clone());
        self.reverse.insert(addr, Holder { name, sources });
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
        if let Some(vip) = vip {
            self.reverse(vip, &service.name, &source);
        }
    }

    fn task(
        &mut self,
        backend: &Backend,
        addr: Ipv4Addr,
        service: Option<&ServiceItem>,
        aliases: &[String],
    ) {
        let source = Source::Backend(backend.task_id.clone());
        let serving = (backend.state == BackendState::Active).then_some(addr);
        let container = container_name(backend);
        for name in BTreeSet::from([&backend.task_name, &container]) {
            if let Some(entry) = self.entry(name, &source) {
                entry.own(backend.state, addr);
            }
        }
        self.reverse(addr, &container, &source);
        let Some(service) = service else {
            aliases.iter().for_each(|alias| self.serve(alias, serving, &source));
            return;
        };
        let vip = vip_on(service, &self.network.id);
        for name in std::iter::once(&service.name).chain(aliases) {
            self.serve(&format!("tasks.{name}"), serving, &source);
            self.serve(name, vip.or(serving), &source);
        }
    }

    fn ports(&mut self, service: &ServiceItem, id: &NetworkId) {
        let Some(name) = Name::from_text(&service.name) else { return };
        let Some(addresses) = self.entries.get(&name).map(|entry| entry.serving.clone()) else {
            return;
        };
        let known = vip_on(service, id).is_some()
            || service.networks.iter().any(|network| network.network_id == *id);
        let target = self.name.as_ref().map_or(Some(name.clone()), |net| name.below(net));
        let (true, Some(target)) = (known, target) else { return };
        let source = Source::Service(service.id.clone());
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let text = format!("_{}._{}.{}", port.name, port.protocol, service.name);
            if let Some(entry) = self.entry(&text, &source) {
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
        let (best, addresses) = self.own.get_or_insert((state, BTreeSet::new()));
        if rank(state) < rank(*best) {
            *best = state;
            addresses.clear();
        }
        if *best == state {
            addresses.insert(addr);
        }
    }

    fn finish(mut self) -> Entry {
        self.serving.extend(self.own.into_iter().flat_map(|(_, addresses)| addresses));
        let addresses = self.serving.into_iter().collect();
        Entry { addresses, ports: self.ports, sources: ordered(self.sources) }
    }
}

impl Holder {
    fn finish(self) -> Arc<Self> {
        Arc::new(Self { name: self.name, sources: ordered(self.sources) })
    }
}

fn ordered(mut sources: Vec<Source>) -> Vec<Source> {
    sources.sort_unstable();
    sources.dedup();
    sources.shrink_to_fit();
    sources
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
