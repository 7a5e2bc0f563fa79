//! Walks E, F, G, J and their ICMP errors and fragments (L, M): published ports.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::world::{BG, MESH_SVC, UP, World, ip};

#[test]
fn an_outside_client_reaches_a_local_backend_with_its_own_address() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63
        bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA => neigh up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 SA ttl=63
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A opts => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 A ttl=63
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 => neigh up: udp 10.20.20.100:30000 > 10.20.20.50:4000 ttl=63
        ",
    );
    let stat = world.maps.svc_stat(MESH_SVC).unwrap();
    assert_eq!((stat.flows, stat.packets), (2, 3));
}

#[test]
fn what_is_not_published_passes_the_uplink_untouched() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:22 S => pass
        up: sctp 10.20.20.50:4000 > 10.20.20.100:30000 => pass
        up: echo 10.20.20.50 > 10.20.20.100 => pass
        up: tcp 10.20.20.50:4000 > 10.20.20.111:30000 S => pass
        up-other: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => pass
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=later => pass
        up: unreach 10.20.20.50 > 10.20.20.100 about (udp 10.20.20.100:30000 > 10.20.20.50:4000) => pass
        up: unreach 10.20.20.50 > 10.20.20.100 about (udp 10.20.20.100:99 > 10.20.20.50:4000) => pass
        up: ethertype 86dd => pass
        up: ethertype 8100 => pass
        up: arp who-has 10.20.20.100 tell 10.20.20.50 => pass
        up: garbage 65 => pass
        ",
    );
}

#[test]
fn an_outside_client_reaches_a_remote_backend_through_the_tunnel() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 S ttl=63
        net 1 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 SA => out up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 SA ttl=63
        net 2 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 SA => drop CT_INVALID
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63
        net 1 2: udp 172.31.0.8:80 > 10.20.20.50:4000 => out up: udp 10.20.20.100:30000 > 10.20.20.50:4000 ttl=63
        ",
    );
}

#[test]
fn the_backends_node_sends_replies_to_the_entry_node() {
    let world = World::new();
    world.check(
        "
        net 1 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63 => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63
        bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA => node 1 vni 2: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA
        net 2 1: udp 10.20.20.51:4000 > 172.31.0.4:80 => peer bg: udp 10.20.20.51:4000 > 172.31.0.4:80
        bg: udp 172.31.0.4:80 > 10.20.20.51:4000 => node 2 vni 2: udp 172.31.0.4:80 > 10.20.20.51:4000
        ",
    );
}

#[test]
fn a_flow_that_moves_to_another_entry_node_is_answered_there() {
    let world = World::new();
    world.check(
        "
        net 1 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S
        net 2 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 A => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 A
        bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 A => node 2 vni 2: tcp 172.31.0.4:80 > 10.20.20.50:4000 A
        ",
    );
    // … and to this node itself.
    world.mesh_to(&[51]);
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 A ttl=63
        bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 A => neigh up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 A ttl=63
        ",
    );
}

/// The client port of a rendered packet `… C:port > …`.
fn port_of(text: &str, side: usize) -> u16 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let arrow = words.iter().position(|w| *w == ">").unwrap();
    let word = if side == 0 { words[arrow - 1] } else { words[arrow + 1] };
    word.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn one_client_port_to_two_entry_nodes_becomes_two_flows() {
    let world = World::new();
    world.check("net 1 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S");
    let second = world.step("net 2 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 S");
    let port = port_of(&second, 0);
    assert!(port >= 1024 && port != 4000, "{second}");
    let reply = format!("bg: tcp 172.31.0.4:80 > 10.20.20.50:{port} SA");
    assert_eq!(world.step(&reply), "node 2 vni 2: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA");
    world.check("bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA => node 1 vni 2: tcp 172.31.0.4:80 > 10.20.20.50:4000 SA");
}

#[test]
fn one_client_port_to_two_published_ports_becomes_two_flows() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.publish(30001, 6, 80, 0);
    world.check("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63");
    let second = world.step("up: tcp 10.20.20.50:4000 > 10.20.20.100:30001 S");
    let port = port_of(&second, 0);
    assert_ne!(port, 4000);
    let reply = format!("bg: tcp 172.31.0.4:80 > 10.20.20.50:{port} SA");
    assert_eq!(world.step(&reply), "neigh up: tcp 10.20.20.100:30001 > 10.20.20.50:4000 SA ttl=63");
}

#[test]
fn a_client_inside_the_tasks_own_overlay_gets_a_stand_in() {
    let world = World::new();
    let net = Net { addr: ip("10.20.20.0"), mask: Be32::mask(24) };
    world.mesh_target("172.31.0.4", BG, 4, 6, &[Net::default(), net][1..]);
    world.mesh_to(&[51]);
    for (request, back) in [
        ("net 1 1: tcp 10.20.20.50:4000 > 172.31.0.4:80 S", "node 1 vni 2: tcp 172.31.0.4:80"),
        ("up: tcp 10.20.20.51:4000 > 10.20.20.100:30000 S", "neigh up: tcp 10.20.20.100:30000"),
    ] {
        let seen = world.step(request);
        assert!(seen.contains("tcp 169.254.87.2:"), "{seen}");
        let reply = format!("bg: tcp 172.31.0.4:80 > 169.254.87.2:{} SA", port_of(&seen, 0));
        let got = world.step(&reply);
        assert!(got.starts_with(back) && port_of(&got, 1) == 4000, "{got}");
    }
}

#[test]
fn a_host_process_reaches_the_mesh_and_is_answered_in_the_hosts_stack() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check(
        "
        host: tcp 10.20.20.100:4000 > 169.254.87.1:30000 S => node 1 vni 1: tcp 10.20.20.100:4000 > 172.31.0.8:80 S ttl=63
        net 1 2: tcp 172.31.0.8:80 > 10.20.20.100:4000 SA => host: tcp 169.254.87.1:30000 > 10.20.20.100:4000 SA ttl=63
        host: unreach 10.20.20.100 > 169.254.87.1 about (tcp 169.254.87.1:30000 > 10.20.20.100:4000 A) => node 1 vni 1: unreach 10.20.20.100 > 172.31.0.8 about (tcp 172.31.0.8:80 > 10.20.20.100:4000) ttl=63
        ",
    );
    world.mesh_to(&[51]);
    world.check(
        "
        host: udp 10.20.20.100:4000 > 169.254.87.1:30000 => peer bg: udp 10.20.20.100:4000 > 172.31.0.4:80 ttl=63
        bg: udp 172.31.0.4:80 > 10.20.20.100:4000 => host: udp 169.254.87.1:30000 > 10.20.20.100:4000 ttl=63
        host: tcp 127.0.0.1:4000 > 169.254.87.1:30000 S => drop LOOPBACK_SRC
        host: tcp 10.20.20.100:4000 > 169.254.87.1:99 S => out hostp [PORT_NO_BACKEND]: tcp 169.254.87.1:99 > 10.20.20.100:4000 RA
        host: tcp 10.20.20.100:4000 > 169.254.87.9:30000 S => drop NO_ENDPOINT
        host: udp 10.20.20.100:4000 > 224.0.0.1:30000 => drop MCAST_BCAST
        host: unreach 10.20.20.100 > 169.254.87.1 about (udp 169.254.87.1:30000 > 10.20.20.100:4999) => drop ICMP_BAD_INNER
        ",
    );
}

#[test]
fn a_task_reaches_a_published_port_of_its_own_node() {
    let world = World::new();
    world.mesh_to(&[51]);
    let seen = world.step("tg: tcp 172.31.0.3:4000 > 10.20.20.100:30000 S");
    assert!(seen.starts_with("peer bg: tcp 10.20.20.100:"), "{seen}");
    let reply = format!("bg: tcp 172.31.0.4:80 > 10.20.20.100:{} SA", port_of(&seen, 0));
    assert_eq!(world.step(&reply), "peer tg: tcp 10.20.20.100:30000 > 172.31.0.3:4000 SA ttl=63");
    // its own backend, and a remote one
    world.mesh_to(&[53]);
    let own = world.step("tg: tcp 172.31.0.3:4001 > 10.20.20.100:30000 S");
    assert!(own.starts_with("peer tg: tcp 10.20.20.100:"), "{own}");
    world.mesh_to(&[52]);
    let far = world.step("tg: udp 172.31.0.3:4002 > 10.20.20.100:30000");
    assert!(far.starts_with("node 1 vni 1: udp 10.20.20.100:"), "{far}");
    let reply = format!("net 1 2: udp 172.31.0.8:80 > 10.20.20.100:{}", port_of(&far, 0));
    assert_eq!(world.step(&reply), "peer tg: udp 10.20.20.100:30000 > 172.31.0.3:4002 ttl=63");
}

#[test]
fn a_port_that_is_taken_away_under_a_flow_is_the_stacks_again() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 S ttl=63
        net 1 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 SA => out up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 SA ttl=63
        ",
    );
    for proto in [6, 17] {
        let key = PortKey { port: Be16::new(30000), proto, ..PortKey::default() };
        assert!(world.maps.delete::<Ports>(&key).unwrap());
    }
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A => pass
        up: tcp 10.20.20.50:4001 > 10.20.20.100:30000 S => pass
        ",
    );
    let here = MeshKey { gw_addr: ip("172.31.0.3"), port: Be16::new(80), proto: 17, pad: 0 };
    world.check("net 1 1: udp 10.20.20.60:4000 > 172.31.0.3:80 => peer tg: udp 10.20.20.60:4000 > 172.31.0.3:80");
    assert!(world.maps.delete::<MeshLocal>(&here).unwrap());
    world.check("net 1 1: udp 10.20.20.60:4000 > 172.31.0.3:80 => drop MESH_NOT_PUBLISHED");
}

#[test]
fn a_port_without_backends_refuses_at_once() {
    let world = World::new();
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => out up [PORT_NO_BACKEND]: tcp 10.20.20.100:30000 > 10.20.20.50:4000 RA
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => out up [PORT_NO_BACKEND]: unreach 10.20.20.100 > 10.20.20.50 about (udp 10.20.20.50:4000 > 10.20.20.100:30000)
        ",
    );
    assert_eq!(world.maps.svc_stat(MESH_SVC).unwrap().refused, 2);
}

#[test]
fn a_removed_backend_resets_its_flows_and_a_lost_one_keeps_them() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 S ttl=63");
    world.mesh_to(&[51]);
    world.mesh_backend(52, "172.31.0.8", 1, 0, BE_DOWN);
    world.check("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 A ttl=63");
    world.maps.delete::<Backends>(&52).unwrap();
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A => out up [ENDPOINT_GONE]: tcp 10.20.20.100:30000 > 10.20.20.50:4000 R
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63
        ",
    );
}

#[test]
fn udp_leaves_a_dead_backend_with_its_next_packet() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check("up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63");
    world.mesh_to(&[51]);
    world.maps.delete::<Backends>(&52).unwrap();
    world.check("up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63");
}

#[test]
fn a_packet_without_hops_left_ends_at_the_entry() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S ttl=1 => drop TTL_EXPIRED");
}

#[test]
fn an_allow_list_admits_only_its_clients() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.publish(30000, 6, 80, PORT_ALLOWLIST);
    let key = AllowKey { prefixlen: 32 + 24, svc: MESH_SVC, addr: ip("10.20.20.0") };
    world.maps.set::<AllowSrc>(&key, &1).unwrap();
    world.check(
        "
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=63
        up: tcp 10.20.21.50:4000 > 10.20.20.100:30000 S => drop NOT_ALLOWED
        ",
    );
}

#[test]
fn client_affinity_ignores_the_port_and_local_preference_the_other_nodes() {
    let world = World::new();
    world.publish(30000, 6, 80, PORT_CLIENT_AFFINITY);
    world.mesh_to(&[51, 52]);
    let place = |port: u16| {
        let text = world.step(&format!("up: tcp 10.20.20.50:{port} > 10.20.20.100:30000 S"));
        text.split_whitespace().next().unwrap().to_owned()
    };
    let first = place(4000);
    assert!((4001..4032).all(|port| place(port) == first));
    world.publish(30000, 6, 80, PORT_LOCAL_PREF);
    world.maps.write_slots(300, &[51]).unwrap();
    let range = SlotRange { base: 300, count: 1, tag: 0 };
    world.maps.store_mgl(MESH_SVC, range).unwrap();
    assert!((5000..5032).all(|port| place(port) == "peer"));
}

#[test]
fn icmp_errors_follow_the_mesh_in_both_directions() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        up-router: needfrag 10.20.20.1 > 10.20.20.100 about (udp 10.20.20.100:30000 > 10.20.20.50:4000) => peer bg: needfrag 10.20.20.1 > 172.31.0.4 about (udp 172.31.0.4:80 > 10.20.20.50:4000) ttl=63
        bg: unreach 172.31.0.4 > 10.20.20.50 about (udp 10.20.20.50:4000 > 172.31.0.4:80) => neigh up: unreach 10.20.20.100 > 10.20.20.50 about (udp 10.20.20.50:4000 > 10.20.20.100:30000) ttl=63
        ",
    );
    world.mesh_to(&[52]);
    world.check(
        "
        up: tcp 10.20.20.51:4000 > 10.20.20.100:30000 S => node 1 vni 1: tcp 10.20.20.51:4000 > 172.31.0.8:80 S ttl=63
        up-router: needfrag 10.20.20.1 > 10.20.20.100 about (tcp 10.20.20.100:30000 > 10.20.20.51:4000 A) => node 1 vni 1: needfrag 10.20.20.1 > 172.31.0.8 about (tcp 172.31.0.8:80 > 10.20.20.51:4000) ttl=63
        net 1 2: unreach 172.31.0.8 > 10.20.20.51 about (tcp 10.20.20.51:4000 > 172.31.0.8:80 A) => out up: unreach 10.20.20.100 > 10.20.20.51 about (tcp 10.20.20.51:4000 > 10.20.20.100:30000) ttl=63
        net 1 2: unreach 172.31.0.8 > 10.20.20.51 about (tcp 10.20.20.51:4999 > 172.31.0.8:80 A) => drop ICMP_BAD_INNER
        ",
    );
    // the same flow seen at the backend's node
    world.check(
        "
        net 1 1: udp 10.20.20.52:4000 > 172.31.0.3:80 => peer tg: udp 10.20.20.52:4000 > 172.31.0.3:80
        tg: unreach 172.31.0.3 > 10.20.20.52 about (udp 10.20.20.52:4000 > 172.31.0.3:80) => node 1 vni 2: unreach 172.31.0.3 > 10.20.20.52 about (udp 10.20.20.52:4000 > 172.31.0.3:80)
        net 1 1: needfrag 10.20.20.1 > 172.31.0.3 about (udp 172.31.0.3:80 > 10.20.20.52:4000) => peer tg: needfrag 10.20.20.1 > 172.31.0.3 about (udp 172.31.0.3:80 > 10.20.20.52:4000)
        net 1 1: needfrag 10.20.20.1 > 172.31.0.3 about (udp 172.31.0.3:80 > 10.20.20.52:4999) => drop ICMP_BAD_INNER
        ",
    );
}

#[test]
fn fragments_of_published_datagrams_stay_together() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.check(
        "
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=first id=5 => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 frag=later id=5 => node 1 vni 1: later 10.20.20.50 > 172.31.0.8 ttl=63
        net 1 2: udp 172.31.0.8:80 > 10.20.20.50:4000 frag=first id=6 => out up: udp 10.20.20.100:30000 > 10.20.20.50:4000 ttl=63
        net 1 2: udp 172.31.0.8:80 > 10.20.20.50:4000 frag=later id=6 => out up: later 10.20.20.100 > 10.20.20.50 ttl=63
        net 1 2: udp 172.31.0.8:80 > 10.20.20.50:4000 frag=later id=7 => drop FRAG_NO_FIRST
        net 1 1: udp 10.20.20.50:4000 > 172.31.0.4:80 frag=first id=5 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80
        net 1 1: udp 10.20.20.50:4000 > 172.31.0.4:80 frag=later id=5 => peer bg: later 10.20.20.50 > 172.31.0.4
        net 1 1: udp 10.20.20.50:4000 > 172.31.0.4:80 frag=later id=9 => drop FRAG_NO_FIRST
        ",
    );
}

#[test]
fn a_moved_router_is_learned_for_the_way_back() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.step("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S");
    world.step("up-router: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A");
    assert!(world.flows().values().all(|v| v.mac == [9; 6] && v.ifindex == UP));
}

#[test]
fn the_way_back_needs_the_uplinks_own_address() {
    let world = World::new();
    world.mesh_to(&[52]);
    world.step("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S");
    world.maps.delete::<Ifaces>(&UP).unwrap();
    world.check("net 1 2: tcp 172.31.0.8:80 > 10.20.20.50:4000 SA => drop NO_IFACE");
}

#[test]
fn sctp_needs_equal_ports() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.publish(30000, 132, 80, 0);
    world.publish(80, 132, 80, 0);
    world.check(
        "
        up: sctp 10.20.20.50:4000 > 10.20.20.100:30000 => drop CT_INVALID
        up: sctp 10.20.20.50:4001 > 10.20.20.100:80 => peer bg: sctp 10.20.20.50:4001 > 172.31.0.4:80 ttl=63
        bg: sctp 172.31.0.4:80 > 10.20.20.50:4001 => neigh up: sctp 10.20.20.100:80 > 10.20.20.50:4001 ttl=63
        ",
    );
}

#[test]
fn an_exhausted_range_of_client_ports_is_a_collision() {
    let world = World::with_flows(262_144);
    world.mesh_to(&[51]);
    // Every port the search could try belongs to a living flow of another published port.
    let value = CtValue { expires: u32::MAX, xport: Be16::new(1), ..CtValue::default() };
    let keys = (0..=u16::MAX).map(|port| CtKey {
        src: ip("172.31.0.4"),
        sport: Be16::new(80),
        dst: ip("10.20.20.50"),
        dport: Be16::new(port),
        proto: 6,
        dir: CT_BACK_REV,
        ..CtKey::default()
    });
    world.maps.set_many::<Ct>(keys.map(|key| (key, value))).unwrap();
    assert_eq!(world.flows().len(), 65_536);
    assert_eq!(world.step("up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S"), "drop CT_COLLISION");
}

#[test]
fn the_flow_table_is_collected_by_pairs() {
    let world = World::new();
    world.mesh_to(&[51, 52]);
    for port in 4000..4010 {
        world.step(&format!("up: tcp 10.20.20.50:{port} > 10.20.20.100:30000 S"));
        world.step(&format!("net 1 1: tcp 10.20.20.60:{port} > 172.31.0.3:80 S"));
    }
    let flows = world.flows();
    assert_eq!(flows.len(), 40);
    for (key, value) in &flows {
        let other = swarmnet_ebpf::conntrack::pair_of(key, value).expect("known direction");
        assert!(flows.contains_key(&other), "{key:?} names {other:?}");
    }
    let now = swarmnet_ebpf::conntrack::now_s();
    let early = swarmnet_ebpf::conntrack::collect(&world.maps, now).unwrap();
    assert_eq!((early.entries, early.removed), (40, 0));
    let late = swarmnet_ebpf::conntrack::collect(&world.maps, now + 1000).unwrap();
    assert_eq!((late.removed, world.flows().len()), (40, 0));
}
