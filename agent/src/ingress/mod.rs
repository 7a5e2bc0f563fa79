//! Published ports: on the uplinks, from the host itself, and towards tasks of this node.
//!
//! Owns: the programs on uplinks, the pair `swn-host`/`swn-hostp` with its routes and neighbour, the
//! maps `ports`, `mesh_local`, `local_addrs`, `conf` and the uplinks in `ifaces`; placeholder
//! sockets and reserved local ports; the firewall rules for the way out. Does not own: backends.
//!
//! A published port needs no listener: a placeholder socket, bound and not listening, keeps other
//! programs from taking the port. Inspect: `swarmnet debug ingress`, `nft list table ip swarmnet`.

pub mod apply;
pub mod claim;
pub mod desired;
pub mod firewall;
pub mod holder;
pub mod observe;
pub mod placeholder;
pub mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use swarmnet_ebpf::abi::{
    ASKERS, ASKERS_PREFIX, Be32, ConfValue, Iface, MESH_SELF, MeshKey, MeshTarget, Port, PortKey,
};

use crate::netlink::link::Mac;
use crate::netlink::route::OnlinkRoute;

/// Host end of the pair that brings host processes into the mesh.
pub const HOST_DEVICE: &str = "swn-host";
/// Mesh end of the pair, which carries the program.
pub const HOST_PEER: &str = "swn-hostp";
/// MAC of the host end.
pub const HOST_MAC: Mac = [0x02, 0x73, 0x77, 0x6e, 0x00, 0x02];
/// MTU of the pair: between processes of one host only the address family limits a packet.
pub const HOST_MTU: u32 = 65_535;

/// Everything ingress needs in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Node-wide settings; `None` until the devices exist.
    pub conf: Option<ConfValue>,
    pub pair: Option<Pair>,
    /// Devices with our uplink program, by index.
    pub uplinks: BTreeMap<u32, String>,
    /// What the programs know of them.
    pub uplink_ifaces: BTreeMap<u32, Iface>,
    pub local_addrs: BTreeMap<Be32, u32>,
    pub mesh_local: BTreeMap<MeshKey, MeshTarget>,
    pub ports: BTreeMap<PortKey, Port>,
    /// Held by a socket of ours: (protocol number, port).
    pub held: BTreeSet<(u8, u16)>,
    /// Not used by the kernel for outgoing connections, on our behalf.
    pub reserved: BTreeSet<u16>,
    /// True if the host forwards packets.
    pub forwarding: bool,
}

/// The pair by which the host reaches the mesh, and tasks the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub up: bool,
    pub program: bool,
    /// Source of the host's own packets into the mesh.
    pub source: Option<Ipv4Addr>,
    /// True if the host accepts the resolver's address and knows the way to the askers.
    pub resolver: bool,
}

/// The way to tasks as the resolver sees them: out of the pair, to our program at its other end.
pub fn askers(ifindex: u32) -> OnlinkRoute {
    let net = Ipv4Network::new(ASKERS, ASKERS_PREFIX).expect("a constant prefix length");
    OnlinkRoute { net, via: MESH_SELF, ifindex }
}
