//! Names of services: the node's resolver with ten thousand names beside dnsmasq and unbound with as
//! many, and beside Docker's resolver at 127.0.0.11, which knows one.
//!
//! A server has one CPU, the client the other. What a query costs is the CPU time of the server's
//! process; how many a second is what that one CPU gives.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use swarmnet_tests::harness::lab::{Lab, wait_for};
use swarmnet_tests::harness::place::Place;

use crate::figures::Samples;
use crate::machine::cpus;
use crate::overlay::tasks;
use crate::report::{Row, Unit};
use crate::vip::more_services;

const NAMES: usize = 10_000;
const ROUNDS: usize = 7;
/// Length of one measurement: CPU times are counted in hundredths of a second.
const LENGTH: Duration = Duration::from_secs(2);
const TICKS_PER_SECOND: f64 = 100.0;
const HOST: &str = "node01";
/// The peers' host side and the client's.
const PEER_ADDR: &str = "10.53.0.1";
const CLIENT_ADDR: &str = "10.53.0.2";
const NETNS: &str = "bench-dns";

/// A resolver, who asks it, and what it showed.
struct Server<'a> {
    name: &'static str,
    client: Place<'a>,
    target: String,
    pid: u32,
    /// Prefix and number of the names it is asked for.
    names: (&'static str, usize),
    rates: Samples,
    cpu_us: Samples,
}

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    let ours = ours(lab);
    let peers = Peers::start(lab);
    let mut servers = [ours, peers.dnsmasq(), peers.unbound(), peers.docker()];
    for server in &servers {
        pin(lab, server.pid, "0");
    }
    for round in 0..=ROUNDS {
        for step in 0..servers.len() {
            let at = (round + step) % servers.len();
            let (rate, cpu) = servers[at].measure();
            if round > 0 {
                servers[at].rates.push(rate);
                servers[at].cpu_us.push(cpu);
            }
        }
    }
    for server in &servers {
        pin(lab, server.pid, &format!("0-{}", cpus() - 1));
    }
    let [ours, peers @ ..] = &servers;
    let mut rows: Vec<Row> = peers.iter().flat_map(|peer| ours.rows(peer)).collect();
    rows[0].conditions.extend([
        format!("{NAMES} names each, Docker's knows one; 64 queries under way, every answer checked"),
        "server on one CPU, client on the other; CPU time is that of the server's process: less is better".to_owned(),
        "ours: from a task's namespace by its veth pair, BPF and the host's socket, as tasks ask".to_owned(),
        "dnsmasq, unbound (one thread): from a namespace by a veth pair to the host".to_owned(),
        "Docker: from a container on a bridge network, at 127.0.0.11".to_owned(),
    ]);
    rows
}

fn ours(lab: &Lab) -> Server<'_> {
    let client = tasks(lab).client;
    more_services(lab);
    let pid = process(lab, "swarmnet");
    // The two services of the path have names too.
    Server::new("swarmnet", client, "169.254.77.53:53", pid, ("bench-vip-", NAMES - 2))
}

impl<'a> Server<'a> {
    fn new(
        name: &'static str,
        client: Place<'a>,
        target: &str,
        pid: u32,
        names: (&'static str, usize),
    ) -> Self {
        let (rates, cpu_us) = (Samples::new(), Samples::new());
        Self { name, client, target: target.to_owned(), pid, names, rates, cpu_us }
    }

    /// Returns answers per second, and microseconds of the server's CPU per answer.
    fn measure(&self) -> (f64, f64) {
        let (millis, count) = (LENGTH.as_millis().to_string(), self.names.1.to_string());
        let words = ["ask", &self.target, &millis, self.names.0, &count];
        let mut probe = self.client.probe_on(&(cpus() - 1).to_string(), &words);
        let before = cpu_seconds(self.pid);
        probe.go();
        let (finding, _) = probe.finding();
        let cpu = cpu_seconds(self.pid) - before;
        let numbers: Vec<f64> = finding.split(' ').map(|word| word.parse().unwrap()).collect();
        let [answered, lost, us] = numbers[..] else { panic!("three numbers: {finding}") };
        assert!(answered > 0.0 && lost < answered / 100.0, "{}: {finding}", self.name);
        (answered / us * 1e6, cpu / answered * 1e6)
    }

    fn rows(&self, peer: &Self) -> [Row; 2] {
        let row = |what: &str, unit, ours: &Samples, peers: &Samples| Row {
            name: format!("{what}, {} / {}", self.name, peer.name),
            unit,
            ours: ours.clone(),
            peer: peers.clone(),
            conditions: vec![],
        };
        [
            row("CPU per query", Unit::Microseconds, &self.cpu_us, &peer.cpu_us),
            row("queries per core", Unit::PerSecond, &self.rates, &peer.rates),
        ]
    }
}

/// The other resolvers, until dropped.
struct Peers<'a> {
    lab: &'a Lab,
    directory: tempfile::TempDir,
}

impl<'a> Peers<'a> {
    fn start(lab: &'a Lab) -> Self {
        let peers = Self { lab, directory: tempfile::tempdir().unwrap() };
        peers.namespace();
        let (hosts, zone) = peers.write_names();
        let pids = peers.directory.path().display();
        peers.sh(&format!(
            "dnsmasq --conf-file=/dev/null --user=root --pid-file={pids}/dnsmasq.pid --no-resolv \
             --no-hosts --addn-hosts={hosts} --cache-size={NAMES} --bind-interfaces \
             --listen-address={PEER_ADDR} --port=5301 --local-ttl=2"
        ));
        peers.sh(&format!("unbound -c {zone}"));
        for words in [
            "network create bench-names",
            "run --detach --name bench-named --network bench-names whoami",
        ] {
            peers.engine(words);
        }
        peers
    }

    fn namespace(&self) {
        self.sh(&format!(
            "ip netns del {NETNS} 2>/dev/null || true
            set -e
            ip netns add {NETNS}
            ip link add bench-dns0 type veth peer name eth0 netns {NETNS}
            ip addr add {PEER_ADDR}/24 dev bench-dns0
            ip link set bench-dns0 up
            ip -n {NETNS} addr add {CLIENT_ADDR}/24 dev eth0
            ip -n {NETNS} link set lo up
            ip -n {NETNS} link set eth0 up"
        ));
    }

    /// Writes the names for both; returns dnsmasq's hosts file and unbound's configuration.
    fn write_names(&self) -> (String, String) {
        let directory = self.directory.path();
        let mut hosts = String::new();
        let mut zone = format!(
            "server:\n interface: {PEER_ADDR}@5302\n access-control: 0.0.0.0/0 allow\n \
             num-threads: 1\n chroot: \"\"\n username: \"\"\n use-syslog: no\n \
             pidfile: \"{}/unbound.pid\"\n module-config: \"iterator\"\n local-zone: \".\" static\n",
            directory.display()
        );
        for number in 0..NAMES {
            let address = format!("10.101.{}.{}", number / 250, number % 250 + 1);
            writeln!(hosts, "{address} bench-name-{number}").expect("a String takes all writes");
            writeln!(zone, " local-data: \"bench-name-{number}. 2 IN A {address}\"")
                .expect("a String takes all writes");
        }
        let [hosts_file, zone_file] = ["hosts", "unbound.conf"].map(|name| directory.join(name));
        fs::write(&hosts_file, hosts).unwrap();
        fs::write(&zone_file, zone).unwrap();
        (hosts_file.display().to_string(), zone_file.display().to_string())
    }

    fn dnsmasq(&self) -> Server<'a> {
        self.peer("dnsmasq", "5301")
    }

    fn unbound(&self) -> Server<'a> {
        self.peer("unbound", "5302")
    }

    fn peer(&self, name: &'static str, port: &str) -> Server<'a> {
        let netns = format!("/run/netns/{NETNS}");
        let client = Place { lab: self.lab, host: HOST, netns };
        let target = format!("{PEER_ADDR}:{port}");
        let pid = self.pid(name).expect("it has written its number");
        Server::new(name, client, &target, pid, ("bench-name-", NAMES))
    }

    fn docker(&self) -> Server<'a> {
        let client = Place::container(self.lab, HOST, "bench-named");
        let pid = process(self.lab, "dockerd");
        Server::new("Docker 127.0.0.11", client, "127.0.0.11:53", pid, ("bench-named", 0))
    }

    fn pid(&self, name: &str) -> Option<u32> {
        let file = self.directory.path().join(format!("{name}.pid"));
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    fn engine(&self, words: &str) {
        let words: Vec<&str> = ["engine", HOST, "--"].into_iter().chain(words.split(' ')).collect();
        self.lab.lab_ok(&words);
    }

    fn sh(&self, line: &str) {
        let ran = self.lab.sh(HOST, line);
        assert!(ran.ok(), "{line}: {}", ran.text());
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        let pids = ["dnsmasq", "unbound"].into_iter().filter_map(|name| self.pid(name));
        let kill: Vec<String> = pids.map(|pid| format!("kill {pid};")).collect();
        let kill = kill.concat();
        self.lab.sh(HOST, &format!("{kill} ip link del bench-dns0; ip netns del {NETNS}"));
        for words in ["rm --force bench-named", "network rm bench-names"] {
            self.engine(words);
        }
    }
}

/// Returns the process of that name in the host's network namespace.
fn process(lab: &Lab, name: &str) -> u32 {
    let netns = lab.sh(HOST, "readlink /proc/self/ns/net").stdout;
    let mut found = None;
    wait_for(&format!("the process {name} on {HOST}"), || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        found = pids.into_iter().find(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let own = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default();
            comm.trim() == name && own.to_string_lossy() == netns.trim()
        });
        found.is_some()
    });
    found.expect("it was found")
}

/// Moves all threads of a process to these CPUs.
fn pin(lab: &Lab, pid: u32, cpus: &str) {
    let ran = lab.sh(HOST, &format!("taskset --all-tasks --cpu-list --pid {cpus} {pid}"));
    assert!(ran.ok(), "process {pid} on CPU {cpus}: {}", ran.text());
}

/// Returns the CPU time a process has used: of its user and system ticks.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_name = stat.rsplit(") ").next().unwrap();
    let ticks = behind_name.split(' ').skip(11).take(2).map(|word| word.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
