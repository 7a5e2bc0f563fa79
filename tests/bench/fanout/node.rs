//! One node, seen from inside: its kernel maps, and a container's network that asks for names.
//!
//! The container is a network namespace, wired by the same plugin calls that an engine makes.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use swarmnet_ebpf::abi::{EP_GONE, EpKey, RESOLVER};
use swarmnet_ebpf::map::{Eps, Maps};
use swarmnet_ebpf::pin::Pins;
use swarmnet_model::{AttachCall, TaskId, WantedAttachment};

use super::desk::Desk;
use crate::names::{answered_address, query};
use crate::probe::exchange;

const PLUGIN: &str = "/run/docker/plugins/swarmnet.sock";
/// A query without an answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What all nodes are to know.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// False: the container is to be unknown.
    pub(super) comes: bool,
    pub(super) number: u32,
}

pub(super) struct Node {
    pub(super) name: String,
    lab: String,
    vni: u32,
    maps: Maps,
    /// In the container's network, connected to the resolver.
    names: UdpSocket,
    /// Keeps the container's network.
    _sandbox: File,
}

impl Node {
    /// Gives a node a container on the network, and opens what is looked at.
    pub(super) fn open(lab: &str, name: &str, network: &str, vni: u32, limit: Duration) -> Self {
        let id = TaskId::from_text(format!("{:0>25}", format!("base{name}")));
        let (lab, name, network) = (lab.to_owned(), name.to_owned(), network.to_owned());
        let wanted =
            WantedAttachment { network: network.clone(), address: None, aliases: Vec::new() };
        let call = AttachCall::Attach {
            id: id.clone(),
            name: format!("base-{name}"),
            networks: vec![wanted],
        };
        let (_, given) = Desk::of(&lab, &name).begin(call).wait();
        let address = given[0].address.to_string();
        // On a thread of its own, since it goes into other namespaces.
        let opened = std::thread::spawn(move || {
            enter(&lab, &name);
            let maps = Maps::open_pinned(&Pins::new(Path::new("/sys/fs/bpf"))).unwrap();
            let (sandbox, names) = wire(&name, &id, &network, &address, limit);
            Self { name, lab, vni, maps, names, _sandbox: sandbox }
        });
        opened.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(super) fn watch(&self, wanted: &Wanted, is_its_own: bool) -> Watch<'_> {
        let mut query = query(&wanted.name);
        // Tells a late answer to the last change from one to this.
        query[..2].copy_from_slice(&wanted.number.to_be_bytes()[2..]);
        Watch { node: self, query, asked: None, mapped: is_its_own }
    }

    /// Returns the resident memory of the daemon.
    pub(super) fn memory_mb(&self) -> u64 {
        let pids = in_group(&self.lab, &format!("{}/host/cgroup.procs", self.name));
        let mut statuses =
            pids.lines().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let daemon = statuses.find(|status| status.starts_with("Name:\tswarmnet\n"));
        let daemon = daemon.unwrap_or_else(|| panic!("no daemon on {}", self.name));
        let line = daemon.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

/// Returns the CPU time that a lab has used so far.
pub(super) fn cpu_of(lab: &str) -> Duration {
    let stat = in_group(lab, "cpu.stat");
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Duration::from_micros(used.unwrap().parse().unwrap())
}

/// Reads a file of a lab's cgroup.
fn in_group(lab: &str, file: &str) -> String {
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let read = |root| fs::read_to_string(format!("{root}/swarmnet-lab/{lab}/{file}")).ok();
    roots.into_iter().find_map(read).unwrap_or_else(|| panic!("no cgroup2 file {file} of {lab}"))
}

/// A node that does not have a change yet.
pub(super) struct Watch<'a> {
    node: &'a Node,
    query: Vec<u8>,
    asked: Option<Instant>,
    mapped: bool,
}

impl Watch<'_> {
    pub(super) fn node(&self) -> &str {
        &self.node.name
    }

    /// Looks once, without waiting: the map first, then the name.
    pub(super) fn has_it(&mut self, wanted: &Wanted) -> bool {
        if !self.mapped {
            let key = EpKey { vni: self.node.vni, addr: wanted.address.into() };
            let found = self.node.maps.get::<Eps>(&key).unwrap();
            // What has left is answered for with "unreachable" for a while.
            self.mapped = found.is_some_and(|ep| ep.kind != EP_GONE) == wanted.comes;
        }
        self.mapped && self.is_answered(wanted)
    }

    fn is_answered(&mut self, wanted: &Wanted) -> bool {
        let mut reply = [0; 512];
        while let Ok(length) = self.node.names.recv(&mut reply) {
            if reply[..2] != self.query[..2] {
                continue;
            }
            if answered_address(&reply[..length]) == wanted.comes.then_some(wanted.address) {
                return true;
            }
            self.asked = None;
        }
        if self.asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            self.node.names.send(&self.query).unwrap();
            self.asked = Some(Instant::now());
        }
        false
    }
}

/// Moves the calling thread into a host of a lab.
fn enter(lab: &str, name: &str) {
    let network = File::open(format!("/run/netns/{lab}-{name}")).unwrap();
    let mounts = File::open(format!("/var/lib/swarmnet-lab/{lab}/ns/{name}.mnt")).unwrap();
    // A thread that shares its root directory with others cannot go into another mount namespace.
    unshare(CloneFlags::CLONE_FS).expect("namespaces need root");
    setns(network, CloneFlags::CLONE_NEWNET).unwrap();
    setns(mounts, CloneFlags::CLONE_NEWNS).unwrap();
}

/// Wires a namespace as a container of the host that the thread is in, and moves into it.
fn wire(
    name: &str,
    id: &TaskId,
    network: &str,
    address: &str,
    limit: Duration,
) -> (File, UdpSocket) {
    let sandbox = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    let sandbox = sandbox.join().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), sandbox.as_raw_fd());
    let endpoint = format!("{:0>64}", name.bytes().map(|b| format!("{b:02x}")).collect::<String>());
    // Its first characters name the devices.
    let endpoint: String = endpoint.chars().rev().collect();
    let create = json!({
        "NetworkID": network,
        "EndpointID": endpoint,
        "Interface": { "Address": address, "MacAddress": "" },
        "Options": { "swarmnet.task": id.as_str(), "swarmnet.network": network },
    });
    let deadline = Instant::now() + limit;
    // The node hears of its container a moment after the leader has answered.
    let join = json!({ "EndpointID": endpoint, "SandboxKey": path });
    let joined = loop {
        match plugin("CreateEndpoint", &create).and_then(|_| plugin("Join", &join)) {
            Ok(joined) => break joined,
            Err(error) => assert!(Instant::now() < deadline, "{name}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let device = joined["InterfaceName"]["SrcName"].as_str().unwrap();
    let route = joined["StaticRoutes"][0]["Destination"].as_str().unwrap();
    ip(&format!("link set dev {device} netns {path}\n"));
    setns(&sandbox, CloneFlags::CLONE_NEWNET).unwrap();
    ip(&format!(
        "link set lo up\naddr add {address} dev {device}\nlink set {device} up\n\
         route add {route} dev {device}\n"
    ));
    let names = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    names.connect((RESOLVER, 53)).unwrap();
    names.set_nonblocking(true).unwrap();
    (sandbox, names)
}

fn plugin(call: &str, body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let head = format!(
        "POST /NetworkDriver.{call} HTTP/1.0\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = UnixStream::connect(PLUGIN).and_then(|stream| exchange(&stream, &(head + &body)));
    let answer = answer.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    match (head.contains(" 200 "), body["Err"].as_str()) {
        (true, None) => Ok(body),
        (_, told) => Err(told.unwrap_or(head).to_owned()),
    }
}

/// Runs `ip` with these lines, in the network of the calling thread.
#[expect(clippy::disallowed_methods, reason = "wires a namespace as an engine does")]
fn ip(lines: &str) {
    let mut command = Command::new("ip");
    let child = command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("ip (Debian package iproute2)");
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip: {error}\n{lines}");
}
