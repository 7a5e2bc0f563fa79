//! What the overlay rows are compared with: a bridge with a VXLAN device whose entries are all
//! written by hand, and an overlay network of Docker's own swarm mode on engines of its own.

use swarmnet_tests::harness::lab::{Lab, address};
use swarmnet_tests::harness::place::Place;

use crate::path::Path;

/// Network namespace of the hand-made overlay on its hosts.
const STATIC_NETNS: &str = "bench-static";
/// Host and address in the hand-made overlay.
const STATIC: [(&str, &str, &str); 2] =
    [("node01", "10.99.0.1", "02:99:00:00:00:01"), ("node02", "10.99.0.2", "02:99:00:00:00:02")];

/// Makes a bridge and a VXLAN device on two hosts, with a static forwarding entry and static
/// neighbours: the shape of Docker's and flannel's overlays, without any daemon behind it.
pub(crate) fn static_overlay(lab: &Lab) -> Path<'_> {
    for (own, other) in [(0, 1), (1, 0)] {
        let (host, ip, mac) = STATIC[own];
        let (far_host, far_ip, far_mac) = STATIC[other];
        let line = format!(
            "for old in bench-br bench-vx; do ip link del $old 2>/dev/null || true; done
            ip netns del {STATIC_NETNS} 2>/dev/null || true
            # Without the engine's firewall in its way: the peer at its best.
            sysctl -q -w net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
            set -e
            ip link add bench-br type bridge
            ip link add bench-vx type vxlan id 99 dstport 4790 local {local} nolearning
            ip link set bench-vx mtu 1450 master bench-br up
            ip link set bench-br mtu 1450 up
            bridge fdb append {far_mac} dev bench-vx dst {remote} self static
            ip netns add {STATIC_NETNS}
            ip link add bench-veth mtu 1450 type veth peer name eth0 mtu 1450 address {mac} netns {STATIC_NETNS}
            ip link set bench-veth master bench-br up
            ip -n {STATIC_NETNS} addr add {ip}/24 dev eth0
            ip -n {STATIC_NETNS} link set lo up
            ip -n {STATIC_NETNS} link set eth0 up
            ip -n {STATIC_NETNS} neigh add {far_ip} lladdr {far_mac} dev eth0 nud permanent",
            local = address(host),
            remote = address(far_host),
        );
        let ran = lab.sh(host, &line);
        assert!(ran.ok(), "the hand-made overlay on {host}: {}", ran.text());
    }
    let [client, server] =
        STATIC.map(|(host, _, _)| Place { lab, host, netns: format!("/run/netns/{STATIC_NETNS}") });
    Path::new("bridge+vxlan", client, server, STATIC[1].1.to_owned())
}

/// A Docker swarm on engines of its own; its first host is the manager.
pub(crate) struct DockerSwarm {
    pub(crate) lab: Lab,
}

impl DockerSwarm {
    pub(crate) fn form(hosts: &[&str]) -> Self {
        let lab = Lab::start("bench-docker", &["--no-daemon", "--hosts", &hosts.join(",")]);
        let swarm = Self { lab };
        let (manager, workers) = hosts.split_first().expect("a swarm has a manager");
        let entry = address(manager);
        swarm.engine(manager, &format!("swarm init --advertise-addr {entry}"));
        let token = swarm.engine(manager, "swarm join-token --quiet worker");
        for host in workers {
            swarm.engine(host, &format!("swarm join --token {} {entry}:2377", token.trim()));
        }
        swarm
    }

    /// Two hosts with a container each on one overlay network. The address of a container is asked
    /// directly: that is what `dnsrr` gives.
    pub(crate) fn overlay() -> Self {
        let swarm = Self::form(&["node01", "node02"]);
        swarm.engine("node01", "network create --driver overlay --attachable bench");
        swarm.engine("node01", "run --detach --name left --network bench whoami");
        swarm.engine("node02", "run --detach --name right --network bench whoami");
        swarm
    }

    /// Runs a docker command on a host's engine.
    pub(crate) fn engine(&self, host: &str, line: &str) -> String {
        let words: Vec<&str> = ["engine", host, "--"].into_iter().chain(line.split(' ')).collect();
        self.lab.lab_ok(&words)
    }

    pub(crate) fn path(&self) -> Path<'_> {
        let client = Place::container(&self.lab, "node01", "left");
        let server = Place::container(&self.lab, "node02", "right");
        let address = server.address("eth0");
        Path::new("Docker overlay", client, server, address)
    }
}

impl Drop for DockerSwarm {
    fn drop(&mut self) {
        self.lab.stop();
    }
}
