//! Walk N: a task asks the resolver of its host, and the answer finds its way back.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;

use crate::world::{T, World};

#[test]
fn a_query_names_the_attachment_it_comes_from() {
    World::new().check(
        "
        t: udp 10.0.1.3:4000 > 169.254.77.53:53 => host: udp 169.254.192.1:4000 > 169.254.77.53:53
        t: tcp 10.0.1.3:4000 > 169.254.77.53:53 S => host: tcp 169.254.192.1:4000 > 169.254.77.53:53 S
        t: tcp 10.0.1.3:4000 > 169.254.77.53:53 A len=1200 => host: tcp 169.254.192.1:4000 > 169.254.77.53:53 A
        t: udp 10.0.1.3:4000 > 169.254.77.53:53 opts => host: udp 169.254.192.1:4000 > 169.254.77.53:53
        # the same address on another network is another asker
        t2: udp 10.0.1.3:4000 > 169.254.77.53:53 => host: udp 169.254.192.5:4000 > 169.254.77.53:53
        ",
    );
}

#[test]
fn an_answer_goes_to_the_attachment_that_asked() {
    World::new().check(
        "
        host: udp 169.254.77.53:53 > 169.254.192.1:4000 => peer t: udp 169.254.77.53:53 > 10.0.1.3:4000
        host: tcp 169.254.77.53:53 > 169.254.192.1:4000 SA => peer t: tcp 169.254.77.53:53 > 10.0.1.3:4000 SA
        host: tcp 169.254.77.53:53 > 169.254.192.1:4000 R => peer t: tcp 169.254.77.53:53 > 10.0.1.3:4000 R
        host: udp 169.254.77.53:53 > 169.254.192.5:4000 len=1400 => peer t2: udp 169.254.77.53:53 > 10.0.1.3:4000
        ",
    );
}

#[test]
fn every_index_has_its_address() {
    let world = World::new();
    for (lidx, text) in [(255, "169.254.192.255"), (8191, "169.254.223.255")] {
        world.iface(T, crate::world::OVERLAY, "10.0.1.3", lidx, 0);
        world.asker(lidx, T, "10.0.1.3");
        world.check(&format!(
            "
            t: udp 10.0.1.3:4000 > 169.254.77.53:53 => host: udp {text}:4000 > 169.254.77.53:53
            host: udp 169.254.77.53:53 > {text}:4000 => peer t: udp 169.254.77.53:53 > 10.0.1.3:4000
            "
        ));
        assert_eq!(asker(lidx).to_string(), text);
    }
}

#[test]
fn only_dns_reaches_the_resolver() {
    World::new().check(
        "
        t: udp 10.0.1.3:4000 > 169.254.77.53:54 => drop RESOLVER_ONLY
        t: tcp 10.0.1.3:4000 > 169.254.77.53:22 S => drop RESOLVER_ONLY
        t: tcp 10.0.1.3:53 > 169.254.77.53:2377 S => drop RESOLVER_ONLY
        t: sctp 10.0.1.3:4000 > 169.254.77.53:53 => drop RESOLVER_ONLY
        t: echo 10.0.1.3 > 169.254.77.53 id=53 => drop RESOLVER_ONLY
        t: proto47 10.0.1.3 > 169.254.77.53 => drop RESOLVER_ONLY
        t: udp 10.0.1.3:4000 > 169.254.77.53:53 frag=first => drop RESOLVER_ONLY
        t: udp 10.0.1.3:4000 > 169.254.77.53:53 frag=later => drop RESOLVER_ONLY
        # nobody waits for a late answer any more
        t: unreach 10.0.1.3 > 169.254.77.53 about (udp 169.254.77.53:53 > 10.0.1.3:4000) => drop RESOLVER_ONLY
        ",
    );
}

#[test]
fn nobody_asks_in_the_name_of_another() {
    World::new().check(
        "
        t: udp 10.0.1.4:4000 > 169.254.77.53:53 => drop SPOOF_IP
        t: udp 169.254.192.2:4000 > 169.254.77.53:53 => drop SPOOF_IP
        evil: udp 10.0.1.3:4000 > 169.254.77.53:53 => drop SPOOF_MAC
        unknown: udp 10.0.1.3:4000 > 169.254.77.53:53 => drop NO_IFACE
        tg: udp 172.31.0.3:4000 > 169.254.77.53:53 => drop GW_ISOLATION
        tg: udp 172.31.0.3:4000 > 169.254.192.1:4000 => drop GW_ISOLATION
        t: udp 10.0.1.3:53 > 169.254.192.2:4000 => drop NO_ENDPOINT
        net 1 4096: udp 10.0.1.5:4000 > 169.254.77.53:53 => drop VTEP_DST
        ",
    );
}

#[test]
fn only_the_resolver_speaks_to_askers() {
    World::new().check(
        "
        host: udp 10.20.20.100:53 > 169.254.192.1:4000 => drop RESOLVER_ONLY
        host: udp 169.254.77.53:54 > 169.254.192.1:4000 => drop RESOLVER_ONLY
        host: tcp 169.254.77.53:4000 > 169.254.192.1:53 S => drop RESOLVER_ONLY
        host: echo 169.254.77.53 > 169.254.192.1 => drop RESOLVER_ONLY
        host: udp 169.254.77.53:53 > 169.254.192.1:4000 frag=first => drop RESOLVER_ONLY
        host: unreach 169.254.77.53 > 169.254.192.1 about (udp 169.254.192.1:4000 > 169.254.77.53:53) => drop RESOLVER_ONLY
        host: udp 169.254.77.53:53 > 169.254.192.77:4000 => drop ASKER_GONE
        host: udp 169.254.77.53:53 > 169.254.192.0:4000 => drop ASKER_GONE
        host: udp 169.254.77.53:53 > 169.254.224.1:4000 => drop NO_ENDPOINT
        ",
    );
}

#[test]
fn the_resolver_is_no_host_of_the_lan() {
    let world = World::new();
    world.maps.set::<LocalAddrs>(&crate::world::ip("169.254.77.53"), &crate::world::UP).unwrap();
    world.check(
        "
        up: udp 10.20.20.50:4000 > 169.254.77.53:53 => drop RESOLVER_ONLY
        up: udp 169.254.192.1:4000 > 169.254.77.53:53 => drop RESOLVER_ONLY
        up: tcp 10.20.20.50:4000 > 169.254.77.53:30000 S => drop RESOLVER_ONLY
        # a frame for another machine is the kernel's to ignore
        up-other: udp 10.20.20.50:4000 > 169.254.77.53:53 => pass
        up: udp 10.20.20.50:4000 > 10.20.20.100:53 => pass
        ",
    );
}

#[test]
fn an_attachment_without_an_index_cannot_ask() {
    let world = World::new();
    world.iface(T, crate::world::OVERLAY, "10.0.1.3", 0, 0);
    world.check("t: udp 10.0.1.3:4000 > 169.254.77.53:53 => drop NO_IFACE");
    world.iface(T, crate::world::OVERLAY, "10.0.1.3", 8192, 0);
    world.check("t: udp 10.0.1.3:4000 > 169.254.77.53:53 => drop NO_IFACE");
}

#[test]
fn arp_finds_the_resolver() {
    World::new().check(
        "
        t: arp who-has 169.254.77.53 tell 10.0.1.3 => out t: arp reply 169.254.77.53 tell 10.0.1.3 mac 02:42:a9:fe:4d:35
        t: arp who-has 169.254.77.54 tell 10.0.1.3 => drop ARP_UNKNOWN
        t: arp who-has 169.254.77.53 tell 169.254.77.53 => drop SPOOF_ARP
        t: arp who-has 169.254.192.1 tell 10.0.1.3 => drop ARP_UNKNOWN
        tg: arp who-has 169.254.77.53 tell 172.31.0.3 => drop ARP_UNKNOWN
        ",
    );
}
