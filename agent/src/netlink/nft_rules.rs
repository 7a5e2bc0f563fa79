//! Pure: the one nft table `swarmnet`: its text, and whether a listing shows it unharmed.
//!
//! Each rule carries a comment made of its own text, so a listing is compared by comments: nft
//! prints rules in another form than they were written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use ipnetwork::Ipv4Network;

/// Name of the table; nothing in any other table is touched.
pub const TABLE: &str = "swarmnet";

/// Source ports of connections of tasks to the outside come from here, as from Linux by default.
const MASQUERADE_PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// What the table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// Gateway addresses of this node's tasks.
    pub pool: Ipv4Network,
    pub vxlan_port: u16,
    /// Published ports: a reply to one of them would be taken for a request to the mesh.
    pub published: BTreeSet<u16>,
    /// Bridges that lead to other machines; all others connect containers of this host only.
    pub outer_bridges: BTreeSet<String>,
}

/// (chain, comment) of each rule, in order.
pub type Fingerprint = Vec<(String, String)>;

struct Chain {
    name: &'static str,
    hook: &'static str,
    rules: Vec<String>,
}

impl TableSpec {
    fn chains(&self) -> Vec<Chain> {
        let Self { pool, vxlan_port, published, .. } = self;
        let gap = largest_gap(published);
        let outside = format!("ip saddr {pool} oifname != \"swg*\"");
        let notrack = vec![format!("udp dport {vxlan_port} notrack")];
        vec![
            Chain {
                name: "postrouting",
                hook: "type nat hook postrouting priority srcnat",
                rules: vec![
                    format!(
                        "{outside} meta l4proto {{ tcp, udp }} masquerade to :{}-{}",
                        gap.start(),
                        gap.end()
                    ),
                    format!("{outside} masquerade"),
                ],
            },
            Chain {
                name: "forward",
                hook: "type filter hook forward priority filter",
                rules: self.walls(),
            },
            Chain {
                name: "prerouting",
                hook: "type filter hook prerouting priority raw",
                rules: notrack.clone(),
            },
            Chain { name: "output", hook: "type filter hook output priority raw", rules: notrack },
        ]
    }

    /// Docker keeps its networks apart from each other; so are tasks kept apart from them, whatever
    /// another table accepts: no task reaches a container behind a local bridge, and nobody who is
    /// routed through this host reaches a task but by a published port, which takes another way, or by
    /// a translation that the operator has set up.
    fn walls(&self) -> Vec<String> {
        let quoted: Vec<_> = self.outer_bridges.iter().map(|name| format!("\"{name}\"")).collect();
        let but = match quoted.is_empty() {
            true => String::new(),
            false => format!(" oifname != {{ {} }}", quoted.join(", ")),
        };
        vec![
            "oifname \"swg*\" ct state != { established, related } ct status & dnat == 0 drop"
                .to_owned(),
            format!("iifname \"swg*\" meta oifkind \"bridge\"{but} drop"),
        ]
    }

    /// Returns the script that puts the table in place of any earlier one, in one transaction.
    pub fn script(&self) -> String {
        let mut text = format!("add table ip {TABLE}\ndelete table ip {TABLE}\n");
        let _ = writeln!(text, "table ip {TABLE} {{");
        for chain in self.chains() {
            let _ = writeln!(text, "  chain {} {{\n    {}; policy accept;", chain.name, chain.hook);
            for rule in &chain.rules {
                let _ = writeln!(text, "    {rule} comment \"{}\"", comment(rule));
            }
            text.push_str("  }\n");
        }
        text.push_str("}\n");
        text
    }

    /// Returns what a listing of the intact table shows.
    pub fn fingerprint(&self) -> Fingerprint {
        let rules = |chain: Chain| {
            let name = chain.name.to_owned();
            chain.rules.into_iter().map(move |rule| (name.clone(), comment(&rule)))
        };
        self.chains().into_iter().flat_map(rules).collect()
    }
}

/// Returns what `nft -j list table` printed, as a fingerprint; a foreign rule has no comment.
pub fn fingerprint_of(listing: &serde_json::Value) -> Fingerprint {
    let Some(items) = listing.get("nftables").and_then(serde_json::Value::as_array) else {
        return Fingerprint::new();
    };
    let text = |rule: &serde_json::Value, key: &str| {
        rule.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    items
        .iter()
        .filter_map(|item| item.get("rule"))
        .map(|rule| (text(rule, "chain"), text(rule, "comment")))
        .collect()
}

/// FNV-1a of the rule's text: stable over restarts and versions.
fn comment(rule: &str) -> String {
    let hash = rule.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("swarmnet {hash:016x}")
}

/// Returns the longest run of source ports without a published port.
fn largest_gap(published: &BTreeSet<u16>) -> RangeInclusive<u16> {
    let mut best = MASQUERADE_PORTS;
    let (mut first, mut found) = (*MASQUERADE_PORTS.start(), false);
    let inside = published.range(MASQUERADE_PORTS).copied();
    for port in inside.map(Some).chain([None]) {
        let last = port.map_or(*MASQUERADE_PORTS.end(), |port| port.saturating_sub(1));
        let longer = !found || last.saturating_sub(first) > best.end() - best.start();
        if first <= last && longer {
            (best, found) = (first..=last, true);
        }
        first = port.map_or(first, |port| port.saturating_add(1));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn spec(published: &[u16]) -> TableSpec {
        TableSpec {
            pool: "172.31.240.0/20".parse().unwrap(),
            vxlan_port: 4789,
            published: published.iter().copied().collect(),
            outer_bridges: BTreeSet::new(),
        }
    }

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        expect![[r#"
            add table ip swarmnet
            delete table ip swarmnet
            table ip swarmnet {
              chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 172.31.240.0/20 oifname != "swg*" meta l4proto { tcp, udp } masquerade to :32768-60999 comment "swarmnet 5b4d41b07967a09f"
                ip saddr 172.31.240.0/20 oifname != "swg*" masquerade comment "swarmnet dc1619a03e3d51b1"
              }
              chain forward {
                type filter hook forward priority filter; policy accept;
                oifname "swg*" ct state != { established, related } ct status & dnat == 0 drop comment "swarmnet 7b7932cea7e2c90b"
                iifname "swg*" meta oifkind "bridge" drop comment "swarmnet 8a7cdcb85fcd3a92"
              }
              chain prerouting {
                type filter hook prerouting priority raw; policy accept;
                udp dport 4789 notrack comment "swarmnet f1072edcac34525d"
              }
              chain output {
                type filter hook output priority raw; policy accept;
                udp dport 4789 notrack comment "swarmnet f1072edcac34525d"
              }
            }
        "#]]
        .assert_eq(&spec(&[]).script());
    }

    #[test]
    fn tasks_reach_bridges_that_lead_to_other_machines() {
        let outer_bridges = ["br0".to_owned(), "br1".to_owned()].into();
        let script = TableSpec { outer_bridges, ..spec(&[]) }.script();
        let rule = r#"meta oifkind "bridge" oifname != { "br0", "br1" } drop"#;
        assert!(script.contains(rule), "{script}");
    }

    #[test]
    fn outgoing_connections_avoid_published_ports() {
        assert_eq!(largest_gap(&[30_000].into()), 32_768..=60_999);
        assert_eq!(largest_gap(&[40_000, 32_768].into()), 40_001..=60_999);
        assert_eq!(largest_gap(&[60_999].into()), 32_768..=60_998);
        assert_eq!(largest_gap(&[33_000, 60_000].into()), 33_001..=59_999);
    }

    #[test]
    fn a_changed_rule_changes_the_fingerprint() {
        assert_ne!(spec(&[]).fingerprint(), spec(&[50_000]).fingerprint());
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {}}, {"table": {"name": "swarmnet"}},
            {"rule": {"chain": "output", "comment": "swarmnet 1"}}, {"rule": {"chain": "x"}},
        ]});
        let want = [("output", "swarmnet 1"), ("x", "")];
        let want: Fingerprint = want.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(fingerprint_of(&listing), want);
    }
}
