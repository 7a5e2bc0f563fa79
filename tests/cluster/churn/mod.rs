//! Services come, change and go at random for three minutes, as fast as the engines start
//! containers; on every node a task resolves all their names and calls them. No answer may be wrong,
//! and at the end every node holds what the managers hold, and no more.

mod judge;
pub(crate) mod query;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use swarmnet_tests::harness::place::Place;
use swarmnet_tests::harness::probe::{Probe, answer};

use crate::lab::{HOSTS, Lab, binaries, wait_for};
use judge::Records;

const LENGTH: Duration = Duration::from_secs(180);
const NAMES: [&str; 6] = ["red", "green", "blue", "white", "black", "grey"];
const REPLICAS_MAX: u64 = 4;
/// Containers that start at the same time: more would only queue at the engines.
const STARTING_MAX: usize = 6;
/// Wrong answers that are shown.
const SHOWN: usize = 20;

/// Is the probe that the words describe.
pub(crate) fn probe(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    answer(|| match words[..] {
        ["names", file, ref names @ ..] => watch::names(file, names),
        ["calls", file, ref names @ ..] => watch::calls(file, names),
        ["truth", file] => watch::truth(file),
        _ => Err("no such probe".to_owned()),
    })
}

pub(crate) fn every_answer_is_right(lab: &Lab) {
    lab.form();
    let before = HOSTS.map(|host| kept(lab, host));
    lab.docker("network create --driver overlay churn");
    lab.create("--name watch --mode global --network churn whoami");
    let files = tempfile::tempdir().unwrap();
    let watchers = start_watchers(lab, files.path());
    let seed = watch::now();
    println!("churn with seed {seed}");
    let steps = churn(lab, &mut Random(seed));
    wait_for("services that have converged", || converged(lab));
    HOSTS.iter().for_each(|host| holds_the_truth(lab, host));
    let mut records = Records::default();
    for (host, probe, file) in watchers {
        probe.end();
        records.read(host, &std::fs::read_to_string(&file).unwrap());
    }
    let [looks, answers, calls] = records.counts();
    let answered = records.answered_calls();
    println!(
        "{steps} changes, {looks} looks, {answers} answers, {calls} calls, {answered} answered"
    );
    assert!(steps > 20 && answered > 100, "hardly anything happened");
    let (wrong, latest) = records.wrong();
    println!("the latest change was seen {} ms after it was made, or before", latest / 1_000);
    wrong.iter().take(SHOWN).for_each(|line| println!("{line}"));
    assert!(wrong.is_empty(), "{} wrong answers", wrong.len());
    lab.remove_all_services();
    for (host, before) in HOSTS.iter().zip(before) {
        wait_for("nothing is left on a node", || kept(lab, host) == before);
    }
}

fn start_watchers(lab: &Lab, files: &std::path::Path) -> Vec<(&'static str, Probe, PathBuf)> {
    let mut watchers = Vec::new();
    let mut start = |kind: &str, host: &'static str, place: &Place<'_>, names: &[&str]| {
        let file = files.join(format!("{kind}-{host}"));
        let words = [&["probe", kind, file.to_str().unwrap()], names].concat();
        let mut probe = place.probe(&words[1..]);
        probe.go();
        watchers.push((host, probe, file));
    };
    start("truth", "master", &Place::host(lab, "master"), &[]);
    for host in HOSTS {
        let task = Place::container(lab, host, "watch.");
        start("names", host, &task, &NAMES);
        start("calls", host, &task, &NAMES);
    }
    watchers
}

/// Changes things until the time is over; returns how many changes were made.
fn churn(lab: &Lab, random: &mut Random) -> usize {
    let mut present = [false; NAMES.len()];
    let mut steps = 0;
    let began = Instant::now();
    while began.elapsed() < LENGTH {
        let at = random.below(NAMES.len());
        let name = NAMES[at];
        let replicas = random.below(usize::try_from(REPLICAS_MAX).unwrap() + 1);
        let line = match (present[at], random.below(4)) {
            (false, kind) => {
                let mode = if kind == 0 { "--endpoint-mode dnsrr " } else { "" };
                let options = "--detach --quiet --network churn --stop-grace-period 2s";
                format!("service create {options} {mode}--name {name} --replicas {replicas} whoami")
            }
            (true, 0) => format!("service rm {name}"),
            (true, _) => format!("service scale --detach {name}={replicas}"),
        };
        lab.docker(&line);
        present[at] = !line.starts_with("service rm");
        steps += 1;
        wait_for("engines that keep up", || starting(lab) <= STARTING_MAX);
    }
    steps
}

/// Returns how many tasks are wanted and do not run yet.
fn starting(lab: &Lab) -> usize {
    let services = lab.docker("service ls --format {{.Replicas}}");
    let missing = services.lines().filter_map(|line| {
        let (running, wanted) = line.split_once('/')?;
        let wanted: usize = wanted.split(' ').next()?.parse().ok()?;
        Some(wanted.saturating_sub(running.parse().ok()?))
    });
    missing.sum()
}

fn converged(lab: &Lab) -> bool {
    let ended = |host: &&str| {
        let all = lab.task_containers(host).len();
        let words =
            ["engine", host, "--", "ps", "-q", "--filter", "label=com.docker.swarm.task.id"];
        lab.lab(&words).stdout.lines().count() == all
    };
    starting(lab) == 0 && HOSTS.iter().all(ended)
}

/// Compares addresses and backends in a node's maps with the managers' tasks and services.
fn holds_the_truth(lab: &Lab, host: &str) {
    let wanted = addresses_of_the_managers(lab);
    wait_for("the maps of a node equal the managers' truth", || {
        let view = debug(lab, host, "overlay");
        let endpoints = view["endpoints"].as_array().cloned().unwrap_or_default();
        let mut held: Vec<String> = endpoints
            .iter()
            .filter(|endpoint| {
                matches!(endpoint["kind"].as_str(), Some("local" | "remote" | "vip"))
            })
            .map(|endpoint| endpoint["address"].as_str().unwrap().to_owned())
            .collect();
        held.sort();
        held == wanted
    });
}

fn addresses_of_the_managers(lab: &Lab) -> Vec<String> {
    let get = |path: &str| {
        let url = format!("http://localhost/v1.41/{path}");
        let socket = "/run/swarmnet/docker.sock";
        let text = lab.ok("master", &["curl", "--silent", "--unix-socket", socket, &url]);
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    };
    let services = get("services").into_iter();
    let vips =
        services.filter_map(|s| Some(s["Endpoint"]["VirtualIPs"][0]["Addr"].as_str()?.to_owned()));
    let tasks = get("tasks").into_iter().filter(|task| task["Status"]["State"] == "running");
    let tasks = tasks
        .filter_map(|t| Some(t["NetworksAttachments"][0]["Addresses"][0].as_str()?.to_owned()));
    let mut all: Vec<String> =
        vips.chain(tasks).map(|text| text.split('/').next().unwrap().to_owned()).collect();
    all.sort();
    all
}

/// What a node has of ours besides the tables' own content: devices, pins, entries.
fn kept(lab: &Lab, host: &str) -> String {
    let links = lab.sh(host, "ip -brief link | awk '{print $1}' | grep ^sw | sort").stdout;
    let pins = lab.sh(host, "find /sys/fs/bpf/swarmnet -path '*veth*' | sort").stdout;
    let overlay = debug(lab, host, "overlay");
    let live = overlay["endpoints"].as_array().into_iter().flatten();
    // Addresses of ended tasks answer with a reset for a while.
    let live = live.filter(|endpoint| endpoint["kind"] != "gone").count();
    let services = debug(lab, host, "lb").to_string();
    format!("{links}{pins}{live} endpoints, {} networks, {services}", overlay["networks"])
}

fn debug(lab: &Lab, host: &str, view: &str) -> Value {
    let swarmnet = binaries().join("swarmnet");
    let text = lab.ok(host, &[swarmnet.to_str().unwrap(), "debug", view, "-o", "json"]);
    serde_json::from_str(&text).expect("JSON")
}

/// A small generator (xorshift64): the seed is printed, so that a run can be told apart.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}
