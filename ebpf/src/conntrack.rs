//! The flow table: which two halves belong together, what has expired, and its removal.
//!
//! A flow is two entries, one per direction ([`pair_of`]). BPF refreshes both, so a flow has ended
//! when both halves have expired; the LRU may have evicted one of them. Times are seconds of
//! `CLOCK_MONOTONIC_COARSE`.

use std::collections::BTreeMap;

use crate::abi::{
    CT_BACK_FWD, CT_BACK_REV, CT_ENTRY_FWD, CT_ENTRY_REV, CT_HAIRPIN, CT_LOCAL_ENTRY, CT_VIP_FWD,
    CT_VIP_REV, CtKey, CtValue,
};
use crate::map::{Ct, MapError, Maps};

/// Entries stay this long after expiry: BPF may be refreshing them right now.
pub const MARGIN_S: u32 = 10;

/// Result of one [`collect`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Entries seen.
    pub entries: usize,
    /// Entries removed.
    pub removed: usize,
}

/// Returns the clock of `expires` and `created`.
#[must_use]
pub fn now_s() -> u32 {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC_COARSE;
    let seconds = nix::time::clock_gettime(clock).map_or(0, |time| time.tv_sec());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Returns the key of a flow's other half, mirroring `ct_pair` in `conntrack.h`.
#[must_use]
pub fn pair_of(key: &CtKey, value: &CtValue) -> Option<CtKey> {
    // The packet as the other side sends it: from the rewritten destination to the client.
    let reply = |dir, node, client: (_, _)| CtKey {
        vni: key.vni,
        node,
        src: value.xaddr,
        dst: client.0,
        sport: value.xport,
        dport: client.1,
        proto: key.proto,
        dir,
        pad: 0,
    };
    let call = |dir, node, server: (_, _)| CtKey {
        vni: key.vni,
        node,
        src: value.caddr,
        dst: server.0,
        sport: value.cport,
        dport: server.1,
        proto: key.proto,
        dir,
        pad: 0,
    };
    Some(match key.dir {
        _ if value.flags & CT_HAIRPIN != 0 => CtKey { sport: key.dport, dport: key.sport, ..*key },
        CT_VIP_FWD => CtKey { sport: key.dport, ..reply(CT_VIP_REV, 0, (key.src, key.sport)) },
        CT_VIP_REV => CtKey {
            src: key.dst,
            dst: value.xaddr,
            sport: key.dport,
            dport: key.sport,
            dir: CT_VIP_FWD,
            ..*key
        },
        CT_ENTRY_FWD => {
            let dir = if value.node == 0 { CT_BACK_REV } else { CT_ENTRY_REV };
            reply(dir, value.node, (value.caddr, value.cport))
        }
        CT_BACK_FWD => reply(CT_BACK_REV, 0, (value.caddr, value.cport)),
        CT_BACK_REV if value.flags & CT_LOCAL_ENTRY == 0 => {
            call(CT_BACK_FWD, value.node, (key.src, key.sport))
        }
        CT_BACK_REV | CT_ENTRY_REV => call(CT_ENTRY_FWD, 0, (value.xaddr, value.xport)),
        _ => return None,
    })
}

/// Returns the flows, both directions as they are in the map.
///
/// # Errors
/// The map could not be read.
pub fn dump(maps: &Maps) -> Result<BTreeMap<CtKey, CtValue>, MapError> {
    maps.entries::<Ct>()
}

/// Returns the keys that may go at `now_s`: expired entries whose other half is expired or absent.
#[must_use]
pub fn expired(flows: &BTreeMap<CtKey, CtValue>, now_s: u32) -> Vec<CtKey> {
    let over = |value: &CtValue| is_over(value, now_s);
    let other = |key: &CtKey, value: &CtValue| pair_of(key, value).and_then(|k| flows.get(&k));
    flows
        .iter()
        .filter(|(key, value)| over(value) && other(key, value).is_none_or(over))
        .map(|(key, _)| *key)
        .collect()
}

fn is_over(value: &CtValue, now_s: u32) -> bool {
    value.expires.saturating_add(MARGIN_S) < now_s
}

/// Removes what has expired at `now_s`.
///
/// # Errors
/// The map could not be read or written; what was removed stays removed.
pub fn collect(maps: &Maps, now_s: u32) -> Result<Collected, MapError> {
    let flows = dump(maps)?;
    let mut removed = 0;
    for key in expired(&flows, now_s) {
        // A packet may have come since: reading a large table takes a while.
        let still = maps.get::<Ct>(&key)?.is_some_and(|value| is_over(&value, now_s));
        removed += usize::from(still && maps.delete::<Ct>(&key)?);
    }
    Ok(Collected { entries: flows.len(), removed })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::abi::{Be16, Be32};
    use crate::memory::MemoryMaps;

    fn ip(last: u8) -> Be32 {
        Be32::new(Ipv4Addr::new(10, 0, 0, last))
    }

    fn entry_flow(expires: u32) -> [(CtKey, CtValue); 2] {
        let forward = CtKey {
            src: ip(50),
            sport: Be16::new(4000),
            dst: ip(100),
            dport: Be16::new(30000),
            proto: 6,
            dir: CT_ENTRY_FWD,
            ..CtKey::default()
        };
        let value = CtValue {
            xaddr: ip(9),
            xport: Be16::new(80),
            caddr: ip(50),
            cport: Be16::new(4000),
            node: 3,
            expires,
            ..CtValue::default()
        };
        let back = pair_of(&forward, &value).unwrap();
        let back_value = CtValue { xaddr: forward.dst, xport: forward.dport, ..value };
        [(forward, value), (back, back_value)]
    }

    #[test]
    fn each_half_names_the_other() {
        let [(forward, value), (back, back_value)] = entry_flow(0);
        assert_eq!(
            (back.dir, back.node, back.src, back.sport),
            (CT_ENTRY_REV, 3, ip(9), Be16::new(80))
        );
        assert_eq!(pair_of(&back, &back_value), Some(forward));
        let vip = CtKey { vni: 4096, dir: CT_VIP_FWD, ..forward };
        let vip_value = CtValue { xaddr: ip(7), ..CtValue::default() };
        let reverse = pair_of(&vip, &vip_value).unwrap();
        assert_eq!((reverse.src, reverse.sport, reverse.dst), (ip(7), vip.dport, vip.src));
        let reverse_value = CtValue { xaddr: vip.dst, ..CtValue::default() };
        assert_eq!(pair_of(&reverse, &reverse_value), Some(vip));
        assert_eq!(pair_of(&CtKey::default(), &value), None);
    }

    #[test]
    fn a_flow_goes_only_when_both_halves_have_expired() {
        let mut flows = BTreeMap::from(entry_flow(100));
        assert_eq!(expired(&flows, 110), []);
        assert_eq!(expired(&flows, 111).len(), 2);
        let last = *flows.keys().last().unwrap();
        flows.get_mut(&last).unwrap().expires = 500;
        assert_eq!(expired(&flows, 111), []);
    }

    #[test]
    fn the_halves_of_a_hairpin_name_each_other() {
        let call = CtKey {
            vni: 4096,
            src: ip(3),
            sport: Be16::new(4000),
            dst: ip(2),
            dport: Be16::new(80),
            proto: 6,
            dir: CT_VIP_FWD,
            ..CtKey::default()
        };
        let value = CtValue { xaddr: ip(3), flags: CT_HAIRPIN, ..CtValue::default() };
        let reply = pair_of(&call, &value).unwrap();
        assert_eq!((reply.src, reply.sport, reply.dport), (ip(3), call.dport, call.sport));
        assert_eq!(pair_of(&reply, &value), Some(call));
    }

    #[test]
    fn what_a_sweep_removes_is_gone_with_its_pair_and_the_rest_stays() {
        let maps = MemoryMaps::new().maps();
        let vip = |port, expires| {
            let key = CtKey {
                vni: 4096,
                src: ip(3),
                sport: Be16::new(port),
                dst: ip(2),
                dir: CT_VIP_FWD,
                ..CtKey::default()
            };
            (key, CtValue { xaddr: ip(4), expires, ..CtValue::default() })
        };
        for (key, value) in [vip(1, 100), vip(2, 500)] {
            let reply = CtValue { xaddr: key.dst, ..value };
            maps.set::<Ct>(&key, &value).unwrap();
            maps.set::<Ct>(&pair_of(&key, &value).unwrap(), &reply).unwrap();
        }
        assert_eq!(collect(&maps, 200).unwrap(), Collected { entries: 4, removed: 2 });
        let left: Vec<_> = dump(&maps).unwrap().into_values().map(|v| v.expires).collect();
        assert_eq!(left, [500, 500]);
        assert_eq!(collect(&maps, 200).unwrap(), Collected { entries: 2, removed: 0 });
    }
}
