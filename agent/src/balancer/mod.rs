//! Services and their backends: VIPs, mesh tables, and the ageing of flows.
//!
//! Owns: the maps `svc`, `slots`, `backends`; the socket programs on the root of cgroup2; garbage
//! in `ct`; sockets whose backend is gone. Does not own: which address is a VIP (`overlay`), which port is published (`ingress`).
//!
//! A change writes a new range of slots and then one word of the service; a packet sees the old or
//! the new set, never a mixture. Inspect: `swarmnet debug lb`.

mod active;
pub mod apply;
pub mod conntrack;
pub mod desired;
pub mod maglev;
pub mod observe;
pub mod plan;
pub mod slots;
pub mod sockets;
pub mod stale;

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{Backend, Be32};

/// Services by index, backends by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub services: BTreeMap<u32, ServiceEntry>,
    pub backends: BTreeMap<u32, Backend>,
    /// True if the socket programs are on the cgroup.
    pub sockets: bool,
}

/// One service with its slots spelled out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Network of the VIP; 0 for the mesh.
    pub vni: u32,
    /// Zero for the mesh.
    pub vip: Be32,
    /// Backend ids a VIP chooses from.
    pub vip_slots: Vec<u32>,
    /// Maglev table of the mesh.
    pub mesh_slots: Vec<u32>,
}
