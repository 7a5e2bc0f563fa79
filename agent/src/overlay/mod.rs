//! Networks across nodes: the VXLAN device, the peers, and where every overlay address is.
//!
//! Owns: device `swn-vx` with its program, the maps `peers`, `nodes`, `vnis`, `eps`. The same
//! entries are what the VTEP guard believes. Does not own: local devices (`sandbox`), services.
//!
//! Nothing here is in the host's bridge, forwarding or routing tables. Inspect:
//! `swarmnet debug overlay`, `ip -d link show swn-vx`.

pub mod apply;
pub mod desired;
pub mod observe;
pub mod plan;

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{Be32, Ep, EpKey, Node, Peer, VniValue};

/// The node's VXLAN device.
pub const DEVICE: &str = "swn-vx";

/// Seconds that an address which is gone still answers with a reset instead of silence.
pub const TOMBSTONE_S: u32 = 60;

/// Everything the overlay needs in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `None`: absent, or present in another shape than ours.
    pub device: Option<Device>,
    /// By outer address of another node.
    pub peers: BTreeMap<Be32, Peer>,
    /// By node index; 0 is this node.
    pub nodes: BTreeMap<u32, Node>,
    /// Networks in use here.
    pub vnis: BTreeMap<u32, VniValue>,
    /// Overlay addresses that exist.
    pub eps: BTreeMap<EpKey, Ep>,
    /// Overlay addresses that are gone, with the second after which they are forgotten. Observed
    /// only: nothing desires them.
    pub tombstones: BTreeMap<EpKey, u32>,
}

/// What the VXLAN device must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    pub port: u16,
    pub up: bool,
    /// True if our program is on it.
    pub program: bool,
}
