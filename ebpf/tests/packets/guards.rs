//! What is dropped, and under which reason.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::world::{OTHER, OVERLAY, T, TG, World, ip};

#[test]
fn a_task_can_only_speak_for_itself() {
    World::new().check(
        "
        evil: udp 10.0.1.3:1 > 10.0.1.4:2 => drop SPOOF_MAC
        evil-gw: udp 172.31.0.3:1 > 8.8.8.8:53 => drop SPOOF_MAC
        t: udp 10.0.1.5:1 > 10.0.1.4:2 => drop SPOOF_IP
        tg: udp 172.31.0.4:1 > 8.8.8.8:53 => drop SPOOF_IP
        t: unreach 10.0.1.5 > 10.0.1.4 about (udp 10.0.1.4:1 > 10.0.1.5:2) => drop SPOOF_IP
        unknown: udp 10.0.1.3:1 > 10.0.1.4:2 => drop NO_IFACE
        unknown-gw: udp 10.0.1.3:1 > 10.0.1.4:2 => drop NO_IFACE
        ",
    );
}

#[test]
fn what_an_overlay_does_not_carry_is_dropped() {
    World::new().check(
        "
        t: ethertype 86dd => drop IPV6_OFF
        t: ethertype 88cc => drop ETHERTYPE
        t: ethertype 8100 => drop VLAN
        tg: ethertype 8100 => drop VLAN
        t: garbage 44 => drop MALFORMED
        t: garbage 65 => drop MALFORMED
        t: garbage 45 => drop MALFORMED
        t: udp 10.0.1.3:1 > 224.0.0.1:2 => drop MCAST_BCAST
        t: udp 10.0.1.3:1 > 255.255.255.255:2 => drop MCAST_BCAST
        t: udp 10.0.1.3:1 > 10.0.1.255:2 => drop MCAST_BCAST
        tg: udp 172.31.0.3:1 > 239.1.1.1:2 => drop MCAST_BCAST
        t: udp 10.0.1.3:1 > 10.0.1.77:2 => drop NO_ENDPOINT
        t: echo 10.0.1.3 > 10.0.1.1 => drop NO_ENDPOINT
        t: udp 10.0.1.3:1 > 8.8.8.8:53 => drop NO_ENDPOINT
        host: ethertype 86dd => drop IPV6_OFF
        net 1 4096: ethertype 86dd => drop IPV6_OFF
        net 1 4096: ethertype 0806 => drop ETHERTYPE
        net 1 4096: ethertype 8100 => drop VLAN
        ",
    );
}

#[test]
fn a_task_that_is_gone_answers_at_once() {
    World::new().check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.9:80 S => out t [ENDPOINT_GONE]: tcp 10.0.1.9:80 > 10.0.1.3:4000 RA
        t: tcp 10.0.1.3:4000 > 10.0.1.9:80 A len=0 => out t [ENDPOINT_GONE]: tcp 10.0.1.9:80 > 10.0.1.3:4000 R
        t: udp 10.0.1.3:1 > 10.0.1.9:2 len=0 => out t [ENDPOINT_GONE]: unreach 10.0.1.9 > 10.0.1.3 about (udp 10.0.1.3:1 > 10.0.1.9:2)
        t: udp 10.0.1.3:1 > 10.0.1.9:2 len=900 => out t [ENDPOINT_GONE]: unreach 10.0.1.9 > 10.0.1.3 about (udp 10.0.1.3:1 > 10.0.1.9:2)
        t: tcp 10.0.1.3:4000 > 10.0.1.9:80 R => drop ENDPOINT_GONE
        t: udp 10.0.1.3:1 > 10.0.1.9:2 frag=later => drop ENDPOINT_GONE
        ",
    );
}

#[test]
fn the_tunnel_accepts_only_what_placement_says() {
    let world = World::new();
    world.check(
        "
        net-nokey: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_NO_KEY
        net 10.20.20.99 4096: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_PEER
        net 1 5000: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_VNI
        net 1 3: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_VNI
        net 1 3: ethertype 88b5 => drop MALFORMED
        net 10.20.20.99 3: ethertype 88b5 => drop VTEP_PEER
        net 2 4096: udp 10.0.1.5:1 > 10.0.1.3:2 => drop VTEP_SRC
        net 1 4096: udp 10.0.1.4:1 > 10.0.1.3:2 => drop VTEP_SRC
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.77:2 => drop VTEP_DST
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.2:2 => drop VTEP_DST
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.9:2 => drop ENDPOINT_GONE
        net 1 1: tcp 10.20.20.50:4000 > 172.31.0.4:81 S => drop MESH_NOT_PUBLISHED
        net 1 1: tcp 127.0.0.1:4000 > 172.31.0.4:80 S => drop MESH_CLIENT
        net 1 1: tcp 172.31.9.9:4000 > 172.31.0.4:80 S => drop MESH_CLIENT
        net 1 1: tcp 0.0.0.0:4000 > 172.31.0.4:80 S => drop MESH_CLIENT
        net 1 1: tcp 224.1.1.1:4000 > 172.31.0.4:80 S => drop MESH_CLIENT
        net 1 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 A => drop CT_INVALID
        net 1 4096: garbage 65 => drop MALFORMED
        ",
    );
}

#[test]
fn a_task_cannot_end_the_flow_of_another_one() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        tg: unreach 172.31.0.3 > 10.20.20.50 about (udp 10.20.20.50:4000 > 172.31.0.4:80) => drop ICMP_BAD_INNER
        t: unreach 10.0.1.3 > 10.0.1.5 about (udp 10.0.1.5:4000 > 10.0.1.4:80) => drop ICMP_BAD_INNER
        ",
    );
}

#[test]
fn an_outside_client_cannot_have_an_address_that_no_reply_would_reach() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: tcp 127.0.0.1:4000 > 10.20.20.100:30000 S => drop MESH_CLIENT
        up: tcp 172.31.0.3:4000 > 10.20.20.100:30000 S => drop MESH_CLIENT
        up: tcp 0.0.0.0:4000 > 10.20.20.100:30000 S => drop MESH_CLIENT
        up: tcp 224.1.1.1:4000 > 10.20.20.100:30000 S => drop MESH_CLIENT
        up: tcp 127.0.0.1:4000 > 10.20.20.100:22 S => pass
        ",
    );
}

#[test]
fn an_encrypted_network_fails_closed_in_both_directions() {
    let world = World::new();
    world.maps.set::<Vnis>(&OVERLAY, &VniValue { flags: VNI_ENCRYPTED }).unwrap();
    world.iface(T, OVERLAY, "10.0.1.3", 1, IFACE_ENCRYPTED);
    world.check(
        "
        t: udp 10.0.1.3:1 > 10.0.1.5:2 => drop ENCRYPT_REQUIRED
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.3:2 => drop ENCRYPT_REQUIRED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 => peer b: udp 10.0.1.3:1 > 10.0.1.4:2
        ",
    );
}

#[test]
fn a_gateway_leads_outside_but_not_to_other_gateways() {
    let world = World::new();
    world.check(
        "
        tg: udp 172.31.0.3:1 > 8.8.8.8:53 => pass
        tg: tcp 172.31.0.3:4000 > 10.20.20.110:30000 S => pass
        tg: tcp 172.31.0.3:4000 > 10.20.20.100:22 S => pass
        tg: tcp 172.31.0.3:4000 > 169.254.169.254:80 S => pass
        tg: udp 172.31.0.3:1 > 8.8.8.8:53 frag=later => pass
        tg: tcp 172.31.0.3:4000 > 172.31.0.4:80 S => drop GW_ISOLATION
        tg: tcp 172.31.0.3:4000 > 169.254.87.1:30000 S => drop GW_ISOLATION
        tg: udp 172.31.0.3:4000 > 169.254.77.53:53 => drop GW_ISOLATION
        tg: udp 172.31.0.3:4000 > 169.254.200.1:53 => drop GW_ISOLATION
        tg: udp 172.31.0.3:4000 > 169.254.1.1:53 => drop GW_ISOLATION
        tg: ethertype 86dd => drop IPV6_OFF
        ",
    );
    world.iface(TG, 0, "172.31.0.3", 3, IFACE_GW | IFACE_INTERNAL);
    world.check("tg: udp 172.31.0.3:1 > 8.8.8.8:53 => drop GW_ISOLATION");
}

#[test]
fn an_address_without_a_reachable_node_is_counted() {
    let world = World::new();
    world.ep(OTHER, "10.0.1.6", EP_REMOTE, 9, 0);
    world.check("t2: udp 10.0.1.3:1 > 10.0.1.6:2 => drop NO_ENDPOINT");
}

#[test]
fn drops_are_sampled_when_tracing() {
    let world = World::new();
    let conf = world.maps.get::<Conf>(&0).unwrap().unwrap();
    world.maps.set::<Conf>(&0, &ConfValue { trace: 1, ..conf }).unwrap();
    world.check("t: udp 10.0.1.3:1 > 10.0.1.77:2 => drop NO_ENDPOINT");
    let pin = world.plane.pins().maps().join(EVENTS);
    let data = aya::maps::MapData::from_pin(pin).unwrap();
    let map = aya::maps::Map::from_map_data(data).unwrap();
    let mut ring = aya::maps::RingBuf::try_from(map).unwrap();
    let event = Event::from_bytes(&ring.next().expect("an event")).unwrap();
    assert_eq!((event.reason, event.ifindex), (DROP_NO_ENDPOINT, T));
    assert_eq!((event.src, event.dst, event.dport.port()), (ip("10.0.1.3"), ip("10.0.1.77"), 2));
}

#[test]
fn traffic_is_counted_per_attachment() {
    let world = World::new();
    world.check("t: udp 10.0.1.3:1 > 10.0.1.4:2 len=58 => peer b: udp 10.0.1.3:1 > 10.0.1.4:2");
    let (sent, received) = (world.maps.ep_stat(1).unwrap(), world.maps.ep_stat(2).unwrap());
    assert_eq!((sent.tx_packets, sent.tx_bytes, sent.rx_packets), (1, 100, 0));
    assert_eq!((received.rx_packets, received.rx_bytes, received.tx_packets), (1, 100, 0));
}
