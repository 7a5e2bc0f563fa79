//! The lab's cgroups: how its processes are told from all others, and their removal.
//!
//! Every host has `swarmnet-lab/<lab>/<host>/` with `host` (supervisor, engine, daemon, whatever
//! `exec` runs) and `containers` (the engine's cgroup parent). Processes are marked in one
//! hierarchy only (cgroup2 if mounted, also beside v1); the engine makes its groups in all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use crate::mounts;
use crate::spec::Lab;

/// A group can be removed only when the kernel is done with its last process.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

/// Moves the calling process into its host's group; its children stay there.
pub(crate) fn join(lab: &Lab, host: &str) -> Result<()> {
    let hierarchies = hierarchies()?;
    let root = hierarchies.first().context("no cgroup hierarchy is mounted on this machine")?;
    let group = root.join(lab.cgroup()).join(host).join("host");
    fs::create_dir_all(&group).with_context(|| format!("creating {}", group.display()))?;
    fs::write(group.join("cgroup.procs"), "0")
        .with_context(|| format!("moving this process into {}", group.display()))
}

/// Makes the host's own group all it sees of cgroup2, as on a machine of its own. Called inside the
/// host. One group takes 64 programs of a kind: all daemons of a large lab together have more. A host
/// with an engine keeps the whole tree, since its engine puts containers there by path.
pub(crate) fn narrow(lab: &Lab, host: &str) -> Result<()> {
    let mut mounted = mounts::list()?.into_iter().filter(|mount| mount.fstype == "cgroup2");
    let root = mounted.next().context("no cgroup2 is mounted on this machine")?.path;
    let group = root.join(lab.cgroup()).join(host);
    let nothing: Option<&str> = None;
    mount(Some(&group), &root, nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("mounting {} on {}", group.display(), root.display()))
}

/// Returns the cgroup parent for a host's containers, as the engine wants it.
pub(crate) fn containers(lab: &Lab, host: &str) -> String {
    format!("/{}/{host}/containers", lab.cgroup())
}

/// Reports whether a process is in a group of that prefix (`swarmnet-lab/<lab>[/<host>]`).
pub(crate) fn holds(prefix: &str, pid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| below(prefix, path))
}

/// Removes the lab's groups in every hierarchy. Processes must be gone.
pub(crate) fn remove(lab: &Lab) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_DEADLINE;
    for root in hierarchies()? {
        let group = root.join(lab.cgroup());
        remove_tree(&group, deadline)?;
        // Shared by all labs: stays while another lab is up.
        let _busy = fs::remove_dir(group.parent().expect("a lab's group has a parent"));
    }
    Ok(())
}

/// Returns the mount points of all hierarchies, cgroup2 first.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = mounts::list()?;
    let of = |fstype: &'static str| {
        mounts.iter().filter(move |mount| mount.fstype == fstype).map(|mount| mount.path.clone())
    };
    Ok(of("cgroup2").chain(of("cgroup")).collect())
}

fn below(prefix: &str, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn remove_tree(group: &Path, deadline: Instant) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            result => return result.with_context(|| format!("removing {}", group.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_from_one_whose_name_only_begins_alike() {
        assert!(below("swarmnet-lab/x", "/swarmnet-lab/x/node01/host"));
        assert!(below("swarmnet-lab/x", "/swarmnet-lab/x"));
        assert!(!below("swarmnet-lab/x", "/swarmnet-lab/x2/node01/host"));
        assert!(!below("swarmnet-lab/x", "/user.slice"));
    }
}
