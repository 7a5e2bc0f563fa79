//! Does what a plan says for published ports.

use std::collections::BTreeSet;

use swarmnet_ebpf::abi::{MESH_SELF, RESOLVER, VMAC};
use swarmnet_ebpf::map::{Conf, Ifaces, LocalAddrs, MeshLocal, Ports};
use swarmnet_ebpf::program::Hook;

use super::placeholder::Placeholders;
use super::plan::Action;
use super::{HOST_DEVICE, HOST_MAC, HOST_MTU, HOST_PEER, Pair, askers};
use crate::edit::Edit;
use crate::kernel::{ApplyError, Kernel};
use crate::netlink::link::VethEnd;
use crate::netlink::neighbor::Neighbor;
use crate::netlink::route::{Accepted, HostRoute};
use crate::netlink::sysctl;
use crate::plugin::journal::JournalFile;

/// Applies one action.
///
/// # Errors
/// The kernel refused; the next pass plans from what is there then.
pub async fn apply(
    kernel: &Kernel,
    placeholders: &mut Placeholders,
    journal: &JournalFile,
    action: &Action,
) -> Result<(), ApplyError> {
    match action {
        Action::Pair(pair) => shape_pair(kernel, *pair).await,
        Action::Conf(conf) => kernel.write::<Conf>(&Edit::Set(0, *conf)),
        Action::Forwarding => sysctl::ensure_forwarding().map(|_| ()).map_err(ApplyError::Sysctl),
        Action::LocalAddr(edit) => kernel.write::<LocalAddrs>(edit),
        Action::UplinkIface(edit) => kernel.write::<Ifaces>(edit),
        Action::Uplink(Edit::Set(index, name)) => {
            kernel.plane.attach(Hook::Uplink, name, *index)?;
            Ok(())
        }
        Action::Uplink(Edit::Remove(index)) => drop_uplink(kernel, *index),
        Action::MeshTarget(edit) => kernel.write::<MeshLocal>(edit),
        Action::Port(edit) => kernel.write::<Ports>(edit),
        Action::Hold(key) => hold(placeholders, *key),
        Action::LetGo(key) => {
            placeholders.let_go(*key);
            Ok(())
        }
        Action::Reserve(ports) => reserve(journal, ports),
    }
}

async fn shape_pair(kernel: &Kernel, pair: Pair) -> Result<(), ApplyError> {
    let netlink = &kernel.netlink;
    let links = &kernel.snapshot.links;
    if !links.contains_key(HOST_DEVICE) || !links.contains_key(HOST_PEER) {
        for half in [HOST_DEVICE, HOST_PEER].iter().filter_map(|name| links.get(*name)) {
            netlink.delete_link(half.index).await?;
        }
        let host = VethEnd { name: HOST_DEVICE.to_owned(), mac: HOST_MAC };
        let peer = VethEnd { name: HOST_PEER.to_owned(), mac: VMAC };
        netlink.add_veth(&host, &peer, HOST_MTU).await?;
    }
    let (host, peer) = (netlink.link(HOST_DEVICE).await?, netlink.link(HOST_PEER).await?);
    for name in [HOST_DEVICE, HOST_PEER] {
        sysctl::disable_ipv6(name).map_err(ApplyError::Sysctl)?;
    }
    if host.mac != HOST_MAC {
        netlink.set_mac(host.index, HOST_MAC).await?;
    }
    kernel.plane.attach(Hook::HostPair, HOST_PEER, peer.index)?;
    for link in [&host, &peer].iter().filter(|link| !link.up) {
        netlink.set_up(link.index).await?;
    }
    let (ifindex, addr) = (host.index, MESH_SELF);
    netlink.set_host_route(HostRoute { addr, ifindex, source: pair.source }).await?;
    netlink.set_neighbor(Neighbor { ifindex, addr, mac: VMAC }).await?;
    netlink.accept(Accepted { addr: RESOLVER, ifindex }).await?;
    netlink.set_onlink_route(askers(ifindex)).await?;
    Ok(())
}

fn drop_uplink(kernel: &Kernel, index: u32) -> Result<(), ApplyError> {
    let found = kernel.snapshot.links.values().find(|link| link.index == index);
    match found {
        Some(link) => Ok(kernel.plane.detach(Hook::Uplink, &link.name, index)?),
        None => Ok(()),
    }
}

fn hold(placeholders: &mut Placeholders, key: (u8, u16)) -> Result<(), ApplyError> {
    let protocol = if key.0 == 6 { "tcp" } else { "udp" };
    placeholders.hold(key).map_err(|source| ApplyError::PortTaken { port: key.1, protocol, source })
}

/// The journal remembers which ports are ours before the kernel has them: a crash in between
/// leaves a port that the next pass reserves again.
fn reserve(journal: &JournalFile, ports: &BTreeSet<u16>) -> Result<(), ApplyError> {
    let earlier = journal.read().reserved_ports.clone();
    let both = earlier.union(ports).copied().collect();
    journal.update(|j| j.reserved_ports = both).map_err(ApplyError::Journal)?;
    let mut list = sysctl::reserved_ports().map_err(ApplyError::Sysctl)?;
    list.retain(|port| !earlier.contains(port));
    list.extend(ports);
    sysctl::set_reserved_ports(&list).map_err(ApplyError::Sysctl)?;
    journal.update(|j| j.reserved_ports = ports.clone()).map_err(ApplyError::Journal)
}
