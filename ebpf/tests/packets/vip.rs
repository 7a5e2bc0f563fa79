//! Walks C, K and their ICMP errors and fragments (L, M): a VIP on the packet path.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::world::{B, T, VIP_SVC, World, ip};

#[test]
fn a_vip_leads_to_a_local_backend_and_the_reply_comes_from_the_vip() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        b: tcp 10.0.1.4:80 > 10.0.1.3:4000 SA => peer t: tcp 10.0.1.2:80 > 10.0.1.3:4000 SA
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        t: udp 10.0.1.3:4001 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4001 > 10.0.1.4:53
        b: udp 10.0.1.4:53 > 10.0.1.3:4001 => peer t: udp 10.0.1.2:53 > 10.0.1.3:4001
        t: echo 10.0.1.3 > 10.0.1.2 id=9 => peer b: echo 10.0.1.3 > 10.0.1.4 id=9
        b: reply 10.0.1.4 > 10.0.1.3 id=9 => peer t: reply 10.0.1.2 > 10.0.1.3 id=9
        t: sctp 10.0.1.3:5 > 10.0.1.2:6 => peer b: sctp 10.0.1.3:5 > 10.0.1.4:6
        b: sctp 10.0.1.4:6 > 10.0.1.3:5 => peer t: sctp 10.0.1.2:6 > 10.0.1.3:5
        t: proto47 10.0.1.3 > 10.0.1.2 => peer b: proto47 10.0.1.3 > 10.0.1.4
        b: proto47 10.0.1.4 > 10.0.1.3 => peer t: proto47 10.0.1.2 > 10.0.1.3
        # a direct flow beside it stays direct
        b: udp 10.0.1.4:9 > 10.0.1.3:9 => peer t: udp 10.0.1.4:9 > 10.0.1.3:9
        ",
    );
    let stat = world.maps.svc_stat(VIP_SVC).unwrap();
    assert_eq!((stat.flows, stat.packets, stat.refused), (5, 6, 0));
}

#[test]
fn a_vip_leads_to_a_remote_backend_and_the_reply_comes_from_the_vip() {
    let world = World::new();
    world.vip_to(&[42]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        net 1 4096: tcp 10.0.1.5:80 > 10.0.1.3:4000 SA => peer t: tcp 10.0.1.2:80 > 10.0.1.3:4000 SA
        t: echo 10.0.1.3 > 10.0.1.2 id=1 => node 1 vni 4096: echo 10.0.1.3 > 10.0.1.5 id=1
        net 1 4096: reply 10.0.1.5 > 10.0.1.3 id=1 => peer t: reply 10.0.1.2 > 10.0.1.3 id=1
        ",
    );
}

#[test]
fn a_vip_without_backends_refuses_at_once() {
    let world = World::new();
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S len=0 => out t [VIP_NO_BACKEND]: unreach 10.0.1.2 > 10.0.1.3 about (tcp 10.0.1.3:4000 > 10.0.1.2:80)
        t: udp 10.0.1.3:4000 > 10.0.1.2:80 => out t [VIP_NO_BACKEND]: unreach 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:80)
        t: echo 10.0.1.3 > 10.0.1.2 id=5 => out t [VIP_NO_BACKEND]: unreach 10.0.1.2 > 10.0.1.3 about (echo 10.0.1.3 > 10.0.1.2 id=5)
        t: udp 10.0.1.3:4000 > 10.0.1.2:80 opts => out t [VIP_NO_BACKEND]: unreach 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:80)
        ",
    );
    assert_eq!(world.maps.svc_stat(VIP_SVC).unwrap().refused, 4);
}

#[test]
fn flows_spread_over_the_slots_and_stay() {
    let world = World::new();
    world.vip_to(&[41, 42]);
    let first: Vec<String> = (0..64).map(|i| world.step(&syn(4000 + i))).collect();
    let local = first.iter().filter(|text| text.starts_with("peer b")).count();
    assert!((10..54).contains(&local), "{local} of 64 flows on the first of two backends");
    world.vip_to(&[41]);
    for (i, was) in first.iter().enumerate() {
        let again = world.step(&syn(4000 + i as u16).replace(" S", " A"));
        assert_eq!(again.split_once(':').unwrap().0, was.split_once(':').unwrap().0);
    }
}

fn syn(port: u16) -> String {
    format!("t: tcp 10.0.1.3:{port} > 10.0.1.2:80 S")
}

#[test]
fn a_task_that_chooses_itself_talks_to_the_vip() {
    let world = World::new();
    world.vip_to(&[43]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer t: tcp 10.0.1.2:4000 > 10.0.1.3:80 S
        t: tcp 10.0.1.3:80 > 10.0.1.2:4000 SA => peer t: tcp 10.0.1.2:80 > 10.0.1.3:4000 SA
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer t: tcp 10.0.1.2:4000 > 10.0.1.3:80 A
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer t: udp 10.0.1.2:4000 > 10.0.1.3:53
        t: udp 10.0.1.3:53 > 10.0.1.2:4000 => peer t: udp 10.0.1.2:53 > 10.0.1.3:4000
        t: echo 10.0.1.3 > 10.0.1.2 id=5 => peer t: echo 10.0.1.2 > 10.0.1.3 id=5
        t: reply 10.0.1.3 > 10.0.1.2 id=5 => peer t: reply 10.0.1.2 > 10.0.1.3 id=5
        t: unreach 10.0.1.3 > 10.0.1.2 about (udp 10.0.1.2:4000 > 10.0.1.3:53) => peer t: unreach 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:53)
        ",
    );
}

#[test]
fn icmp_errors_about_vip_flows_speak_of_the_vip() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => peer t: unreach 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:53)
        t: unreach 10.0.1.3 > 10.0.1.2 about (udp 10.0.1.2:53 > 10.0.1.3:4000) => peer b: unreach 10.0.1.3 > 10.0.1.4 about (udp 10.0.1.4:53 > 10.0.1.3:4000)
        t: unreach 10.0.1.3 > 10.0.1.2 about (udp 10.0.1.2:53 > 10.0.1.3:4999) => drop ICMP_BAD_INNER
        ",
    );
    world.vip_to(&[42]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        net 1 4096: needfrag 10.0.1.5 > 10.0.1.3 about (tcp 10.0.1.3:4000 > 10.0.1.5:80 A) => peer t: needfrag 10.0.1.2 > 10.0.1.3 about (tcp 10.0.1.3:4000 > 10.0.1.2:80)
        ",
    );
}

#[test]
fn later_fragments_follow_the_first_one() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=3 => drop FRAG_NO_FIRST
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=first id=3 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=3 => peer b: later 10.0.1.3 > 10.0.1.4
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 frag=later id=4 => drop FRAG_NO_FIRST
        b: udp 10.0.1.4:53 > 10.0.1.3:4000 frag=first id=8 => peer t: udp 10.0.1.2:53 > 10.0.1.3:4000
        b: udp 10.0.1.4:53 > 10.0.1.3:4000 frag=later id=8 => peer t: later 10.0.1.2 > 10.0.1.3
        ",
    );
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_new_ones() {
    let world = World::new();
    world.vip_to(&[41]);
    world
        .check("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S");
    world.check("t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53");
    world.vip_to(&[42]);
    world.vip_backend(41, "10.0.1.4", 0, B, BE_DRAINING);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        t: tcp 10.0.1.3:4001 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4001 > 10.0.1.5:80 S
        ",
    );
    // The old reverse half went with the new choice.
    assert!(world.flows().keys().all(|k| k.src != ip("10.0.1.4") || k.proto != 6));
}

#[test]
fn flows_to_a_lost_node_are_chosen_again_except_running_tcp() {
    let world = World::new();
    world.vip_to(&[42]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => node 1 vni 4096: udp 10.0.1.3:4000 > 10.0.1.5:53
        ",
    );
    world.vip_to(&[41]);
    world.vip_backend(42, "10.0.1.5", 1, 0, BE_DOWN);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 A
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        ",
    );
}

#[test]
fn a_removed_backend_resets_its_tcp_flows() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        t: echo 10.0.1.3 > 10.0.1.2 id=9 => peer b: echo 10.0.1.3 > 10.0.1.4 id=9
        ",
    );
    world.vip_to(&[42]);
    world.maps.delete::<Backends>(&41).unwrap();
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => out t [ENDPOINT_GONE]: tcp 10.0.1.2:80 > 10.0.1.3:4000 R
        t: echo 10.0.1.3 > 10.0.1.2 id=9 => node 1 vni 4096: echo 10.0.1.3 > 10.0.1.5 id=9
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        ",
    );
}

#[test]
fn a_closed_flow_is_chosen_again_by_the_next_syn() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 FA => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 FA
        b: tcp 10.0.1.4:80 > 10.0.1.3:4000 FA => peer t: tcp 10.0.1.2:80 > 10.0.1.3:4000 FA
        ",
    );
    world.vip_to(&[42]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        ",
    );
}

#[test]
fn timeouts_follow_the_state_of_both_halves() {
    let world = World::new();
    world.vip_to(&[41]);
    let left = |world: &World| -> Vec<u32> {
        let now = swarmnet_ebpf::conntrack::now_s();
        world.flows().values().map(|v| v.expires.saturating_sub(now).div_ceil(10) * 10).collect()
    };
    world.step("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S");
    assert_eq!(left(&world), [60, 60]);
    world.step("b: tcp 10.0.1.4:80 > 10.0.1.3:4000 SA");
    assert_eq!(left(&world), [21_600, 21_600]);
    world.step("b: tcp 10.0.1.4:80 > 10.0.1.3:4000 R");
    assert_eq!(left(&world), [10, 10]);
}

#[test]
fn a_hairpin_lives_as_long_as_any_other_connection() {
    let world = World::new();
    world.vip_to(&[43]);
    let left = |world: &World| -> Vec<u32> {
        let now = swarmnet_ebpf::conntrack::now_s();
        world.flows().values().map(|v| v.expires.saturating_sub(now).div_ceil(10) * 10).collect()
    };
    world.step("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S");
    assert_eq!(left(&world), [60, 60]);
    world.step("t: tcp 10.0.1.3:80 > 10.0.1.2:4000 SA");
    assert_eq!(left(&world), [21_600, 21_600]);
    world.step("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 FA");
    assert_eq!(left(&world), [21_600, 21_600]);
    world.step("t: tcp 10.0.1.3:80 > 10.0.1.2:4000 FA");
    assert_eq!(left(&world), [10, 10]);
    // A new connection from the same port chooses again, and nothing of the old one is left.
    world.vip_to(&[41]);
    world
        .check("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S");
    assert!(world.flows().values().all(|v| v.flags & CT_HAIRPIN == 0));
}

#[test]
fn one_evicted_half_is_made_again_for_the_same_backend() {
    let world = World::new();
    world.vip_to(&[41]);
    world
        .check("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S");
    let forward = *world.flows().keys().find(|k| k.dir == CT_VIP_FWD).unwrap();
    world.maps.delete::<Ct>(&forward).unwrap();
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        b: tcp 10.0.1.4:80 > 10.0.1.3:4000 A => peer t: tcp 10.0.1.2:80 > 10.0.1.3:4000 A
        ",
    );
}

#[test]
fn two_vips_with_one_backend_cannot_share_a_tuple() {
    let world = World::new();
    world.vip_to(&[41]);
    world.ep(4096, "10.0.1.22", EP_VIP, 0, 0);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        t: tcp 10.0.1.3:4000 > 10.0.1.22:80 S => drop CT_COLLISION
        ",
    );
}

#[test]
fn more_new_flows_than_the_budget_are_dropped_and_known_ones_are_not() {
    let world = World::new();
    world.vip_to(&[41]);
    let conf = world.maps.get::<Conf>(&0).unwrap().unwrap();
    world.maps.set::<Conf>(&0, &ConfValue { flow_budget: 3, ..conf }).unwrap();
    let verdicts: Vec<String> = (0..200).map(|i| world.step(&syn(4000 + i))).collect();
    assert!(verdicts.iter().any(|v| v == "drop CT_FLOOD"));
    assert!(verdicts.iter().filter(|v| v.starts_with("peer b")).count() >= 3);
    world
        .check("t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A");
}

#[test]
fn an_encrypted_network_does_not_send_vip_flows_in_the_clear() {
    let world = World::new();
    world.iface(T, 4096, "10.0.1.3", 1, IFACE_ENCRYPTED);
    world.vip_to(&[42]);
    world.check("t: udp 10.0.1.3:1 > 10.0.1.2:2 => drop ENCRYPT_REQUIRED");
}
