//! Logs of services and tasks with the stock CLI.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

use crate::lab::{DEADLINE, HOSTS, Lab, assert_contains, wait_for};

/// The pause: the engine reads the two outputs apart, and the last line is to be the last.
const SAY: &str = "echo one; echo two; echo oops >&2; sleep 1; echo three; sleep 100000";

/// Creates a service of busybox that runs a shell line, and ends at once when it is to stop.
fn create(lab: &Lab, options: &[&str], script: &str) {
    let create = ["docker", "service", "create", "--quiet", "--stop-signal", "KILL"];
    lab.ok("master", &[&create[..], options, &["busybox", "sh", "-c", script]].concat());
}

fn logs(lab: &Lab, line: &str) -> String {
    lab.docker(&format!("service logs {line}"))
}

/// What a running command prints, line by line.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn new(lab: &Lab, line: &str) -> Self {
        let words: Vec<&str> =
            ["docker", "service", "logs", "-f"].into_iter().chain(line.split(' ')).collect();
        let mut child = lab.spawn("master", &words);
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Reads on until a line has the part.
    #[track_caller]
    fn expect(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("never printed: {part}; printed were {seen:#?}");
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn come_from_all_nodes(lab: &Lab) {
    lab.form();
    create(lab, &["--name", "app", "--replicas", "3"], SAY);
    wait_for("twelve lines", || {
        let ran = lab.on("master", &["docker", "service", "logs", "app"]);
        (ran.stdout.lines().count(), ran.stderr.lines().count()) == (9, 3)
    });
    let out = logs(lab, "app");
    for host in HOSTS {
        let of_node: Vec<&str> =
            out.lines().filter(|line| line.contains(&format!("@{host} "))).collect();
        assert_eq!(of_node.len(), 3, "{out}");
        for (line, word) in of_node.iter().zip(["one", "two", "three"]) {
            assert!(line.starts_with("app.") && line.ends_with(&format!("| {word}")), "{line}");
        }
    }
    assert_eq!(logs(lab, "--tail 1 app").lines().filter(|l| l.ends_with("| three")).count(), 3);
    assert_eq!(logs(lab, "--tail 0 app"), "");
    assert_eq!(logs(lab, "--since 1h --raw app").lines().count(), 9);
    assert_eq!(logs(lab, "--since 2999-01-01T00:00:00 app"), "");
    let raw = logs(lab, "--raw app");
    assert_eq!(raw.lines().collect::<BTreeSet<_>>(), ["one", "three", "two"].into());
    let times = logs(lab, "--timestamps --tail 1 app");
    assert!(times.lines().all(|line| line.starts_with("20") && line.contains("Z app.")), "{times}");
    let details = logs(lab, "--raw --details --tail 1 app");
    assert_contains(&details, "com.docker.swarm.task.id=");
    let plain = logs(lab, "--no-task-ids --tail 1 app");
    let short = |line: &str| (1..=3).any(|slot| line.starts_with(&format!("app.{slot}@")));
    assert!(plain.lines().all(short), "{plain}");
    let id = lab.docker("service ps -q --no-trunc app").lines().next().unwrap().to_owned();
    let task = logs(lab, &id);
    assert_eq!(task.lines().count(), 3, "{task}");
    assert_contains(&logs(lab, "--no-trunc --tail 1 app"), &id);
    assert_contains(&logs(lab, &format!("--no-resolve --tail 1 {id}")), "| three");
    let refused = lab.refused("node01", "service logs app");
    assert_contains(&refused, "This node is not a swarm manager.");
    assert_contains(
        &lab.refused("master", "service logs nosuch"),
        "no such task or service: nosuch",
    );
}

pub(crate) fn are_followed_with_new_tasks(lab: &Lab) {
    lab.form();
    let tick = "i=0; while true; do i=$((i+1)); echo tick $i; sleep 1; done";
    create(lab, &["--name", "clock"], tick);
    let follower = Follower::new(lab, "--tail 1 clock");
    follower.expect("clock.1.");
    lab.docker("service scale --detach clock=3");
    follower.expect("clock.2.");
    follower.expect("clock.3.");
    let later = follower.expect("clock.1.");
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(count(&follower.expect("clock.1.")) > count(&later));
    // A daemon that restarts costs no line: what is written meanwhile comes when it is back.
    lab.lab_ok(&["kill", "node01", "daemon"]);
    lab.lab_ok(&["start", "node01", "daemon"]);
    let mut last = BTreeSet::new();
    wait_for("twenty ticks of every task", || {
        last.insert(follower.expect("tick"));
        (1..=3).all(|slot| {
            let ticks = last.iter().filter(|line| line.contains(&format!("clock.{slot}.")));
            ticks.count() >= 20
        })
    });
    for slot in 1..=3 {
        let of_task = last.iter().filter(|line| line.contains(&format!("clock.{slot}.")));
        let numbers: BTreeSet<u32> = of_task.map(|line| count(line)).collect();
        let (first, end) = (*numbers.first().unwrap(), *numbers.last().unwrap());
        assert_eq!(numbers, (first..=end).collect(), "clock.{slot} has gaps");
    }
    follower.end();
    // Ended tasks keep their logs for as long as they are listed.
    lab.docker("service update --quiet --force clock");
    let names = logs(lab, "--tail 1 clock");
    let tasks: BTreeSet<&str> = names.lines().filter_map(|line| line.split('@').next()).collect();
    assert_eq!(tasks.len(), 6, "{names}");
}

pub(crate) fn of_jobs_and_of_tasks_that_begin_again(lab: &Lab) {
    lab.form();
    create(lab, &["--name", "job", "--mode", "replicated-job", "--replicas", "2"], "echo done");
    let job = logs(lab, "--no-task-ids job");
    let mut slots: Vec<&str> = job.lines().filter_map(|line| line.split('@').next()).collect();
    slots.sort_unstable();
    assert_eq!(slots, ["job.0", "job.1"], "{job}");
    assert_eq!(logs(lab, "--raw job"), "done\ndone\n");
    for id in lab.docker("service ps -q --no-trunc job").lines() {
        assert_eq!(logs(lab, &format!("--raw {id}")), "done\n");
    }
    let line = "echo first $HOSTNAME; sleep 3; echo last $HOSTNAME; exit 1";
    create(lab, &["--detach", "--name", "again", "--restart-delay", "1s"], line);
    let follower = Follower::new(lab, "--raw again");
    let host = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    let first = host(&follower.expect("first"));
    assert_eq!(host(&follower.expect("last")), first);
    assert_ne!(host(&follower.expect("first")), first, "the next task's container");
    let ticks = "for i in 1 2 3; do echo updated; sleep 1; done; sleep 100000";
    let update = ["docker", "service", "update", "--detach", "--quiet", "--args"];
    lab.ok("master", &[&update[..], &[&format!("sh -c '{ticks}'"), "again"]].concat());
    follower.expect("updated");
    follower.end();
}

pub(crate) fn tell_of_a_node_that_is_away(lab: &Lab) {
    lab.form();
    create(lab, &["--name", "app", "--mode", "global"], SAY);
    wait_for("nine lines", || logs(lab, "app").lines().count() == 9);
    let node = lab.docker("node inspect node02 --format {{.ID}}").trim().to_owned();
    lab.lab_ok(&["stop", "node02", "daemon"]);
    wait_for("a node down", || lab.ready_nodes() == 2);
    let ran = lab.on("master", &["docker", "service", "logs", "app"]);
    assert!(ran.ok(), "{}", ran.text());
    assert_eq!(ran.stdout.lines().count(), 6, "{}", ran.text());
    let warnings: Vec<&str> =
        ran.stderr.lines().filter(|line| line.contains("warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.stderr);
    assert_contains(warnings[0], &format!("incomplete log stream: node {node} is not available"));
    lab.lab_ok(&["start", "node02", "daemon"]);
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
}

pub(crate) fn of_terminals_and_of_drivers_that_cannot_be_read(lab: &Lab) {
    lab.form();
    create(lab, &["--name", "screen", "--tty"], SAY);
    wait_for("four lines", || logs(lab, "--raw screen").lines().count() == 4);
    assert_contains(&logs(lab, "--raw --tail 1 screen"), "three");
    assert_contains(
        &lab.refused("master", "service logs screen"),
        "tty service logs only supported",
    );
    create(lab, &["--name", "mute", "--log-driver", "none"], SAY);
    let ran = lab.on("master", &["docker", "service", "logs", "mute"]);
    assert!(ran.ok() && ran.stdout.is_empty(), "{}", ran.text());
    assert_contains(&ran.stderr, "configured logging driver does not support reading");
    create(
        lab,
        &[
            "--name",
            "noted",
            "--env",
            "TIER=a b",
            "--log-driver",
            "json-file",
            "--log-opt",
            "env=TIER",
        ],
        SAY,
    );
    wait_for("lines", || logs(lab, "noted").lines().count() == 3);
    assert_contains(&logs(lab, "--raw --details noted"), "TIER=a+b");
}

/// Resident memory of a host's daemon, in KiB.
fn memory(lab: &Lab, host: &str) -> u64 {
    let pid = lab.daemon_pid(host);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert_contains(&status, "Name:\tswarmnet");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What a reader that stands still may cost a daemon: the lines under way, and what the allocator
/// keeps.
const GROWTH_KIB_MAX: u64 = 24 << 10;

pub(crate) fn wait_for_slow_readers(lab: &Lab) {
    lab.form();
    let line = "x".repeat(1000);
    let flood = format!("yes {line} | head -n 30000; echo end; sleep 100000");
    create(lab, &["--name", "flood", "--replicas", "3"], &flood);
    wait_for("everything is written", || {
        logs(lab, "--tail 1 --raw flood").lines().filter(|line| *line == "end").count() == 3
    });
    let before = HOSTS.map(|host| memory(lab, host));
    // 90 MB, and nobody reads them.
    let mut reader = lab.spawn("master", &["docker", "service", "logs", "--raw", "flood"]);
    for _ in 0..25 {
        let now = HOSTS.map(|host| memory(lab, host));
        for ((host, before), now) in HOSTS.iter().zip(before).zip(now) {
            assert!(now < before + GROWTH_KIB_MAX, "{host} grew from {before} to {now} KiB");
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let output = BufReader::new(reader.stdout.take().unwrap());
    assert_eq!(output.lines().map_while(Result::ok).count(), 90_003);
    assert!(reader.wait().unwrap().success());
}
