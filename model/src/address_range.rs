//! Pure: IPv4 ranges that no overlay may use, with the reason.

use ipnetwork::Ipv4Network;

use crate::defaults::GATEWAY_POOL;

/// What each range is for.
const RESERVED: [(&str, &str); 6] = [
    ("0.0.0.0/8", "hosts that have no address yet"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    (GATEWAY_POOL, "the gateway interfaces of tasks"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "future use"),
];

/// A range that has another use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub range: Ipv4Network,
    /// Completes "is reserved for …".
    pub purpose: &'static str,
}

/// Returns the ranges that no overlay may use.
pub fn reserved() -> impl Iterator<Item = Reserved> {
    RESERVED.into_iter().map(|(range, purpose)| Reserved {
        range: range.parse().expect("the table holds prefixes"),
        purpose,
    })
}

/// Returns the reserved range that shares addresses with `subnet`.
pub fn reserved_part(subnet: Ipv4Network) -> Option<Reserved> {
    reserved().find(|reserved| reserved.range.overlaps(subnet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_touches_a_reserved_one_is_reserved() {
        let part = |text: &str| reserved_part(text.parse().unwrap()).map(|r| r.range.to_string());
        for (subnet, reserved) in [
            ("0.0.0.0/0", "0.0.0.0/8"),
            ("126.0.0.0/7", "127.0.0.0/8"),
            ("127.0.0.0/24", "127.0.0.0/8"),
            ("169.254.7.0/24", "169.254.0.0/16"),
            ("172.31.0.0/16", "172.31.240.0/20"),
            ("224.0.1.0/24", "224.0.0.0/4"),
            ("255.255.255.0/24", "240.0.0.0/4"),
        ] {
            assert_eq!(part(subnet).as_deref(), Some(reserved), "{subnet}");
        }
        for usable in
            ["10.0.0.0/8", "172.16.0.0/16", "192.168.0.0/16", "100.64.0.0/10", "1.0.0.0/8"]
        {
            assert_eq!(part(usable), None, "{usable}");
        }
    }
}
