//! Pure: what one pass of the data plane works from, and the questions its planners ask of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_ebpf::abi;
use swarmnet_model::defaults::DATA_PATH_PORT;
use swarmnet_model::view::{AssignedTask, Backend, BackendState, NetworkItem, Peer, ServiceItem};
use swarmnet_model::{Attachment, Item, ItemKey, NetworkId, NodeId, NodeView, ServiceId, TaskId};

use crate::lookup::Directory;
use crate::netlink::link::Link;
use crate::netlink::route::Way;
use crate::netlink::snapshot::Snapshot;
use crate::numbers::{BackendKey, Numbers, ServiceKey, Wanted};
use crate::plugin::journal::{Endpoint, Journal, device_names};

/// Bytes that a VXLAN header with an IPv4 underlay takes from the MTU.
const VXLAN_OVERHEAD: u32 = 50;
/// MTU of the underlay when the device that holds the node's address is not known yet.
const UNDERLAY_MTU: u32 = 1_500;
/// MTU of attachments before anything is known.
pub const MTU_AT_FIRST: u32 = UNDERLAY_MTU - VXLAN_OVERHEAD;
/// Smallest MTU IPv4 allows on a link (RFC 791).
const MTU_MIN: u32 = 68;
/// Largest outer packet IPv4 knows, less the overhead.
const MTU_MAX: u32 = 65_535 - VXLAN_OVERHEAD;

/// What the managers and the engine have told, and what the host looks like.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub node_id: NodeId,
    pub view: Arc<NodeView>,
    pub journal: Arc<Journal>,
    pub pool: Ipv4Network,
    pub snapshot: Arc<Snapshot>,
    /// Namespace cookies of sandboxes, by sandbox path; a missing one is not made yet.
    pub cookies: Arc<BTreeMap<PathBuf, u64>>,
    pub host_cookie: u64,
    pub numbers: Arc<Numbers>,
    /// True if there is a cgroup2 for socket load balancing.
    pub has_cgroup2: bool,
    /// The ways to the other nodes, by their address.
    pub ways: Arc<BTreeMap<Ipv4Addr, Way>>,
}

impl Inputs {
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        peers(&self.view)
    }

    pub fn networks(&self) -> impl Iterator<Item = &NetworkItem> {
        networks(&self.view)
    }

    pub fn services(&self) -> impl Iterator<Item = &ServiceItem> {
        services(&self.view)
    }

    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        backends(&self.view)
    }

    /// Returns the backends that services send their clients to, or did a moment ago.
    pub fn serving(&self) -> impl Iterator<Item = &Backend> {
        self.backends().filter(|b| b.service_id.is_some() && b.state != BackendState::Placed)
    }

    pub fn tasks(&self) -> impl Iterator<Item = &AssignedTask> {
        tasks(&self.view)
    }

    /// Returns the tasks with ports that only this node serves.
    pub fn host_tasks(&self) -> impl Iterator<Item = &AssignedTask> {
        self.tasks().filter(|task| task.task.host_ports().next().is_some())
    }

    pub fn network(&self, id: &NetworkId) -> Option<&NetworkItem> {
        network(&self.view, id)
    }

    pub fn service(&self, id: &ServiceId) -> Option<&ServiceItem> {
        service(&self.view, id)
    }

    /// True if a service has ports that every node serves.
    pub fn publishes(&self, id: &ServiceId) -> bool {
        self.service(id).is_some_and(|service| !service.ports.is_empty())
    }

    pub fn task(&self, id: &TaskId) -> Option<&AssignedTask> {
        assigned(&self.view, id)
    }

    /// Returns the address of this node; `None` until its own peer item has come.
    pub fn node_addr(&self) -> Option<Ipv4Addr> {
        node_addr(&self.view, &self.node_id)
    }

    pub fn data_path_port(&self) -> u16 {
        data_path_port(&self.view)
    }

    /// Returns the MTU of attachments without one of their own.
    pub fn attachment_mtu(&self) -> u32 {
        let ways: Vec<_> = self.ways.values().copied().collect();
        overlay_mtu(&ways, self.uplink(), &self.snapshot.links)
    }

    /// Returns the longest packet that the tunnel to a node carries in one piece.
    pub fn tunnel_mtu(&self, peer: Ipv4Addr) -> u32 {
        let way: Vec<_> = self.ways.get(&peer).copied().into_iter().collect();
        overlay_mtu(&way, self.uplink(), &self.snapshot.links)
    }

    fn uplink(&self) -> Option<&Link> {
        self.snapshot.holder_of(self.node_addr()?)
    }

    /// Returns a node's index in the maps: 0 for this node.
    pub fn node_index(&self, node: &NodeId) -> Option<u32> {
        if *node == self.node_id { Some(0) } else { self.numbers.nodes.get(node).copied() }
    }

    /// Returns the joined endpoints whose device exists, with the device.
    pub fn local_endpoints(&self) -> impl Iterator<Item = (&Endpoint, &Link)> {
        self.journal.joined().filter_map(|(id, endpoint)| self.with_device(id, endpoint))
    }

    /// Returns those of one task.
    pub fn endpoints_of(&self, task: &TaskId) -> impl Iterator<Item = (&Endpoint, &Link)> {
        let own = self.journal.joined().filter(move |(_, endpoint)| endpoint.task == *task);
        own.filter_map(|(id, endpoint)| self.with_device(id, endpoint))
    }

    fn with_device<'a>(
        &'a self,
        id: &str,
        endpoint: &'a Endpoint,
    ) -> Option<(&'a Endpoint, &'a Link)> {
        Some((endpoint, self.device_of(id, endpoint)?))
    }

    /// Returns the host side of an endpoint, if it exists.
    pub fn device_of(&self, id: &str, endpoint: &Endpoint) -> Option<&Link> {
        self.snapshot.links.get(&device_names(id, endpoint).0)
    }

    /// Returns the gateway endpoint of a task of this node, with its device.
    pub fn gateway_of(&self, task: &TaskId) -> Option<(&Endpoint, &Link)> {
        self.endpoints_of(task).find(|(e, _)| e.is_gateway())
    }

    /// Returns where its service leads clients to a backend: the networks it has a VIP on, and the
    /// mesh (no attachment). A removed service leads nowhere new, its tasks end in peace.
    pub fn ways_to<'a>(
        &'a self,
        backend: &'a Backend,
        service: Option<&'a ServiceItem>,
        directory: &'a Directory<'a>,
    ) -> impl Iterator<Item = (BackendKey, Option<&'a Attachment>)> {
        let led = move |attachment: Option<&Attachment>, key: &BackendKey| match service {
            None => self.numbers.backends.contains_key(key),
            Some(service) => attachment.map_or(!service.ports.is_empty(), |attachment| {
                service.vips.iter().any(|vip| vip.network_id == attachment.network_id)
            }),
        };
        let in_mesh = backend.gateway.is_some() || backend.node_id == self.node_id;
        let mesh = in_mesh.then_some((abi::VNI_HOST, None));
        let overlays = backend.attachments.iter().filter_map(|attachment| {
            Some((directory.network(&attachment.network_id)?.vni.get(), Some(attachment)))
        });
        let keyed = mesh.into_iter().chain(overlays).map(|(vni, attachment)| {
            (BackendKey { task: backend.task_id.clone(), vni }, attachment)
        });
        keyed.filter(move |(key, attachment)| led(*attachment, key))
    }

    /// Returns everything that needs a number.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        let others = self.peers().filter(|peer| peer.node_id != self.node_id);
        wanted.nodes.extend(others.map(|peer| peer.node_id.clone()));
        for service in self.services() {
            let vips = service.vips.iter().map(|vip| vip.network_id.clone());
            wanted.services.extend(vips.map(|net| ServiceKey::Vip(service.id.clone(), net)));
            if !service.ports.is_empty() {
                wanted.services.insert(ServiceKey::Mesh(service.id.clone()));
            }
        }
        // A set that is made of a list at once costs a fraction of one that grows.
        let directory = Directory::of(&self.view);
        let ways = |backend| {
            let service = directory.service_of(backend).map(|(_, service)| service);
            self.ways_to(backend, service, &directory).map(|(key, _)| key)
        };
        wanted.backends = self.serving().flat_map(ways).collect();
        for task in self.host_tasks() {
            let id = task.task.id.clone();
            wanted.services.insert(ServiceKey::Host(id.clone()));
            wanted.backends.insert(BackendKey { task: id, vni: abi::VNI_HOST });
        }
        wanted
    }
}

/// Returns the nodes of a view.
pub fn peers(view: &NodeView) -> impl Iterator<Item = &Peer> {
    let from = ItemKey::Peer(NodeId::from_text(""));
    items(view, from).map_while(|item| if let Item::Peer(it) = item { Some(it) } else { None })
}

/// Returns the UDP port of the tunnel.
pub fn data_path_port(view: &NodeView) -> u16 {
    match view.get(&ItemKey::Settings) {
        Some(Item::Settings(settings)) => settings.data_path_port,
        _ => DATA_PATH_PORT,
    }
}

/// Returns the networks of a view.
pub fn networks(view: &NodeView) -> impl Iterator<Item = &NetworkItem> {
    let from = ItemKey::Network(NetworkId::from_text(""));
    items(view, from).map_while(|item| if let Item::Network(it) = item { Some(it) } else { None })
}

/// Returns the services of a view.
pub fn services(view: &NodeView) -> impl Iterator<Item = &ServiceItem> {
    let from = ItemKey::Service(ServiceId::from_text(""));
    items(view, from).map_while(|item| if let Item::Service(it) = item { Some(it) } else { None })
}

/// Returns the backends of a view.
pub fn backends(view: &NodeView) -> impl Iterator<Item = &Backend> {
    let from = ItemKey::Backend(TaskId::from_text(""));
    items(view, from).map_while(|item| if let Item::Backend(it) = item { Some(it) } else { None })
}

/// Returns this node's tasks of a view.
pub fn tasks(view: &NodeView) -> impl Iterator<Item = &AssignedTask> {
    let from = ItemKey::Task(TaskId::from_text(""));
    items(view, from).map_while(|item| if let Item::Task(it) = item { Some(&**it) } else { None })
}

/// Keys of a kind lie together: whoever wants the networks does not walk over 100,000 backends.
fn items(view: &NodeView, from: ItemKey) -> impl Iterator<Item = &Item> {
    view.range(from..).map(|(_, item)| item)
}

/// Returns one of this node's tasks of a view.
pub fn assigned<'a>(view: &'a NodeView, id: &TaskId) -> Option<&'a AssignedTask> {
    match view.get(&ItemKey::Task(id.clone())) {
        Some(Item::Task(task)) => Some(task),
        _ => None,
    }
}

/// Returns one service of a view.
pub fn service<'a>(view: &'a NodeView, id: &ServiceId) -> Option<&'a ServiceItem> {
    match view.get(&ItemKey::Service(id.clone())) {
        Some(Item::Service(service)) => Some(service),
        _ => None,
    }
}

/// Returns one network of a view.
pub fn network<'a>(view: &'a NodeView, id: &NetworkId) -> Option<&'a NetworkItem> {
    match view.get(&ItemKey::Network(id.clone())) {
        Some(Item::Network(network)) => Some(network),
        _ => None,
    }
}

/// Returns the address of a node in a view.
pub fn node_addr(view: &NodeView, node: &NodeId) -> Option<Ipv4Addr> {
    match view.get(&ItemKey::Peer(node.clone())) {
        Some(Item::Peer(peer)) => Some(peer.addr),
        _ => None,
    }
}

/// Returns the MTU of attachments: what fits the tunnel on the narrowest way to another node.
///
/// `uplink` counts while there is no other node.
pub fn overlay_mtu(ways: &[Way], uplink: Option<&Link>, links: &BTreeMap<String, Link>) -> u32 {
    let device = |index| links.values().find(|link| link.index == index).map(|link| link.mtu);
    let carried = |way: &Way| device(way.ifindex).into_iter().chain(way.mtu).min();
    let narrowest = ways.iter().filter_map(carried).min();
    let underlay = narrowest.or_else(|| uplink.map(|link| link.mtu)).unwrap_or(UNDERLAY_MTU);
    underlay.saturating_sub(VXLAN_OVERHEAD).clamp(MTU_MIN, MTU_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::link::LinkKind;

    fn link(index: u32, mtu: u32) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            mac: [0; 6],
            mtu,
            up: true,
            ethernet: true,
            kind: LinkKind::Other,
            master: None,
        }
    }

    #[test]
    fn the_narrowest_way_to_a_node_decides() {
        let links = [link(1, 1_500), link(2, 9_000), link(3, 65_536)];
        let links: BTreeMap<_, _> = links.into_iter().map(|l| (l.name.clone(), l)).collect();
        let way = |ifindex, mtu| Way { ifindex, mtu };
        let mtu = |ways: &[Way]| overlay_mtu(ways, links.get("eth1"), &links);
        assert_eq!(mtu(&[]), 1_450, "alone: the device of the node's address");
        assert_eq!(mtu(&[way(2, None), way(2, None)]), 8_950);
        assert_eq!(mtu(&[way(2, None), way(1, None)]), 1_450);
        assert_eq!(mtu(&[way(2, Some(1_400)), way(1, None)]), 1_350);
        assert_eq!(mtu(&[way(1, Some(9_000))]), 1_450, "a route is no wider than its device");
        assert_eq!(mtu(&[way(9, None)]), 1_450, "a device that has gone says nothing");
        assert_eq!(mtu(&[way(1, Some(60))]), 68);
        assert_eq!(mtu(&[way(3, None)]), 65_485);
        assert_eq!(overlay_mtu(&[], None, &links), 1_450);
    }
}
