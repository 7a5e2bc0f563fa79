//! A task's interfaces, seen from the host: veth host sides, their programs, routes and map entries.
//!
//! Owns: devices `swo…` and `swg…` after Join, the programs on them, host route and neighbour of
//! gateways, the maps `ifaces` (but uplinks), `askers` and `netns`. Does not own: making the pair (the plugin
//! does, inside Join), the inside of the sandbox (the engine; `tracking` changes one thing of it).
//!
//! Known by: the link name prefix. A device without a journal entry is removed, once a complete
//! view has come. Inspect: `ip -d link`, `bpftool map dump pinned …/maps/ifaces`.

pub mod apply;
pub mod desired;
pub mod observe;
pub mod plan;
pub mod tracking;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use swarmnet_ebpf::abi::{Asker, Iface, NetnsValue};

use crate::netlink::link::Mac;

/// Prefix of host sides of overlay attachments.
pub const OVERLAY_PREFIX: &str = "swo";
/// Prefix of host sides of gateway attachments.
pub const GATEWAY_PREFIX: &str = "swg";

/// Host sides by name, and what the programs know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub links: BTreeMap<String, HostSide>,
    /// By interface index; without uplinks.
    pub ifaces: BTreeMap<u32, Iface>,
    /// Overlay attachments by lidx: where answers of the resolver go.
    pub askers: BTreeMap<u32, Asker>,
    /// By namespace cookie.
    pub netns: BTreeMap<u64, NetnsValue>,
}

/// The host side of one veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSide {
    pub ifindex: u32,
    pub gateway: bool,
    pub up: bool,
    pub mac: Mac,
    /// True if our program is on it.
    pub program: bool,
    /// Only of gateways.
    pub reach: Option<Reach>,
}

/// How the host reaches the far side of a gateway attachment: a route and a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub addr: Ipv4Addr,
    /// Source of the host's own packets; `None` until the node knows its address.
    pub source: Option<Ipv4Addr>,
    pub mac: Mac,
}
