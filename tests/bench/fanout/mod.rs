//! One change of an endpoint until all nodes of a swarm have it: 3 and 50 hosts, each with a real
//! daemon and without a Docker Engine, so that the machine has room for them.
//!
//! A change is a container that comes to a network of all nodes, or leaves it: one node asks the
//! leader for it (`Dispatcher.Attach`), as its API does for `docker run --network`. A node has it when
//! its kernel map says where the address is (or nothing any more), and when a container there is
//! answered by name accordingly. The node of the container itself is asked for the name only: its map
//! holds an address once the container is wired.

mod desk;
mod node;

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use swarmnet_model::{AttachCall, TaskId, WantedAttachment};
use swarmnet_tests::harness::lab::Lab;

use crate::figures::Samples;
use crate::machine::memory_available_mb;
use crate::report::{Row, Unit};
use desk::Desk;
use node::{Node, Wanted, cpu_of};

const FEW: usize = 3;
const MANY: usize = 50;
/// A daemon and its maps, with some room.
const MEMORY_PER_NODE_MB: u64 = 120;
const NETWORK: &str = "fanout";
const SUBNET: &str = "10.50.0.0/16";
const ROUNDS: u32 = 10;
/// Of each round; half of them come, half leave.
const CHANGES: u32 = 24;
/// Between two looks at all nodes.
const PAUSE: Duration = Duration::from_micros(300);
/// A change that takes longer never comes.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for all nodes to be wired.
const READY_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> Vec<Row> {
    let (few, many) = (of(FEW), of(MANY));
    let mut conditions = vec![
        format!(
            "ours: {MANY} nodes; peer: {FEW} nodes. Daemons without engines, all on this machine"
        ),
        format!(
            "{} changes each: a container comes to a network of all nodes, or leaves it",
            ROUNDS * CHANGES
        ),
        "from the request to the leader until map and DNS of the last node are right".to_owned(),
    ];
    conditions.extend(few.conditions(FEW).into_iter().chain(many.conditions(MANY)));
    let row = |name: &str, ours, peer, conditions| Row {
        name: format!("endpoint change on all nodes, {name}"),
        unit: Unit::Milliseconds,
        ours,
        peer,
        conditions,
    };
    let rank = |found: &Found| Samples::of(found.from_request.rank(0.99));
    vec![
        row("p99", rank(&many), rank(&few), vec![]),
        row("median", many.medians, few.medians, conditions),
    ]
}

/// What was measured in one swarm, in milliseconds.
#[derive(Default)]
struct Found {
    /// One per round.
    medians: Samples,
    from_request: Samples,
    from_answer: Samples,
    cpu_ms_per_change: f64,
    memory_mb: Vec<u64>,
}

impl Found {
    fn conditions(&self, nodes: usize) -> Vec<String> {
        let line = |samples: &Samples| {
            let (median, p99) = (samples.median(), samples.rank(0.99));
            format!("median {median:.1} ms, p99 {p99:.1} ms, most {:.1} ms", samples.spread().1)
        };
        let (request, answer) = (line(&self.from_request), line(&self.from_answer));
        let (least, most) = (self.memory_mb.iter().min(), self.memory_mb.iter().max());
        vec![
            format!("{nodes} nodes: {request}; from the leader's answer on: {answer}"),
            format!(
                "{nodes} nodes: {:.1} ms of CPU per change, in all daemons; \
                 resident memory of a daemon {} to {} MB",
                self.cpu_ms_per_change,
                least.copied().unwrap_or_default(),
                most.copied().unwrap_or_default(),
            ),
        ]
    }
}

/// Goes down with its scope, also when a step has failed.
struct OwnLab(Lab);

impl Drop for OwnLab {
    fn drop(&mut self) {
        // A panic on the way out of another one would end the program.
        if catch_unwind(AssertUnwindSafe(|| self.0.stop())).is_err() {
            eprintln!("the lab {} is left, remove it with: make clean-lab", self.0.name());
        }
    }
}

fn of(count: usize) -> Found {
    let needed = MEMORY_PER_NODE_MB * u64::try_from(count).unwrap();
    let available = memory_available_mb();
    assert!(available >= needed, "{count} nodes need {needed} MB, there are {available}");
    let names: Vec<String> = std::iter::once("master".to_owned())
        .chain((1..count).map(|number| format!("n{number}")))
        .collect();
    let hosts = names.join(",");
    let lab =
        OwnLab(Lab::start(&format!("fan{count}"), &["--no-engine", "--swarm", "--hosts", &hosts]));
    let create =
        format!("network create -d overlay --attachable --internal --subnet {SUBNET} {NETWORK}");
    let network = lab.0.docker(&create);
    let format = "{{index .Options \"com.docker.network.driver.overlay.vxlanid_list\"}}";
    let vni = lab.0.ok("master", &["docker", "network", "inspect", NETWORK, "--format", format]);
    let vni = vni.trim().parse().unwrap();
    let nodes: Vec<Node> = names
        .iter()
        .map(|name| Node::open(lab.0.name(), name, network.trim(), vni, READY_LIMIT))
        .collect();
    // A worker, not the leader: its request takes the way of all others.
    let origin = names.last().expect("there is a node");
    changes(lab.0.name(), &nodes, &Desk::of(lab.0.name(), origin), origin)
}

fn changes(lab: &str, nodes: &[Node], desk: &Desk, origin: &str) -> Found {
    let mut found = Found::default();
    // The first ones warm up.
    for number in 0..CHANGES {
        change(nodes, desk, origin, number);
    }
    let used = cpu_of(lab);
    for round in 1..=ROUNDS {
        let mut samples = Samples::new();
        for number in 0..CHANGES {
            let (request, answer) = change(nodes, desk, origin, round * CHANGES + number);
            samples.push(ms(request));
            found.from_request.push(ms(request));
            found.from_answer.push(ms(answer));
        }
        found.medians.push(samples.median());
    }
    found.cpu_ms_per_change = ms(cpu_of(lab) - used) / f64::from(ROUNDS * CHANGES);
    found.memory_mb = nodes.iter().map(Node::memory_mb).collect();
    found
}

/// Makes one change and waits until all nodes have it: from the request on, and from its answer on.
/// An even number lets a container come, the odd one after it lets the same container leave.
fn change(nodes: &[Node], desk: &Desk, origin: &str, number: u32) -> (Duration, Duration) {
    let container = number / 2;
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 50, 128, 0)) + container);
    let (name, id) = (format!("c{container}"), TaskId::from_text(format!("{container:0>25}")));
    let comes = number.is_multiple_of(2);
    let call = if comes {
        let network = NETWORK.to_owned();
        let wanted = WantedAttachment { network, address: Some(address), aliases: Vec::new() };
        AttachCall::Attach { id, name: name.clone(), networks: vec![wanted] }
    } else {
        AttachCall::Detach { id, from: None }
    };
    let wanted = Wanted { name, address, comes, number };
    let began = Instant::now();
    let answer = desk.begin(call);
    let mut left: Vec<_> =
        nodes.iter().map(|node| node.watch(&wanted, node.name == origin)).collect();
    while !left.is_empty() {
        left.retain_mut(|watch| !watch.has_it(&wanted));
        let names = || left.iter().map(|watch| watch.node()).collect::<Vec<_>>().join(", ");
        assert!(began.elapsed() < LIMIT, "change {number} has not come to {}", names());
        std::thread::sleep(PAUSE);
    }
    let done = Instant::now();
    (done - began, done.saturating_duration_since(answer.wait().0))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
