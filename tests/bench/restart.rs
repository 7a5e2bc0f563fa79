//! The entry node's daemon is killed and started again while a client asks every two milliseconds:
//! the longest time without an answer, against the same client when nothing happens.

use std::time::{Duration, Instant};

use swarmnet_tests::harness::lab::{Lab, wait_for};
use swarmnet_tests::harness::probe::Probe;

use crate::figures::Samples;
use crate::report::{Row, Unit};

const ROUNDS: usize = 5;
/// How long a client asks. A daemon that is killed is back in less.
const WINDOW: Duration = Duration::from_secs(6);
/// The daemon is killed this long after the client began.
const BEFORE: Duration = Duration::from_millis(500);
const CREATE: &str = "--name who --constraint node.hostname==node02 --publish 8080:80 whoami";

/// What a client saw on new connections and on one that it kept.
#[derive(Default)]
struct Seen {
    new_ms: Samples,
    kept_ms: Samples,
    requests: u64,
    failed: u64,
}

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    lab.create(CREATE);
    wait_for("an answer", || lab.curl("client", "http://node01:8080/").contains("Hostname"));
    let (mut ours, mut peer, mut away) = (Seen::default(), Seen::default(), Samples::default());
    for _ in 0..ROUNDS {
        away.push(round(lab, &mut ours, kill_and_start));
        round(lab, &mut peer, |_| ());
    }
    let conditions = vec![
        format!("docker service create {CREATE}; client -> node01:8080, a request every 2 ms"),
        format!(
            "ours: swarmnet-lab kill node01 daemon (SIGKILL), then start: back after {:.0} ms; \
             {} requests, {} failed",
            away.median(),
            ours.requests,
            ours.failed
        ),
        format!("peer: nothing happens; {} requests, {} failed", peer.requests, peer.failed),
    ];
    let row = |name: &str, ours, peer, conditions| Row {
        name: format!("longest gap at a daemon restart, {name}"),
        unit: Unit::Milliseconds,
        ours,
        peer,
        conditions,
    };
    vec![
        row(
            "new",
            ours.new_ms,
            peer.new_ms,
            vec!["every request a connection of its own".to_owned()],
        ),
        row("kept", ours.kept_ms, peer.kept_ms, conditions),
    ]
}

/// Runs one window and what happens in it; returns how long that took, in milliseconds.
fn round(lab: &Lab, seen: &mut Seen, happens: impl FnOnce(&Lab)) -> f64 {
    let window = WINDOW.as_millis().to_string();
    let mut probe = Probe::start(lab, "client", &["gaps", "node01:8080", &window]);
    probe.go();
    let began = Instant::now();
    std::thread::sleep(BEFORE);
    happens(lab);
    let took = began.elapsed() - BEFORE;
    assert!(began.elapsed() < WINDOW, "the daemon came back after the client had gone");
    let (finding, _) = probe.finding();
    let numbers: Vec<u32> = finding.split(' ').map(|word| word.parse().unwrap()).collect();
    let [new_us, new, new_failed, kept_us, kept, kept_failed] = numbers[..] else {
        panic!("six numbers: {finding}")
    };
    seen.new_ms.push(f64::from(new_us) / 1e3);
    seen.kept_ms.push(f64::from(kept_us) / 1e3);
    seen.requests += u64::from(new + kept);
    seen.failed += u64::from(new_failed + kept_failed);
    took.as_secs_f64() * 1e3
}

fn kill_and_start(lab: &Lab) {
    lab.lab_ok(&["kill", "node01", "daemon"]);
    lab.lab_ok(&["start", "node01", "daemon"]);
}
