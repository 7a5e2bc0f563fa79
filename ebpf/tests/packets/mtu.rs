//! Packets longer than the tunnel carries: who is told, who is served in pieces.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::world::{World, ip};

/// A world whose tunnel to node 1 carries 1,400 bytes; to node 2 it is unknown.
fn narrow() -> World {
    let world = World::new();
    let node = Node { addr: ip("10.20.20.110"), mtu: 1400, ..Node::default() };
    world.maps.set::<Nodes>(&1, &node).unwrap();
    world
}

#[test]
fn a_task_is_told_how_long_a_packet_to_another_node_may_be() {
    narrow().check(
        "
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1372 df => node 1 vni 4096: udp 10.0.1.3:1 > 10.0.1.5:2
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1373 df => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (udp 10.0.1.3:1 > 10.0.1.5:2)
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 A len=1360 df => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 A
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 A len=1361 df => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (tcp 10.0.1.3:4000 > 10.0.1.5:80)
        t: echo 10.0.1.3 > 10.0.1.5 id=9 len=1372 df => node 1 vni 4096: echo 10.0.1.3 > 10.0.1.5 id=9
        t: echo 10.0.1.3 > 10.0.1.5 id=9 len=1373 df => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (echo 10.0.1.3 > 10.0.1.5 id=9)
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1369 df opts => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (udp 10.0.1.3:1 > 10.0.1.5:2)
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1360 df opts=10 => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (udp 10.0.1.3:1 > 10.0.1.5:2)
        # no answer to a reset or to a later fragment
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 R len=1361 df => drop TOO_BIG
        t: udp 10.0.1.3:1 > 10.0.1.5:2 frag=last len=1381 df => drop TOO_BIG
        # on this node, and to a node whose route is not known, nothing is too long
        t: udp 10.0.1.3:1 > 10.0.1.4:2 len=1400 df => peer b: udp 10.0.1.3:1 > 10.0.1.4:2
        t2: udp 10.0.1.3:1 > 10.0.1.4:2 len=1400 df => node 2 vni 4097: udp 10.0.1.3:1 > 10.0.1.4:2
        ",
    );
}

#[test]
fn what_may_be_fragmented_travels_in_outer_fragments_and_is_counted() {
    narrow().check(
        "
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1372 => node 1 vni 4096: udp 10.0.1.3:1 > 10.0.1.5:2
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=1373 => node 1 vni 4096 [OUTER_FRAG]: udp 10.0.1.3:1 > 10.0.1.5:2
        t: udp 10.0.1.3:1 > 10.0.1.5:2 frag=first len=1400 => node 1 vni 4096 [OUTER_FRAG]: udp 10.0.1.3:1 > 10.0.1.5:2
        t: udp 10.0.1.3:1 > 10.0.1.5:2 frag=later len=1400 => node 1 vni 4096 [OUTER_FRAG]: later 10.0.1.3 > 10.0.1.5
        ",
    );
}

#[test]
fn a_train_of_segments_is_judged_by_one_segment() {
    narrow().check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 A len=3000 df gso=1360 => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 A
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 A len=3000 df gso=1361 => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (tcp 10.0.1.3:4000 > 10.0.1.5:80)
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=3000 df gso=1372 => node 1 vni 4096: udp 10.0.1.3:1 > 10.0.1.5:2
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=3000 df gso=1373 => out t [TOO_BIG]: needfrag 10.0.1.5 > 10.0.1.3 mtu=1400 about (udp 10.0.1.3:1 > 10.0.1.5:2)
        t: udp 10.0.1.3:1 > 10.0.1.5:2 len=3000 gso=1373 => node 1 vni 4096 [OUTER_FRAG]: udp 10.0.1.3:1 > 10.0.1.5:2
        ",
    );
}

#[test]
fn a_packet_too_long_for_a_vips_backend_is_refused_in_the_vips_name() {
    let world = narrow();
    world.vip_to(&[42]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S df => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A len=1361 df => out t [TOO_BIG]: needfrag 10.0.1.2 > 10.0.1.3 mtu=1400 about (tcp 10.0.1.3:4000 > 10.0.1.2:80)
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A len=1360 df => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 A
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A len=1361 => node 1 vni 4096 [OUTER_FRAG]: tcp 10.0.1.3:4000 > 10.0.1.5:80 A
        ",
    );
    world.vip_to(&[41]);
    world.check(
        "t: udp 10.0.1.3:4000 > 10.0.1.2:53 len=1400 df => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53",
    );
}

#[test]
fn an_outside_client_is_served_in_pieces_and_a_replying_task_is_told() {
    let world = narrow();
    world.mesh_to(&[52]);
    world.check(
        "
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 len=1372 df => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 len=1472 df => node 1 vni 1 [OUTER_FRAG]: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63
        host: udp 10.20.20.100:4000 > 169.254.87.1:30000 len=3000 df => node 1 vni 1 [OUTER_FRAG]: udp 10.20.20.100:4000 > 172.31.0.8:80 ttl=63
        net 1 1: udp 10.20.20.51:4000 > 172.31.0.4:80 => peer bg: udp 10.20.20.51:4000 > 172.31.0.4:80
        bg: udp 172.31.0.4:80 > 10.20.20.51:4000 len=1372 df => node 1 vni 2: udp 172.31.0.4:80 > 10.20.20.51:4000
        bg: udp 172.31.0.4:80 > 10.20.20.51:4000 len=1373 df => out bg [TOO_BIG]: needfrag 10.20.20.51 > 172.31.0.4 mtu=1400 about (udp 172.31.0.4:80 > 10.20.20.51:4000)
        bg: udp 172.31.0.4:80 > 10.20.20.51:4000 len=1373 => node 1 vni 2 [OUTER_FRAG]: udp 172.31.0.4:80 > 10.20.20.51:4000
        ",
    );
}
