//! Walks A, B and I: task to task on one node, over the tunnel, and ARP.

use crate::world::World;

#[test]
fn a_task_reaches_a_task_of_its_node_directly() {
    World::new().check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.4:80 S => peer b: tcp 10.0.1.3:4000 > 10.0.1.4:80 S
        b: tcp 10.0.1.4:80 > 10.0.1.3:4000 SA => peer t: tcp 10.0.1.4:80 > 10.0.1.3:4000 SA
        t: udp 10.0.1.3:4000 > 10.0.1.4:53 => peer b: udp 10.0.1.3:4000 > 10.0.1.4:53
        t: echo 10.0.1.3 > 10.0.1.4 id=9 => peer b: echo 10.0.1.3 > 10.0.1.4 id=9
        t: sctp 10.0.1.3:5 > 10.0.1.4:6 => peer b: sctp 10.0.1.3:5 > 10.0.1.4:6
        t: proto47 10.0.1.3 > 10.0.1.4 => peer b: proto47 10.0.1.3 > 10.0.1.4
        t: udp 10.0.1.3:1 > 10.0.1.4:2 opts => peer b: udp 10.0.1.3:1 > 10.0.1.4:2
        t: udp 10.0.1.3:1 > 10.0.1.4:2 frag=later => peer b: later 10.0.1.3 > 10.0.1.4
        b: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:1 > 10.0.1.4:2) => peer t: unreach 10.0.1.4 > 10.0.1.3 about (udp 10.0.1.3:1 > 10.0.1.4:2)
        ",
    );
}

#[test]
fn a_task_reaches_a_task_of_another_node_through_the_tunnel() {
    World::new().check(
        "
        t: tcp 10.0.1.3:4000 > 10.0.1.5:80 S => node 1 vni 4096: tcp 10.0.1.3:4000 > 10.0.1.5:80 S
        net 1 4096: tcp 10.0.1.5:80 > 10.0.1.3:4000 SA => peer t: tcp 10.0.1.5:80 > 10.0.1.3:4000 SA
        net 1 4096: echo 10.0.1.5 > 10.0.1.4 id=3 => peer b: echo 10.0.1.5 > 10.0.1.4 id=3
        ",
    );
}

#[test]
fn equal_addresses_on_two_networks_do_not_meet() {
    World::new().check(
        "
        t2: udp 10.0.1.3:1 > 10.0.1.4:2 => node 2 vni 4097: udp 10.0.1.3:1 > 10.0.1.4:2
        t: udp 10.0.1.3:1 > 10.0.1.4:2 => peer b: udp 10.0.1.3:1 > 10.0.1.4:2
        net 2 4097: udp 10.0.1.4:2 > 10.0.1.3:1 => peer t2: udp 10.0.1.4:2 > 10.0.1.3:1
        ",
    );
}

#[test]
fn arp_is_answered_for_every_address_of_the_network() {
    World::new().check(
        "
        t: arp who-has 10.0.1.4 tell 10.0.1.3 => out t: arp reply 10.0.1.4 tell 10.0.1.3 mac 02:42:0a:00:01:04
        t: arp who-has 10.0.1.5 tell 10.0.1.3 => out t: arp reply 10.0.1.5 tell 10.0.1.3 mac 02:42:0a:00:01:05
        t: arp who-has 10.0.1.2 tell 10.0.1.3 => out t: arp reply 10.0.1.2 tell 10.0.1.3 mac 02:42:0a:00:01:02
        t: arp who-has 10.0.1.1 tell 10.0.1.3 => out t: arp reply 10.0.1.1 tell 10.0.1.3 mac 02:42:0a:00:01:01
        t: arp who-has 10.0.1.4 tell 0.0.0.0 sha=10.0.1.3 => out t: arp reply 10.0.1.4 tell 0.0.0.0 mac 02:42:0a:00:01:04
        t: arp who-has 10.0.1.77 tell 10.0.1.3 => drop ARP_UNKNOWN
        t: arp who-has 10.0.1.3 tell 0.0.0.0 sha=10.0.1.3 => drop ARP_UNKNOWN
        t: arp who-has 10.0.1.3 tell 10.0.1.3 => drop SPOOF_ARP
        t: arp who-has 10.0.1.4 tell 10.0.1.5 => drop SPOOF_ARP
        t: arp who-has 10.0.1.4 tell 10.0.1.3 sha=10.0.1.5 => drop SPOOF_ARP
        t: arp reply 10.0.1.4 tell 10.0.1.3 => drop SPOOF_ARP
        tg: arp who-has 169.254.1.1 tell 172.31.0.3 => out tg: arp reply 169.254.1.1 tell 172.31.0.3 mac 02:73:77:6e:00:01
        tg: arp who-has 172.31.0.4 tell 172.31.0.3 => drop ARP_UNKNOWN
        ",
    );
}
