//! `node.json`: what this node knows of its place in the swarm, beside its certificate.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::advertise::Addresses;
use crate::files::{self, PRIVATE, StateError};
use crate::interfaces::source_towards;

/// Held from reading the file until it is written again.
static WRITING: Mutex<()> = Mutex::new(());

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    /// Where a manager on this node listens.
    pub(crate) listen: SocketAddrV4,
    /// What the user wants others to use; `None`: what the managers see.
    pub(crate) advertise: Option<SocketAddrV4>,
    /// `host:port` of the managers heard of last, the asked one first.
    pub(crate) managers: Vec<String>,
    /// A manager's id in Raft; `None` on workers, and until the leader has given one.
    pub(crate) raft_id: Option<u64>,
}

impl NodeFile {
    pub(crate) fn new(addresses: &Addresses, managers: Vec<String>) -> Self {
        let (addr, port) = addresses.listen;
        let advertise = addresses.advertise.map(|(addr, port)| SocketAddrV4::new(addr, port));
        Self { listen: SocketAddrV4::new(addr, port), advertise, managers, raft_id: None }
    }

    /// Returns this node's address: the chosen one, else the one it uses towards a manager.
    pub(crate) fn own_addr(&self) -> Option<Ipv4Addr> {
        let chosen = self.advertise.map(|addr| *addr.ip());
        chosen.or_else(|| self.managers.iter().find_map(|addr| source_towards(addr)))
    }

    /// Returns where other managers reach a manager on this node.
    pub(crate) fn own_control_addr(&self) -> Option<SocketAddrV4> {
        let seen = || Some(SocketAddrV4::new(self.own_addr()?, self.listen.port()));
        self.advertise.or_else(seen)
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("node.json")
    }

    /// Reads it; `None` outside a swarm.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn load(state_dir: &Path) -> Result<Option<Self>, StateError> {
        let path = Self::path(state_dir);
        let Some(text) = files::read(&path, PRIVATE)? else { return Ok(None) };
        match serde_json::from_str(&text) {
            Ok(file) => Ok(Some(file)),
            Err(error) => Err(StateError::Damaged { path, reason: error.to_string() }),
        }
    }

    pub(crate) fn save(&self, state_dir: &Path) -> Result<(), StateError> {
        let text = serde_json::to_string_pretty(self).expect("addresses are texts");
        files::write(&Self::path(state_dir), PRIVATE, &text)
    }

    /// Makes one change, here and on disk, and leaves there what others have changed: the list of
    /// managers and the place in Raft are kept by different tasks, at the same moment in a promotion.
    pub(crate) fn change(
        &mut self,
        state_dir: &Path,
        change: impl Fn(&mut Self),
    ) -> Result<(), StateError> {
        let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        change(self);
        let mut stored = Self::load(state_dir)?.unwrap_or_else(|| self.clone());
        change(&mut stored);
        stored.save(state_dir)
    }

    pub(crate) fn remove(state_dir: &Path) -> Result<(), StateError> {
        files::remove(&Self::path(state_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_change_at_once_is_all_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = Addresses { listen: (Ipv4Addr::UNSPECIFIED, 2377), advertise: None };
        let file = NodeFile::new(&addresses, vec![]);
        file.save(dir.path()).unwrap();
        for round in 1..100 {
            let (mut one, mut other) = (file.clone(), file.clone());
            std::thread::scope(|scope| {
                scope.spawn(|| one.change(dir.path(), |f| f.raft_id = Some(round)).unwrap());
                let managers = vec![format!("10.20.20.100:{round}")];
                other.change(dir.path(), |f| f.managers.clone_from(&managers)).unwrap();
            });
            let stored = NodeFile::load(dir.path()).unwrap().unwrap();
            let expected = vec![format!("10.20.20.100:{round}")];
            assert_eq!((stored.raft_id, stored.managers), (Some(round), expected));
        }
    }

    #[test]
    fn the_file_survives_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(NodeFile::load(dir.path()).unwrap(), None);
        let addresses = Addresses { listen: (Ipv4Addr::UNSPECIFIED, 2377), advertise: None };
        let file = NodeFile::new(&addresses, vec!["10.20.20.100:2377".into()]);
        file.save(dir.path()).unwrap();
        assert_eq!(NodeFile::load(dir.path()).unwrap(), Some(file));
        files::write(&NodeFile::path(dir.path()), PRIVATE, "{").unwrap();
        let error = NodeFile::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("node.json is damaged"), "{error}");
    }
}
