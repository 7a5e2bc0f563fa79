//! Does what a plan says to host sides and their map entries.

use swarmnet_ebpf::map::{Askers, Ifaces, Netns};
use swarmnet_ebpf::program::Hook;

use super::HostSide;
use super::plan::Action;
use crate::edit::Edit;
use crate::kernel::{ApplyError, Kernel};
use crate::netlink::neighbor::Neighbor;
use crate::netlink::route::HostRoute;
use crate::netlink::sysctl;

/// Applies one action.
///
/// # Errors
/// The kernel refused; the next pass plans from what is there then.
pub async fn apply(kernel: &Kernel, action: &Action) -> Result<(), ApplyError> {
    match action {
        Action::Link(Edit::Set(name, side)) => shape(kernel, name, side).await,
        Action::Link(Edit::Remove(name)) => remove(kernel, name).await,
        Action::Iface(edit) => kernel.write::<Ifaces>(edit),
        Action::Asker(edit) => kernel.write::<Askers>(edit),
        Action::Netns(edit) => kernel.write::<Netns>(edit),
    }
}

/// Attaches the program last but one: nothing passes before the device is up.
async fn shape(kernel: &Kernel, name: &str, side: &HostSide) -> Result<(), ApplyError> {
    let (netlink, ifindex) = (&kernel.netlink, side.ifindex);
    let known = kernel.snapshot.links.get(name);
    if known.is_none_or(|link| link.mac != side.mac) {
        netlink.set_mac(ifindex, side.mac).await?;
    }
    sysctl::disable_ipv6(name).map_err(ApplyError::Sysctl)?;
    kernel.plane.attach(hook(side), name, ifindex)?;
    if known.is_none_or(|link| !link.up) {
        netlink.set_up(ifindex).await?;
    }
    let Some(reach) = side.reach else { return Ok(()) };
    let others = kernel.snapshot.routes_of(ifindex).filter(|route| route.addr != reach.addr);
    for route in others {
        netlink.delete_host_route(*route).await?;
    }
    let route = HostRoute { addr: reach.addr, ifindex, source: reach.source };
    netlink.set_host_route(route).await?;
    netlink.set_neighbor(Neighbor { ifindex, addr: reach.addr, mac: reach.mac }).await?;
    Ok(())
}

/// Takes a device away with its link pin; the kernel removes route and neighbour with it.
async fn remove(kernel: &Kernel, name: &str) -> Result<(), ApplyError> {
    let Some(link) = kernel.snapshot.links.get(name) else { return Ok(()) };
    let gateway = name.starts_with(super::GATEWAY_PREFIX);
    let hook = if gateway { Hook::Gateway } else { Hook::Task };
    kernel.plane.detach(hook, name, link.index)?;
    kernel.netlink.delete_link(link.index).await?;
    Ok(())
}

fn hook(side: &HostSide) -> Hook {
    if side.gateway { Hook::Gateway } else { Hook::Task }
}
