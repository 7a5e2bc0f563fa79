//! Packets that nobody may send: each is dropped, and counted under the reason an operator looks for,
//! and nobody receives one.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::Child;

use crate::frames::{
    ARP, BROADCAST, COPIES, IPV4, IPV6, Mac, ROGUE, arp, ethernet, mac_of, router_advertisement,
    send_from, udp,
};
use crate::lab::{CLIENT, Lab, address, assert_contains, binaries, wait_for};

/// Number of the VXLAN network from an entry node to a backend's node, back, and of the test.
const MESH_FORWARD: u32 = 1;
const MESH_RETURN: u32 = 2;
const PROBE: u32 = 3;
const UNUSED: u32 = 9_999;
/// Where the task that is to be deceived listens.
const PORT: u16 = 81;
const HONEST: &str = "honest";
const EVIL: Mac = [2, 0, 0, 0, 0, 0x66];

/// Returns the number of packets dropped on a host for a reason.
fn dropped(lab: &Lab, host: &str, reason: &str) -> u64 {
    let swarmnet = binaries().join("swarmnet");
    let view = lab.ok(host, &[swarmnet.to_str().unwrap(), "debug", "drops", "-o", "json"]);
    let view: serde_json::Value = serde_json::from_str(&view).unwrap();
    let mut drops = view["drops"].as_array().unwrap().iter();
    let found = drops.find(|drop| drop["reason"] == reason);
    found.map_or(0, |drop| drop["packets"].as_u64().unwrap())
}

#[track_caller]
pub(crate) fn counts(lab: &Lab, host: &str, reason: &str, mut send: impl FnMut()) {
    let before = dropped(lab, host, reason);
    wait_for(reason, || {
        send();
        dropped(lab, host, reason) > before
    });
}

/// A frame inside a VXLAN datagram.
fn vxlan(vni: u32, frame: &[u8]) -> String {
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(frame);
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn send(lab: &Lab, from: &str, to: &str, datagram: &str) {
    // bash ends a write at a line feed, which an address may hold: dd makes one datagram of it.
    let size = datagram.len() / "\\x00".len();
    let join = format!("dd bs={size} count=1 iflag=fullblock status=none");
    let line = format!("printf '{datagram}' | {join} > /dev/udp/{}/4789", address(to));
    lab.ok(from, &["bash", "-c", &line]);
}

/// Two tasks of one network, `goal` on node01 and `rogue` on node02.
struct Scene<'a> {
    lab: &'a Lab,
    vni: u32,
    goal: Ipv4Addr,
    rogue: Ipv4Addr,
    rogue_gateway: Ipv4Addr,
}

impl<'a> Scene<'a> {
    fn set(lab: &'a Lab) -> Self {
        lab.form();
        lab.docker("network create --driver overlay --subnet 10.77.0.0/24 guarded");
        for (name, host, publish) in
            [("goal", "node01", "--publish 8077:80"), ("rogue", "node02", "--publish 8078:80")]
        {
            let place = format!("--constraint node.hostname=={host}");
            lab.create(&format!("--name {name} --network guarded {publish} {place} whoami"));
        }
        let swarmnet = binaries().join("swarmnet");
        let table = lab.ok("node01", &[swarmnet.to_str().unwrap(), "debug", "overlay"]);
        let mut networks = table.lines().map(|line| line.split_whitespace());
        let network = networks.find(|words| words.clone().nth(1) == Some("guarded"));
        let goal = lab.address_in("node01", "goal", "eth0");
        let rogue = lab.address_in("node02", "rogue", "eth0");
        let rogue_gateway = lab.address_in("node02", "rogue", "gw0");
        let vni = network.unwrap().next().unwrap().parse().unwrap();
        Self { lab, vni, goal, rogue, rogue_gateway }
    }

    /// Runs a shell line in the network of the rogue.
    fn rogue(&self, line: &str) {
        self.lab.beside("node02", "rogue", &["bash", "-c", line]);
    }

    fn listen(&self) -> Child {
        let pid = self.lab.pid_of("node01", "goal").to_string();
        let port = PORT.to_string();
        let child = self.lab.spawn("node01", &["nsenter", "-t", &pid, "-n", "nc", "-luk", &port]);
        wait_for("a listener", || {
            let sockets = self.lab.beside("node01", "goal", &["cat", "/proc/net/udp"]).stdout;
            sockets.contains(&format!(":{PORT:04X} "))
        });
        child
    }

    /// What the listener has heard, up to an honest datagram of the same task.
    fn heard(&self, mut listener: Child) -> String {
        let mut output = listener.stdout.take().unwrap();
        let mut heard = String::new();
        let mut buffer = [0; 2048];
        self.rogue(&format!("echo {HONEST} > /dev/udp/{}/{PORT}", self.goal));
        while !heard.contains(HONEST) {
            let size = output.read(&mut buffer).unwrap();
            assert_ne!(size, 0, "the listener has ended: {heard:?}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
        listener.kill().unwrap();
        listener.wait().unwrap();
        heard
    }
}

pub(crate) fn foreign_tunnel_packets_are_counted(lab: &Lab) {
    let scene = Scene::set(lab);
    let (vni, goal, rogue) = (scene.vni, scene.goal, scene.rogue);
    let [nobody, client, gateway] = ["10.77.0.99", "10.20.20.50", "172.31.240.1"];
    let [nobody, client, gateway]: [Ipv4Addr; 3] =
        [nobody, client, gateway].map(|a| a.parse().unwrap());
    let inside = |network, src, dst| {
        vxlan(network, &ethernet(mac_of(dst), EVIL, IPV4, &udp(src, dst, (1, PORT))))
    };
    let listener = scene.listen();
    // The guard is no rule of a firewall: it stands without any.
    lab.ok("node01", &["nft", "flush", "ruleset"]);
    for network in [MESH_FORWARD, MESH_RETURN, PROBE, vni] {
        let datagram = inside(network, rogue, goal);
        counts(lab, "node01", "VTEP_PEER", || send(lab, "client", "node01", &datagram));
    }
    let host: Ipv4Addr = address("node01").parse().unwrap();
    let question = arp(1, (EVIL, rogue), ([0; 6], goal));
    for (reason, from, datagram) in [
        ("VTEP_VNI", "node02", inside(UNUSED, rogue, goal)),
        ("VTEP_VNI", "node02", inside(PROBE, rogue, goal)),
        ("VTEP_SRC", "master", inside(vni, rogue, goal)),
        ("VTEP_SRC", "master", inside(vni, nobody, goal)),
        ("VTEP_SRC", "node02", inside(vni, goal, goal)),
        ("VTEP_DST", "node02", inside(vni, rogue, nobody)),
        ("VTEP_DST", "node02", inside(vni, rogue, host)),
        ("MESH_NOT_PUBLISHED", "master", inside(MESH_FORWARD, client, gateway)),
        ("CT_INVALID", "master", inside(MESH_RETURN, gateway, client)),
        ("ETHERTYPE", "node02", vxlan(vni, &ethernet(BROADCAST, EVIL, ARP, &question))),
        (
            "IPV6_OFF",
            "node02",
            vxlan(vni, &ethernet(BROADCAST, EVIL, IPV6, &router_advertisement())),
        ),
        ("VLAN", "node02", vxlan(vni, &ethernet(BROADCAST, EVIL, 0x8100, &[0; 46]))),
        ("MALFORMED", "node02", vxlan(vni, &ethernet(mac_of(goal), EVIL, IPV4, &[0x44; 46]))),
    ] {
        counts(lab, "node01", reason, || send(lab, from, "node01", &datagram));
    }
    let heard = scene.heard(listener);
    assert!(!heard.contains(ROGUE), "a foreign packet was delivered: {heard:?}");
    assert_contains(&lab.curl("client", "http://10.20.20.120:8077/"), "Hostname");
}

pub(crate) fn a_task_can_only_speak_for_itself(lab: &Lab) {
    let scene = Scene::set(lab);
    let rogue = |line: &str| scene.rogue(line);
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

/// Sends the frame, and again until its copies show in the counter.
#[track_caller]
fn dropped_as(scene: &Scene<'_>, reason: &str, device: &str, frame: &[u8]) {
    let before = dropped(scene.lab, "node02", reason);
    send_from(scene.lab, "node02", "rogue", device, frame);
    wait_for(&format!("{reason} on {device}"), || {
        dropped(scene.lab, "node02", reason) >= before + COPIES
    });
}

pub(crate) fn rogue_frames_of_a_task_reach_nobody(lab: &Lab) {
    let scene = Scene::set(lab);
    let (goal, rogue) = (scene.goal, scene.rogue);
    let (goal_mac, mac) = (mac_of(goal), mac_of(rogue));
    let [victim, nobody] = ["10.77.0.1", "10.77.0.99"].map(|a| a.parse::<Ipv4Addr>().unwrap());
    let everybody = Ipv4Addr::BROADCAST;
    let listener = scene.listen();
    let from_goal = udp(goal, goal, (1, PORT));
    let own = udp(rogue, goal, (1, PORT));
    let offer = |src| udp(src, everybody, (67, 68));
    let tagged = [&[0, 5, 8, 0][..], &own].concat();
    let bridge_hello = [&[0x42, 0x42, 3][..], &[0; 35]].concat();
    for (reason, frame) in [
        ("SPOOF_IP", ethernet(goal_mac, mac, IPV4, &udp(nobody, goal, (1, PORT)))),
        ("SPOOF_IP", ethernet(goal_mac, mac, IPV4, &from_goal)),
        ("SPOOF_IP", ethernet(BROADCAST, mac, IPV4, &offer(victim))),
        ("MCAST_BCAST", ethernet(BROADCAST, mac, IPV4, &offer(rogue))),
        ("SPOOF_MAC", ethernet(goal_mac, EVIL, IPV4, &own)),
        ("SPOOF_MAC", ethernet(goal_mac, goal_mac, IPV4, &own)),
        // An answer nobody asked for, a gratuitous one, a question in another's name, by another MAC.
        ("SPOOF_ARP", ethernet(goal_mac, mac, ARP, &arp(2, (mac, victim), (goal_mac, goal)))),
        ("SPOOF_ARP", ethernet(BROADCAST, mac, ARP, &arp(1, (mac, rogue), ([0; 6], rogue)))),
        ("SPOOF_ARP", ethernet(BROADCAST, mac, ARP, &arp(1, (mac, victim), ([0; 6], goal)))),
        ("SPOOF_ARP", ethernet(BROADCAST, mac, ARP, &arp(1, (EVIL, rogue), ([0; 6], goal)))),
        ("ARP_UNKNOWN", ethernet(BROADCAST, mac, ARP, &arp(1, (mac, rogue), ([0; 6], nobody)))),
        ("IPV6_OFF", ethernet([0x33, 0x33, 0, 0, 0, 1], mac, IPV6, &router_advertisement())),
        ("VLAN", ethernet(goal_mac, mac, 0x8100, &tagged)),
        ("VLAN", ethernet(goal_mac, mac, 0x88a8, &tagged)),
        // Spanning tree: 802.3 with a length instead of a type.
        ("ETHERTYPE", ethernet([1, 0x80, 0xc2, 0, 0, 0], mac, 38, &bridge_hello)),
        ("ETHERTYPE", ethernet(goal_mac, mac, 0x88b5, &[3; 46])),
    ] {
        dropped_as(&scene, reason, "eth0", &frame);
    }
    rogue_frames_to_the_gateway(&scene);
    let heard = scene.heard(listener);
    assert!(!heard.contains(ROGUE), "a rogue frame was delivered: {heard:?}");
    let neighbors = lab.beside("node01", "goal", &["ip", "neigh"]).stdout;
    let known = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    let lies = neighbors.lines().any(|line| {
        line.contains(&known(EVIL)) || line.starts_with("10.77.0.1 ") && line.contains(&known(mac))
    });
    assert!(!lies, "the victim believed it: {neighbors}");
    let routes = lab.beside("node01", "goal", &["ip", "-6", "address"]).stdout;
    assert!(
        !routes.contains("fd00:bad"),
        "the victim has an address of the rogue router: {routes}"
    );
}

fn rogue_frames_to_the_gateway(scene: &Scene<'_>) {
    let own = scene.rogue_gateway;
    let vmac = [2, 0x73, 0x77, 0x6e, 0, 1];
    let link = scene.lab.beside("node02", "rogue", &["ip", "-br", "link", "show", "gw0"]).stdout;
    let text = link.split_whitespace().nth(2).unwrap();
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
    let mac = Mac::try_from(bytes.collect::<Vec<_>>()).unwrap();
    let client: Ipv4Addr = CLIENT.parse().unwrap();
    let [next_hop, other] =
        ["169.254.1.1", "172.31.240.200"].map(|a| a.parse::<Ipv4Addr>().unwrap());
    let [resolver, mesh] =
        ["169.254.77.53", "169.254.87.1"].map(|a| a.parse::<Ipv4Addr>().unwrap());
    for (reason, frame) in [
        ("SPOOF_IP", ethernet(vmac, mac, IPV4, &udp(other, client, (1, 9)))),
        ("SPOOF_MAC", ethernet(vmac, EVIL, IPV4, &udp(own, client, (1, 9)))),
        ("SPOOF_ARP", ethernet(vmac, mac, ARP, &arp(2, (mac, next_hop), (vmac, own)))),
        ("ARP_UNKNOWN", ethernet(BROADCAST, mac, ARP, &arp(1, (mac, own), ([0; 6], other)))),
        ("GW_ISOLATION", ethernet(vmac, mac, IPV4, &udp(own, other, (1, 80)))),
        ("GW_ISOLATION", ethernet(vmac, mac, IPV4, &udp(own, resolver, (1, 53)))),
        ("GW_ISOLATION", ethernet(vmac, mac, IPV4, &udp(own, mesh, (1, 8077)))),
        ("IPV6_OFF", ethernet(BROADCAST, mac, IPV6, &router_advertisement())),
        ("VLAN", ethernet(vmac, mac, 0x8100, &[0; 46])),
    ] {
        dropped_as(scene, reason, "gw0", &frame);
    }
}
