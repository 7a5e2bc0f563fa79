//! Frames of other nodes on the uplink: trains of segments, sums that are not there yet, and what a task
//! does with them.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::lab::{Host, TASKS, inside, must, output};
use crate::pitfalls::{BULK, serving};

#[test]
fn bulk_arrives_whatever_the_devices_offload() {
    let lab = serving("bulk");
    lab.serve_by(3);
    let single = "tso off gso off gro off tx off";
    let trains = "tx on gso on tso on gro on";
    for (settings, uplinks) in [
        ("tso off gso off gro off", trains),
        (single, single),
        // the uplink puts segments together, with their outer packets
        (single, "gro on"),
        (trains, single),
        (trains, trains),
    ] {
        for host in &lab.hosts {
            must(&format!("ip netns exec {} ethtool -K wan0 {uplinks}", host.name));
        }
        for task in &TASKS {
            for device in ["eth0", "gw0"] {
                must(&format!(
                    "ip netns exec {} ethtool -K {device} {settings}",
                    lab.ns(task.name)
                ));
            }
        }
        must(&format!("ip netns exec {} ethtool -K wan0 {settings}", lab.ns("c")));
        for (from, to) in [
            ("t1", "10.0.1.4:80"),
            ("t1", "10.0.1.5:80"),
            ("t1", "10.0.1.2:80"),
            ("c", "10.20.20.100:30000"),
            ("c", "10.20.20.110:30000"),
        ] {
            let with = format!("{from} {to} with {settings} and {uplinks}");
            lab.tcp(from, to, BULK).unwrap_or_else(|e| panic!("{with}: {e}"));
            lab.udp(from, to, 20_000).unwrap_or_else(|e| panic!("{with}: {e}"));
        }
    }
}

/// Packets that came in by a host's VXLAN device.
fn by_device(host: &Host) -> u64 {
    let path = "/sys/class/net/swn-vx/statistics/rx_packets";
    let (ok, text) = output(&format!("ip netns exec {} cat {path}", host.name));
    assert!(ok, "{text}");
    text.trim().parse().unwrap()
}

#[test]
fn frames_of_other_nodes_do_not_take_the_way_by_the_vxlan_device() {
    let lab = serving("decap");
    lab.serve_by(3);
    for (from, to) in [("t1", "10.0.1.5:80"), ("t1", "10.0.1.2:80"), ("c", "10.20.20.100:30000")] {
        lab.tcp(from, to, BULK).unwrap();
        lab.udp(from, to, 1400).unwrap();
    }
    assert!(lab.ping("t1", "10.0.1.5"));
    assert_eq!(lab.hosts.iter().map(by_device).collect::<Vec<_>>(), [0, 0]);
    for host in &lab.hosts {
        let maps = host.maps();
        let conf = maps.get::<Conf>(&0).unwrap().unwrap();
        maps.set::<Conf>(&0, &ConfValue { vxlan_port: Be16::new(0), ..conf }).unwrap();
    }
    lab.tcp("t1", "10.0.1.5:80", BULK).unwrap();
    assert!(lab.hosts.iter().all(|host| by_device(host) > 0));
}

/// Sends a train of datagrams in one call and returns how many of that length are answered.
fn answered_train(to: SocketAddrV4, len: u16, count: usize) -> usize {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    setsockopt(&socket, sockopt::UdpGsoSegment, &i32::from(len)).unwrap();
    socket.send_to(&vec![b'x'; usize::from(len) * count], to).unwrap();
    let mut buffer = [0; 2048];
    (0..count).filter(|_| socket.recv(&mut buffer).unwrap() == usize::from(len)).count()
}

#[test]
fn a_train_of_datagrams_arrives_as_datagrams() {
    let lab = serving("train");
    lab.serve_by(3);
    for (from, to, port) in [
        ("t1", Ipv4Addr::new(10, 0, 1, 5), 80),
        ("t1", Ipv4Addr::new(10, 0, 1, 2), 80),
        ("c", Ipv4Addr::new(10, 20, 20, 100), 30000),
    ] {
        let to = SocketAddrV4::new(to, port);
        let answered = inside(&lab.ns(from), move || answered_train(to, 1000, 20));
        assert_eq!(answered, 20, "{from} to {to}");
    }
}

#[test]
fn a_task_may_pass_on_what_came_from_another_node() {
    let lab = serving("router");
    // Behind t3 there is a network of its own, as of containers inside a container.
    let (router, inner) = (lab.ns("t3"), lab.ns("t4"));
    must(&format!("ip -n {router} link add in0 type veth peer name in0 netns {inner}"));
    must(&format!("ip -n {router} addr add 10.7.0.1/24 dev in0"));
    must(&format!("ip -n {inner} addr add 10.7.0.2/24 dev in0"));
    for ns in [&router, &inner] {
        must(&format!("ip -n {ns} link set in0 up"));
        must(&format!("ip netns exec {ns} sysctl -qw net.ipv4.ip_forward=1"));
        must(&format!("ip netns exec {ns} sysctl -qw net.ipv4.conf.all.rp_filter=0"));
        must(&format!("ip netns exec {ns} sysctl -qw net.ipv4.conf.in0.rp_filter=0"));
    }
    must(&format!("ip -n {inner} route add 10.0.1.3/32 via 10.7.0.1"));
    must(&format!(
        "ip netns exec {router} nft add table ip nat; add chain ip nat pre {{ type nat hook prerouting priority -100; }}; \
         add rule ip nat pre tcp dport 81 dnat to 10.7.0.2:80; add rule ip nat pre udp dport 81 dnat to 10.7.0.2:80"
    ));
    for settings in ["tso off gso off tx off", "tso off gso off tx on", "tx on gso on tso on"] {
        for ns in [&router, &inner] {
            must(&format!("ip netns exec {ns} ethtool -K in0 {settings}"));
        }
        let seen = lab.tcp("t1", "10.0.1.5:81", BULK).unwrap_or_else(|e| panic!("{settings}: {e}"));
        assert_eq!(seen.0, "10.0.1.3");
        assert_eq!(lab.udp("t1", "10.0.1.5:81", 20_000).unwrap().0, "10.0.1.3");
    }
}
