//! Walk M: fragments in every order, on every path.

use swarmnet_ebpf::map::*;

use crate::world::World;

#[test]
fn overlay_traffic_needs_no_ports_and_so_no_first_fragment() {
    World::new().check(
        "
        t: tcp 10.0.1.3:1 > 10.0.1.4:2 frag=last => peer b: later 10.0.1.3 > 10.0.1.4
        t: udp 10.0.1.3:1 > 10.0.1.5:2 frag=overlap => node 1 vni 4096: later 10.0.1.3 > 10.0.1.5
        t: udp 10.0.1.3:1 > 10.0.1.5:2 frag=first => node 1 vni 4096: udp 10.0.1.3:1 > 10.0.1.5:2
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.3:2 frag=later => peer t: later 10.0.1.5 > 10.0.1.3
        t: proto47 10.0.1.3 > 10.0.1.4 frag=first => peer b: proto47 10.0.1.3 > 10.0.1.4
        ",
    );
}

#[test]
fn a_later_fragment_before_its_first_waits_for_nobody() {
    let world = World::new();
    world.vip_to(&[42]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=last id=3 => drop FRAG_NO_FIRST
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=first id=3 => node 1 vni 4096: udp 10.0.1.3:4000 > 10.0.1.5:53
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=last id=3 => node 1 vni 4096: later 10.0.1.3 > 10.0.1.5
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=3 => node 1 vni 4096: later 10.0.1.3 > 10.0.1.5
        # overlapping and repeated fragments are the receiver's matter
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=overlap id=3 => node 1 vni 4096: later 10.0.1.3 > 10.0.1.5
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=last id=3 => node 1 vni 4096: later 10.0.1.3 > 10.0.1.5
        # another datagram, another protocol, another destination
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=4 => drop FRAG_NO_FIRST
        t: tcp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=3 => drop FRAG_NO_FIRST
        b: udp 10.0.1.4:4000 > 10.0.1.2:53 frag=later id=3 => drop FRAG_NO_FIRST
        ",
    );
}

#[test]
fn equal_datagrams_on_two_networks_are_two() {
    let world = World::new();
    world.vip_to(&[41]);
    world.ep(crate::world::OTHER, "10.0.1.2", swarmnet_ebpf::abi::EP_VIP, 0, 0);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=first id=3 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t2: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=3 => drop FRAG_NO_FIRST
        ",
    );
}

#[test]
fn a_hairpin_datagram_in_pieces_comes_from_the_vip() {
    let world = World::new();
    world.vip_to(&[43]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=first id=3 => peer t: udp 10.0.1.2:4000 > 10.0.1.3:53
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=last id=3 => peer t: later 10.0.1.2 > 10.0.1.3
        ",
    );
}

#[test]
fn published_datagrams_keep_their_pieces_together_on_every_way() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        # the local backend, forth and back
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=later id=5 => pass
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=first id=5 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=last id=5 => peer bg: later 10.20.20.50 > 172.31.0.4 ttl=63
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 frag=first id=6 => neigh up: udp 10.20.20.100:30000 > 10.20.20.50:4000 ttl=63
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 frag=last id=6 => neigh up: later 10.20.20.100 > 10.20.20.50 ttl=63
        # a task's own datagrams to the outside are the stack's
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 frag=last id=9 => pass
        tg: udp 172.31.0.3:9 > 8.8.8.8:53 frag=first id=7 => pass
        tg: udp 172.31.0.3:9 > 8.8.8.8:53 frag=last id=7 => pass
        tg: udp 172.31.0.3:9 > 172.31.0.4:53 frag=last id=8 => drop GW_ISOLATION
        # a host process
        host: udp 10.20.20.100:4000 > 169.254.87.1:30000 frag=later id=1 => drop FRAG_NO_FIRST
        host: udp 10.20.20.100:4000 > 169.254.87.1:30000 frag=first id=1 => peer bg: udp 10.20.20.100:4000 > 172.31.0.4:80 ttl=63
        host: udp 10.20.20.100:4000 > 169.254.87.1:30000 frag=last id=1 => peer bg: later 10.20.20.100 > 172.31.0.4 ttl=63
        ",
    );
}

#[test]
fn remembered_fragments_are_bounded_and_the_newest_are_kept() {
    let world = World::new();
    world.vip_to(&[41]);
    let capacity = world.maps.capacity::<Frags>();
    let step = |id: u32, which: &str| {
        world.step(&format!("t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag={which} id={id}"))
    };
    for id in 0..capacity * 2 {
        assert!(step(id, "first").starts_with("peer b"));
    }
    assert!(world.maps.entries::<Frags>().unwrap().len() <= capacity as usize);
    assert!(step(capacity * 2 - 1, "last").starts_with("peer b: later"));
}
