//! Turns the calling process into a host: cgroup, namespaces, mounts, name.
//!
//! What a host has of its own: network, hostname, `/run`, `/sys` (its own links), BPF file system,
//! `/etc/{hosts,hostname,resolv.conf,docker}`, `/var/lib/{docker,swarmnet}`. All else, programs
//! above all, is the machine's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use crate::cgroup;
use crate::hosts::{GATEWAY, hosts_file};
use crate::mounts;
use crate::namespace;
use crate::spec::{Host, Lab, ROOT, Spec};

const NOTHING: Option<&str> = None;
/// What stands below `/sys` and must stand below a host's own `/sys` too.
const KEPT_OF_SYS: [&str; 4] =
    ["/sys/fs/cgroup", "/sys/kernel/tracing", "/sys/kernel/debug", "/sys/kernel/security"];
/// Directories of the host's disk: what stands in the lab's directory, and where the host sees it.
const DISK: [(&str, &str); 3] = [
    ("docker", "/var/lib/docker"),
    ("swarmnet", "/var/lib/swarmnet"),
    ("etc-docker", "/etc/docker"),
];
const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Writes a host's disk: done once, kept over `stop` and `start`.
pub(crate) fn prepare_disk(lab: &Lab, spec: &Spec, host: &Host) -> Result<()> {
    let dir = lab.host_dir(&host.name);
    for name in DISK.iter().map(|(name, _)| *name).chain(["log", "etc"]) {
        let path = dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    }
    fs::set_permissions(dir.join("swarmnet"), fs::Permissions::from_mode(0o700))?;
    let etc = dir.join("etc");
    fs::write(etc.join("hosts"), hosts_file(&spec.hosts))?;
    fs::write(etc.join("hostname"), format!("{}\n", host.name))?;
    // Nobody answers there: a name that is not in /etc/hosts is refused at once, not after seconds.
    let resolver = format!("nameserver {GATEWAY}\noptions timeout:1 attempts:1\n");
    fs::write(etc.join("resolv.conf"), resolver).context("writing resolv.conf")
}

/// Makes the calling process, which must have one thread only, the first process of a host.
pub(crate) fn enter_new(lab: &Lab, host: &str) -> Result<()> {
    cgroup::join(lab, host)?;
    namespace::enter_network(&lab.netns(host))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)
        .context("leaving the namespaces")?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .context("making the host's mounts private")?;
    // The copies of names and pins would keep other hosts and other labs alive.
    mounts::detach(|mount| mount.fstype == "nsfs" || mount.path.starts_with(ROOT))?;
    sethostname(host).context("setting the host's name")?;
    mount_run()?;
    mount_sys()?;
    mount_disk(&lab.host_dir(host))
}

fn mount_run() -> Result<()> {
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))
        .context("mounting the host's /run")?;
    for (dir, mode) in [("/run/lock", 0o1777), ("/run/docker/plugins", 0o755)] {
        fs::create_dir_all(dir).with_context(|| format!("creating {dir}"))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Replaces `/sys` by one that shows the host's own links, and gives it a BPF file system.
fn mount_sys() -> Result<()> {
    let mounted: Vec<PathBuf> = mounts::list()?.into_iter().map(|mount| mount.path).collect();
    let kept: Vec<(&str, String)> = KEPT_OF_SYS
        .into_iter()
        .filter(|path| mounted.iter().any(|mount| mount == Path::new(path)))
        .map(|path| (path, format!("/run/kept{}", path.replace('/', "-"))))
        .collect();
    for (path, keeper) in &kept {
        fs::create_dir(keeper)?;
        bind(Path::new(path), Path::new(keeper))?;
    }
    mounts::detach_below(Path::new("/sys"))?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NOTHING)
        .context("mounting the host's /sys")?;
    for (path, keeper) in &kept {
        bind(Path::new(keeper), Path::new(path))?;
        umount2(keeper.as_str(), MntFlags::MNT_DETACH)?;
        fs::remove_dir(keeper)?;
    }
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), Some("mode=700"))
        .context("mounting the host's BPF file system")
}

fn mount_disk(dir: &Path) -> Result<()> {
    for (name, target) in DISK {
        fs::create_dir_all(target).with_context(|| format!("creating {target}"))?;
        bind(&dir.join(name), Path::new(target))?;
    }
    for name in FILES {
        let target = Path::new("/etc").join(name);
        if !target.exists() {
            fs::write(&target, "").with_context(|| format!("creating {}", target.display()))?;
        }
        bind(&dir.join("etc").join(name), &target)?;
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
        .with_context(|| format!("mounting {} on {}", source.display(), target.display()))
}
