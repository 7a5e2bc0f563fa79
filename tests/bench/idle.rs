//! What daemons cost that have nothing to do: CPU and memory of our manager and agent in a swarm of
//! three nodes without a service, against the engine beside each of them, and against the manager of a
//! Docker swarm of three nodes, which is its engine.
//!
//! CPU is what the threads of the process have run, by the scheduler's nanoseconds, and what programs
//! have used that it has started and waited for; memory is the process's share (PSS). An engine's
//! containerd is not counted.

use std::fs;
use std::time::Duration;

use swarmnet_tests::harness::lab::{HOSTS, Lab};

use crate::figures::Samples;
use crate::peers::DockerSwarm;
use crate::report::{Row, Unit};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(30);
/// What forming the swarms has begun is done by then.
const SETTLE: Duration = Duration::from_secs(15);

/// Length of a tick of `/proc/PID/stat`: the kernel shows 100 per second.
const TICK_NS: u64 = 10_000_000;

/// A process and what it has used in each round.
struct Process {
    pid: u32,
    cpu_percent: Samples,
    memory_mib: Samples,
}

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    let docker = DockerSwarm::form(&HOSTS);
    let [manager, worker] = ["master", "node01"];
    let pids = [
        lab.daemon_pid(manager),
        lab.daemon_pid(worker),
        lab.engine_pid(manager),
        lab.engine_pid(worker),
        docker.lab.engine_pid(manager),
    ];
    let mut processes = pids.map(Process::new);
    std::thread::sleep(SETTLE);
    for _ in 0..ROUNDS {
        let before = pids.map(cpu_ns);
        std::thread::sleep(ROUND);
        for (process, before) in processes.iter_mut().zip(before) {
            process.note(before);
        }
    }
    let [manager, agent, beside_manager, beside_agent, swarm] = &processes;
    let pairs = [
        ("manager, the engine beside it", manager, beside_manager),
        ("agent, the engine beside it", agent, beside_agent),
        ("manager, Docker Swarm's manager", manager, swarm),
    ];
    let cpu = pairs.map(|(name, ours, peer)| {
        row("CPU", name, Unit::Percent, &ours.cpu_percent, &peer.cpu_percent)
    });
    let memory = pairs.map(|(name, ours, peer)| {
        row("memory", name, Unit::Mebibytes, &ours.memory_mib, &peer.memory_mib)
    });
    cpu.into_iter().chain(memory).collect()
}

fn row(what: &str, name: &str, unit: Unit, ours: &Samples, peer: &Samples) -> Row {
    let conditions = vec![format!("3 nodes, no service; {} s a round", ROUND.as_secs())];
    let name = format!("idle {what}: {name}");
    Row { name, unit, ours: ours.clone(), peer: peer.clone(), conditions }
}

impl Process {
    fn new(pid: u32) -> Self {
        Self { pid, cpu_percent: Samples::new(), memory_mib: Samples::new() }
    }

    /// Notes what has been used since.
    fn note(&mut self, before: u64) {
        let used = Duration::from_nanos(cpu_ns(self.pid).saturating_sub(before));
        self.cpu_percent.push(used.as_secs_f64() / ROUND.as_secs_f64() * 100.0);
        self.memory_mib.push(memory_mib(self.pid));
    }
}

/// Returns how long the threads that a process has now have run, and the programs it has started.
fn cpu_ns(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_thread = |thread: std::io::Result<fs::DirEntry>| {
        // A thread that ends meanwhile has no file any more.
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum::<u64>() + started_ns(pid)
}

/// Returns the CPU time of the programs that a process has started and that have ended.
fn started_ns(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // cutime and cstime, 16 and 17 of all; the first two are cut off.
    [13, 14].map(|at: usize| fields[at].parse::<u64>().unwrap() * TICK_NS).iter().sum()
}

fn memory_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap();
    f64::from(kib) / 1024.0
}
