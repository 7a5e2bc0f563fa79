//! Pure: published ports of the view and local gateways → what entry and backend side need.

use std::collections::BTreeSet;

use swarmnet_ebpf::abi::{
    self, Be16, Be32, ConfValue, Iface, MAX_SUBNETS, MeshKey, MeshTarget, Net, Port, PortKey,
};
use swarmnet_model::{PublishMode, PublishedPort, TaskId};

use super::{HOST_DEVICE, HOST_PEER, Pair, State};
use crate::inputs::Inputs;
use crate::netlink::link::Link;
use crate::numbers::ServiceKey;
use crate::overlay;
use crate::plugin::journal::Endpoint;

/// Returns what ingress needs; nothing before the node knows its own address.
pub fn desired(inputs: &Inputs) -> State {
    let mut state = State::default();
    let Some(own) = inputs.node_addr() else { return state };
    let uplink = inputs.snapshot.holder_of(own).filter(|link| link.ethernet);
    state.conf = conf(inputs);
    let source = uplink.map(|_| own);
    state.pair = Some(Pair { up: true, program: true, source, resolver: true });
    state.forwarding = true;
    if let Some(link) = uplink {
        state.uplinks.insert(link.index, link.name.clone());
        let (mac, flags) = (link.mac, abi::IFACE_UPLINK);
        state.uplink_ifaces.insert(link.index, Iface { mac, flags, ..Iface::default() });
    }
    // A frame from outside to 127.0.0.0/8 stays the kernel's to refuse.
    let addresses = inputs.snapshot.addresses.iter().filter(|a| !a.addr.is_loopback());
    state.local_addrs = addresses.map(|a| (Be32::new(a.addr), a.ifindex)).collect();
    add_ports(inputs, &mut state);
    add_mesh_targets(inputs, &mut state);
    state
}

/// `None` until all three devices exist: half a configuration would misdirect packets.
fn conf(inputs: &Inputs) -> Option<ConfValue> {
    let link = |name: &str| inputs.snapshot.links.get(name);
    let host = link(HOST_DEVICE)?;
    Some(ConfValue {
        host_netns_cookie: inputs.host_cookie,
        node_addr: Be32::new(inputs.node_addr()?),
        vx_if: link(overlay::DEVICE)?.index,
        host_if: host.index,
        hostp_if: link(HOST_PEER)?.index,
        gw_pool: Be32::new(inputs.pool.network()),
        gw_mask: Be32::mask(inputs.pool.prefix()),
        features: abi::FEATURE_NONE,
        host_mac: host.mac,
        vxlan_port: decap_port(inputs),
        ..ConfValue::default()
    })
}

/// The port whose frames leave their outer packets on the uplink. None does where IPsec policies say
/// what may come in: only the host's stack asks them.
fn decap_port(inputs: &Inputs) -> Be16 {
    Be16::new(if inputs.snapshot.protected { 0 } else { inputs.data_path_port() })
}

fn add_ports(inputs: &Inputs, state: &mut State) {
    for service in inputs.services() {
        let key = ServiceKey::Mesh(service.id.clone());
        let Some(svc) = inputs.numbers.services.get(&key) else { continue };
        for port in service.ports.iter().filter(|p| p.mode == PublishMode::Ingress) {
            add_port(state, *svc, port);
        }
    }
    for task in inputs.host_tasks().filter(|task| !task.task.desired_state.is_terminal()) {
        let key = ServiceKey::Host(task.task.id.clone());
        let joined = inputs.gateway_of(&task.task.id).is_some();
        if let Some(svc) = inputs.numbers.services.get(&key).filter(|_| joined) {
            for port in task.task.host_ports() {
                add_port(state, *svc, port);
            }
        }
    }
}

fn add_port(state: &mut State, svc: u32, port: &PublishedPort) {
    let (proto, published) = (port.protocol.number(), port.published_port);
    let key = PortKey { addr: Be32::ZERO, port: Be16::new(published), proto, pad: 0 };
    state.ports.insert(key, Port { svc, target_port: Be16::new(port.target_port), flags: 0 });
    state.held.insert((proto, published));
    state.reserved.insert(published);
}

/// A task is reachable on the ports it was made for and on those its service publishes now: during
/// an update both kinds of entry nodes exist.
fn add_mesh_targets(inputs: &Inputs, state: &mut State) {
    for (endpoint, link) in inputs.local_endpoints().filter(|(e, _)| e.is_gateway()) {
        let target = target(inputs, endpoint, link);
        for (proto, port) in target_ports(inputs, &endpoint.task) {
            let gw_addr = Be32::new(endpoint.address.ip());
            let key = MeshKey { gw_addr, port: Be16::new(port), proto, pad: 0 };
            state.mesh_local.insert(key, target);
        }
    }
}

fn target_ports(inputs: &Inputs, task: &TaskId) -> BTreeSet<(u8, u16)> {
    let Some(assigned) = inputs.task(task) else { return BTreeSet::new() };
    let own = assigned.task.endpoint_spec.ports.iter();
    let services = inputs.service(&assigned.task.service_id).into_iter();
    own.chain(services.flat_map(|service| &service.ports))
        .filter(|port| port.mode == PublishMode::Ingress)
        .map(|port| (port.protocol.number(), port.target_port))
        .collect()
}

fn target(inputs: &Inputs, gateway: &Endpoint, link: &Link) -> MeshTarget {
    let mut target = MeshTarget {
        ifindex: link.index,
        lidx: gateway.lidx,
        mac: gateway.mac,
        ..MeshTarget::default()
    };
    let overlays =
        inputs.endpoints_of(&gateway.task).filter(|(e, _)| !e.is_gateway()).take(MAX_SUBNETS);
    for (slot, (endpoint, _)) in target.net.iter_mut().zip(overlays) {
        *slot = Net {
            addr: Be32::new(endpoint.address.network()),
            mask: Be32::mask(endpoint.address.prefix()),
        };
        target.nets += 1;
    }
    target
}
