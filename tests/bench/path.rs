//! A path between two network namespaces of a lab, and how it is loaded.

use std::time::Duration;

use swarmnet_tests::harness::place::Place;

use crate::figures::Samples;
use crate::machine::cpus;
use crate::report::{Row, Unit};

const PORT: &str = "7000";
/// Length of one measurement.
const LENGTH: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Answers on one connection, a byte each.
    Requests,
    /// Connections one after the other, a byte each way.
    Connections,
    /// Bytes of one stream.
    Bulk,
}

impl Load {
    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connections => "connections",
            Self::Bulk => "bulk",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Requests | Self::Connections => Unit::PerSecond,
            Self::Bulk => Unit::GigabitPerSecond,
        }
    }

    /// CPUs of client and server. Latency is measured on one CPU: on two it depends on how fast the
    /// hypervisor wakes the other one. Bulk gets a CPU for each side.
    fn cpus(self) -> [String; 2] {
        let server = if self == Self::Bulk { cpus() - 1 } else { 0 };
        ["0".to_owned(), server.to_string()]
    }
}

/// One way from a client to a server, with what it showed.
pub(crate) struct Path<'a> {
    pub(crate) name: &'static str,
    pub(crate) client: Place<'a>,
    pub(crate) server: Place<'a>,
    /// What the client connects to.
    pub(crate) address: String,
    rates: Samples,
    cpu_us: Samples,
}

impl<'a> Path<'a> {
    pub(crate) fn new(
        name: &'static str,
        client: Place<'a>,
        server: Place<'a>,
        address: String,
    ) -> Self {
        // Ports of closed connections rest for a minute: there must be enough of them.
        client.sh("sysctl -q -w net.ipv4.ip_local_port_range='1024 65535'");
        Self { name, client, server, address, rates: Samples::new(), cpu_us: Samples::new() }
    }

    /// Returns a row of this path beside a peer.
    pub(crate) fn row(&self, load: Load, peer: &Self) -> Row {
        let cpu = format!(
            "CPU of the whole machine: ours {:.1}, peer {:.1} us per {}",
            self.cpu_us.median(),
            peer.cpu_us.median(),
            if load == Load::Bulk { "megabyte" } else { "transaction" }
        );
        Row {
            name: format!("{}, {} / {}", load.word(), self.name, peer.name),
            unit: load.unit(),
            ours: self.rates.clone(),
            peer: peer.rates.clone(),
            conditions: vec![cpu],
        }
    }

    fn measure(&self, load: Load) -> (f64, f64) {
        let [client_cpu, server_cpu] = load.cpus();
        let mut server = self.server.probe_on(&server_cpu, &["serve", PORT]);
        server.go();
        assert_eq!(server.line(), "serving", "{}: the server begins", self.name);
        let target = format!("{}:{PORT}", self.address);
        let length = LENGTH.as_millis().to_string();
        let mut client =
            self.client.probe_on(&client_cpu, &["load", load.word(), &target, &length]);
        client.go();
        let (finding, _) = client.finding();
        server.end();
        let numbers: Vec<f64> = finding.split(' ').map(|word| word.parse().unwrap()).collect();
        let [count, us, busy_us] = numbers[..] else { panic!("three numbers: {finding}") };
        match load {
            Load::Requests | Load::Connections => (count / us * 1e6, busy_us / count),
            // Bits per microsecond are megabits per second.
            Load::Bulk => (count * 8.0 / us / 1e3, busy_us / count * 1e6),
        }
    }
}

/// Loads all paths in turn, another one first in every round. The first round warms up and is not
/// counted; what an earlier call found is forgotten.
pub(crate) fn interleave(paths: &mut [Path<'_>], load: Load, rounds: usize) {
    for path in paths.iter_mut() {
        (path.rates, path.cpu_us) = (Samples::new(), Samples::new());
    }
    for round in 0..=rounds {
        for step in 0..paths.len() {
            let at = (round + step) % paths.len();
            let (rate, cpu) = paths[at].measure(load);
            if round > 0 {
                paths[at].rates.push(rate);
                paths[at].cpu_us.push(cpu);
            }
        }
    }
}
