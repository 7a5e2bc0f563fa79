//! From `docker service create` until all tasks are RUNNING, three and thirty, against Docker Swarm on
//! three engines of its own, and thirty against as many `docker run` at once on our three engines.
//!
//! Both swarms are asked in the same way, by the same program, every ten milliseconds. `docker run` is
//! done when the last of the commands returns; on a network of the user's own the engine sets up its
//! DNS for the container, as it does for every task of ours, and for those of Docker Swarm that have a
//! network or a port.

use std::time::{Duration, Instant};

use swarmnet_tests::harness::lab::{HOSTS, Lab, wait_for};
use swarmnet_tests::harness::probe::Probe;

use crate::figures::Samples;
use crate::peers::DockerSwarm;
use crate::report::{Row, Unit};

/// The first round warms up and is not counted.
const ROUNDS: usize = 4;
const MANY: usize = 30;
const PUBLISHED: &str = "--publish 8082:80 ";
/// How many tasks, and with which options.
const SERVICES: [(usize, &str); 4] = [(3, ""), (3, PUBLISHED), (MANY, ""), (MANY, PUBLISHED)];
/// Networks of `docker run`, by their options.
const RUNS: [&str; 2] = ["", "--network bench-own "];
const SERVICE: &str = "bench-many";
const CREATE: &str = "service create --detach --quiet --no-resolve-image --name bench-many";
const API_SOCKET: &str = "/run/swarmnet/docker.sock";
const ENGINE_SOCKET: &str = "/run/docker.sock";

/// Measures on a lab whose engines have a network `bench-own`.
pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    let docker = DockerSwarm::form(&HOSTS);
    let [mut ours, mut swarm] = [const { [const { Samples::new() }; SERVICES.len()] }; 2];
    let mut runs = RUNS.map(|_| Samples::new());
    for round in 0..ROUNDS {
        let note = |samples: &mut Samples, took: Duration| {
            if round > 0 {
                samples.push(took.as_secs_f64() * 1e3);
            }
        };
        for (at, service) in SERVICES.into_iter().enumerate() {
            note(&mut ours[at], service_start(lab, API_SOCKET, service));
            note(&mut swarm[at], service_start(&docker.lab, ENGINE_SOCKET, service));
        }
        for (samples, options) in runs.iter_mut().zip(RUNS) {
            note(samples, container_starts(lab, options));
        }
    }
    let mut rows = Vec::new();
    for (at, (count, options)) in SERVICES.into_iter().enumerate() {
        let conditions = vec![
            format!("docker {CREATE} {options}--replicas {count} whoami, until all are RUNNING"),
            "peer: the same on three engines of its own".to_owned(),
        ];
        let name = format!("{count} tasks {options}/ Docker Swarm");
        rows.push(row(name, &ours[at], &swarm[at], conditions));
    }
    let plain = SERVICES.iter().position(|service| *service == (MANY, "")).unwrap();
    for (samples, options) in runs.iter().zip(RUNS) {
        let conditions = vec![
            format!("peer: {MANY} docker run --detach {options}whoami at once, on our engines"),
            format!("Docker Swarm / peer: {:.2}", swarm[plain].ratios(samples).median()),
        ];
        let name = format!("{MANY} tasks / docker run {options}");
        rows.push(row(name, &ours[plain], samples, conditions));
    }
    rows
}

fn row(name: String, ours: &Samples, peer: &Samples, conditions: Vec<String>) -> Row {
    let (ours, peer) = (ours.clone(), peer.clone());
    Row { name: format!("start of {name}"), unit: Unit::Milliseconds, ours, peer, conditions }
}

/// Creates a service at a manager's socket, waits for its tasks, and removes it.
fn service_start(lab: &Lab, socket: &str, (count, options): (usize, &str)) -> Duration {
    let host = format!("unix://{socket}");
    let docker = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        lab.ok("master", &[&["docker", "--host", &host], &words[..]].concat())
    };
    let wanted = count.to_string();
    let mut running = Probe::start(lab, "master", &["running-at", socket, SERVICE, &wanted]);
    let began = Instant::now();
    docker(&format!("{CREATE} {options}--replicas {count} whoami"));
    running.go();
    let took = running.finding().1 - began;
    docker(&format!("service rm {SERVICE}"));
    wait_for("no container of the last round", || {
        HOSTS.iter().all(|host| lab.task_containers(host).is_empty())
    });
    took
}

/// Starts many containers by `docker run`, all at once, and removes them.
fn container_starts(lab: &Lab, options: &str) -> Duration {
    let places: Vec<(&str, String)> =
        (0..MANY).map(|at| (HOSTS[at % HOSTS.len()], format!("bench-run-{at}"))).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (host, name) in &places {
            let run = format!("run --detach --name {name} {options}whoami");
            scope.spawn(move || {
                let words: Vec<&str> = run.split(' ').collect();
                lab.lab_ok(&[&["engine", host, "--"], &words[..]].concat())
            });
        }
    });
    let took = began.elapsed();
    for host in HOSTS {
        let names = places.iter().filter(|(of, _)| *of == host).map(|(_, name)| name.as_str());
        let remove = ["engine", host, "--", "rm", "--force"];
        lab.lab_ok(&remove.into_iter().chain(names).collect::<Vec<_>>());
    }
    took
}
