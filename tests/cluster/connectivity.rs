//! `swarmnet connectivity test`: good on a healthy underlay, and a name for what is not.

use crate::lab::{Lab, Ran, address, assert_contains, binaries, wait_for};

fn test(lab: &Lab, host: &str, more: &[&str]) -> Ran {
    let swarmnet = binaries().join("swarmnet");
    lab.on(host, &[&[swarmnet.to_str().unwrap(), "connectivity", "test"], more].concat())
}

fn is_good(lab: &Lab) -> bool {
    test(lab, "master", &[]).code == Some(0)
}

/// The way in the table, and whether it carries full frames.
fn ways(lab: &Lab) -> Vec<(String, String, bool)> {
    let ran = test(lab, "master", &["-o", "json"]);
    let result: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let paths = result["paths"].as_array().unwrap().iter();
    paths.map(|p| (text(&p["from"]), text(&p["to"]), p["problem"].is_null())).collect()
}

fn failing(lab: &Lab) -> Vec<(String, String)> {
    let bad = ways(lab).into_iter().filter(|(.., good)| !good);
    bad.map(|(from, to, _)| (from, to)).collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

pub(crate) fn names_the_hop(lab: &Lab) {
    lab.form();
    wait_for("a good test", || is_good(lab));
    let good = test(lab, "master", &[]);
    assert_contains(&good.stdout, "1450 of 1450");
    assert_contains(&good.stdout, "3 nodes, 6 ways between them: all carry full frames");
    assert_eq!(ways(lab).len(), 6);
    let worker = test(lab, "node01", &[]);
    assert_eq!(worker.code, Some(1));
    assert_contains(&worker.stderr, "This node is not a swarm manager");

    a_cut_way_is_named(lab);
    a_narrow_way_is_named(lab);
    wait_for("a good test again", || is_good(lab));
}

/// One direction of the tunnel between two workers is blocked, by a firewall as a user would have it.
fn a_cut_way_is_named(lab: &Lab) {
    let table = "table ip blocked { chain in { type filter hook input priority filter; \
                 ip saddr 10.20.20.110 udp dport 4789 drop; }; }";
    lab.ok("node02", &["nft", table]);
    let blocked = test(lab, "master", &[]);
    let failed = failing(lab);
    lab.ok("node02", &["nft", "delete table ip blocked"]);
    assert_eq!(blocked.code, Some(1));
    assert_contains(&blocked.stdout, "node01 → node02: nothing of node01 arrives at node02");
    let remedy = format!("let 4789/udp pass from {} to {}", address("node01"), address("node02"));
    assert_contains(&blocked.stdout, &remedy);
    assert!(!blocked.stdout.contains("node02 → node01:"), "{}", blocked.stdout);
    let mut failed: Vec<_> = failed.into_iter().collect();
    failed.sort();
    assert_eq!(failed, [pair("node01", "node02"), pair("node02", "node01")]);
}

fn a_narrow_way_is_named(lab: &Lab) {
    lab.ok("node02", &["ip", "link", "set", "eth0", "mtu", "1400"]);
    let narrow = test(lab, "master", &[]);
    let failed = failing(lab);
    lab.ok("node02", &["ip", "link", "set", "eth0", "mtu", "1500"]);
    assert_eq!(narrow.code, Some(1));
    for from in ["master", "node01"] {
        assert_contains(&narrow.stdout, &format!("{from} → node02: the underlay carries only 14"));
        assert!(failed.contains(&pair(from, "node02")), "{failed:?}");
    }
    assert!(!failed.contains(&pair("master", "node01")), "{failed:?}");
}
