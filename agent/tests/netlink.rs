//! Links, routes, neighbours and the nft table against the real kernel, in namespaces of their own.

#![expect(clippy::unwrap_used, reason = "a test ends with a panic")]

#[path = "support/mod.rs"]
mod support;

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use support::{on_a_new_host, run, try_run};
use swarmnet_agent::netlink::engine_resolver::untrack;
use swarmnet_agent::netlink::link::{LinkKind, VethEnd};
use swarmnet_agent::netlink::neighbor::Neighbor;
use swarmnet_agent::netlink::nft_rules::TableSpec;
use swarmnet_agent::netlink::route::{Accepted, HostRoute, OnlinkRoute, Routes, Way};
use swarmnet_agent::netlink::sock_diag::{SockDiag, can_destroy};
use swarmnet_agent::netlink::{Netlink, iptables, netns, nft, sysctl, xfrm};

fn end(name: &str, last: u8) -> VethEnd {
    VethEnd { name: name.to_owned(), mac: [2, 0, 0, 0, 0, last] }
}

#[test]
#[ignore = "needs root; run by make test"]
fn a_veth_pair_reads_back_as_it_was_made() {
    on_a_new_host(|_host| async {
        let netlink = Netlink::open().unwrap();
        netlink.add_veth(&end("swo1", 1), &end("swp1", 2), 1450).await.unwrap();
        let links = netlink.links().await.unwrap();
        let (host, peer) = (&links["swo1"], &links["swp1"]);
        assert_eq!((host.mac, host.mtu, host.up), ([2, 0, 0, 0, 0, 1], 1450, true));
        assert_eq!((peer.mac, peer.mtu, peer.up), ([2, 0, 0, 0, 0, 2], 1450, false));
        assert_eq!((host.kind, host.ethernet), (LinkKind::Veth, true));
        let again = netlink.add_veth(&end("swo1", 1), &end("swp1", 2), 1450).await.unwrap_err();
        assert!(again.is_exists(), "{again}");
        netlink.delete_link(host.index).await.unwrap();
        netlink.delete_link(host.index).await.unwrap();
        assert!(!netlink.links().await.unwrap().contains_key("swp1"));
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_vxlan_device_collects_metadata() {
    on_a_new_host(|_host| async {
        let netlink = Netlink::open().unwrap();
        netlink.add_vxlan("swn-vx", 4789).await.unwrap();
        let link = netlink.link("swn-vx").await.unwrap();
        assert_eq!(link.kind, LinkKind::Vxlan { port: 4789, external: true });
        assert!(link.up);
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn routes_and_neighbors_read_back_as_they_were_written() {
    on_a_new_host(|_host| async {
        let netlink = Netlink::open().unwrap();
        netlink.add_veth(&end("swg1", 1), &end("swp1", 2), 1450).await.unwrap();
        netlink.set_up(netlink.link("swp1").await.unwrap().index).await.unwrap();
        run("ip", &["addr", "add", "10.20.20.100/32", "dev", "lo"]);
        let ifindex = netlink.link("swg1").await.unwrap().index;
        let addr = Ipv4Addr::new(172, 31, 240, 1);
        for source in [None, Some(Ipv4Addr::new(10, 20, 20, 100))] {
            let route = HostRoute { addr, ifindex, source };
            netlink.set_host_route(route).await.unwrap();
            assert_eq!(netlink.routes().await.unwrap().host, [route]);
        }
        for mac in [[2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 8]] {
            let neighbor = Neighbor { ifindex, addr, mac };
            netlink.set_neighbor(neighbor).await.unwrap();
            assert_eq!(netlink.permanent_neighbors().await.unwrap(), [neighbor]);
        }
        let route = netlink.routes().await.unwrap().host[0];
        netlink.delete_host_route(route).await.unwrap();
        netlink.delete_host_route(route).await.unwrap();
        assert!(netlink.routes().await.unwrap().host.is_empty());
        let addr = Ipv4Addr::new(169, 254, 77, 53);
        let accepted = Accepted { addr, ifindex };
        let net = "169.254.192.0/19".parse().unwrap();
        let onlink = OnlinkRoute { net, via: Ipv4Addr::new(169, 254, 87, 1), ifindex };
        for _ in 0..2 {
            netlink.accept(accepted).await.unwrap();
            netlink.set_onlink_route(onlink).await.unwrap();
        }
        let routes = netlink.routes().await.unwrap();
        assert_eq!((routes.accepted, routes.onlink), (vec![accepted], vec![onlink]));
        let shown = run("ip", &["route", "get", "169.254.77.53"]);
        assert!(shown.starts_with("local 169.254.77.53"), "{shown}");
        assert!(!netlink.addresses().await.unwrap().iter().any(|a| a.addr == addr));
        netlink.delete_link(ifindex).await.unwrap();
        assert_eq!(netlink.routes().await.unwrap(), Routes::default());
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_way_to_a_node_tells_its_device_and_the_mtu_of_the_route() {
    on_a_new_host(|_host| async {
        let netlink = Netlink::open().unwrap();
        let peer = Ipv4Addr::new(10, 20, 20, 110);
        assert!(netlink.way_to(peer).await.is_err(), "no route yet");
        netlink.add_veth(&end("up0", 1), &end("up1", 2), 9000).await.unwrap();
        netlink.set_up(netlink.link("up1").await.unwrap().index).await.unwrap();
        run("ip", &["addr", "add", "10.20.20.100/24", "dev", "up0"]);
        let ifindex = netlink.link("up0").await.unwrap().index;
        assert_eq!(netlink.way_to(peer).await.unwrap(), Some(Way { ifindex, mtu: None }));
        run("ip", &["route", "add", "10.20.20.110/32", "dev", "up0", "mtu", "1400"]);
        let narrow = Way { ifindex, mtu: Some(1400) };
        assert_eq!(netlink.way_to(peer).await.unwrap(), Some(narrow));
        run("ip", &["route", "replace", "10.20.20.110/32", "dev", "up0", "mtu", "lock", "1300"]);
        let narrower = Way { ifindex, mtu: Some(1300) };
        assert_eq!(netlink.way_to(peer).await.unwrap(), Some(narrower));
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_nft_table_is_written_once_and_again_after_a_flush() {
    on_a_new_host(|_host| async {
        let mut spec = TableSpec {
            pool: "172.31.240.0/20".parse().unwrap(),
            vxlan_port: 4789,
            published: [40_000].into(),
            outer_bridges: ["br0".to_owned()].into(),
        };
        assert!(nft::ensure_table(&spec).await.unwrap());
        assert!(!nft::ensure_table(&spec).await.unwrap(), "a right table is left alone");
        run("nft", &["flush", "chain", "ip", "swarmnet", "output"]);
        assert!(nft::ensure_table(&spec).await.unwrap(), "a missing rule is noticed");
        spec.published.insert(50_000);
        assert!(nft::ensure_table(&spec).await.unwrap(), "another port range is noticed");
        run("nft", &["flush", "ruleset"]);
        assert!(nft::ensure_table(&spec).await.unwrap(), "a flush is noticed");
        nft::remove_table().await.unwrap();
        nft::remove_table().await.unwrap();
        assert!(try_run("nft", &["list", "table", "ip", "swarmnet"]).is_err());
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_engines_chain_gets_two_accepts_and_only_if_it_exists() {
    on_a_new_host(|_host| async {
        assert_eq!(iptables::ensure_accepts().await.unwrap(), 0);
        run("iptables", &["-N", "DOCKER-USER"]);
        assert_eq!(iptables::ensure_accepts().await.unwrap(), 2);
        assert_eq!(iptables::ensure_accepts().await.unwrap(), 0);
        run("iptables", &["-F", "DOCKER-USER"]);
        run("iptables", &["-A", "DOCKER-USER", "-d", "10.9.0.0/16", "-j", "DROP"]);
        run("iptables", &["-A", "DOCKER-USER", "-j", "RETURN"]);
        assert_eq!(iptables::ensure_accepts().await.unwrap(), 2);
        let rules = run("iptables", &["-S", "DOCKER-USER"]);
        let targets = rules.lines().skip(1).map(|rule| rule.split(' ').next_back().unwrap());
        assert_eq!(targets.collect::<Vec<_>>(), ["DROP", "ACCEPT", "ACCEPT", "RETURN"]);
        run("iptables", &["-D", "DOCKER-USER", "-d", "10.9.0.0/16", "-j", "DROP"]);
        run("iptables", &["-D", "DOCKER-USER", "-j", "RETURN"]);
        iptables::remove_accepts().await.unwrap();
        assert_eq!(run("iptables", &["-S", "DOCKER-USER"]).trim(), "-N DOCKER-USER");
    });
}

/// What the engine writes into a sandbox, one by one; the resolver is at ports 5353 and 5354.
const ENGINE_RULES: [&str; 8] = [
    "-N DOCKER_OUTPUT",
    "-I OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT",
    "-N DOCKER_POSTROUTING",
    "-I POSTROUTING -d 127.0.0.11 -j DOCKER_POSTROUTING",
    "-I DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:5353",
    "-I DOCKER_POSTROUTING -s 127.0.0.11 -p udp --sport 5353 -j SNAT --to-source :53",
    "-I DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:5354",
    "-I DOCKER_POSTROUTING -s 127.0.0.11 -p tcp --sport 5354 -j SNAT --to-source :53",
];

fn nat(rule: &str) {
    let words: Vec<_> = ["-t", "nat"].into_iter().chain(rule.split(' ')).collect();
    run("iptables", &words);
}

/// Asks the engine's resolver for an answer of its port, by datagram and by connection.
fn ask_engine() {
    let server = UdpSocket::bind("127.0.0.11:5353").unwrap();
    let listener = TcpListener::bind("127.0.0.11:5354").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 8];
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
    }
    client.send_to(b"name", "127.0.0.11:53").unwrap();
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&buffer[..length], from).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"name"[..], "127.0.0.11:53"));
    let stream = TcpStream::connect("127.0.0.11:53").unwrap();
    assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_engines_resolver_is_reached_without_tracking_of_connections() {
    on_a_new_host(|_host| async {
        run("touch", &["/run/netns/here"]);
        run("mount", &["--bind", "/proc/self/ns/net", "/run/netns/here"]);
        let here = Path::new("/run/netns/here");
        assert!(!untrack(here).await.unwrap(), "nothing to do");
        for (number, rule) in ENGINE_RULES.iter().enumerate() {
            assert!(!untrack(here).await.unwrap(), "{number} of its rules are there");
            nat(rule);
        }
        ask_engine();
        assert!(untrack(here).await.unwrap());
        assert!(!untrack(here).await.unwrap(), "a second look finds nothing");
        ask_engine();
        let rules = run("nft", &["list", "ruleset"]);
        assert!(!rules.contains("nat hook"), "nothing that tracks: {rules}");
        // The engine has been restarted, and the task has rules of its own.
        nat("-A OUTPUT -d 192.0.2.1 -j DNAT --to-destination 192.0.2.2");
        ENGINE_RULES.iter().for_each(|rule| nat(rule));
        ask_engine();
        assert!(untrack(here).await.unwrap());
        ask_engine();
        let rules = run("iptables", &["-t", "nat", "-S"]);
        assert!(rules.contains("192.0.2.2") && !rules.contains("DOCKER"), "{rules}");
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn kernel_settings_belong_to_the_namespace() {
    on_a_new_host(|_host| async {
        sysctl::ensure_forwarding().unwrap();
        assert!(sysctl::is_forwarding().unwrap());
        assert!(!sysctl::ensure_forwarding().unwrap(), "a right setting is left alone");
        assert!(sysctl::reserved_ports().unwrap().is_empty(), "a new namespace reserves none");
        sysctl::set_reserved_ports(&[80, 30_000].into()).unwrap();
        assert_eq!(sysctl::reserved_ports().unwrap(), [80, 30_000].into());
        let many = (20_000..26_000).step_by(2).collect();
        sysctl::set_reserved_ports(&many).unwrap();
        assert_eq!(sysctl::reserved_ports().unwrap(), many, "longer than one read of the library");
        sysctl::set_reserved_ports(&[80, 30_000].into()).unwrap();
    });
}

/// Sockets in a namespace: connected by IPv4, connected by a mapped address, not connected.
fn sockets_in(path: &Path) -> std::io::Result<[UdpSocket; 3]> {
    netns::inside(path, || {
        let connected = |local: &str, peer: &str| -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(local)?;
            socket.connect(peer)?;
            Ok(socket)
        };
        Ok([
            connected("0.0.0.0:0", "127.0.0.1:7001")?,
            connected("[::]:0", "[::ffff:127.0.0.1]:7002")?,
            UdpSocket::bind("127.0.0.1:7003")?,
        ])
    })
}

#[test]
#[ignore = "needs root; run by make test"]
fn connected_udp_sockets_of_a_namespace_are_listed_and_ended() {
    on_a_new_host(|_host| async {
        run("ip", &["netns", "add", "sandbox"]);
        run("ip", &["-n", "sandbox", "link", "set", "lo", "up"]);
        let path = Path::new("/run/netns/sandbox");
        let sockets = sockets_in(path).unwrap();
        assert!(
            SockDiag::open().unwrap().connected().unwrap().is_empty(),
            "of that namespace only"
        );
        let work = || {
            let diag = SockDiag::open()?;
            let found = diag.connected()?;
            let ports: Vec<u16> = found.iter().map(|socket| socket.peer.1).collect();
            assert_eq!(ports, [7001, 7002]);
            for socket in &found {
                assert!(diag.destroy(socket)?, "there");
                assert!(!diag.destroy(socket)?, "gone");
            }
            diag.connected()
        };
        assert!(netns::inside(path, work).unwrap().is_empty());
        let errors = sockets.map(|socket| socket.take_error().unwrap().map(|error| error.kind()));
        let ended = Some(std::io::ErrorKind::ConnectionAborted);
        assert_eq!(errors, [ended, ended, None]);
        assert!(can_destroy().unwrap());
        run("ip", &["netns", "del", "sandbox"]);
        assert!(netns::inside(path, || Ok(())).is_err());
    });
}

#[test]
#[ignore = "needs root; run by make test"]
fn policies_for_incoming_packets_are_counted() {
    on_a_new_host(|_host| async {
        assert_eq!(xfrm::inbound_policies().unwrap(), 0);
        for (direction, expected) in [("out", 0), ("in", 1)] {
            let policy = ["xfrm", "policy", "add", "dir", direction, "src", "192.0.2.1"];
            let rest = ["dst", "192.0.2.2", "tmpl", "proto", "esp", "mode", "transport"];
            run("ip", &[&policy[..], &rest].concat());
            assert_eq!(xfrm::inbound_policies().unwrap(), expected);
        }
    });
}
