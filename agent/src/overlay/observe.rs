//! Reads the overlay's device and maps from the kernel.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{EP_GONE, Ep, Node};
use swarmnet_ebpf::map::{Eps, MapError, Nodes, Peers, Vnis};
use swarmnet_ebpf::program::Hook;

use super::{DEVICE, Device, State};
use crate::kernel::Kernel;
use crate::netlink::link::LinkKind;
use crate::scope::Extent;

/// Returns what is there now; of `nodes` only the first `nodes_known` indexes are read, of `eps` as
/// much as `extent` says.
///
/// # Errors
/// A map could not be read.
pub fn observe(kernel: &Kernel, nodes_known: u32, extent: &Extent) -> Result<State, MapError> {
    Ok(State {
        device: device(kernel),
        peers: kernel.maps.entries::<Peers>()?,
        nodes: nodes(kernel, nodes_known)?,
        vnis: kernel.maps.entries::<Vnis>()?,
        ..addresses(kernel, extent)?
    })
}

/// Returns the places of addresses alone.
///
/// # Errors
/// As of [`observe`].
pub fn addresses(kernel: &Kernel, extent: &Extent) -> Result<State, MapError> {
    let mut state = State::default();
    let mut found = |key, ep: Ep| {
        if ep.kind == EP_GONE {
            state.tombstones.insert(key, ep.generation);
        } else {
            state.eps.insert(key, ep);
        }
    };
    match extent {
        Extent::Everything => {
            kernel.maps.entries::<Eps>()?.into_iter().for_each(|(key, ep)| found(key, ep));
        }
        Extent::Keys(keys) => {
            for key in &keys.eps {
                if let Some(ep) = kernel.maps.get::<Eps>(key)? {
                    found(*key, ep);
                }
            }
        }
    }
    Ok(state)
}

fn device(kernel: &Kernel) -> Option<Device> {
    let link = kernel.snapshot.links.get(DEVICE)?;
    match link.kind {
        LinkKind::Vxlan { port, external: true } => Some(Device {
            port,
            up: link.up,
            program: kernel.has_program(Hook::Tunnel, link.index),
        }),
        LinkKind::Vxlan { external: false, .. }
        | LinkKind::Veth
        | LinkKind::Bridge
        | LinkKind::Other => None,
    }
}

/// An array element always exists; one of zeros is a free one.
fn nodes(kernel: &Kernel, known: u32) -> Result<BTreeMap<u32, Node>, MapError> {
    let mut found = BTreeMap::new();
    for index in 0..=known {
        let node = kernel.maps.get::<Nodes>(&index)?.unwrap_or_default();
        if node != Node::default() {
            found.insert(index, node);
        }
    }
    Ok(found)
}
