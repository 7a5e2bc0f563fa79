//! Drop reasons in words: what happened, why, how to mend it. The numbers are those of `abi.h`.

use crate::abi::Counter;
use crate::map::{Drops, MapError, Maps};

/// One drop reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Number in map `drops`.
    pub number: u32,
    /// Name without prefix, as in `abi.h`.
    pub name: &'static str,
    /// What happened.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// Normal noise, not reported by health checks.
    pub quiet: bool,
}

/// How often a reason applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCount {
    /// The reason.
    pub reason: Reason,
    /// Sum over all CPUs.
    pub count: Counter,
}

/// All reasons in order of their numbers, from 1.
pub const REASONS: &[Reason] = &[
    reason(
        1,
        "NO_IFACE",
        "a frame came in on a device the maps do not know",
        "the agent has not written `ifaces` yet; lasting counts mean a leftover device",
    ),
    reason(
        2,
        "MALFORMED",
        "a header is cut off or inconsistent",
        "capture on the task's interface; look for a broken raw-socket program or NIC offload",
    ),
    reason(3, "ETHERTYPE", "neither IPv4 nor ARP", "other protocols are not carried by overlays"),
    reason(
        4,
        "VLAN",
        "a tagged frame on an overlay or gateway interface",
        "remove the VLAN interface inside the task",
    ),
    noise(
        5,
        "IPV6_OFF",
        "IPv6 on an IPv4-only network",
        "normal neighbour discovery noise; disable IPv6 in the image if it disturbs",
    ),
    noise(
        6,
        "MCAST_BCAST",
        "multicast or broadcast on an overlay",
        "overlays do not carry multicast; use names or unicast addresses",
    ),
    reason(
        7,
        "SPOOF_MAC",
        "a task sent with a foreign MAC",
        "the task changed its MAC or bridges for others; macvlan inside tasks does not work",
    ),
    reason(
        8,
        "SPOOF_IP",
        "a task sent with a foreign source address",
        "the task routes for others or uses an address it was not given",
    ),
    reason(
        9,
        "SPOOF_ARP",
        "an ARP frame that is not a plain question by its owner",
        "something in the task announces addresses (keepalived, arping)",
    ),
    noise(
        10,
        "ARP_UNKNOWN",
        "a question for an address nobody has",
        "stale address in a client; names resolve to living tasks",
    ),
    reason(
        11,
        "NO_ENDPOINT",
        "a packet for an address that is not in the network",
        "stale address in a client, or placement has not reached this node: `swarmnet debug overlay`",
    ),
    reason(
        12,
        "ENDPOINT_GONE",
        "a packet for a task that ended a moment ago",
        "clients should reconnect; the sender got an RST or ICMP error",
    ),
    reason(
        13,
        "VIP_NO_BACKEND",
        "a VIP has no running, healthy task",
        "`docker service ps` shows why no task runs",
    ),
    reason(
        14,
        "PORT_NO_BACKEND",
        "a published port has no running, healthy task",
        "`docker service ps` shows why no task runs",
    ),
    reason(15, "CT_FULL", "the flow table refused an entry", "raise the size of map `ct`"),
    reason(
        16,
        "CT_COLLISION",
        "no free client port towards the same backend",
        "a client opens more than 64,000 flows to one backend, or mixes VIP and direct connections with one port",
    ),
    reason(
        17,
        "CT_INVALID",
        "a tunnel reply without a flow, or an impossible port change",
        "an entry was evicted (raise the size of map `ct`) or a node is out of date",
    ),
    reason(
        18,
        "FRAG_NO_FIRST",
        "a later fragment without its first one",
        "fragments are reordered or lost on the way; lower the sender's datagram size",
    ),
    reason(
        19,
        "VTEP_NO_KEY",
        "a frame on the VXLAN device without tunnel data",
        "the device was changed; restart the daemon to re-create it",
    ),
    reason(
        20,
        "VTEP_PEER",
        "VXLAN from an address that is no node",
        "foreign sender on the data path port, or a node announces another address: `docker node ls`",
    ),
    reason(
        21,
        "VTEP_VNI",
        "VXLAN for a network that is not used here",
        "a node works with old placement; lasting counts: `swarmnet debug overlay` on both nodes",
    ),
    reason(
        22,
        "VTEP_SRC",
        "VXLAN whose inner source is not placed on the sending node",
        "spoofing, or placement is old on this node: `swarmnet debug overlay`",
    ),
    reason(
        23,
        "VTEP_DST",
        "VXLAN for an inner address that is not on this node",
        "placement is old on the sending node",
    ),
    reason(
        24,
        "MESH_NOT_PUBLISHED",
        "mesh traffic for a task port that is not published here",
        "the task ended or the sending node works with an old set",
    ),
    reason(
        25,
        "MESH_CLIENT",
        "mesh traffic with an impossible client address",
        "spoofing, or gateway pool overlaps the clients' network: choose another pool",
    ),
    reason(
        26,
        "GW_ISOLATION",
        "a task tried to reach another task's gateway or an internal network tried to leave",
        "attach both tasks to one overlay network",
    ),
    reason(27, "TTL_EXPIRED", "the packet had no hops left", "traceroute, or a routing loop"),
    reason(
        28,
        "TOO_BIG",
        "the packet does not fit the tunnel and must not be fragmented",
        "lower the MTU of the sender, raise it in the underlay",
    ),
    reason(
        29,
        "HELPER_FAILED",
        "the kernel refused a rewrite or redirect",
        "report it with `swarmnet debug` output; a device may have vanished",
    ),
    reason(
        30,
        "ICMP_BAD_INNER",
        "an ICMP error quotes a packet that is no flow of ours",
        "usually late errors of ended flows",
    ),
    reason(
        31,
        "NOT_ALLOWED",
        "the client is not on the port's allow list",
        "extend the allow list of the service",
    ),
    reason(
        32,
        "ENCRYPT_REQUIRED",
        "an encrypted network has no encrypted path",
        "this version does not encrypt; create the network without `--opt encrypted`",
    ),
    reason(
        33,
        "LOOPBACK_SRC",
        "a host process bound to 127.0.0.1 called a port served by another node",
        "do not bind the client to 127.0.0.1",
    ),
    reason(
        34,
        "CT_FLOOD",
        "more new flows per second than allowed",
        "a flood, or raise the flow budget",
    ),
    noise(
        35,
        "RESOLVER_ONLY",
        "something else than a task's DNS with the resolver's address 169.254.77.53",
        "ask by UDP or TCP on port 53, unfragmented; late answers that nobody waits for count here too",
    ),
    noise(
        36,
        "ASKER_GONE",
        "the resolver answered a task that has ended",
        "normal when tasks end; lasting counts: `swarmnet debug overlay`",
    ),
    reason(
        37,
        "PROBE",
        "a frame of the connectivity test that nobody waits for, or too many of them",
        "late answers count here; else find the peer that sends them",
    ),
    noise(
        38,
        "OUTER_FRAG",
        "not dropped: a packet longer than the tunnel carries travelled as two outer fragments",
        "raise the MTU between the nodes by 50 above that of the clients",
    ),
];

const fn reason(number: u32, name: &'static str, cause: &'static str, fix: &'static str) -> Reason {
    Reason { number, name, cause, fix, quiet: false }
}

const fn noise(number: u32, name: &'static str, cause: &'static str, fix: &'static str) -> Reason {
    Reason { number, name, cause, fix, quiet: true }
}

/// Returns the reason with a number.
#[must_use]
pub fn reason_of(number: u32) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| reason.number == number)
}

/// Returns every reason that ever applied, summed over all CPUs, by number.
///
/// # Errors
/// The map could not be read.
pub fn counts(maps: &Maps) -> Result<Vec<DropCount>, MapError> {
    let mut out = Vec::new();
    for reason in REASONS {
        let cpus = maps.per_cpu::<Drops>(&reason.number)?;
        let count = cpus.iter().fold(Counter::default(), |sum, cpu| Counter {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        });
        if count.packets > 0 {
            out.push(DropCount { reason: *reason, count });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::ENUMS;
    use crate::map::Drops;
    use crate::memory::MemoryMaps;

    #[test]
    fn every_drop_reason_of_the_abi_has_its_words() {
        let c = ENUMS.iter().find(|layout| layout.name == "drop_reason").unwrap();
        let ours = REASONS.iter().map(|r| (r.name, r.number));
        let theirs = c.values.iter().map(|(name, value)| (name.split_once('_').unwrap().1, *value));
        assert!(ours.eq(theirs));
    }

    #[test]
    fn only_reasons_that_applied_are_listed() {
        let maps = MemoryMaps::new().maps();
        maps.set::<Drops>(&8, &Counter { packets: 3, bytes: 180 }).unwrap();
        let counts = counts(&maps).unwrap();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].reason.name, counts[0].count.packets), ("SPOOF_IP", 3));
    }
}
