//! Pure: limits and addresses that `bpf/abi.h` fixes for every node.

use std::net::Ipv4Addr;

/// Subnets a sandbox or a published task can have (`SWN_MAX_SUBNETS`).
pub const MAX_SUBNETS: usize = 8;
/// Size of map `drops` (`SWN_MAX_DROPS`).
pub const MAX_DROPS: u32 = 64;
/// MAC of every host side and of every rewritten source.
pub const VMAC: [u8; 6] = [0x02, 0x73, 0x77, 0x6e, 0x00, 0x01];
/// Next hop of the default route on a gateway attachment.
pub const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Address of the resolver as tasks see it.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 53);
/// Tasks as the resolver sees them: the network of [`asker`].
pub const ASKERS: Ipv4Addr = Ipv4Addr::new(169, 254, 192, 0);
/// Prefix length of [`ASKERS`].
pub const ASKERS_PREFIX: u8 = 19;
/// The mesh as seen by host processes.
pub const MESH_SELF: Ipv4Addr = Ipv4Addr::new(169, 254, 87, 1);
/// Client address a task sees when it could not answer the real one.
pub const STAND_IN: Ipv4Addr = Ipv4Addr::new(169, 254, 87, 2);
/// Ethertype of frames of the connectivity test (`SWN_ETH_PROBE`).
pub const ETH_PROBE: u16 = 0x88b5;

/// Returns the MAC of the task side of an overlay attachment: `02:42:` and the address bytes.
#[must_use]
pub const fn task_mac(addr: Ipv4Addr) -> [u8; 6] {
    let o = addr.octets();
    [0x02, 0x42, o[0], o[1], o[2], o[3]]
}

/// Returns the address by which the resolver knows an overlay attachment.
#[must_use]
pub const fn asker(lidx: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(ASKERS.to_bits() | (lidx & !(u32::MAX << (32 - ASKERS_PREFIX))))
}
