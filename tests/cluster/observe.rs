//! `swarmnet debug …` on a running cluster.

use crate::lab::{HOSTS, Lab, assert_contains, binaries, wait_for};

pub(crate) fn debug_commands(lab: &Lab) {
    lab.form();
    lab.create("--name shown --replicas 2 --publish 8080:80 whoami");
    let swarmnet = binaries().join("swarmnet");
    let debug = |host: &str, view: &str| lab.ok(host, &[swarmnet.to_str().unwrap(), "debug", view]);
    for host in HOSTS {
        wait_for("both tasks in the table", || {
            let lb = debug(host, "lb");
            lb.contains("shown.1") && lb.contains("shown.2")
        });
        let ingress = debug(host, "ingress");
        assert_contains(&ingress, "8080");
        assert_contains(&ingress, "shown");
        let overlay = debug(host, "overlay");
        HOSTS.iter().filter(|peer| **peer != host).for_each(|peer| assert_contains(&overlay, peer));
    }
    let json = lab.ok("node01", &[swarmnet.to_str().unwrap(), "debug", "lb", "-o", "json"]);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    debug("node01", "drops");
}
