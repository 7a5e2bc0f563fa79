//! Pure: the node's view → the names of each network; the plugin's journal → who may see which.
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
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_model::view::{Backend, BackendState, NetworkItem, ServiceItem};
use swarmnet_model::{NetworkId, NodeView, ServiceId, TaskId};

use super::name::{Name, before};
use crate::inputs::{assigned, backends, networks, services};
use crate::plugin::journal::{Endpoint, Journal, NetworkKind};

/// Upstreams of one asker; as many as resolv.conf may name.
pub const UPSTREAMS_MAX: usize = 3;

/// Everything queries are answered from.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: Arc<Names>,
    askers: BTreeMap<u32, Arc<Asker>>,
}

/// The names of all networks of this node.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    networks: BTreeMap<NetworkId, Arc<Network>>,
}

/// The names of one network.
#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    name: Option<Name>,
    subnet: Ipv4Network,
    entries: BTreeMap<Name, Entry>,
    reverse: BTreeMap<Ipv4Addr, Name>,
}

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Ordered, each once.
    pub addresses: Vec<Ipv4Addr>,
    pub ports: Vec<Port>,
}

/// A port of a service, as SRV tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    pub target: Name,
}

/// Who asks: one task of this node, by any of its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub task: TaskId,
    /// In the order in which they are asked: by name, as Docker does.
    networks: Vec<Arc<Network>>,
    pub upstreams: Upstreams,
}

/// Who is asked for what is not in the zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upstreams {
    /// Nobody: every network of the task is internal.
    Nobody,
    /// Those of the host.
    Host,
    /// Those the user named for the task, asked from inside its sandbox.
    Own { servers: Arc<[IpAddr]>, sandbox: Option<PathBuf> },
}

impl Zone {
    /// Builds the zone of a node.
    pub fn build(view: &NodeView, journal: &Journal) -> Self {
        Self::with_names(Arc::new(Names::build(view)), view, journal)
    }

    /// Builds the zone from names that are known already, of the same view.
    pub fn with_names(names: Arc<Names>, view: &NodeView, journal: &Journal) -> Self {
        let askers = journal.joined().map(|(_, endpoint)| {
            (endpoint.lidx, Arc::new(asker(&names, view, journal, &endpoint.task)))
        });
        Self { askers: askers.collect(), names }
    }

    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Returns who asks by the attachment with this index.
    pub fn asker(&self, lidx: u32) -> Option<&Arc<Asker>> {
        self.askers.get(&lidx)
    }

    /// Returns an asker of a task, whichever attachment it is.
    pub fn asker_of(&self, task: &TaskId) -> Option<&Arc<Asker>> {
        self.askers.values().find(|asker| asker.task == *task)
    }

    /// True if the address belongs to an overlay of this node, visible to the asker or not.
    pub fn owns(&self, addr: Ipv4Addr) -> bool {
        self.names.networks.values().any(|network| network.subnet.contains(addr))
    }
}

impl Asker {
    /// Returns what the first network that knows `name` says.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.networks.iter().find_map(|network| network.entries.get(name)).or_else(|| {
            self.networks.iter().find_map(|network| {
                let head = before(name, network.name.as_ref()?.as_bytes())?;
                network.entries.get(head)
            })
        })
    }

    /// Returns the name of an address that the asker sees.
    pub fn name_of(&self, addr: Ipv4Addr) -> Option<&Name> {
        self.networks.iter().find_map(|network| network.reverse.get(&addr))
    }
}

fn asker(names: &Names, view: &NodeView, journal: &Journal, task: &TaskId) -> Asker {
    let own: Vec<&Endpoint> =
        journal.joined().map(|(_, e)| e).filter(|endpoint| endpoint.task == *task).collect();
    let mut networks: Vec<_> = own
        .iter()
        .filter_map(|endpoint| match &endpoint.network {
            NetworkKind::Overlay(id) => names.networks.get(id).cloned(),
            NetworkKind::Gateway => None,
        })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let internal = own.iter().all(|endpoint| endpoint.is_gateway() || endpoint.internal)
        && own.iter().any(|endpoint| !endpoint.is_gateway());
    let upstreams = match (internal, own_servers(view, task)) {
        (true, _) => Upstreams::Nobody,
        (false, servers) if servers.is_empty() => Upstreams::Host,
        (false, servers) => Upstreams::Own {
            servers: servers.into(),
            sandbox: own.iter().find_map(|endpoint| endpoint.sandbox.clone()),
        },
    };
    Asker { task: task.clone(), networks, upstreams }
}

fn own_servers(view: &NodeView, task: &TaskId) -> Vec<IpAddr> {
    let spec = assigned(view, task).map(|assigned| &assigned.task.spec.container);
    let named = spec.into_iter().flat_map(|spec| &spec.dns.nameservers);
    named.filter_map(|text| text.parse().ok()).take(UPSTREAMS_MAX).collect()
}

impl Names {
    /// Builds the names of all networks of a view.
    pub fn build(view: &NodeView) -> Self {
        let services: BTreeMap<&ServiceId, &ServiceItem> =
            services(view).map(|service| (&service.id, service)).collect();
        let mut drafts: BTreeMap<&NetworkId, Draft<'_>> =
            networks(view).map(|network| (&network.id, Draft::of(network))).collect();
        for service in services.values() {
            for (id, draft) in &mut drafts {
                draft.service(service, id);
            }
        }
        for backend in backends(view) {
            let service = backend.service_id.as_ref().and_then(|id| services.get(id)).copied();
            for attachment in &backend.attachments {
                if let Some(draft) = drafts.get_mut(&attachment.network_id) {
                    let addr = attachment.address.ip();
                    draft.task(backend, addr, service, &attachment.aliases);
                }
            }
        }
        for service in services.values() {
            for (id, draft) in &mut drafts {
                draft.ports(service, id);
            }
        }
        let finished = drafts.into_iter().map(|(id, draft)| (id.clone(), draft.finish()));
        Self { networks: finished.collect() }
    }
}

/// A network's names while they are collected.
struct Draft<'a> {
    network: &'a NetworkItem,
    name: Option<Name>,
    entries: BTreeMap<Name, Collected>,
    reverse: BTreeMap<Ipv4Addr, Name>,
}

#[derive(Default)]
struct Collected {
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

    fn entry(&mut self, text: &str) -> Option<&mut Collected> {
        Some(self.entries.entry(Name::from_text(text)?).or_default())
    }

    /// Notes that an address serves under a name; `None` that the name exists.
    fn serve(&mut self, text: &str, addr: Option<Ipv4Addr>) {
        if let Some(entry) = self.entry(text) {
            entry.serving.extend(addr);
        }
    }

    fn reverse(&mut self, addr: Ipv4Addr, text: &str) {
        let name = Name::from_text(text)
            .and_then(|name| self.name.as_ref().map_or(Some(name.clone()), |net| name.below(net)));
        if let Some(name) = name {
            self.reverse.insert(addr, name);
        }
    }

    fn service(&mut self, service: &ServiceItem, id: &NetworkId) {
        let vip = vip_on(service, id);
        let wanted = service.networks.iter().find(|network| network.network_id == *id);
        if vip.is_none() && wanted.is_none() {
            return;
        }
        let aliases = wanted.into_iter().flat_map(|network| &network.aliases);
        for name in std::iter::once(&service.name).chain(aliases) {
            self.serve(name, vip);
            self.serve(&format!("tasks.{name}"), None);
        }
        if let Some(vip) = vip {
            self.reverse(vip, &service.name);
        }
    }

    fn task(
        &mut self,
        backend: &Backend,
        addr: Ipv4Addr,
        service: Option<&ServiceItem>,
        aliases: &[String],
    ) {
        let serving = (backend.state == BackendState::Active).then_some(addr);
        let container = container_name(backend);
        for name in BTreeSet::from([&backend.task_name, &container]) {
            if let Some(entry) = self.entry(name) {
                entry.own(backend.state, addr);
            }
        }
        self.reverse(addr, &container);
        let Some(service) = service else {
            aliases.iter().for_each(|alias| self.serve(alias, serving));
            return;
        };
        let vip = vip_on(service, &self.network.id);
        for name in std::iter::once(&service.name).chain(aliases) {
            self.serve(&format!("tasks.{name}"), serving);
            self.serve(name, vip.or(serving));
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
        for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
            let text = format!("_{}._{}.{}", port.name, port.protocol, service.name);
            if let Some(entry) = self.entry(&text) {
                entry.serving.extend(&addresses);
                entry.ports.push(Port { number: port.target_port, target: target.clone() });
            }
        }
    }

    fn finish(self) -> Arc<Network> {
        let entries = self.entries.into_iter().map(|(name, found)| (name, found.finish()));
        Arc::new(Network {
            name: self.name,
            subnet: self.network.subnet.subnet,
            entries: entries.collect(),
            reverse: self.reverse,
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
        Entry { addresses: self.serving.into_iter().collect(), ports: self.ports }
    }
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
