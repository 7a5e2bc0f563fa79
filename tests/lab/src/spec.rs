//! What a lab is: its name, its hosts, and where its things are.
//!
//! `Lab` is the identity: every path, namespace and cgroup name is derived from it, so `down` finds
//! them without any record. `Spec` is the record of one `up`, written before the first thing is made.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// Parent of every lab's directory. On the real disk: Docker's overlay2 cannot stand on tmpfs.
pub(crate) const ROOT: &str = "/var/lib/swarmnet-lab";
/// Parent of every lab's cgroups, relative to the root of each hierarchy.
pub(crate) const CGROUP_ROOT: &str = "swarmnet-lab";
/// Name of the lab that is used without `--name`; its namespaces carry no prefix.
pub(crate) const DEFAULT_LAB: &str = "default";
/// The namespace that holds the bridge.
pub(crate) const SWITCH: &str = "switch";

/// Identity of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lab {
    name: String,
}

impl Lab {
    /// Returns the lab of that name.
    ///
    /// # Errors
    /// A name that is not 1 to 20 of `a-z 0-9 -`, beginning with a letter or digit.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || name.starts_with('-') || !name.chars().all(inner) {
            bail!("bad lab name {name:?}: use 1 to 20 of a-z, 0-9 and -, not beginning with -");
        }
        Ok(Self { name: name.to_owned() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of a host's network namespace in `/run/netns`.
    pub(crate) fn netns(&self, host: &str) -> String {
        if self.name == DEFAULT_LAB { host.to_owned() } else { format!("{}-{host}", self.name) }
    }

    /// Returns the alias that marks the lab's links, by which `down` knows a namespace as the lab's.
    pub(crate) fn link_alias(&self) -> String {
        format!("swarmnet-lab/{}", self.name)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// Returns the directory that keeps the lab's mount and UTS namespaces by bind mounts.
    pub(crate) fn pins(&self) -> PathBuf {
        self.dir().join("ns")
    }

    pub(crate) fn docker_config(&self) -> PathBuf {
        self.dir().join("docker-config")
    }

    pub(crate) fn tools(&self) -> PathBuf {
        self.dir().join("bin")
    }

    pub(crate) fn host_dir(&self, host: &str) -> PathBuf {
        self.dir().join("hosts").join(host)
    }

    pub(crate) fn control_socket(&self, host: &str) -> PathBuf {
        self.host_dir(host).join("control.sock")
    }

    pub(crate) fn log(&self, host: &str, what: &str) -> PathBuf {
        self.host_dir(host).join("log").join(format!("{what}.log"))
    }

    /// Returns the cgroup of the lab, relative to the root of a hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        format!("{CGROUP_ROOT}/{}", self.name)
    }

    /// Waits for other commands that change this lab, then keeps them out until the guard is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<fs::File>> {
        fs::create_dir_all("/run/lock").context("creating /run/lock")?;
        let path = format!("/run/lock/swarmnet-lab-{}.lock", self.name);
        lock_file(Path::new(&path), "another swarmnet-lab command on this lab")
    }
}

/// Takes an exclusive lock on a file, telling the user when it has to wait for `holder`.
pub(crate) fn lock_file(path: &Path, holder: &str) -> Result<Flock<fs::File>> {
    let open = || fs::File::create(path).with_context(|| format!("opening {}", path.display()));
    match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, _)) => {
            eprintln!("waiting for {holder}");
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// What runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// A Docker Engine and a swarmnet daemon.
    Node,
    /// Nothing: a machine outside the cluster.
    Client,
    /// Debian's docker-registry.
    Registry,
}

/// One host of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) role: Role,
}

/// How the daemons of a lab are started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DaemonOptions {
    /// The swarmnet binary.
    pub(crate) binary: PathBuf,
    /// Passed on as `--attach-mode`; absent leaves the choice to the daemon.
    pub(crate) attach_mode: Option<String>,
}

/// What one `up` asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) hosts: Vec<Host>,
    /// Absent in a lab without swarmnet daemons (`up --no-daemon`).
    pub(crate) daemon: Option<DaemonOptions>,
    /// False in a lab without Docker Engines (`up --no-engine`).
    pub(crate) engines: bool,
}

impl Spec {
    /// Reads the record of a lab; `None` when no lab of that name is up.
    pub(crate) fn load(lab: &Lab) -> Result<Option<Self>> {
        let path = Self::path(lab);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("reading {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Reads the record of a lab that must be up.
    pub(crate) fn require(lab: &Lab) -> Result<Self> {
        Self::load(lab)?.with_context(|| {
            format!("lab {:?} is not up; start it with: swarmnet-lab up", lab.name())
        })
    }

    /// Writes the record in one step, so that a crash leaves the old or the new one.
    pub(crate) fn save(&self, lab: &Lab) -> Result<()> {
        let path = Self::path(lab);
        fs::create_dir_all(lab.dir())
            .with_context(|| format!("creating {}", lab.dir().display()))?;
        let temporary = path.with_extension("json.tmp");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&temporary, &path).with_context(|| format!("writing {}", path.display()))
    }

    fn path(lab: &Lab) -> PathBuf {
        lab.dir().join("lab.json")
    }

    /// Returns the host of that name.
    pub(crate) fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| {
            let names: Vec<_> = self.hosts.iter().map(|host| host.name.as_str()).collect();
            format!("no host {name:?} in this lab; it has {}", names.join(", "))
        })
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.role == Role::Node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_lab_has_namespaces_without_a_prefix() {
        assert_eq!(Lab::new(DEFAULT_LAB).unwrap().netns("node01"), "node01");
        assert_eq!(Lab::new("x").unwrap().netns("node01"), "x-node01");
    }

    #[test]
    fn a_lab_name_cannot_leave_its_directory() {
        for name in ["", "..", "a/b", "-a", "A", "a b", "aaaaaaaaaaaaaaaaaaaaa"] {
            assert!(Lab::new(name).is_err(), "{name:?} was accepted");
        }
    }
}
