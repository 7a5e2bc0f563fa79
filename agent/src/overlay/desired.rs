//! Pure: view and journal → peers, networks and places of overlay addresses.

use std::net::Ipv4Addr;

use swarmnet_ebpf::abi::{self, Be32, Ep, EpKey, Node, Peer, VniValue};
use swarmnet_model::view::NetworkItem;

use super::{Device, State};
use crate::inputs::Inputs;
use crate::lookup::Directory;
use crate::numbers::ServiceKey;

/// Addresses with where they are, the more specific source last.
type Places = Vec<(EpKey, Ep)>;

/// Returns what this node must know of all overlays it takes part in.
///
/// Shape: addresses keyed by (VNI, address). Where two sources name one address, the more specific
/// one wins: local endpoint, then placement, then VIP, then the network's gateway.
pub fn desired(inputs: &Inputs) -> State {
    let Some(own) = inputs.node_addr() else { return State::default() };
    let mut state = addresses(inputs);
    state.device = Some(Device { port: inputs.data_path_port(), up: true, program: true });
    let src = Be32::new(own);
    state.nodes.insert(0, Node { addr: src, src, ..Node::default() });
    for peer in inputs.peers() {
        let Some(index) = inputs.numbers.nodes.get(&peer.node_id) else { continue };
        let addr = Be32::new(peer.addr);
        let mtu = inputs.tunnel_mtu(peer.addr);
        state.nodes.insert(*index, Node { addr, src, mtu, flags: 0 });
        state.peers.insert(addr, Peer { node: *index, flags: 0 });
    }
    for network in inputs.networks() {
        let flags = if network.internal { abi::VNI_INTERNAL } else { 0 };
        state.vnis.insert(network.vni.get(), VniValue { flags });
    }
    state
}

/// Returns the places of addresses alone.
pub fn addresses(inputs: &Inputs) -> State {
    let mut places = Places::new();
    if inputs.node_addr().is_none() {
        return State::default();
    }
    for network in inputs.networks() {
        let gateway = Ep { kind: abi::EP_GATEWAY, ..ep() };
        places.push(place(network, network.subnet.gateway, gateway));
    }
    add_vips(inputs, &mut places);
    add_placements(inputs, &mut places);
    add_local(inputs, &mut places);
    // A map that is made of a list at once costs a fraction of one that grows; of two with one key
    // the later one stays.
    State { eps: places.into_iter().collect(), ..State::default() }
}

fn add_vips(inputs: &Inputs, places: &mut Places) {
    for service in inputs.services() {
        for vip in &service.vips {
            let key = ServiceKey::Vip(service.id.clone(), vip.network_id.clone());
            let found = inputs.network(&vip.network_id).zip(inputs.numbers.services.get(&key));
            if let Some((network, svc)) = found {
                let value = Ep { kind: abi::EP_VIP, svc: *svc, ..ep() };
                places.push(place(network, vip.address.ip(), value));
            }
        }
    }
}

/// A task of this node is not placed by the view: it exists once it is joined.
fn add_placements(inputs: &Inputs, places: &mut Places) {
    let directory = Directory::of(&inputs.view);
    for backend in inputs.backends().filter(|backend| backend.node_id != inputs.node_id) {
        let Some(node) = inputs.node_index(&backend.node_id) else { continue };
        for attachment in &backend.attachments {
            if let Some(network) = directory.network(&attachment.network_id) {
                let value = Ep { kind: abi::EP_REMOTE, node, ..ep() };
                places.push(place(network, attachment.address.ip(), value));
            }
        }
    }
}

/// True if two services or tasks name one address: then what one of them gives up is not free.
pub fn is_contested(inputs: &Inputs) -> bool {
    let vips = inputs.services().flat_map(|s| &s.vips).map(|v| (v.address.ip(), &v.network_id));
    let placed = inputs.backends().flat_map(|backend| &backend.attachments);
    let placed = placed.map(|a| (a.address.ip(), &a.network_id));
    let mut claims: Vec<_> = vips.chain(placed).collect();
    claims.sort_unstable();
    claims.windows(2).any(|pair| pair[0] == pair[1])
}

fn add_local(inputs: &Inputs, places: &mut Places) {
    for (endpoint, link) in inputs.local_endpoints().filter(|(e, _)| !e.is_gateway()) {
        let addr = Be32::new(endpoint.address.ip());
        let value = Ep {
            kind: abi::EP_LOCAL,
            lidx: endpoint.lidx,
            ifindex: link.index,
            mac: endpoint.mac,
            addr,
            ..ep()
        };
        places.push((EpKey { vni: endpoint.vni, addr }, value));
    }
}

fn place(network: &NetworkItem, addr: Ipv4Addr, value: Ep) -> (EpKey, Ep) {
    let addr = Be32::new(addr);
    (EpKey { vni: network.vni.get(), addr }, Ep { addr, ..value })
}

fn ep() -> Ep {
    Ep::default()
}
