//! Task to task on two nodes, against a bridge with VXLAN made by hand, against an overlay of
//! Docker's own swarm mode, and for bulk also against the bare underlay.

use swarmnet_tests::harness::lab::{Lab, address};
use swarmnet_tests::harness::place::Place;

use crate::path::{Load, Path, interleave};
use crate::peers::{DockerSwarm, static_overlay};
use crate::report::Row;

/// More than usual: the margins are small.
const ROUNDS: usize = 11;

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    let docker = DockerSwarm::overlay();
    let mut paths = [tasks(lab), static_overlay(lab), docker.path(), underlay(lab)];
    let mut rows = vec![];
    for load in [Load::Requests, Load::Connections, Load::Bulk] {
        // What the bare underlay does says something about throughput only.
        let used = if load == Load::Bulk { 4 } else { 3 };
        interleave(&mut paths[..used], load, ROUNDS);
        rows.extend(paths[1..used].iter().map(|peer| paths[0].row(load, peer)));
    }
    rows[0].conditions.extend([
        "client on node01, server on node02; the same program at both ends of every path;".to_owned(),
        "both on one CPU for requests and connections, on a CPU each for bulk".to_owned(),
        "bridge+vxlan: bridge, VXLAN device, static forwarding entry and neighbours, MTU 1450".to_owned(),
        "  no firewall rules in its namespaces; its outer packets are tracked by the host as usual".to_owned(),
        "Docker overlay: two engines in a swarm of their own, the container's address as dnsrr gives it".to_owned(),
        "underlay: from host to host, no overlay".to_owned(),
    ]);
    rows
}

/// Makes two services of one task each on an overlay network; the path goes from task to task.
pub(crate) fn tasks(lab: &Lab) -> Path<'_> {
    lab.docker("network create --driver overlay --subnet 10.100.0.0/16 bench");
    for (name, host) in [("left", "node01"), ("right", "node02")] {
        lab.create(&format!(
            "--name {name} --network bench --constraint node.hostname=={host} whoami"
        ));
    }
    let client = Place::container(lab, "node01", "left");
    let server = Place::container(lab, "node02", "right");
    let address = server.address("eth0");
    Path::new("swarmnet", client, server, address)
}

fn underlay(lab: &Lab) -> Path<'_> {
    let [client, server] = ["node01", "node02"].map(|host| Place::host(lab, host));
    Path::new("underlay", client, server, address("node02").to_owned())
}
