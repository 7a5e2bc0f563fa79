//! Two hosts, a client and four tasks in throw-away namespaces, joined by a bridge.
//!
//! ```text
//! c 10.20.20.50 ──┐
//! h1 10.20.20.100 ├─ sw      h1: t1 10.0.1.3 / 172.31.0.3, t2 10.0.1.4 / 172.31.0.4
//! h2 10.20.20.110 ┘          h2: t3 10.0.1.5 / 172.31.0.3, t4 10.0.1.6 / 172.31.0.4
//! ```
//! Both hosts use the same gateway addresses, strict rp_filter, empty neighbour tables.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, RwLock, RwLockWriteGuard, mpsc};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::{AttachMode, Dataplane, Hook, Options};
use swarmnet_ebpf::{drops, netns};

use crate::traffic::{DEADLINE, answer, call, echo};

pub(crate) const OVERLAY: u32 = 4096;
/// A network with the same subnet.
pub(crate) const OTHER: u32 = 4097;

/// Namespaces of one test; removed when dropped.
pub(crate) struct Lab {
    prefix: String,
    pub(crate) hosts: Vec<Host>,
    held: Arc<RwLock<()>>,
}

type Job = Box<dyn FnOnce(&mut Option<Dataplane>) + Send>;

/// A thread inside a host's namespace, with a bpffs of its own, that owns the data plane.
pub(crate) struct Host {
    pub(crate) name: String,
    jobs: mpsc::Sender<Job>,
}

pub(crate) struct Task {
    pub(crate) vni: u32,
    pub(crate) host: usize,
    pub(crate) name: &'static str,
    pub(crate) overlay: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) lidx: u32,
}

pub(crate) const TASKS: [Task; 4] = [
    task(0, "t1", 3, 3, 1),
    task(0, "t2", 4, 4, 3),
    task(1, "t3", 5, 3, 1),
    task(1, "t4", 6, 4, 3),
];
const HOST_MAC: [u8; 6] = [0x02, 0x73, 0x77, 0x6e, 0x00, 0x02];
pub(crate) const NODES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 20, 20, 100), Ipv4Addr::new(10, 20, 20, 110)];

const fn task(host: usize, name: &'static str, overlay: u8, gateway: u8, lidx: u32) -> Task {
    task_on(OVERLAY, host, name, overlay, gateway, lidx)
}

pub(crate) const fn task_on(
    vni: u32,
    host: usize,
    name: &'static str,
    overlay: u8,
    gateway: u8,
    lidx: u32,
) -> Task {
    let overlay = Ipv4Addr::new(10, 0, 1, overlay);
    Task { vni, host, name, overlay, gateway: Ipv4Addr::new(172, 31, 0, gateway), lidx }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|b| format!("{b:02x}")).join(":")
}

#[expect(clippy::disallowed_methods, reason = "tests may run ip(8)")]
pub(crate) fn output(command: &str) -> (bool, String) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let out = Command::new(words[0]).args(&words[1..]).output().expect("the tool is installed");
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn must(command: &str) {
    let (ok, text) = output(command);
    assert!(ok, "{command}: {text} (these tests need root)");
}

/// Runs `work` on a new thread inside a named namespace.
pub(crate) fn inside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let file = File::open(netns_path(name)).expect("the namespace exists");
    std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).expect("entering the namespace");
        work()
    })
    .join()
    .expect("the work in the namespace does not panic")
}

fn netns_path(name: &str) -> PathBuf {
    Path::new("/var/run/netns").join(name)
}

impl Host {
    fn start(name: &str) -> Self {
        let file = File::open(netns_path(name)).expect("the namespace exists");
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
            setns(file, CloneFlags::CLONE_NEWNET).expect("entering the namespace");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let none = MsFlags::empty();
            mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), none, None::<&str>).expect("a bpffs");
            let mut plane = None;
            while let Ok(job) = queue.recv() {
                job(&mut plane);
            }
        });
        Self { name: name.to_owned(), jobs }
    }

    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Dataplane>) -> T + Send + 'static,
    ) -> T {
        let (answer, result) = mpsc::channel();
        let job: Job = Box::new(move |plane| {
            answer.send(work(plane)).ok();
        });
        self.jobs.send(job).expect("the host's thread runs");
        result.recv_timeout(Duration::from_secs(60)).expect("the job ended without panic")
    }

    pub(crate) fn maps(&self) -> Maps {
        self.run(|plane| plane.as_ref().expect("loaded").maps())
    }

    /// Loads the data plane anew, as a daemon does at its start.
    pub(crate) fn load(&self, mode: AttachMode) {
        self.run(move |plane| {
            *plane = None;
            let options =
                Options { bpffs: "/sys/fs/bpf".into(), mode, sizes: sizes(), ..Options::default() };
            *plane = Some(Dataplane::load(&options).unwrap_or_else(|e| panic!("{e:?}")));
        });
    }

    pub(crate) fn ifindex(&self, device: &str) -> u32 {
        let device = device.to_owned();
        inside(&self.name, move || {
            nix::net::if_::if_nametoindex(device.as_str()).expect("the device exists")
        })
    }

    /// Drops so far, for messages of failing tests.
    pub(crate) fn drops(&self) -> String {
        let counts = drops::counts(&self.maps()).unwrap();
        let text = counts.iter().map(|d| format!("{}={} ", d.reason.name, d.count.packets));
        format!("{}: {}", self.name, text.collect::<String>())
    }
}

fn sizes() -> std::collections::BTreeMap<MapId, u32> {
    [(MapId::Slots, 4096), (MapId::Ct, 8192), (MapId::SockRev, 1024), (MapId::Lflags, 64)].into()
}

impl Lab {
    pub(crate) fn new(tag: &str, mode: AttachMode) -> Self {
        let prefix = format!("snt-{tag}-{}-", std::process::id());
        let mut lab = Self { prefix, hosts: Vec::new(), held: Arc::default() };
        for name in ["sw", "c", "h1", "h2", "t1", "t2", "t3", "t4"] {
            must(&format!("ip netns add {}", lab.ns(name)));
            must(&format!("ip -n {} link set lo up", lab.ns(name)));
        }
        must(&format!("ip -n {} link add bridge0 type bridge", lab.ns("sw")));
        must(&format!("ip -n {} link set bridge0 up", lab.ns("sw")));
        lab.uplink("c", "10.20.20.50");
        for (index, addr) in NODES.iter().enumerate() {
            lab.host(index, *addr, mode);
        }
        for task in &TASKS {
            lab.task(task);
        }
        lab
    }

    /// A lab in which these tasks serve port 80.
    pub(crate) fn new_serving(tag: &str, names: &[&str]) -> Self {
        let lab = Self::new(tag, AttachMode::Auto);
        names.iter().for_each(|name| lab.server(name));
        lab
    }

    /// Adds a task that is not there from the start.
    pub(crate) fn add_task(&mut self, task: &Task) {
        must(&format!("ip netns add {}", self.ns(task.name)));
        must(&format!("ip -n {} link set lo up", self.ns(task.name)));
        self.task(task);
    }

    pub(crate) fn ns(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn uplink(&self, name: &str, addr: &str) {
        let (ns, sw) = (self.ns(name), self.ns("sw"));
        must(&format!("ip -n {sw} link add p-{name} type veth peer name wan0 netns {ns}"));
        must(&format!("ip -n {sw} link set p-{name} master bridge0 up"));
        must(&format!("ip -n {ns} addr add {addr}/24 dev wan0"));
        must(&format!("ip -n {ns} link set wan0 up"));
    }

    fn host(&mut self, index: usize, addr: Ipv4Addr, mode: AttachMode) {
        let name = ["h1", "h2"][index];
        let ns = self.ns(name);
        self.uplink(name, &addr.to_string());
        for setting in ["ip_forward=1", "conf.all.rp_filter=1", "conf.default.rp_filter=1"] {
            must(&format!("ip netns exec {ns} sysctl -qw net.ipv4.{setting}"));
        }
        must(&format!("ip -n {ns} link add swn-vx type vxlan external nolearning dstport 4789"));
        let vmac = mac(VMAC);
        must(&format!("ip -n {ns} link set swn-vx up"));
        must(&format!(
            "ip -n {ns} link add swn-host address {} type veth peer name swn-hostp",
            mac(HOST_MAC)
        ));
        must(&format!("ip -n {ns} link set swn-host up"));
        must(&format!("ip -n {ns} link set swn-hostp up"));
        must(&format!("ip -n {ns} route add 169.254.87.1/32 dev swn-host src {addr}"));
        must(&format!(
            "ip -n {ns} neigh add 169.254.87.1 lladdr {vmac} dev swn-host nud permanent"
        ));
        let host = Host::start(&ns);
        host.load(mode);
        fill_node(&host, index, addr);
        for (hook, device) in
            [(Hook::Uplink, "wan0"), (Hook::Tunnel, "swn-vx"), (Hook::HostPair, "swn-hostp")]
        {
            attach(&host, hook, device);
        }
        self.hosts.push(host);
    }

    fn task(&self, task: &Task) {
        let (ns, host) = (self.ns(task.name), &self.hosts[task.host]);
        let (overlay, gateway, vmac) = (task.overlay, task.gateway, mac(VMAC));
        let swo = format!("swo-{}", task.name);
        let swg = format!("swg-{}", task.name);
        let node = NODES[task.host];
        for (host_side, task_side, addr, bits, address) in [
            (&swo, "eth0", overlay, 24, task_mac(overlay)),
            (&swg, "gw0", gateway, 32, task_mac(gateway)),
        ] {
            let (h, address) = (&host.name, mac(address));
            must(&format!(
                "ip -n {h} link add {host_side} address {vmac} type veth peer name {task_side} \
                 address {address} netns {ns}"
            ));
            // the same MTU on both sides: a veth drops what its other end could not receive
            must(&format!("ip -n {h} link set {host_side} mtu 1450 up"));
            must(&format!("ip -n {ns} addr add {addr}/{bits} dev {task_side}"));
            must(&format!("ip -n {ns} link set {task_side} mtu 1450 up"));
        }
        must(&format!("ip -n {ns} route add default via 169.254.1.1 dev gw0 onlink"));
        let (h, address) = (&host.name, mac(task_mac(gateway)));
        must(&format!("ip -n {h} route add {gateway}/32 dev {swg} src {node}"));
        must(&format!("ip -n {h} neigh add {gateway} lladdr {address} dev {swg} nud permanent"));
        attach(host, Hook::Task, &swo);
        attach(host, Hook::Gateway, &swg);
        self.fill_task(task, host.ifindex(&swo), host.ifindex(&swg));
    }

    /// Tells every node about a task.
    pub(crate) fn fill_task(&self, task: &Task, swo: u32, swg: u32) {
        let own = self.hosts[task.host].maps();
        let overlay = Be32::new(task.overlay);
        let iface = Iface {
            vni: task.vni,
            addr: overlay,
            mask: Be32::mask(24),
            mac: task_mac(task.overlay),
            flags: 0,
            lidx: task.lidx,
        };
        own.set::<Ifaces>(&swo, &iface).unwrap();
        let gateway = Iface {
            vni: 0,
            addr: Be32::new(task.gateway),
            mask: Be32::mask(32),
            mac: task_mac(task.gateway),
            flags: IFACE_GW,
            lidx: task.lidx + 1,
        };
        own.set::<Ifaces>(&swg, &gateway).unwrap();
        for proto in [6, 17] {
            let key = MeshKey { gw_addr: gateway.addr, port: Be16::new(80), proto, pad: 0 };
            let mut target = MeshTarget { ifindex: swg, mac: gateway.mac, ..Default::default() };
            target.lidx = gateway.lidx;
            own.set::<MeshLocal>(&key, &target).unwrap();
        }
        for (at, host) in self.hosts.iter().enumerate() {
            place(&host.maps(), task, at == task.host, swo, swg);
        }
    }

    /// Lets the VIP 10.0.1.2 and the published port 30000 lead to one task.
    pub(crate) fn serve_by(&self, task: u32) {
        for host in &self.hosts {
            let maps = host.maps();
            maps.write_slots(100, &[100 + task]).unwrap();
            maps.write_slots(200, &[200 + task]).unwrap();
            maps.store_sel(1, SlotRange { base: 100, count: 1, tag: 0 }).unwrap();
            maps.store_mg(2, SlotRange { base: 200, count: 1, tag: 0 }).unwrap();
        }
    }

    /// Whether an ICMP echo is answered, by the address that was asked.
    pub(crate) fn ping(&self, from: &str, to: &str) -> bool {
        let to: Ipv4Addr = to.parse().unwrap();
        inside(&self.ns(from), move || (1..=3).any(|sequence| echo(to, sequence)))
    }

    /// Sends `bytes` over TCP; returns the client as the server saw it, and the server as the
    /// client sees it.
    pub(crate) fn tcp(
        &self,
        from: &str,
        to: &str,
        bytes: usize,
    ) -> Result<(String, String), String> {
        let to: SocketAddr = to.parse().unwrap();
        let got = inside(&self.ns(from), move || call(to, bytes));
        let drops: Vec<String> = self.hosts.iter().map(Host::drops).collect();
        got.map_err(|error| format!("{error}; drops {drops:?}"))
    }

    /// Serves TCP and UDP port 80 in a task until the test ends.
    pub(crate) fn server(&self, name: &str) {
        self.serve(name, "0.0.0.0:80");
    }

    /// Lets servers read what they are asked, and answer when the guard goes.
    pub(crate) fn hold_answers(&self) -> RwLockWriteGuard<'_, ()> {
        self.held.write().unwrap()
    }

    /// Serves TCP and UDP on an address of a namespace until the test ends.
    pub(crate) fn serve(&self, name: &str, address: &'static str) {
        let (tcp, udp) = inside(&self.ns(name), move || {
            (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap())
        });
        let held = Arc::clone(&self.held);
        std::thread::spawn(move || {
            while let Ok((stream, peer)) = tcp.accept() {
                let held = Arc::clone(&held);
                std::thread::spawn(move || answer(stream, peer, &held));
            }
        });
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, peer)) = udp.recv_from(&mut buffer) {
                let mut reply = format!("{} ", peer.ip()).into_bytes();
                reply.resize(reply.len().max(len), b'.');
                udp.send_to(&reply, peer).ok();
            }
        });
    }

    /// Sends one datagram and returns who the server saw, and the length of the answer.
    pub(crate) fn udp(&self, from: &str, to: &str, len: usize) -> Result<(String, usize), String> {
        let to: SocketAddr = to.parse().unwrap();
        inside(&self.ns(from), move || {
            let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
            socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(|e| e.to_string())?;
            let started = Instant::now();
            let mut buffer = vec![0; 65_536];
            while started.elapsed() < DEADLINE {
                socket.send_to(&vec![b'x'; len], to).map_err(|e| e.to_string())?;
                if let Ok((got, peer)) = socket.recv_from(&mut buffer) {
                    assert_eq!(peer, to, "the answer comes from whom we asked");
                    let text = String::from_utf8_lossy(&buffer[..got]).into_owned();
                    return Ok((text.split(' ').next().unwrap_or_default().to_owned(), got));
                }
            }
            Err("no answer".to_owned())
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.clear();
        for name in ["t1", "t2", "t3", "t4", "t5", "t6", "c", "h1", "h2", "sw"] {
            output(&format!("ip netns del {}", self.ns(name)));
        }
    }
}

pub(crate) fn attach(host: &Host, hook: Hook, device: &str) {
    let (index, device) = (host.ifindex(device), device.to_owned());
    host.run(move |plane| {
        plane.as_ref().expect("loaded").attach(hook, &device, index).expect("attaching");
    });
}

pub(crate) fn fill_node(host: &Host, index: usize, addr: Ipv4Addr) {
    let maps = host.maps();
    let conf = ConfValue {
        host_netns_cookie: netns::cookie_of_path(&netns_path(&host.name)).unwrap(),
        node_addr: Be32::new(addr),
        vx_if: host.ifindex("swn-vx"),
        host_if: host.ifindex("swn-host"),
        hostp_if: host.ifindex("swn-hostp"),
        gw_pool: Be32::new(Ipv4Addr::new(172, 31, 0, 0)),
        gw_mask: Be32::mask(16),
        host_mac: HOST_MAC,
        vxlan_port: Be16::new(4789),
        ..ConfValue::default()
    };
    maps.set::<Conf>(&0, &conf).unwrap();
    let uplink = host.ifindex("wan0");
    let sysfs = output(&format!("ip netns exec {} cat /sys/class/net/wan0/address", host.name)).1;
    let bytes: Vec<u8> =
        sysfs.trim().split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    let own = Iface {
        mac: bytes.try_into().expect("six bytes"),
        flags: IFACE_UPLINK,
        ..Iface::default()
    };
    maps.set::<Ifaces>(&uplink, &own).unwrap();
    maps.set::<LocalAddrs>(&Be32::new(addr), &uplink).unwrap();
    let other = Be32::new(NODES[1 - index]);
    maps.set::<Nodes>(&1, &Node { addr: other, ..Node::default() }).unwrap();
    maps.set::<Peers>(&other, &Peer { node: 1, flags: 0 }).unwrap();
    for vni in [OVERLAY, OTHER] {
        maps.set::<Vnis>(&vni, &VniValue::default()).unwrap();
    }
    let vip = Be32::new(Ipv4Addr::new(10, 0, 1, 2));
    let ep = Ep { kind: EP_VIP, svc: 1, addr: vip, ..Ep::default() };
    maps.set::<Eps>(&EpKey { vni: OVERLAY, addr: vip }, &ep).unwrap();
    for svc in [1, 2] {
        maps.set::<Svc>(&svc, &Service { flags: SVC_USED, ..Service::default() }).unwrap();
    }
    for proto in [6, 17] {
        let key = PortKey { port: Be16::new(30000), proto, ..PortKey::default() };
        let port = Port { svc: 2, target_port: Be16::new(80), flags: 0 };
        maps.set::<Ports>(&key, &port).unwrap();
    }
}

fn place(maps: &Maps, task: &Task, here: bool, swo: u32, swg: u32) {
    let addr = Be32::new(task.overlay);
    let node = u32::from(!here);
    let local = |index| if here { index } else { 0 };
    let ep = Ep {
        kind: if here { EP_LOCAL } else { EP_REMOTE },
        node,
        ifindex: local(swo),
        lidx: local(task.lidx),
        addr,
        mac: task_mac(task.overlay),
        ..Ep::default()
    };
    maps.set::<Eps>(&EpKey { vni: task.vni, addr }, &ep).unwrap();
    let vip = Backend {
        vni: task.vni,
        addr,
        node,
        ifindex: ep.ifindex,
        lidx: ep.lidx,
        mac: ep.mac,
        state: BE_ACTIVE,
        kind: BE_VIP,
        generation: 0,
    };
    let mesh = Backend {
        vni: 0,
        addr: Be32::new(task.gateway),
        ifindex: local(swg),
        lidx: local(task.lidx + 1),
        mac: task_mac(task.gateway),
        kind: BE_MESH,
        ..vip
    };
    let number: u32 = task.name[1..].parse().unwrap();
    maps.set::<Backends>(&(100 + number), &vip).unwrap();
    maps.set::<Backends>(&(200 + number), &mesh).unwrap();
}
