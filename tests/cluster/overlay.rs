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
    for service in ["server", "caller"] {
        lab.docker(&format!("service rm {service}"));
    }
    wait_for("the network can be removed", || {
        lab.on("master", &["docker", "network", "rm", "back"]).ok()
    });
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
