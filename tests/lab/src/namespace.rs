//! A host's namespaces: made, kept by name, entered, removed.
//!
//! The network namespace is `/run/netns/<name>`, as `ip netns` knows it. Mount and UTS namespace are
//! kept by bind mounts in the lab's directory, so they outlive every process of the host. Those pins
//! must stand on a private mount: the kernel refuses to let a mount namespace propagate into itself.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

use crate::mounts;
use crate::spec::Lab;

const NETNS_DIR: &str = "/run/netns";
const NOTHING: Option<&str> = None;

/// Makes an empty, named network namespace.
///
/// # Errors
/// The name is in use: by something that is not this lab's, because `up` begins with a clean slate.
pub(crate) fn create_network(name: &str) -> Result<()> {
    fs::create_dir_all(NETNS_DIR).with_context(|| format!("creating {NETNS_DIR}"))?;
    let path = network_path(name);
    File::create_new(&path).with_context(|| {
        format!("network namespace {name} exists already and is not this lab's: {}", path.display())
    })?;
    // Namespaces belong to threads: a short-lived one makes it and the bind mount keeps it.
    let worker = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &path, NOTHING, MsFlags::MS_BIND, NOTHING)
    });
    let made = worker.join().expect("the thread does not panic");
    made.with_context(|| format!("creating network namespace {name}"))
}

/// Removes the name of a network namespace; the kernel removes the rest with its last user.
pub(crate) fn remove_network(name: &str) -> Result<()> {
    let path = network_path(name);
    // Not mounted when `up` was interrupted between the file and the mount.
    let _absent = umount2(&path, MntFlags::MNT_DETACH);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the names of all network namespaces on this machine.
pub(crate) fn networks() -> Vec<String> {
    let entries = fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

pub(crate) fn network_path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Makes the place where the lab's mount and UTS namespaces are kept.
pub(crate) fn prepare_pins(lab: &Lab) -> Result<()> {
    let dir = lab.pins();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    mount(Some(&dir), &dir, NOTHING, MsFlags::MS_BIND, NOTHING)
        .and_then(|()| mount(NOTHING, &dir, NOTHING, MsFlags::MS_PRIVATE, NOTHING))
        .with_context(|| format!("making {} a private mount", dir.display()))
}

/// Keeps the mount and UTS namespace of a process as those of a host.
pub(crate) fn pin(lab: &Lab, host: &str, pid: Pid) -> Result<()> {
    for kind in ["mnt", "uts"] {
        let path = pin_path(lab, host, kind);
        File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let source = format!("/proc/{pid}/ns/{kind}");
        mount(Some(source.as_str()), &path, NOTHING, MsFlags::MS_BIND, NOTHING)
            .with_context(|| format!("keeping {source} as {}", path.display()))?;
    }
    Ok(())
}

/// Lets go of a host's mount and UTS namespace.
pub(crate) fn unpin(lab: &Lab, host: &str) -> Result<()> {
    for kind in ["mnt", "uts"] {
        mounts::detach_below(&pin_path(lab, host, kind))?;
        let _absent = fs::remove_file(pin_path(lab, host, kind));
    }
    Ok(())
}

/// Moves the calling process into a host. It must have one thread only.
pub(crate) fn enter(lab: &Lab, host: &str) -> Result<()> {
    // All are opened before the first is entered: paths mean something else afterwards.
    let paths =
        [network_path(&lab.netns(host)), pin_path(lab, host, "uts"), pin_path(lab, host, "mnt")];
    let mut files = vec![];
    for path in paths {
        match File::open(&path) {
            Ok(file) => files.push(file),
            Err(_) => bail!("{host} is off; start it with: swarmnet-lab start {host} host"),
        }
    }
    for file in files {
        setns(file, CloneFlags::empty()).with_context(|| format!("entering {host}"))?;
    }
    Ok(())
}

/// Moves the calling thread into a named network namespace only.
pub(crate) fn enter_network(name: &str) -> Result<()> {
    let file = File::open(network_path(name))
        .with_context(|| format!("opening network namespace {name}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {name}"))
}

/// Returns the inodes of the namespaces that belong to these hosts, to find processes by.
pub(crate) fn inodes(lab: &Lab, hosts: &[String]) -> Vec<u64> {
    let paths = hosts.iter().flat_map(|host| {
        [network_path(&lab.netns(host)), pin_path(lab, host, "mnt"), pin_path(lab, host, "uts")]
    });
    // An unmounted pin is an ordinary file: its inode means nothing.
    let mounted: Vec<PathBuf> = mounts::list()
        .unwrap_or_default()
        .into_iter()
        .filter(|mount| mount.fstype == "nsfs")
        .map(|mount| mount.path)
        .collect();
    paths
        .filter(|path| mounted.contains(path))
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.ino())
        .collect()
}

fn pin_path(lab: &Lab, host: &str, kind: &str) -> PathBuf {
    lab.pins().join(format!("{host}.{kind}"))
}
