//! Frames that are cut off, lie about their length, or quote nonsense.

use crate::world::World;

#[test]
fn a_cut_off_header_is_malformed_wherever_a_task_sends_it() {
    World::new().check(
        "
        # the kernel refuses runs with less than an IP header; tests/attach sends such frames
        t: udp 10.0.1.3:1 > 10.0.1.4:2 cut=20 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 opts=10 cut=40 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 cut=27 iplen=27 => drop MALFORMED
        t: tcp 10.0.1.3:1 > 10.0.1.4:2 A cut=39 iplen=39 => drop MALFORMED
        t: tcp 10.0.1.3:1 > 10.0.1.4:2 frag=first cut=28 iplen=28 => drop MALFORMED
        t: echo 10.0.1.3 > 10.0.1.4 cut=27 iplen=27 => drop MALFORMED
        t: sctp 10.0.1.3:1 > 10.0.1.4:2 cut=31 iplen=31 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 opts=10 cut=59 iplen=59 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 opts=10 cut=67 iplen=67 => drop MALFORMED
        t: ethertype 0806 => drop MALFORMED
        tg: udp 172.31.0.3:1 > 8.8.8.8:53 cut=22 => drop MALFORMED
        tg: tcp 172.31.0.3:1 > 8.8.8.8:53 A cut=30 => drop MALFORMED
        tg: ethertype 0806 => drop MALFORMED
        host: udp 10.20.20.100:1 > 169.254.87.1:30000 cut=24 => drop MALFORMED
        host: garbage 44 => drop MALFORMED
        net 1 4096: udp 10.0.1.5:1 > 10.0.1.3:2 cut=25 => drop MALFORMED
        net 1 1: tcp 10.20.20.50:1 > 172.31.0.4:80 S cut=33 => drop MALFORMED
        net 1 2: udp 172.31.0.8:80 > 10.20.20.50:1 cut=21 => drop MALFORMED
        ",
    );
}

#[test]
fn a_total_length_must_fit_the_frame_and_the_headers() {
    World::new().check(
        "
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=0 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=19 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=20 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=27 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=33 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 iplen=65535 => drop MALFORMED
        t: udp 10.0.1.3:1 > 10.0.1.4:2 opts iplen=31 => drop MALFORMED
        t: proto47 10.0.1.3 > 10.0.1.4 len=0 => peer b: proto47 10.0.1.3 > 10.0.1.4
        # a short packet is padded by its link
        t: udp 10.0.1.3:1 > 10.0.1.4:2 len=18 iplen=28 => peer b: udp 10.0.1.3:1 > 10.0.1.4:2 BAD-LENGTH
        # a train of segments longer than the field holds says 0
        t: tcp 10.0.1.3:1 > 10.0.1.4:2 A len=3000 iplen=0 gso=1000 => peer b: tcp 10.0.1.3:1 > 10.0.1.4:2 A BAD-LENGTH
        ",
    );
}

#[test]
fn what_the_uplink_cannot_read_is_the_stacks_matter() {
    let world = World::new();
    world.mesh_to(&[51]);
    world.check(
        "
        up: udp 10.20.20.50:1 > 10.20.20.100:30000 cut=27 => pass
        up: tcp 10.20.20.50:1 > 10.20.20.100:30000 S iplen=39 => pass
        up: tcp 10.20.20.50:1 > 10.20.20.100:30000 S iplen=9999 => pass
        up: tcp 10.20.20.50:1 > 10.20.20.100:30000 S frag=first cut=30 iplen=30 => pass
        # but nothing for the resolver, which the stack would put together
        up: tcp 10.20.20.50:1 > 169.254.77.53:53 S frag=first cut=36 iplen=36 => drop RESOLVER_ONLY
        up: garbage 44 => pass
        up: garbage 45 => pass
        up: unreach 10.20.20.1 > 10.20.20.100 cut=40 iplen=40 about (udp 10.20.20.100:30000 > 10.20.20.50:4000) => pass
        ",
    );
}

#[test]
fn an_icmp_error_must_quote_a_packet_that_can_be_told() {
    let world = World::new();
    world.vip_to(&[41]);
    world.check(
        "
        t: udp 10.0.1.3:4000 > 10.0.1.2:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        # quotes of 56 bytes in all: cut in the quoted header, in the ports, after the ports
        b: unreach 10.0.1.4 > 10.0.1.3 cut=28 iplen=28 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 cut=47 iplen=47 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 cut=50 iplen=50 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.4:53 frag=later) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 about (unreach 10.0.1.3 > 10.0.1.4 about (udp 10.0.1.4:53 > 10.0.1.3:4000)) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.4:53 opts) => peer t: unreach 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:53)
        b: exceeded 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => peer t: exceeded 10.0.1.2 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.2:53)
        b: needfrag 10.0.1.4 > 10.0.1.3 mtu=1300 about (udp 10.0.1.3:4000 > 10.0.1.4:53) => peer t: needfrag 10.0.1.2 > 10.0.1.3 mtu=1300 about (udp 10.0.1.3:4000 > 10.0.1.2:53)
        # about somebody else's packet, about a packet of no flow
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4000 > 10.0.1.5:53) => drop ICMP_BAD_INNER
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4001 > 10.0.1.4:53) => peer t: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:4001 > 10.0.1.4:53)
        ",
    );
}

#[test]
fn tags_and_strangers_do_not_enter() {
    World::new().check(
        "
        t: ethertype 88a8 => drop VLAN
        tg: ethertype 88a8 => drop VLAN
        net 1 4096: ethertype 88a8 => drop VLAN
        host: ethertype 8100 => drop VLAN
        host: ethertype 0806 => drop ETHERTYPE
        host: ethertype 88cc => drop ETHERTYPE
        tg: ethertype 8847 => drop ETHERTYPE
        up: ethertype 88a8 => pass
        up: ethertype 88cc => pass
        ",
    );
}
