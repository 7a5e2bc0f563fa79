//! Takes our things out of the kernel: one device, or everything when the node leaves its swarm.
//!
//! Failure contract: every step is tried; what could not be removed is reported, carries our name
//! and is found again by calling this again. Containers and their inside are never touched.

use std::sync::Arc;

use swarmnet_ebpf::program::{Dataplane, Hook};

use crate::ingress::{HOST_DEVICE, HOST_PEER, firewall};
use crate::kernel::{ApplyError, Kernel};
use crate::netlink::{Netlink, NetlinkError, sysctl};
use crate::overlay;
use crate::pass::chain;
use crate::plugin::journal::JournalFile;
use crate::sandbox::{GATEWAY_PREFIX, OVERLAY_PREFIX};

/// Removes a host side with the pin of its program; an absent one is not an error.
///
/// # Errors
/// The kernel refused.
pub async fn remove_link(
    netlink: &Netlink,
    plane: Option<&Arc<Dataplane>>,
    name: &str,
) -> Result<(), ApplyError> {
    let link = match netlink.link(name).await {
        Ok(link) => link,
        Err(NetlinkError::LinkMissing { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let hook = if name.starts_with(GATEWAY_PREFIX) { Hook::Gateway } else { Hook::Task };
    if let Some(plane) = plane {
        plane.detach(hook, name, link.index)?;
    }
    Ok(netlink.delete_link(link.index).await?)
}

/// Removes devices, programs, pins, rules and reservations; returns what did not go.
pub async fn remove_everything(
    netlink: &Arc<Netlink>,
    plane: Option<&Arc<Dataplane>>,
    journal: &JournalFile,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| {
        failures.extend(result.err().map(|error| format!("{what}: {error}")));
    };
    if let Some(plane) = plane {
        note("uplinks", detach_uplinks(netlink, plane).await.map_err(|e| chain(&e)));
        note("socket programs", plane.detach_cgroup().map_err(|e| chain(&e)));
    }
    note("devices", remove_devices(netlink, plane).await.map_err(|e| chain(&e)));
    if let Some(plane) = plane {
        note("pins", plane.remove().map_err(|e| chain(&e)));
    }
    note("firewall", firewall::remove().await.map_err(|e| chain(&e)));
    note("reserved ports", unreserve(journal).map_err(|e| chain(&e)));
    let cleared = journal.update(|journal| {
        journal.endpoints.clear();
        journal.gateways.clear();
    });
    note("journal", cleared.map_err(|e| chain(&e)));
    failures
}

async fn detach_uplinks(netlink: &Arc<Netlink>, plane: &Arc<Dataplane>) -> Result<(), ApplyError> {
    let kernel = Kernel::read(netlink, plane).await?;
    for link in kernel.snapshot.links.values() {
        if kernel.has_program(Hook::Uplink, link.index) {
            plane.detach(Hook::Uplink, &link.name, link.index)?;
        }
    }
    Ok(())
}

async fn remove_devices(
    netlink: &Netlink,
    plane: Option<&Arc<Dataplane>>,
) -> Result<(), ApplyError> {
    let fixed = [overlay::DEVICE, HOST_DEVICE, HOST_PEER];
    for (name, link) in netlink.links().await? {
        if name.starts_with(OVERLAY_PREFIX) || name.starts_with(GATEWAY_PREFIX) {
            remove_link(netlink, plane, &name).await?;
        } else if fixed.contains(&name.as_str()) {
            netlink.delete_link(link.index).await?;
        }
    }
    Ok(())
}

fn unreserve(journal: &JournalFile) -> std::io::Result<()> {
    let ours = journal.read().reserved_ports.clone();
    if ours.is_empty() {
        return Ok(());
    }
    let mut list = sysctl::reserved_ports()?;
    list.retain(|port| !ours.contains(port));
    sysctl::set_reserved_ports(&list)?;
    journal.update(|journal| journal.reserved_ports.clear())
}
