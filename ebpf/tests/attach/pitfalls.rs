//! Lengths, offloads, checksums and address spaces that break real stacks.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, sendto, socket,
};
use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::drops;
use swarmnet_ebpf::map::*;

use crate::lab::{Host, Lab, OTHER, TASKS, inside, task_on};

pub(crate) const BULK: usize = 3_000_000;

/// One byte, around the MTU with and without headers, and as much as a datagram holds.
const SIZES: [usize; 10] = [1, 2, 1371, 1372, 1373, 1422, 1423, 1473, 9000, 65_507];

fn counted(host: &Host, number: u32) -> u64 {
    let counts = drops::counts(&host.maps()).unwrap();
    counts.iter().find(|d| d.reason.number == number).map_or(0, |d| d.count.packets)
}

/// Sets what the tunnel between the hosts is said to carry.
fn set_tunnel_mtu(lab: &Lab, mtu: u32) {
    for host in &lab.hosts {
        let maps = host.maps();
        let node = maps.get::<Nodes>(&1).unwrap().unwrap();
        maps.set::<Nodes>(&1, &Node { mtu, ..node }).unwrap();
    }
}

pub(crate) fn serving(tag: &str) -> Lab {
    Lab::new_serving(tag, &TASKS.map(|task| task.name))
}

#[test]
fn datagrams_of_every_size_arrive_on_every_walk() {
    let lab = serving("size");
    lab.serve_by(3);
    for len in SIZES {
        for to in ["10.0.1.4:80", "10.0.1.5:80", "10.0.1.2:80"] {
            let (seen, got) = lab.udp("t1", to, len).unwrap_or_else(|e| panic!("{to} {len}: {e}"));
            assert_eq!((seen.as_str(), got.max(len)), ("10.0.1.3", got), "{to}");
        }
        let seen = lab.udp("c", "10.20.20.100:30000", len);
        assert_eq!(seen.unwrap_or_else(|e| panic!("mesh {len}: {e}")).0, "10.20.20.50");
    }
}

#[test]
fn a_tunnel_narrower_than_the_tasks_tells_them() {
    let lab = serving("tell");
    lab.serve_by(3);
    set_tunnel_mtu(&lab, 1300);
    // the sender's segments and the server's: both are told by ICMP, and shorten them
    for to in ["10.0.1.5:80", "10.0.1.2:80"] {
        lab.tcp("t1", to, BULK).unwrap();
    }
    lab.tcp("c", "10.20.20.100:30000", BULK).unwrap();
    let told: Vec<_> = lab.hosts.iter().map(|host| counted(host, DROP_TOO_BIG)).collect();
    assert!(told.iter().all(|count| *count > 0), "{told:?}");
    for len in [1200, 1300, 1400, 9000] {
        assert_eq!(lab.udp("t1", "10.0.1.5:80", len).unwrap().0, "10.0.1.3");
    }
}

#[test]
fn an_outside_clients_long_datagram_arrives_whole_and_is_counted() {
    let lab = serving("long");
    lab.serve_by(3);
    set_tunnel_mtu(&lab, 1450);
    assert_eq!(lab.udp("c", "10.20.20.100:30000", 1300).unwrap().0, "10.20.20.50");
    assert_eq!(counted(&lab.hosts[0], COUNT_OUTER_FRAG), 0);
    assert_eq!(lab.udp("c", "10.20.20.100:30000", 1472).unwrap().0, "10.20.20.50");
    assert!(counted(&lab.hosts[0], COUNT_OUTER_FRAG) > 0);
    assert_eq!(counted(&lab.hosts[0], DROP_TOO_BIG), 0);
}

#[test]
fn two_networks_may_have_the_same_addresses() {
    let mut lab = Lab::new_serving("o2", &["t1"]);
    for task in [task_on(OTHER, 0, "t5", 3, 5, 5), task_on(OTHER, 1, "t6", 5, 6, 7)] {
        lab.add_task(&task);
    }
    lab.server("t6");
    // 10.0.1.5 is t3 on one network, which does not serve, and t6 on the other
    assert_eq!(lab.tcp("t5", "10.0.1.5:80", BULK).unwrap().0, "10.0.1.3");
    assert_eq!(lab.udp("t5", "10.0.1.5:80", 9000).unwrap().0, "10.0.1.3");
    assert!(lab.tcp("t2", "10.0.1.5:80", 1).unwrap_err().contains("refused"));
    assert!(lab.ping("t1", "10.0.1.5") && lab.ping("t5", "10.0.1.5"));
    assert!(lab.ping("t1", "10.0.1.4") && !lab.ping("t5", "10.0.1.4"));
}

/// Sends a datagram whose header we make ourselves.
fn send_raw(to: SocketAddrV4, from_port: u16, len: usize, sum: u16) {
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Udp);
    let raw = raw.expect("a raw socket");
    let length = u16::try_from(8 + len).unwrap();
    let head = [from_port, to.port(), length, sum].map(u16::to_be_bytes).concat();
    let datagram = [&head[..], &vec![b'x'; len]].concat();
    sendto(raw.as_raw_fd(), &datagram, &SockaddrIn::from(to), MsgFlags::empty()).unwrap();
}

/// Sends a wrong sum, then none, and returns the lengths that are answered.
fn answered_lengths(to: SocketAddrV4) -> Vec<usize> {
    let socket = UdpSocket::bind("0.0.0.0:4321").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    send_raw(to, 4321, 100, 0x1234);
    send_raw(to, 4321, 101, 0);
    socket.send_to(&[b'x'; 102], to).unwrap();
    let mut buffer = [0; 2048];
    (0..2).map(|_| socket.recv(&mut buffer).expect("an answer")).collect()
}

#[test]
fn a_wrong_sum_is_discarded_by_the_receiver_and_no_sum_is_accepted() {
    let lab = serving("sum");
    for backend in [2, 3] {
        lab.serve_by(backend);
        for (from, to, port) in [
            ("t1", Ipv4Addr::new(10, 0, 1, 5), 80),
            ("t1", Ipv4Addr::new(10, 0, 1, 2), 80),
            ("c", Ipv4Addr::new(10, 20, 20, 100), 30000),
        ] {
            let to = SocketAddrV4::new(to, port);
            let got = inside(&lab.ns(from), move || answered_lengths(to));
            assert_eq!(got, [101, 102], "{from} to {to}, served by t{backend}");
        }
    }
}

/// Sends a frame of the task's own out of its overlay device, cut off after `len` bytes.
fn send_cut_off(len: usize) {
    let family = AddressFamily::Packet;
    let raw = socket(family, SockType::Raw, SockFlag::empty(), None).expect("a packet socket");
    let device = getifaddrs().unwrap().filter(|found| found.interface_name == "eth0");
    let links: Vec<_> = device.filter_map(|found| found.address?.as_link_addr().copied()).collect();
    bind(raw.as_raw_fd(), &links[0]).unwrap();
    let own = task_mac(Ipv4Addr::new(10, 0, 1, 3));
    let mut frame = [&VMAC[..], &own, &[8, 0], &[0x45; 20]].concat();
    frame.truncate(len);
    sendto(raw.as_raw_fd(), &frame, &links[0], MsgFlags::empty()).unwrap();
}

#[test]
fn a_frame_without_a_whole_ip_header_is_malformed() {
    let lab = Lab::new_serving("cut", &[]);
    for len in [15, 20, 33] {
        let before = counted(&lab.hosts[0], DROP_MALFORMED);
        inside(&lab.ns("t1"), move || send_cut_off(len));
        // a veth delivers before the sender's call returns, or a moment later
        let started = std::time::Instant::now();
        while counted(&lab.hosts[0], DROP_MALFORMED) == before {
            assert!(started.elapsed() < Duration::from_secs(5), "{len} bytes are not counted");
            std::thread::yield_now();
        }
    }
}
