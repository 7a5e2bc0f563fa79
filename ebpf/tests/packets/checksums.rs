//! Checksum pitfalls: sums change by deltas, so that a wrong one stays wrong and none is invented.
//! That of the unfinished sums of a task's own stack (`CHECKSUM_PARTIAL`) is in `tests/attach`.

use crate::frame;
use crate::world::World;

#[test]
fn a_datagram_without_a_sum_stays_without_one() {
    let world = World::new();
    world.vip_to(&[41]);
    world.mesh_to(&[51]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 zerosum => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53 zerosum
        b: udp 10.0.1.4:53 > 10.0.1.3:4000 zerosum => peer t: udp 10.0.1.2:53 > 10.0.1.3:4000 zerosum
        # addresses and ports
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 zerosum => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63 zerosum
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 zerosum => neigh up: udp 10.20.20.100:30000 > 10.20.20.50:4000 ttl=63 zerosum
        ",
    );
}

#[test]
fn a_wrong_sum_is_not_made_right() {
    let world = World::new();
    world.vip_to(&[41]);
    world.mesh_to(&[52]);
    world.check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S badsum => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S BAD-L4-SUM
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 badsum => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53 BAD-L4-SUM
        t: echo 10.0.1.3 > 10.0.1.2 id=9 badsum => peer b: echo 10.0.1.3 > 10.0.1.4 id=9 BAD-L4-SUM
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S badsum => node 1 vni 1: tcp 10.20.20.50:4000 > 172.31.0.8:80 S ttl=63 BAD-L4-SUM
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 badsum => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63 BAD-L4-SUM
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 badipsum => node 1 vni 1: udp 10.20.20.50:4000 > 172.31.0.8:80 ttl=63 BAD-IP-SUM
        up-router: needfrag 10.20.20.1 > 10.20.20.100 badsum about (udp 10.20.20.100:30000 > 10.20.20.50:4000) => node 1 vni 1: needfrag 10.20.20.1 > 172.31.0.8 about (udp 172.31.0.8:80 > 10.20.20.50:4000) ttl=63 BAD-L4-SUM
        ",
    );
}

#[test]
fn sums_hold_for_every_length_and_with_options() {
    let world = World::new();
    world.vip_to(&[41]);
    world.mesh_to(&[51]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 len=0 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 len=1 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 len=1401 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 S len=0 => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A len=1 opts=10 => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        t: tcp 10.0.1.3:4000 > 10.0.1.2:80 A len=3000 gso=1400 => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 A
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 len=1 opts => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        up: udp 10.20.20.50:4000 > 10.20.20.100:30000 len=1472 opts=10 => peer bg: udp 10.20.20.50:4000 > 172.31.0.4:80 ttl=63
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 S len=0 ttl=2 => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 S ttl=1
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A len=777 ttl=255 => peer bg: tcp 10.20.20.50:4000 > 172.31.0.4:80 A ttl=254
        up: tcp 10.20.20.50:4000 > 10.20.20.100:30000 A len=777 ttl=0 => drop TTL_EXPIRED
        bg: udp 172.31.0.4:80 > 10.20.20.50:4000 len=3 ttl=1 => drop TTL_EXPIRED
        bg: tcp 172.31.0.4:80 > 10.20.20.50:4000 A len=3000 opts gso=1400 => neigh up: tcp 10.20.20.100:30000 > 10.20.20.50:4000 A ttl=63
        ",
    );
}

/// The UDP sum of a packet's text.
fn sum_of(text: &str) -> [u8; 2] {
    let packet = frame::packet(text);
    [packet[26], packet[27]]
}

#[test]
fn a_sum_that_becomes_zero_is_sent_as_all_ones() {
    let world = World::new();
    world.vip_to(&[41]);
    let (sport, len) = (0..200)
        .flat_map(|len| (1024..=u16::MAX).map(move |port| (port, len)))
        .find(|(port, len)| {
            sum_of(&format!("udp 10.0.1.3:{port} > 10.0.1.4:53 len={len}")) == [0xff, 0xff]
        })
        .expect("one in 65,536 has it");
    world.check(&format!(
        "t: udp 10.0.1.3:{sport} > 10.0.1.2:53 len={len} => peer b: udp 10.0.1.3:{sport} > 10.0.1.4:53"
    ));
}
