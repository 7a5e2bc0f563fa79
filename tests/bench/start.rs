//! Service start: from `docker service create` of three tasks with a published port until they run
//! and answer, against three `docker run` on the same engines.
//!
//! Ours ends when all three tasks are RUNNING and every entry node has answered from each of the
//! three: nine paths. The peer ends when each of its three containers has answered on its own host.
//!
//! Nobody asks before the tasks run, or before `docker run` returns: a packet that Docker forwards to
//! a container that is not up yet leaves an unanswered ARP request behind, and the next one is a
//! second away. That would be counted against the peer.
//!
//! A second peer is `docker run` on a network of the user's own: there the engine sets up its DNS for
//! the container, as it does for every task of a swarm, Docker's or ours.

use std::time::{Duration, Instant};

use swarmnet_tests::harness::lab::{HOSTS, Lab, wait_for};
use swarmnet_tests::harness::probe::Probe;

use crate::figures::Samples;
use crate::many;
use crate::report::{Row, Unit};

/// The first round warms up and is not counted.
const ROUNDS: usize = 6;
const SERVICE: &str = "bench-start";
const CREATE: &str = "docker service create --detach --quiet --name bench-start --replicas 3 --publish 8080:80 whoami";
const RUN: &str = "run --detach --name bench-peer --publish 8081:80 whoami";
const RUN_OWN: &str = "run --detach --name bench-peer --network bench-own --publish 8081:80 whoami";

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    for host in HOSTS {
        lab.lab_ok(&["engine", host, "--", "network", "create", "bench-own"]);
    }
    let [mut ours, mut peer, mut own_peer] = [const { Samples::new() }; 3];
    let [mut created, mut running] = [const { Samples::new() }; 2];
    for round in 0..ROUNDS {
        let service = service_start(lab);
        let default_network = container_start(lab, RUN);
        let own_network = container_start(lab, RUN_OWN);
        if round > 0 {
            ours.push(ms(service.answered));
            created.push(ms(service.created));
            running.push(ms(service.running));
            peer.push(ms(default_network));
            own_peer.push(ms(own_network));
        }
    }
    let row = |name: &str, peer, conditions| Row {
        name: format!("start of 3 tasks, peer on {name}"),
        unit: Unit::Milliseconds,
        ours: ours.clone(),
        peer,
        conditions,
    };
    let conditions = vec![
        format!("ours: {CREATE}"),
        format!("      {} ms until the command returns", median(&created)),
        format!("      {} ms until three tasks are RUNNING", median(&running)),
        "      counted until each of 3 entry nodes has also answered from each of 3 tasks"
            .to_owned(),
        format!("peer: docker {RUN}"),
        "      on the three engines at once, counted until all three have also answered".to_owned(),
    ];
    let own = vec![format!("peer: docker {RUN_OWN}")];
    let mut rows = vec![row("docker0", peer, conditions), row("an own network", own_peer, own)];
    rows.extend(many::measure(lab));
    rows
}

/// What was reached how long after the command was given.
struct Start {
    created: Duration,
    running: Duration,
    answered: Duration,
}

fn service_start(lab: &Lab) -> Start {
    let mut running = Probe::start(lab, "master", &["running", SERVICE, "3"]);
    let mut answers =
        Probe::start(lab, "client", &["answers", "3", "master:8080", "node01:8080", "node02:8080"]);
    let began = Instant::now();
    let words: Vec<&str> = CREATE.split(' ').collect();
    lab.ok("master", &words);
    let created = began.elapsed();
    running.go();
    let running = running.finding().1 - began;
    answers.go();
    let answered = answers.finding().1 - began;
    lab.docker(&format!("service rm {SERVICE}"));
    wait_for("no container of the last round", || {
        HOSTS.iter().all(|host| lab.task_containers(host).is_empty())
    });
    Start { created, running, answered }
}

fn container_start(lab: &Lab, run: &str) -> Duration {
    let mut answers =
        Probe::start(lab, "client", &["answers", "1", "master:8081", "node01:8081", "node02:8081"]);
    let run: Vec<&str> = run.split(' ').collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let started = HOSTS.map(|host| {
            let words = [&["engine", host, "--"], run.as_slice()].concat();
            scope.spawn(move || lab.lab_ok(&words))
        });
        started.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
    answers.go();
    let answered = answers.finding().1 - began;
    for host in HOSTS {
        lab.lab_ok(&["engine", host, "--", "rm", "--force", "bench-peer"]);
    }
    answered
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(samples: &Samples) -> String {
    format!("{:.0}", samples.median())
}
