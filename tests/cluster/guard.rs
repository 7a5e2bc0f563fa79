//! Packets that nobody may send: each is dropped, and counted under the reason an operator looks for.

use crate::lab::{Lab, address, assert_contains, binaries, wait_for};

/// Number of the VXLAN network from an entry node to a backend's node, and back.
const MESH_FORWARD: u32 = 1;
const MESH_RETURN: u32 = 2;
const UNUSED: u32 = 9_999;

/// Returns the number of packets dropped on a host for a reason.
fn dropped(lab: &Lab, host: &str, reason: &str) -> u64 {
    let swarmnet = binaries().join("swarmnet");
    let table = lab.ok(host, &[swarmnet.to_str().unwrap(), "debug", "drops"]);
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|words| words.first() == Some(&reason));
    row.map_or(0, |words| words.get(1).unwrap().parse().unwrap())
}

#[track_caller]
fn counts(lab: &Lab, host: &str, reason: &str, mut send: impl FnMut()) {
    let before = dropped(lab, host, reason);
    wait_for(reason, || {
        send();
        dropped(lab, host, reason) > before
    });
}

/// An Ethernet frame with a UDP datagram to port 81, inside a VXLAN datagram.
fn vxlan(vni: u32, src: &str, dst: &str) -> String {
    let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    bytes.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    bytes.extend(octets(src).into_iter().chain(octets(dst)));
    bytes.extend([0, 1, 0, 81, 0, 8, 0, 0]);
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn send(lab: &Lab, from: &str, to: &str, datagram: &str) {
    // bash ends a write at a line feed, which an address may hold: dd makes one datagram of it.
    let size = datagram.len() / "\\x00".len();
    let join = format!("dd bs={size} count=1 iflag=fullblock status=none");
    let line = format!("printf '{datagram}' | {join} > /dev/udp/{}/4789", address(to));
    lab.ok(from, &["bash", "-c", &line]);
}

/// Runs a shell line in the network of a service's task on a host.
fn beside(lab: &Lab, host: &str, service: &str, line: &str) {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let id = lab.lab_ok(&["engine", host, "--", "ps", "-q", "--filter", &filter]);
    let format = "{{.State.Pid}}";
    let pid = lab.lab_ok(&["engine", host, "--", "inspect", "-f", format, id.trim()]);
    lab.on(host, &["nsenter", "-t", pid.trim(), "-n", "bash", "-c", line]);
}

fn two_tasks(lab: &Lab) -> u32 {
    lab.form();
    lab.docker("network create --driver overlay --subnet 10.77.0.0/24 guarded");
    lab.create(
        "--name goal --network guarded --publish 8077:80 --constraint node.hostname==node01 whoami",
    );
    lab.create("--name rogue --network guarded --constraint node.hostname==node02 whoami");
    let swarmnet = binaries().join("swarmnet");
    let table = lab.ok("node01", &[swarmnet.to_str().unwrap(), "debug", "overlay"]);
    let network = table.lines().find(|line| line.split_whitespace().nth(1) == Some("guarded"));
    network.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) fn foreign_tunnel_packets_are_counted(lab: &Lab) {
    let vni = two_tasks(lab);
    let (inside, client, gateway) = ("10.77.0.99", "10.20.20.50", "172.31.240.1");
    for network in [MESH_FORWARD, MESH_RETURN, vni] {
        let datagram = vxlan(network, inside, inside);
        counts(lab, "node01", "VTEP_PEER", || send(lab, "client", "node01", &datagram));
    }
    for (reason, datagram) in [
        ("VTEP_VNI", vxlan(UNUSED, inside, inside)),
        ("VTEP_SRC", vxlan(vni, inside, inside)),
        ("MESH_NOT_PUBLISHED", vxlan(MESH_FORWARD, client, gateway)),
        ("CT_INVALID", vxlan(MESH_RETURN, gateway, client)),
    ] {
        counts(lab, "node01", reason, || send(lab, "master", "node01", &datagram));
    }
    assert_contains(&lab.curl("client", "http://10.20.20.120:8077/"), "Hostname");
}

pub(crate) fn a_task_can_only_speak_for_itself(lab: &Lab) {
    two_tasks(lab);
    let rogue = |line: &str| beside(lab, "node02", "rogue", line);
    counts(lab, "node02", "GW_ISOLATION", || rogue("echo > /dev/udp/172.31.240.200/9"));
    let speak = "ip neigh replace 10.77.0.98 lladdr 02:42:0a:4d:00:62 dev eth0; \
                 echo > /dev/udp/10.77.0.98/9";
    rogue("ip address add 10.77.0.99/32 dev eth0");
    rogue("ip route replace 10.77.0.0/24 dev eth0 src 10.77.0.99");
    counts(lab, "node02", "SPOOF_IP", || rogue(speak));
    rogue("ip link set eth0 address 02:00:00:00:00:07");
    counts(lab, "node02", "SPOOF_MAC", || rogue(speak));
    assert_contains(&lab.curl("client", "http://10.20.20.120:8077/"), "Hostname");
}
