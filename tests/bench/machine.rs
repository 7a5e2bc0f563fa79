//! The machine that measures: what it is, how busy it is, what a round costs it.

use std::fs;
use std::time::{Duration, Instant};

use swarmnet_tests::harness::lab::Lab;

/// Busier than this by others' work, figures say more about them.
const QUIET_LOAD: f64 = 0.5;
/// Longest wait for a quiet moment, in seconds, unless `WAIT` says otherwise. Afterwards figures are
/// taken anyway, and the load is printed.
const QUIET_WAIT_S: u64 = 300;
/// Length of a tick of `/proc/stat` in microseconds: the kernel shows 100 per second.
const TICK_US: u64 = 10_000;

/// Returns one line about the machine and the versions of what is compared.
pub(crate) fn describe(lab: Option<&Lab>) -> String {
    let kernel = read("/proc/sys/kernel/osrelease");
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?");
    let cpus = cpus();
    let version = ["engine", "master", "--", "version", "--format", "{{.Server.Version}}"];
    let engine = lab.map_or_else(|| "not used".to_owned(), |lab| lab.lab_ok(&version));
    let wrk = lab.map(|lab| lab.sh("client", "wrk -v 2>&1 | head -1").stdout).unwrap_or_default();
    format!(
        "Linux {}, {cpus} x {model}, clock {}, Docker Engine {}, {}\nmedian (least to most) of \
         interleaved rounds; ratios are taken round by round\n",
        kernel.trim(),
        clock.trim(),
        engine.trim(),
        wrk.split(" Copyright").next().filter(|name| !name.is_empty()).unwrap_or("no wrk").trim(),
    )
}

pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Waits until nobody else is busy, before the first row.
pub(crate) fn wait_until_quiet() -> Option<&'static str> {
    let wait = std::env::var("WAIT").ok().and_then(|text| text.parse().ok());
    let limit = wait.unwrap_or(QUIET_WAIT_S);
    let deadline = Instant::now() + Duration::from_secs(limit);
    if load() >= QUIET_LOAD && limit > 0 {
        println!("waits up to {limit} s until the load is below {QUIET_LOAD} (WAIT=0 does not)");
    }
    while load() >= QUIET_LOAD {
        if Instant::now() >= deadline {
            return Some("the machine is NOT quiet: do not trust the figures");
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    None
}

/// Says how busy the machine is between rows. The load still holds what the last row did, so the CPU
/// time that is used at the moment is told too.
pub(crate) fn activity() -> String {
    let (before, began) = (busy_us(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let busy = Duration::from_micros(busy_us() - before).as_secs_f64();
    let share = busy / began.elapsed().as_secs_f64() * 100.0;
    format!("load average {:.2}, {share:.0} % of one CPU busy before it began", load())
}

fn load() -> f64 {
    read("/proc/loadavg").split(' ').next().unwrap().parse().unwrap()
}

/// Returns the time all CPUs have been busy since the machine started, in microseconds.
pub(crate) fn busy_us() -> u64 {
    let stat = read("/proc/stat");
    let ticks: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq; what follows is inside these or stolen.
    let idle = [3, 4];
    let busy = ticks.iter().take(7).enumerate().filter(|(at, _)| !idle.contains(at));
    busy.map(|(_, ticks)| ticks * TICK_US).sum()
}

/// Returns the memory that programs could still have.
pub(crate) fn memory_available_mb() -> u64 {
    let info = read("/proc/meminfo");
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.unwrap().trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}
