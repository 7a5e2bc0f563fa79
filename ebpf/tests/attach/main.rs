//! Real stacks: the programs on real devices, by tcx and by clsact, with TCP, UDP and ping.
//! Needs root; everything happens in namespaces that the test creates and removes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod lab;
mod offload;
mod pitfalls;
mod resolver;
mod takeover;
mod traffic;

use std::net::Ipv4Addr;
use std::path::Path;

use lab::{Lab, OVERLAY};
use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::{AttachMode, Dataplane, Hook, Options, Via};
use swarmnet_ebpf::{drops, netns};

const BULK: usize = 3_000_000;

fn overlay_works(lab: &Lab) {
    // walk A, on one node
    assert!(lab.ping("t1", "10.0.1.4"), "{}", lab.hosts[0].drops());
    assert_eq!(lab.tcp("t1", "10.0.1.4:80", BULK).unwrap().0, "10.0.1.3");
    // walk B, through the tunnel, both ways
    assert!(lab.ping("t1", "10.0.1.5") && lab.ping("t3", "10.0.1.3"));
    assert_eq!(lab.tcp("t1", "10.0.1.5:80", BULK).unwrap().0, "10.0.1.3");
    assert_eq!(lab.tcp("t3", "10.0.1.4:80", BULK).unwrap().0, "10.0.1.5");
    for len in [1, 1400, 8000, 60_000] {
        assert_eq!(lab.udp("t1", "10.0.1.5:80", len).unwrap().0, "10.0.1.3");
    }
    assert!(!lab.ping("t1", "10.0.1.99"));
}

fn vip_works(lab: &Lab) {
    for (backend, place) in [(2, "this node"), (3, "the other node"), (1, "the caller itself")] {
        lab.serve_by(backend);
        assert!(lab.ping("t1", "10.0.1.2"), "VIP on {place}: {}", lab.hosts[0].drops());
        let (client, server) = lab.tcp("t1", "10.0.1.2:80", BULK).unwrap();
        let itself = if backend == 1 { "10.0.1.2" } else { "10.0.1.3" };
        assert_eq!((client.as_str(), server.as_str()), (itself, "10.0.1.2:80"), "{place}");
        for len in [1, 9000] {
            assert_eq!(lab.udp("t1", "10.0.1.2:80", len).unwrap().0, itself, "{place}");
        }
    }
}

fn mesh_works(lab: &Lab) {
    for (backend, place) in [(1, "h1"), (3, "h2")] {
        lab.serve_by(backend);
        for entry in ["10.20.20.100:30000", "10.20.20.110:30000"] {
            let (client, server) = lab.tcp("c", entry, BULK).unwrap_or_else(|error| {
                panic!("client by {entry} to {place}: {error}");
            });
            assert_eq!((client.as_str(), server.as_str()), ("10.20.20.50", entry), "{place}");
            for len in [1, 1450, 20_000] {
                assert_eq!(lab.udp("c", entry, len).unwrap().0, "10.20.20.50", "{place}");
            }
        }
        // walk J, from a task to its own node's port: the client is the node
        let (client, _) = lab.tcp("t2", "10.20.20.100:30000", BULK).unwrap();
        assert_eq!(client, "10.20.20.100", "task to its own node's port, served by {place}");
        // walk G, the part without socket hooks: a host process by way of swn-host
        let (client, _) = lab.tcp("h1", "169.254.87.1:30000", BULK).unwrap();
        assert_eq!(client, "10.20.20.100", "host process, served by {place}");
    }
}

fn all_walks(tag: &str, mode: AttachMode) {
    let lab = Lab::new(tag, mode);
    for task in &lab::TASKS {
        lab.server(task.name);
    }
    overlay_works(&lab);
    vip_works(&lab);
    mesh_works(&lab);
    resolver::works(&lab);
}

#[test]
fn all_walks_work_on_tcx() {
    all_walks("x", AttachMode::Tcx);
}

#[test]
fn all_walks_work_on_clsact() {
    all_walks("c", AttachMode::Clsact);
}

fn vias(lab: &Lab) -> Vec<(String, Via)> {
    let host = &lab.hosts[0];
    let mut all = host.run(|plane| plane.as_ref().expect("loaded").attached().expect("listing"));
    all.sort_by_key(|a| (a.program.clone(), a.ifindex));
    assert!(all.iter().all(|a| a.pin.is_some() == (a.via == Via::Tcx)));
    all.into_iter().map(|a| (a.program, a.via)).collect()
}

fn expected(via: Via) -> Vec<(String, Via)> {
    let names =
        ["from_gw", "from_gw", "from_host", "from_net", "from_task", "from_task", "from_uplink"];
    names.map(|name| (format!("sn_{name}"), via)).to_vec()
}

#[test]
fn a_restart_keeps_flows_and_the_other_mode_takes_over_without_doubles() {
    let lab = Lab::new("r", AttachMode::Auto);
    for task in &lab::TASKS {
        lab.server(task.name);
    }
    assert_eq!(vias(&lab), expected(Via::Tcx));
    lab.serve_by(3);
    lab.tcp("c", "10.20.20.100:30000", 10).unwrap();
    let flows = lab.hosts[0].maps().entries::<Ct>().unwrap();
    assert!(!flows.is_empty());
    // the daemon is away: packets flow
    lab.hosts[0].run(|plane| *plane = None);
    assert!(lab.ping("t1", "10.0.1.4"));
    // it comes back: same maps, same attachments
    lab.hosts[0].load(AttachMode::Auto);
    assert_eq!(vias(&lab), expected(Via::Tcx));
    let after = lab.hosts[0].maps().entries::<Ct>().unwrap();
    assert!(flows.keys().all(|key| after.contains_key(key)));
    for (mode, via) in [(AttachMode::Clsact, Via::Clsact), (AttachMode::Tcx, Via::Tcx)] {
        lab.hosts[0].load(mode);
        for _ in 0..2 {
            attach_all(&lab);
            assert_eq!(vias(&lab), expected(via));
        }
        assert!(lab.ping("t1", "10.0.1.4"));
        lab.tcp("c", "10.20.20.100:30000", 10).unwrap();
    }
}

const DEVICES: [(Hook, &str); 7] = [
    (Hook::Uplink, "wan0"),
    (Hook::Tunnel, "swn-vx"),
    (Hook::HostPair, "swn-hostp"),
    (Hook::Task, "swo-t1"),
    (Hook::Task, "swo-t2"),
    (Hook::Gateway, "swg-t1"),
    (Hook::Gateway, "swg-t2"),
];

fn attach_all(lab: &Lab) {
    for (hook, device) in DEVICES {
        lab::attach(&lab.hosts[0], hook, device);
    }
}

#[test]
fn what_is_detached_is_off_the_device_and_a_lost_device_is_forgotten() {
    for (tag, mode) in [("dx", AttachMode::Tcx), ("dc", AttachMode::Clsact)] {
        let lab = Lab::new(tag, mode);
        let host = &lab.hosts[0];
        lab::output(&format!("ip -n {} link del swo-t2", host.name));
        let index = host.ifindex("swo-t1");
        for _ in 0..2 {
            host.run(move |plane| {
                plane.as_ref().expect("loaded").detach(Hook::Task, "swo-t1", index).unwrap();
            });
        }
        // The next start unpins what lost its device.
        host.load(mode);
        assert!(!vias(&lab).iter().any(|(program, _)| program == "sn_from_task"), "{mode:?}");
        let left = host.run(|plane| {
            let plane = plane.take().expect("loaded");
            plane.remove().unwrap();
            plane.pins().root().exists()
        });
        assert!(!left);
    }
}

#[test]
fn sockets_are_balanced_without_touching_packets_and_others_are_left_alone() {
    let lab = Lab::new("s", AttachMode::Auto);
    for task in &lab::TASKS {
        lab.server(task.name);
    }
    let cgroup = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| Path::new(path).join("cgroup.procs").exists())
        .expect("a cgroup2 root");
    for _ in 0..2 {
        lab.hosts[0].run(move |plane| {
            plane.as_ref().expect("loaded").attach_cgroup(Path::new(cgroup)).unwrap();
        });
    }
    let maps = lab.hosts[0].maps();
    let task_ns = Path::new("/var/run/netns").join(lab.ns("t1"));
    let cookie = netns::cookie_of_path(&task_ns).unwrap();
    assert_ne!(cookie, netns::current_cookie().unwrap());
    let mut sandbox = NetnsValue { n: 1, ..NetnsValue::default() };
    let net = Be32::new(Ipv4Addr::new(10, 0, 1, 0));
    sandbox.subnet[0] = Subnet { addr: net, mask: Be32::mask(24), vni: OVERLAY };
    maps.set::<Netns>(&cookie, &sandbox).unwrap();
    lab.serve_by(3);
    // walk D: the process sees the VIP, no flow entry exists
    let (client, server) = lab.tcp("t1", "10.0.1.2:80", BULK).unwrap();
    assert_eq!((client.as_str(), server.as_str()), ("10.0.1.3", "10.0.1.2:80"));
    assert_eq!(lab.udp("t1", "10.0.1.2:80", 3000).unwrap().0, "10.0.1.3");
    assert!(maps.entries::<Ct>().unwrap().is_empty());
    // walk G: to the node's own address and to localhost, backend remote and local
    for backend in [3, 1] {
        lab.serve_by(backend);
        for to in ["10.20.20.100:30000", "127.0.0.1:30000"] {
            let (client, server) = lab.tcp("h1", to, BULK).unwrap();
            assert_eq!((client.as_str(), server.as_str()), ("10.20.20.100", to));
            assert_eq!(lab.udp("h1", to, 2000).unwrap().0, "10.20.20.100");
        }
        let (_, server) = lab.tcp("h1", "[::ffff:127.0.0.1]:30000", 10).unwrap();
        assert_eq!(server, "[::ffff:127.0.0.1]:30000");
    }
    // a connected socket leaves nothing behind
    let reverse = maps.entries::<SockRev>().unwrap();
    assert!(reverse.values().all(|v| v.port != Be16::new(80) || v.svc == 1));
    assert!(lab.tcp("c", "127.0.0.1:30000", 10).is_err(), "another namespace is not ours");
    lab.hosts[0].run(|plane| plane.as_ref().expect("loaded").detach_cgroup().unwrap());
}

#[test]
fn a_pinned_map_of_another_size_is_kept_and_a_foreign_one_is_refused() {
    let lab = Lab::new("p", AttachMode::Auto);
    let (asked, error) = lab.hosts[0].run(|plane| {
        let bpffs = Path::new("/sys/fs/bpf").to_owned();
        let sizes = [(MapId::Ct, 16_384)].into();
        let options = Options { bpffs, sizes, ..Options::default() };
        let again = Dataplane::load(&options).unwrap();
        let asked = again.other_sizes().to_vec();
        let pins = plane.as_ref().expect("loaded").pins().clone();
        std::fs::remove_file(pins.map(MapId::Peers)).unwrap();
        std::fs::rename(pins.map(MapId::Nodes), pins.map(MapId::Peers)).unwrap();
        let error = Dataplane::load(&options).map(|_| ()).unwrap_err();
        (asked, std::error::Error::source(&error).map(ToString::to_string))
    });
    assert!(asked.contains(&(MapId::Ct, 8192)), "{asked:?}");
    let error = error.expect("a cause");
    assert!(error.contains("maps/peers has type 2, expected 1"), "{error}");
}

#[test]
fn another_tools_filter_still_sees_what_is_not_ours() {
    let lab = Lab::new("o", AttachMode::Tcx);
    let host = &lab.hosts[0];
    let index = host.ifindex("wan0");
    // The other tool: a clsact filter behind our tcx program, with maps of its own.
    let seen = host.run(move |_| {
        let bpffs = Path::new("/sys/fs/bpf/other").to_owned();
        let mode = AttachMode::Clsact;
        let options = Options { bpffs, mode, ..Options::default() };
        let other = Dataplane::load(&options).unwrap();
        other.attach(Hook::Uplink, "wan0", index).unwrap();
        let maps = other.maps();
        maps.set::<LocalAddrs>(&Be32::new(Ipv4Addr::new(10, 20, 20, 100)), &index).unwrap();
        let key = PortKey { port: Be16::new(31000), proto: 6, ..PortKey::default() };
        maps.set::<Ports>(&key, &Port::default()).unwrap();
        maps
    });
    assert!(lab.tcp("c", "10.20.20.100:31000", 1).is_err());
    let counts = drops::counts(&seen).unwrap();
    assert_eq!(counts.len(), 1);
    assert_eq!(counts[0].reason.number, DROP_PORT_NO_BACKEND);
}
