//! Pure: journal and view → what the host sides should look like.

use std::collections::BTreeMap;
use std::path::PathBuf;

use swarmnet_ebpf::abi::{self, Asker, Be32, Iface, MAX_SUBNETS, NetnsValue, Subnet};
use swarmnet_model::PublishMode;

use super::{HostSide, Reach, State};
use crate::inputs::Inputs;
use crate::netlink::link::Link;
use crate::plugin::journal::Endpoint;

/// Returns what the joined endpoints need; endpoints without a device are left out, since only a
/// new Join can give a running container a new one.
pub fn desired(inputs: &Inputs) -> State {
    let mut state = State::default();
    let mut sandboxes: BTreeMap<PathBuf, Vec<Subnet>> = BTreeMap::new();
    for (endpoint, link) in inputs.local_endpoints() {
        state.links.insert(link.name.clone(), host_side(inputs, endpoint, link));
        state.ifaces.insert(link.index, iface(inputs, endpoint));
        if !endpoint.is_gateway() {
            state.askers.insert(endpoint.lidx, asker(endpoint, link));
        }
        if let Some(sandbox) = endpoint.sandbox.as_ref().filter(|_| !endpoint.is_gateway()) {
            sandboxes.entry(sandbox.clone()).or_default().push(subnet(endpoint));
        }
    }
    state.netns = sandboxes
        .iter()
        .filter_map(|(path, subnets)| Some((*inputs.cookies.get(path)?, netns(subnets)?)))
        .collect();
    state
}

fn host_side(inputs: &Inputs, endpoint: &Endpoint, link: &Link) -> HostSide {
    let reach = endpoint.is_gateway().then(|| Reach {
        addr: endpoint.address.ip(),
        source: inputs.node_addr().filter(|addr| inputs.snapshot.holder_of(*addr).is_some()),
        mac: endpoint.mac,
    });
    HostSide {
        ifindex: link.index,
        gateway: endpoint.is_gateway(),
        up: true,
        mac: abi::VMAC,
        program: true,
        reach,
    }
}

fn iface(inputs: &Inputs, endpoint: &Endpoint) -> Iface {
    let mut flags = 0;
    if endpoint.is_gateway() {
        flags |= abi::IFACE_GW;
    }
    if endpoint.internal {
        flags |= abi::IFACE_INTERNAL;
    }
    if endpoint.is_gateway() && publishes(inputs, endpoint) {
        flags |= abi::IFACE_PUBLISHES;
    }
    Iface {
        vni: endpoint.vni,
        addr: Be32::new(endpoint.address.ip()),
        mask: Be32::mask(endpoint.address.prefix()),
        mac: endpoint.mac,
        flags,
        lidx: endpoint.lidx,
    }
}

fn asker(endpoint: &Endpoint, link: &Link) -> Asker {
    let addr = Be32::new(endpoint.address.ip());
    Asker { ifindex: link.index, addr, mac: endpoint.mac, ..Asker::default() }
}

fn publishes(inputs: &Inputs, endpoint: &Endpoint) -> bool {
    let Some(task) = inputs.task(&endpoint.task) else { return false };
    let ports = &task.task.endpoint_spec.ports;
    let by_task = ports.iter().any(|p| p.mode == PublishMode::Ingress || p.published_port != 0);
    by_task || inputs.publishes(&task.task.service_id)
}

fn subnet(endpoint: &Endpoint) -> Subnet {
    Subnet {
        addr: Be32::new(endpoint.address.network()),
        mask: Be32::mask(endpoint.address.prefix()),
        vni: endpoint.vni,
    }
}

/// `None` for more subnets than the programs look at: such tasks use the packet path.
fn netns(subnets: &[Subnet]) -> Option<NetnsValue> {
    let mut value = NetnsValue {
        n: u32::try_from(subnets.len()).ok().filter(|n| *n as usize <= MAX_SUBNETS)?,
        ..NetnsValue::default()
    };
    for (slot, subnet) in value.subnet.iter_mut().zip(subnets) {
        *slot = *subnet;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_on_more_networks_than_the_socket_programs_look_at_is_left_to_the_packet_path() {
        let subnets = |count: u32| -> Vec<Subnet> {
            (0..count).map(|vni| Subnet { vni, ..Subnet::default() }).collect()
        };
        assert_eq!(netns(&subnets(8)).map(|value| value.n), Some(8));
        assert_eq!(netns(&subnets(9)), None);
    }
}
