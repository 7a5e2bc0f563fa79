//! Frames of other nodes that leave their outer packet on the uplink, and those that must not.

use std::ops::Range;

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::Hook;
use swarmnet_ebpf::testing::Arrival;

use crate::frame;
use crate::outer::{HEAD, sum, wrap};
use crate::world::*;

const TASK: [u8; 4] = [10, 20, 20, 110];
const PACKET: &str = "tcp 10.0.1.5:80 > 10.0.1.3:4000 A len=100";

#[test]
fn a_frame_of_another_node_is_delivered_from_the_uplink() {
    World::new().check(
        "
        vxlan 1 4096: tcp 10.0.1.5:80 > 10.0.1.3:4000 SA => peer t: tcp 10.0.1.5:80 > 10.0.1.3:4000 SA
        vxlan 1 4096: tcp 10.0.1.5:80 > 10.0.1.3:4000 A len=1398 => peer t: tcp 10.0.1.5:80 > 10.0.1.3:4000 A
        vxlan 1 4096: udp 10.0.1.5:4000 > 10.0.1.4:53 => peer b: udp 10.0.1.5:4000 > 10.0.1.4:53
        vxlan 1 4096: udp 10.0.1.5:4000 > 10.0.1.4:53 len=0 => peer b: udp 10.0.1.5:4000 > 10.0.1.4:53
        vxlan 1 4096: echo 10.0.1.5 > 10.0.1.4 id=3 => peer b: echo 10.0.1.5 > 10.0.1.4 id=3
        vxlan 1 4096: udp 10.0.1.5:1 > 10.0.1.4:2 opts => peer b: udp 10.0.1.5:1 > 10.0.1.4:2
        vxlan 1 4096: udp 10.0.1.5:1 > 10.0.1.4:2 frag=later => peer b: later 10.0.1.5 > 10.0.1.4
        vxlan 2 4097: udp 10.0.1.4:2 > 10.0.1.3:1 => peer t2: udp 10.0.1.4:2 > 10.0.1.3:1
        ",
    );
}

#[test]
fn the_guard_stands_on_the_uplink_as_behind_the_tunnel() {
    World::new().check(
        "
        vxlan 2 4096: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_SRC
        vxlan 1 4096: udp 10.0.1.77:1 > 10.0.1.3:2 => drop VTEP_SRC
        vxlan 1 4096: udp 10.0.1.5:1 > 10.0.1.77:2 => drop VTEP_DST
        vxlan 1 5000: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_VNI
        vxlan 1 1: tcp 10.20.20.50:4000 > 172.31.0.9:80 S => drop MESH_NOT_PUBLISHED
        vxlan 1 2: tcp 172.31.0.3:80 > 10.20.20.50:4000 SA => drop CT_INVALID
        vxlan 1 4096: garbage 65 => pass
        vxlan 10.20.20.99 4096: udp 10.0.1.5:1 > 10.0.1.3:2 => pass
        ",
    );
}

#[test]
fn a_published_port_is_reached_and_answers_across_nodes() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check(
        "
        vxlan 1 1: udp 10.20.20.60:4000 > 172.31.0.3:80 => peer tg: udp 10.20.20.60:4000 > 172.31.0.3:80
        tg: udp 172.31.0.3:80 > 10.20.20.60:4000 => node 1 vni 2: udp 172.31.0.3:80 > 10.20.20.60:4000
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 S ttl=63
        vxlan 1 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 SA => out up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 SA ttl=63
        ",
    );
}

/// Runs a whole frame on the uplink and tells whether it stayed as it was, for the VXLAN device.
fn is_left(world: &World, frame: Vec<u8>, gso_size: u32) -> bool {
    let input = TestIn { ifindex: UP, ..TestIn::default() };
    let arrival = Arrival { frame, input, gso_size };
    let runner = world.plane.runner(Hook::Uplink, false).unwrap();
    let outcome = runner.run(&arrival).unwrap();
    outcome.verdict == u32::MAX && outcome.frame == arrival.frame && outcome.out.reasons == 0
}

fn sound() -> Vec<u8> {
    wrap(&frame::frame(PACKET, VMAC, [2; 6]), TASK, OVERLAY)
}

/// The sound frame with other bytes at a place; the IP header's sum follows.
fn with(at: Range<usize>, bytes: &[u8]) -> Vec<u8> {
    let mut frame = sound();
    frame[at].copy_from_slice(bytes);
    sum(&mut frame);
    frame
}

#[test]
fn an_outer_packet_that_is_unusual_is_left_to_the_vxlan_device() {
    let world = World::new();
    assert!(!is_left(&world, sound(), 0));
    assert!(!is_left(&world, with(15..16, &[2]), 0), "ECT(0) is no mark");
    for (what, frame) in [
        ("a congestion mark", with(15..16, &[3])),
        ("a fragment, the first", with(20..22, &[0x20, 0])),
        ("a fragment, a later one", with(20..22, &[0, 4])),
        ("no UDP", with(23..24, &[6])),
        ("from a stranger", with(26..30, &[10, 20, 20, 99])),
        ("to another host", with(30..34, &[10, 20, 20, 101])),
        ("another port", with(36..38, &4790_u16.to_be_bytes())),
        ("a UDP length that is short", with(38..40, &[0, 40])),
        ("a UDP sum", with(40..42, &[1, 2])),
        ("no VNI", with(42..43, &[0])),
        ("a group policy", with(42..43, &[0x88])),
        ("reserved bits", with(45..46, &[1])),
        ("reserved bits behind the VNI", with(49..50, &[1])),
        ("the connectivity test", with(46..49, &[0, 0, 3])),
        ("inner ARP", with(62..64, &[8, 6])),
        ("inner IPv6", with(62..64, &[0x86, 0xdd])),
        ("an inner VLAN", with(62..64, &[0x81, 0])),
        ("an inner length that is short", with(66..68, &[0, 40])),
        ("an inner length that is long", with(66..68, &[1, 40])),
        ("padding", [sound(), vec![0; 4]].concat()),
        ("an end that is missing", sound()[..100].to_vec()),
        ("hardly a head", sound()[..70].to_vec()),
    ] {
        assert!(is_left(&world, frame, 0), "{what}");
    }
    let mut wrong = sound();
    wrong[HEAD.start + 10] ^= 1;
    assert!(is_left(&world, wrong, 0), "a wrong sum in the IP header");
    let datagrams = frame::frame("udp 10.0.1.5:80 > 10.0.1.3:4000 len=2000", VMAC, [2; 6]);
    assert!(is_left(&world, wrap(&datagrams, TASK, OVERLAY), 1000), "a train of datagrams");
}

#[test]
fn without_a_port_everything_is_left_to_the_vxlan_device() {
    let world = World::new();
    let conf = world.maps.get::<Conf>(&0).unwrap().unwrap();
    world.maps.set::<Conf>(&0, &ConfValue { vxlan_port: Be16::new(0), ..conf }).unwrap();
    assert!(is_left(&world, sound(), 0));
    let other = ConfValue { vxlan_port: Be16::new(4790), ..conf };
    world.maps.set::<Conf>(&0, &other).unwrap();
    assert!(is_left(&world, sound(), 0));
    assert!(!is_left(&world, with(36..38, &4790_u16.to_be_bytes()), 0));
}
