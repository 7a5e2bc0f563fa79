//! Finds processes and what state they are in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup;

/// Killing a whole host: the kernel needs a moment for processes in the middle of writing to disk.
const END_DEADLINE: Duration = Duration::from_secs(20);
/// A supervisor that is paused or stuck reaps nothing.
const REAP_DEADLINE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Whose processes: those in a cgroup, and those in one of some namespaces.
pub(crate) struct Owner {
    /// `swarmnet-lab/<lab>[/<host>]`.
    pub(crate) cgroup: String,
    pub(crate) namespaces: Vec<u64>,
}

/// Returns the pids of an owner's living processes, the calling process excepted.
pub(crate) fn owned(owner: &Owner) -> BTreeSet<i32> {
    let own = i32::try_from(std::process::id()).expect("pids are below 2^22");
    all().filter(|pid| *pid != own && belongs(owner, *pid) && !is_dead(*pid)).collect()
}

/// Kills an owner's processes, also those started meanwhile, and returns when all have ended.
///
/// Supervisors go last: they reap what they have adopted, so that no dead process is left for a
/// process 1 that takes its time.
pub(crate) fn end(owner: &Owner) -> Result<()> {
    let deadline = Instant::now() + END_DEADLINE;
    kill_until_none(deadline, || {
        owned(owner).into_iter().filter(|pid| !is_supervisor(*pid)).collect()
    })?;
    let reaped = Instant::now() + REAP_DEADLINE;
    let supervisors: Vec<i32> =
        owned(owner).into_iter().filter(|pid| is_supervisor(*pid)).collect();
    while Instant::now() < reaped && supervisors.iter().any(|pid| has_children(*pid)) {
        std::thread::sleep(POLL_INTERVAL);
    }
    kill_until_none(deadline, || owned(owner))
}

fn kill_until_none(deadline: Instant, pids: impl Fn() -> BTreeSet<i32>) -> Result<()> {
    loop {
        let pids = pids();
        if pids.is_empty() {
            return Ok(());
        }
        signal_all(&pids, Signal::SIGKILL);
        if Instant::now() > deadline {
            bail!("these processes do not end: {pids:?}");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Signals processes; one that has ended meanwhile is no error.
pub(crate) fn signal_all(pids: &BTreeSet<i32>, signal: Signal) {
    for pid in pids {
        let _ended = kill(Pid::from_raw(*pid), signal);
    }
}

/// Returns the children of a process that run a program of that name.
pub(crate) fn children(parent: i32, name: &str) -> Vec<i32> {
    let is_child =
        |pid: &i32| stat(*pid).is_some_and(|stat| stat.parent == parent && stat.name == name);
    all().filter(is_child).collect()
}

fn has_children(parent: i32) -> bool {
    all().any(|pid| stat(pid).is_some_and(|stat| stat.parent == parent))
}

/// Reports whether a process is a host's supervisor.
pub(crate) fn is_supervisor(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    // `… --name <lab> supervise <host>`
    words.nth(1) == Some(b"--name") && words.nth(1) == Some(b"supervise")
}

/// Reports whether a process was stopped by a signal.
pub(crate) fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == 'T')
}

fn is_dead(pid: i32) -> bool {
    stat(pid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

fn belongs(owner: &Owner, pid: i32) -> bool {
    let in_namespace = || {
        ["net", "mnt", "uts"].iter().any(|kind| {
            fs::metadata(format!("/proc/{pid}/ns/{kind}"))
                .is_ok_and(|metadata| owner.namespaces.contains(&metadata.ino()))
        })
    };
    cgroup::holds(&owner.cgroup, pid) || in_namespace()
}

fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name is in brackets and may itself hold blanks and brackets.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { name: name.to_owned(), state, parent: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_is_read_whole() {
        let stat = parse_stat("12 (a) b) T 7 12 12 0").unwrap();
        assert_eq!(stat, Stat { name: "a) b".to_owned(), state: 'T', parent: 7 });
    }
}
