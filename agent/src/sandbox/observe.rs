//! Reads host sides and their map entries from the kernel.

use swarmnet_ebpf::abi::IFACE_UPLINK;
use swarmnet_ebpf::map::{Askers, Ifaces, MapError, Netns};
use swarmnet_ebpf::program::Hook;

use super::{GATEWAY_PREFIX, HostSide, OVERLAY_PREFIX, Reach, State};
use crate::kernel::Kernel;
use crate::netlink::link::{Link, LinkKind};

/// Returns what is there now.
///
/// # Errors
/// A map could not be read.
pub fn observe(kernel: &Kernel) -> Result<State, MapError> {
    let ours = |link: &&Link| {
        let named = link.name.starts_with(OVERLAY_PREFIX) || link.name.starts_with(GATEWAY_PREFIX);
        named && link.kind == LinkKind::Veth
    };
    let links = kernel.snapshot.links.values().filter(ours);
    let mut ifaces = kernel.maps.entries::<Ifaces>()?;
    ifaces.retain(|_, iface| iface.flags & IFACE_UPLINK == 0);
    Ok(State {
        links: links.map(|link| (link.name.clone(), host_side(kernel, link))).collect(),
        ifaces,
        askers: kernel.maps.entries::<Askers>()?,
        netns: kernel.maps.entries::<Netns>()?,
    })
}

fn host_side(kernel: &Kernel, link: &Link) -> HostSide {
    let gateway = link.name.starts_with(GATEWAY_PREFIX);
    let hook = if gateway { Hook::Gateway } else { Hook::Task };
    HostSide {
        ifindex: link.index,
        gateway,
        up: link.up,
        mac: link.mac,
        program: kernel.has_program(hook, link.index),
        reach: reach(kernel, link.index),
    }
}

/// Half of it, or more than one, counts as none: then it is written again.
fn reach(kernel: &Kernel, ifindex: u32) -> Option<Reach> {
    let mut routes = kernel.snapshot.routes_of(ifindex);
    let route = routes.next().filter(|_| routes.next().is_none())?;
    let neighbor = kernel.snapshot.neighbors_of(ifindex).find(|n| n.addr == route.addr)?;
    Some(Reach { addr: route.addr, source: route.source, mac: neighbor.mac })
}
