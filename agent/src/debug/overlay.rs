//! `swarmnet debug overlay`: networks, addresses and where they are, peers.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use swarmnet_ebpf::abi::{
    EP_GATEWAY, EP_GONE, EP_LOCAL, EP_REMOTE, EP_VIP, Ep, EpKey, VNI_INTERNAL,
};
use swarmnet_ebpf::map::{Eps, Nodes, Peers, Vnis};

use super::evidence::Evidence;
use super::{DebugError, table};
use crate::inputs::backends;
use crate::numbers::ServiceKey;

/// Overlays as the programs see them.
#[derive(Debug, Serialize)]
pub struct OverlayView {
    pub networks: Vec<OverlayNetwork>,
    pub endpoints: Vec<OverlayEndpoint>,
    pub peers: Vec<OverlayPeer>,
}

#[derive(Debug, Serialize)]
pub struct OverlayNetwork {
    pub vni: u32,
    pub name: String,
    pub subnet: String,
    pub internal: bool,
}

/// An address, and where the guard accepts it from.
#[derive(Debug, Serialize)]
pub struct OverlayEndpoint {
    pub network: String,
    pub address: String,
    pub kind: &'static str,
    /// Task, service, or empty.
    pub name: String,
    /// Node and device.
    pub place: String,
}

#[derive(Debug, Serialize)]
pub struct OverlayPeer {
    pub node: String,
    pub address: String,
}

/// Reads the view.
///
/// # Errors
/// `DebugError`.
pub fn view(bpffs: &Path, state_dir: &Path) -> Result<OverlayView, DebugError> {
    of(&Evidence::read(bpffs, state_dir)?)
}

/// Makes the view of what was read.
///
/// # Errors
/// `Maps` if a map cannot be read.
pub fn of(evidence: &Evidence) -> Result<OverlayView, DebugError> {
    let vnis = evidence.maps.entries::<Vnis>()?;
    let networks = vnis.iter().map(|(vni, value)| OverlayNetwork {
        vni: *vni,
        name: evidence.network_name(*vni),
        subnet: evidence.network_of(*vni).map_or_else(String::new, |n| n.subnet.subnet.to_string()),
        internal: value.flags & VNI_INTERNAL != 0,
    });
    let eps = evidence.maps.entries::<Eps>()?;
    let mut peers = Vec::new();
    for (addr, peer) in evidence.maps.entries::<Peers>()? {
        // The guard believes `peers`, packets are sent to `nodes`: a difference must be seen.
        let sends_to = evidence.maps.get::<Nodes>(&peer.node)?.unwrap_or_default().addr;
        let address = if sends_to == addr {
            addr.to_string()
        } else {
            format!("{addr} (sends to {sends_to})")
        };
        peers.push(OverlayPeer { node: evidence.node_name(peer.node), address });
    }
    Ok(OverlayView {
        networks: networks.collect(),
        endpoints: eps.iter().map(|(key, ep)| endpoint(evidence, key, ep)).collect(),
        peers,
    })
}

fn endpoint(evidence: &Evidence, key: &EpKey, ep: &Ep) -> OverlayEndpoint {
    let (kind, place) = match ep.kind {
        EP_LOCAL => ("local", format!("{} device {}", evidence.node_name(0), ep.ifindex)),
        EP_REMOTE => ("remote", evidence.node_name(ep.node)),
        EP_VIP => ("vip", String::new()),
        EP_GATEWAY => ("gateway", String::new()),
        EP_GONE => ("gone", String::new()),
        _ => ("unknown", String::new()),
    };
    OverlayEndpoint {
        network: evidence.network_name(key.vni),
        address: key.addr.to_string(),
        kind,
        name: name(evidence, key, ep),
        place,
    }
}

fn name(evidence: &Evidence, key: &EpKey, ep: &Ep) -> String {
    match ep.kind {
        EP_VIP => match evidence.service_keys().get(&ep.svc) {
            Some(ServiceKey::Vip(service, _) | ServiceKey::Mesh(service)) => {
                evidence.service_name(service)
            }
            Some(ServiceKey::Host(_)) | None => format!("service {}", ep.svc),
        },
        EP_LOCAL => {
            let local = evidence.journal.joined().find(|(_, endpoint)| {
                (endpoint.vni, endpoint.address.ip()) == (key.vni, key.addr.addr())
            });
            local.map_or_else(String::new, |(_, endpoint)| evidence.task_name(&endpoint.task))
        }
        EP_REMOTE => {
            let Some(network) = evidence.network_of(key.vni) else { return String::new() };
            let holds = |backend: &&swarmnet_model::view::Backend| {
                let mut attachments = backend.attachments.iter();
                attachments.any(|a| a.network_id == network.id && a.address.ip() == key.addr.addr())
            };
            backends(&evidence.view).find(holds).map_or_else(String::new, |b| b.task_name.clone())
        }
        _ => String::new(),
    }
}

impl fmt::Display for OverlayView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |n: &OverlayNetwork| {
            let internal = if n.internal { "internal" } else { "" };
            vec![n.vni.to_string(), n.name.clone(), n.subnet.clone(), internal.to_owned()]
        };
        let rows: Vec<_> = self.networks.iter().map(row).collect();
        table::write(f, &["VNI", "NETWORK", "SUBNET", "FLAGS"], &rows)?;
        writeln!(f)?;
        let row = |e: &OverlayEndpoint| {
            let kind = e.kind.to_owned();
            vec![e.network.clone(), e.address.clone(), kind, e.name.clone(), e.place.clone()]
        };
        let rows: Vec<_> = self.endpoints.iter().map(row).collect();
        table::write(f, &["NETWORK", "ADDRESS", "KIND", "NAME", "PLACE"], &rows)?;
        writeln!(f)?;
        let row = |p: &OverlayPeer| vec![p.node.clone(), p.address.clone()];
        let rows: Vec<_> = self.peers.iter().map(row).collect();
        table::write(f, &["PEER", "ADDRESS"], &rows)
    }
}
