//! `swarmnet debug ingress`: published ports, where they are heard, and what this node takes in.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use swarmnet_ebpf::abi::{IFACE_UPLINK, PORT_ALLOWLIST, SlotRange};
use swarmnet_ebpf::map::{Ifaces, LocalAddrs, MeshLocal, Ports, Svc};

use super::evidence::{Evidence, protocol};
use super::{DebugError, table};
use crate::numbers::ServiceKey;

/// Published ports as the programs see them.
#[derive(Debug, Serialize)]
pub struct IngressView {
    pub ports: Vec<IngressPort>,
    /// Addresses on which published ports are heard.
    pub addresses: Vec<String>,
    /// Devices with the program for clients from outside.
    pub uplinks: Vec<String>,
    /// Tasks of this node that other nodes may send clients to.
    pub targets: Vec<IngressTarget>,
    /// Ports kept from outgoing connections of this host.
    pub reserved: Vec<u16>,
}

#[derive(Debug, Serialize)]
pub struct IngressPort {
    pub published: u16,
    pub protocol: &'static str,
    pub target: u16,
    pub service: String,
    /// `ingress` or `host`.
    pub mode: &'static str,
    /// Entries of the Maglev table; 0 means that nothing answers.
    pub slots: u16,
    pub allow_list: bool,
    /// True if another program of this host uses the port.
    pub conflict: bool,
}

#[derive(Debug, Serialize)]
pub struct IngressTarget {
    pub task: String,
    pub gateway: String,
    pub port: u16,
    pub protocol: &'static str,
}

/// Reads the view.
///
/// # Errors
/// `DebugError`.
pub fn view(bpffs: &Path, state_dir: &Path) -> Result<IngressView, DebugError> {
    of(&Evidence::read(bpffs, state_dir)?)
}

/// Makes the view of what was read.
///
/// # Errors
/// `Maps` if a map cannot be read.
pub fn of(evidence: &Evidence) -> Result<IngressView, DebugError> {
    let addresses = evidence.maps.entries::<LocalAddrs>()?;
    let ifaces = evidence.maps.entries::<Ifaces>()?;
    let uplinks = ifaces.iter().filter(|(_, iface)| iface.flags & IFACE_UPLINK != 0);
    Ok(IngressView {
        ports: ports(evidence)?,
        addresses: addresses.keys().map(ToString::to_string).collect(),
        uplinks: uplinks.map(|(index, _)| format!("device {index}")).collect(),
        targets: targets(evidence)?,
        reserved: evidence.journal.reserved_ports.iter().copied().collect(),
    })
}

fn ports(evidence: &Evidence) -> Result<Vec<IngressPort>, DebugError> {
    let keys = evidence.service_keys();
    let mut found = Vec::new();
    for (key, port) in evidence.maps.entries::<Ports>()? {
        let service = evidence.maps.get::<Svc>(&port.svc)?.unwrap_or_default();
        let (name, mode) = match keys.get(&port.svc) {
            Some(ServiceKey::Vip(id, _) | ServiceKey::Mesh(id)) => {
                (evidence.service_name(id), "ingress")
            }
            Some(ServiceKey::Host(task)) => (evidence.task_name(task), "host"),
            None => (format!("service {}", port.svc), "unknown"),
        };
        found.push(IngressPort {
            published: key.port.port(),
            protocol: protocol(key.proto),
            target: port.target_port.port(),
            service: name,
            mode,
            slots: SlotRange::unpack(service.mg).count,
            allow_list: port.flags & PORT_ALLOWLIST != 0,
            conflict: evidence.conflicts.contains(&(key.proto, key.port.port())),
        });
    }
    found.sort_by_key(|port| (port.published, port.protocol));
    Ok(found)
}

fn targets(evidence: &Evidence) -> Result<Vec<IngressTarget>, DebugError> {
    let mut found = Vec::new();
    for key in evidence.maps.entries::<MeshLocal>()?.keys() {
        let mut gateways = evidence.journal.joined().filter(|(_, e)| e.is_gateway());
        let owner = gateways.find(|(_, e)| e.address.ip() == key.gw_addr.addr());
        let task = owner.map_or_else(String::new, |(_, e)| evidence.task_name(&e.task));
        found.push(IngressTarget {
            task,
            gateway: key.gw_addr.to_string(),
            port: key.port.port(),
            protocol: protocol(key.proto),
        });
    }
    Ok(found)
}

impl fmt::Display for IngressView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = |port: &IngressPort| match (port.conflict, port.slots) {
            (true, _) => "another program uses this port",
            (false, 0) => "no backend",
            (false, _) => "",
        };
        let row = |port: &IngressPort| {
            vec![
                format!("{}/{}", port.published, port.protocol),
                port.target.to_string(),
                port.service.clone(),
                port.mode.to_owned(),
                port.slots.to_string(),
                note(port).to_owned(),
            ]
        };
        let rows: Vec<_> = self.ports.iter().map(row).collect();
        table::write(f, &["PUBLISHED", "TARGET", "SERVICE", "MODE", "SLOTS", "NOTE"], &rows)?;
        writeln!(f)?;
        let row = |t: &IngressTarget| {
            vec![t.task.clone(), t.gateway.clone(), format!("{}/{}", t.port, t.protocol)]
        };
        let rows: Vec<_> = self.targets.iter().map(row).collect();
        table::write(f, &["TASK HERE", "GATEWAY ADDRESS", "PORT"], &rows)?;
        writeln!(f)?;
        writeln!(f, "heard on:  {}", self.addresses.join(", "))?;
        writeln!(f, "uplinks:   {}", self.uplinks.join(", "))?;
        let reserved: Vec<_> = self.reserved.iter().map(ToString::to_string).collect();
        writeln!(f, "reserved:  {}", reserved.join(", "))
    }
}
