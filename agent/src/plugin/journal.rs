//! What the engine was told: plugin networks, endpoints, reserved gateway addresses; on disk.
//!
//! The engine never repeats a call after a restart of ours, so this is written before the answer.
//! Keys: networks and endpoints by the engine's ids, reservations by task.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use swarmnet_model::{NetworkId, TaskId};

use crate::netlink::link::Mac;

/// Endpoints with an index for counters and flags; the size of map `lflags`.
const LIDX_MAX: u32 = 8_191;

/// What a plugin network stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkKind {
    Overlay(NetworkId),
    /// The node's way out, and the way in of the mesh.
    Gateway,
}

/// One interface of one task, as the engine asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkKind,
    pub task: TaskId,
    /// With the prefix length of the subnet; /32 for a gateway.
    pub address: Ipv4Network,
    /// 0 for a gateway.
    pub vni: u32,
    pub internal: bool,
    pub mac: Mac,
    pub mtu: u32,
    /// Index for counters and flags in the maps; of this endpoint alone while it exists.
    pub lidx: u32,
    /// Sandbox it was joined to; `None` before Join and after Leave.
    pub sandbox: Option<PathBuf>,
    /// Length of the prefix by which the sandbox reaches the resolver over this endpoint; given at
    /// Join, `None` for a gateway.
    #[serde(default)]
    pub resolver_prefix: Option<u8>,
    /// Servers that the user of a plain container has named; a task's are in its spec.
    #[serde(default)]
    pub upstreams: Vec<IpAddr>,
}

impl Endpoint {
    pub fn is_gateway(&self) -> bool {
        self.network == NetworkKind::Gateway
    }
}

/// Names of an endpoint's veth pair: host side and task side.
///
/// Made of the engine's endpoint id, so that they are known before and after a restart.
pub fn device_names(endpoint_id: &str, endpoint: &Endpoint) -> (String, String) {
    let short: String = endpoint_id.chars().take(8).collect();
    let kind = if endpoint.is_gateway() { 'g' } else { 'o' };
    (format!("sw{kind}{short}"), format!("swp{kind}{short}"))
}

/// Longest and shortest prefix around the resolver's address that an endpoint may be given. The
/// shortest still leaves out the stand-in client 169.254.87.2, whose answers go to the gateway.
const RESOLVER_PREFIXES: RangeInclusive<u8> = 20..=32;

/// Everything the plugin must remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Kernel boot the endpoints belong to.
    pub boot_id: String,
    pub networks: BTreeMap<String, NetworkKind>,
    pub endpoints: BTreeMap<String, Endpoint>,
    pub gateways: BTreeMap<TaskId, Ipv4Addr>,
    /// Last gateway address given; the search goes on behind it, so that addresses rest.
    pub last_gateway: Option<Ipv4Addr>,
    /// Published ports that we keep from outgoing connections.
    pub reserved_ports: BTreeSet<u16>,
}

impl Journal {
    /// Returns the endpoints that are wired to a sandbox.
    pub fn joined(&self) -> impl Iterator<Item = (&String, &Endpoint)> {
        self.endpoints.iter().filter(|(_, endpoint)| endpoint.sandbox.is_some())
    }

    /// Returns the joined gateway endpoint of a task.
    pub fn gateway_of(&self, task: &TaskId) -> Option<(&String, &Endpoint)> {
        self.joined().find(|(_, endpoint)| endpoint.is_gateway() && endpoint.task == *task)
    }

    /// Wires an endpoint to a sandbox and returns it; `None` if it is not known.
    ///
    /// Each network of a sandbox leads to the resolver by a prefix of its own length: the engine refuses
    /// a second route to the same destination, and the next longest serves when a network is
    /// disconnected.
    pub fn join(&mut self, id: &str, sandbox: PathBuf) -> Option<Endpoint> {
        let others = self.joined().filter(|(other, endpoint)| {
            *other != id && endpoint.sandbox.as_ref() == Some(&sandbox)
        });
        let used: BTreeSet<u8> = others.filter_map(|(_, e)| e.resolver_prefix).collect();
        let free = RESOLVER_PREFIXES.rev().find(|length| !used.contains(length));
        let endpoint = self.endpoints.get_mut(id)?;
        endpoint.resolver_prefix = free.filter(|_| !endpoint.is_gateway());
        endpoint.sandbox = Some(sandbox);
        Some(endpoint.clone())
    }

    /// Reserves a gateway address for a task, or returns the one it has; `None` if none is free.
    pub fn reserve_gateway(&mut self, task: &TaskId, pool: Ipv4Network) -> Option<Ipv4Addr> {
        if let Some(addr) = self.gateways.get(task).filter(|addr| pool.contains(**addr)) {
            return Some(*addr);
        }
        let in_use: BTreeSet<_> = self
            .gateways
            .values()
            .copied()
            .chain(self.endpoints.values().filter(|e| e.is_gateway()).map(|e| e.address.ip()))
            .collect();
        let (first, last) = (u32::from(pool.network()) + 1, u32::from(pool.broadcast()) - 1);
        let start = self.last_gateway.map_or(first, |addr| u32::from(addr).saturating_add(1));
        let start = if (first..=last).contains(&start) { start } else { first };
        let addr = (start..=last)
            .chain(first..start)
            .map(Ipv4Addr::from)
            .find(|addr| !in_use.contains(addr))?;
        self.gateways.insert(task.clone(), addr);
        self.last_gateway = Some(addr);
        Some(addr)
    }

    /// Returns an index that no endpoint uses; 0 is never given.
    pub fn free_lidx(&self) -> Option<u32> {
        let used: BTreeSet<_> = self.endpoints.values().map(|endpoint| endpoint.lidx).collect();
        (1..=LIDX_MAX).find(|index| !used.contains(index))
    }
}

/// The journal and its file.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    journal: Mutex<Arc<Journal>>,
}

impl JournalFile {
    /// Reads the journal; a missing one is empty, one that is no journal is set aside.
    ///
    /// # Errors
    /// The directory cannot be made, or the file cannot be read.
    pub fn open(path: PathBuf, boot_id: &str) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut journal = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(journal) => journal,
                Err(error) => set_aside(&path, &error)?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Journal::default(),
            Err(error) => return Err(error),
        };
        if journal.boot_id != boot_id {
            // Devices and namespaces of the boot before are gone; the engine wires anew.
            journal.endpoints.clear();
            journal.reserved_ports.clear();
            boot_id.clone_into(&mut journal.boot_id);
        }
        Ok(Self { path, journal: Mutex::new(Arc::new(journal)) })
    }

    /// Returns the journal as it is now.
    pub fn read(&self) -> Arc<Journal> {
        Arc::clone(&self.lock())
    }

    /// Changes the journal and writes it; on an error of the disk nothing has changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn update<T>(&self, change: impl FnOnce(&mut Journal) -> T) -> io::Result<T> {
        let mut journal = self.lock();
        let mut next = Journal::clone(&journal);
        let answer = change(&mut next);
        if next != **journal {
            write_atomically(&self.path, &serde_json::to_vec_pretty(&next)?)?;
            *journal = Arc::new(next);
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_aside(path: &Path, error: &serde_json::Error) -> io::Result<Journal> {
    let aside = path.with_extension("broken");
    tracing::warn!(path = %path.display(), %error, "the plugin journal is damaged, set aside: tasks on this node lose their networks until their containers are started anew");
    std::fs::rename(path, aside)?;
    Ok(Journal::default())
}

/// Replaces a file so that a reader sees the old or the new content.
///
/// # Errors
/// The directory is missing or the disk is full.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> TaskId {
        TaskId::from_text(name)
    }

    #[test]
    fn a_task_keeps_its_gateway_address_and_freed_ones_rest() {
        let pool = "172.31.240.0/29".parse().unwrap();
        let mut journal = Journal::default();
        let first = journal.reserve_gateway(&task("a"), pool).unwrap();
        assert_eq!(first, Ipv4Addr::new(172, 31, 240, 1));
        assert_eq!(journal.reserve_gateway(&task("a"), pool), Some(first));
        journal.gateways.remove(&task("a"));
        let names = ["b", "c", "d", "e", "f", "g"];
        let given: Vec<_> =
            names.iter().map(|name| journal.reserve_gateway(&task(name), pool).unwrap()).collect();
        assert_eq!(given.last(), Some(&first), "the freed address comes last");
        assert_eq!(journal.reserve_gateway(&task("h"), pool), None);
    }

    fn endpoint(network: NetworkKind) -> Endpoint {
        Endpoint {
            network,
            task: task("a"),
            address: "10.0.1.3/24".parse().unwrap(),
            vni: 4097,
            internal: false,
            mac: [2, 66, 10, 0, 1, 3],
            mtu: 1450,
            lidx: 1,
            sandbox: None,
            resolver_prefix: None,
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn networks_of_a_sandbox_lead_to_the_resolver_by_different_prefixes() {
        let mut journal = Journal::default();
        for id in ["a", "b", "c"] {
            let overlay = NetworkKind::Overlay(NetworkId::from_text(id));
            journal.endpoints.insert(id.to_owned(), endpoint(overlay));
        }
        journal.endpoints.insert("g".to_owned(), endpoint(NetworkKind::Gateway));
        let mut join = |id: &str, sandbox: &str| {
            journal.join(id, PathBuf::from(sandbox)).map(|endpoint| endpoint.resolver_prefix)
        };
        assert_eq!(join("a", "/one"), Some(Some(32)));
        assert_eq!(join("b", "/one"), Some(Some(31)));
        assert_eq!(join("c", "/two"), Some(Some(32)), "another sandbox");
        assert_eq!(join("g", "/one"), Some(None), "a gateway leads elsewhere");
        assert_eq!(join("a", "/one"), Some(Some(32)), "asked again");
        assert_eq!(join("c", "/one"), Some(Some(30)));
        assert_eq!(join("x", "/one"), None);
    }

    #[test]
    fn the_journal_survives_a_restart_but_endpoints_do_not_survive_a_boot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent/plugin.json");
        let file = JournalFile::open(path.clone(), "boot-1").unwrap();
        file.update(|journal| {
            journal.networks.insert("n".to_owned(), NetworkKind::Gateway);
            journal.reserve_gateway(&task("a"), "172.31.240.0/20".parse().unwrap());
            journal.reserved_ports.insert(30_000);
        })
        .unwrap();
        assert_eq!(JournalFile::open(path.clone(), "boot-1").unwrap().read(), file.read());
        let next = JournalFile::open(path, "boot-2").unwrap().read();
        assert!(next.reserved_ports.is_empty() && next.networks.len() == 1);
    }

    #[test]
    fn a_damaged_journal_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugin.json");
        std::fs::write(&path, "{").unwrap();
        let journal = JournalFile::open(path.clone(), "b").unwrap().read();
        assert!(journal.networks.is_empty());
        assert!(path.with_extension("broken").exists());
    }
}
