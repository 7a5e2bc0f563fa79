//! Reads what ingress has in the kernel.

use std::collections::BTreeSet;

use swarmnet_ebpf::abi::{ConfValue, IFACE_UPLINK, MESH_SELF, RESOLVER, VMAC};
use swarmnet_ebpf::map::{Conf, Ifaces, LocalAddrs, MeshLocal, Ports};
use swarmnet_ebpf::program::Hook;

use super::{HOST_DEVICE, HOST_MAC, HOST_PEER, Pair, State, askers};
use crate::kernel::{ApplyError, Kernel};
use crate::netlink::route::Accepted;
use crate::netlink::sysctl;

/// Returns what is there now. `held` are our placeholders; `reserved` the ports that we reserved
/// earlier: the kernel's list does not say whose a port is.
///
/// # Errors
/// A map or a kernel setting could not be read.
pub fn observe(
    kernel: &Kernel,
    held: BTreeSet<(u8, u16)>,
    reserved: &BTreeSet<u16>,
) -> Result<State, ApplyError> {
    let conf = kernel.maps.get::<Conf>(&0)?.filter(|conf| *conf != ConfValue::default());
    let in_kernel = sysctl::reserved_ports().map_err(ApplyError::Sysctl)?;
    let mut uplink_ifaces = kernel.maps.entries::<Ifaces>()?;
    uplink_ifaces.retain(|_, iface| iface.flags & IFACE_UPLINK != 0);
    Ok(State {
        conf,
        pair: pair(kernel),
        uplinks: kernel
            .snapshot
            .links
            .values()
            .filter(|link| kernel.has_program(Hook::Uplink, link.index))
            .map(|link| (link.index, link.name.clone()))
            .collect(),
        uplink_ifaces,
        local_addrs: kernel.maps.entries::<LocalAddrs>()?,
        mesh_local: kernel.maps.entries::<MeshLocal>()?,
        ports: kernel.maps.entries::<Ports>()?,
        held,
        reserved: reserved.intersection(&in_kernel).copied().collect(),
        forwarding: sysctl::is_forwarding().map_err(ApplyError::Sysctl)?,
    })
}

/// `None` unless both ends exist with the right MAC, route and neighbour.
fn pair(kernel: &Kernel) -> Option<Pair> {
    let snapshot = &kernel.snapshot;
    let host = snapshot.links.get(HOST_DEVICE).filter(|link| link.mac == HOST_MAC)?;
    let peer = snapshot.links.get(HOST_PEER)?;
    let route = snapshot.routes_of(host.index).find(|route| route.addr == MESH_SELF)?;
    snapshot
        .neighbors_of(host.index)
        .find(|neighbor| neighbor.addr == MESH_SELF && neighbor.mac == VMAC)?;
    Some(Pair {
        up: host.up && peer.up,
        program: kernel.has_program(Hook::HostPair, peer.index),
        source: route.source,
        resolver: snapshot.accepted.contains(&Accepted { addr: RESOLVER, ifindex: host.index })
            && snapshot.onlink.contains(&askers(host.index)),
    })
}
