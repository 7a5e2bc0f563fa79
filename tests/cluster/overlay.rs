//! Tasks on an overlay network, on different nodes.

use crate::lab::{Lab, SLEEPER, assert_contains, wait_for};

/// Runs a shell line in the container of a service's task on a node.
pub(crate) fn inside(lab: &Lab, node: &str, service: &str, line: &str) -> String {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let id = lab.lab_ok(&["engine", node, "--", "ps", "-q", "--filter", &filter]);
    lab.lab(&["engine", node, "--", "exec", id.trim(), "sh", "-c", line]).text()
}

fn pair(lab: &Lab) {
    lab.docker("network create --driver overlay back");
    lab.create("--name server --network back --constraint node.hostname==node01 whoami");
    lab.create(&format!(
        "--name caller --network back --constraint node.hostname==node02 {SLEEPER}"
    ));
}

pub(crate) fn address_of(lab: &Lab, service: &str) -> String {
    let task = lab.docker(&format!("service ps -q --filter desired-state=running {service}"));
    let format = "{{(index (index .NetworksAttachments 0).Addresses 0)}}";
    let inspect =
        lab.ok("master", &["docker", "inspect", "--type", "task", "-f", format, task.trim()]);
    inspect.trim().split('/').next().unwrap().to_owned()
}

pub(crate) fn tasks_talk_over_an_overlay(lab: &Lab) {
    lab.form();
    pair(lab);
    let server = address_of(lab, "server");
    let caller = address_of(lab, "caller");
    let ping = inside(lab, "node02", "caller", &format!("ping -c 2 -W 2 {server}"));
    assert_contains(&ping, "2 packets received");
    let page = inside(lab, "node02", "caller", &format!("timeout 5 wget -q -O - http://{server}/"));
    assert_contains(&page, &caller);
    let shown = lab.docker("network inspect back --format {{.Driver}}:{{.Scope}}");
    assert_eq!(shown.trim(), "overlay:swarm");
    assert_contains(&lab.refused("master", "network rm back"), "is in use by service");
    remove(lab);
}

fn remove(lab: &Lab) {
    for service in ["server", "caller"] {
        lab.docker(&format!("service rm {service}"));
    }
    wait_for("the network can be removed", || {
        lab.on("master", &["docker", "network", "rm", "back"]).ok()
    });
}

/// Whether a page of the other node comes in by the VXLAN device, not from the uplink at once.
fn comes_by_device(lab: &Lab, server: &str) -> bool {
    let packets = || lab.ok("node02", &["cat", "/sys/class/net/swn-vx/statistics/rx_packets"]);
    let before = packets();
    let line = format!("timeout 5 wget -q -O - http://{server}/");
    assert_contains(&inside(lab, "node02", "caller", &line), "Hostname");
    packets() != before
}

pub(crate) fn ipsec_policies_are_asked(lab: &Lab) {
    lab.form();
    pair(lab);
    let server = address_of(lab, "server");
    wait_for("frames from the uplink", || !comes_by_device(lab, &server));
    // About others; but only the host's stack knows that.
    let policy =
        "ip xfrm policy add dir in src 192.0.2.1 dst 192.0.2.2 tmpl proto esp mode transport";
    assert!(lab.sh("node02", policy).ok());
    wait_for("frames by the device", || comes_by_device(lab, &server));
    assert!(lab.sh("node02", "ip xfrm policy flush").ok());
    wait_for("frames from the uplink again", || !comes_by_device(lab, &server));
    remove(lab);
}

pub(crate) fn tasks_reach_a_vip(lab: &Lab) {
    lab.form();
    pair(lab);
    let format = "{{(index .Endpoint.VirtualIPs 0).Addr}}";
    let vip = lab.ok("master", &["docker", "service", "inspect", "server", "--format", format]);
    let vip = vip.trim().split('/').next().unwrap();
    let page = inside(lab, "node02", "caller", &format!("timeout 5 wget -q -O - http://{vip}/"));
    assert_contains(&page, "Hostname");
    let ping = inside(lab, "node02", "caller", &format!("ping -c 2 -W 2 {vip}"));
    assert_contains(&ping, "2 packets received");
}
