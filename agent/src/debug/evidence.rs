//! What the views are made of: pinned maps and the agent's files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use swarmnet_ebpf::map::Maps;
use swarmnet_ebpf::pin::Pins;
use swarmnet_model::view::{Backend, NetworkItem, ServiceItem};
use swarmnet_model::{Item, ItemKey, NodeId, NodeView, ServiceId, TaskId};

use super::DebugError;
use crate::inputs::{backends, networks, service};
use crate::local::LocalState;
use crate::numbers::{BackendKey, Numbers, ServiceKey};
use crate::numbers_file;
use crate::plugin::journal::Journal;

/// Maps, and the names for what is in them.
pub struct Evidence {
    pub maps: Maps,
    pub node_id: Option<NodeId>,
    pub view: NodeView,
    pub numbers: Numbers,
    pub journal: Journal,
    /// Ports that another program keeps from the mesh: (protocol number, port).
    pub conflicts: Vec<(u8, u16)>,
}

/// Name of the file with the ports that other programs have, below the agent's state directory.
pub const CONFLICTS_FILE: &str = "port-conflicts.json";

impl Evidence {
    /// Reads everything; missing files mean missing names.
    ///
    /// # Errors
    /// `NoPins` if there is no data plane.
    pub fn read(bpffs: &Path, state_dir: &Path) -> Result<Self, DebugError> {
        let pins = Pins::new(bpffs);
        if !pins.maps().exists() {
            return Err(DebugError::NoPins { bpffs: bpffs.display().to_string() });
        }
        let directory = state_dir.join("agent");
        let stored = LocalState::new(state_dir).last_view()?;
        let (node_id, view) = stored.map_or((None, NodeView::new()), |(id, view)| (Some(id), view));
        Ok(Self {
            maps: Maps::open_pinned(&pins)?,
            node_id,
            view,
            numbers: numbers_file::read(&directory).map_err(|source| DebugError::File {
                path: directory.join(numbers_file::FILE).display().to_string(),
                source,
            })?,
            journal: file(&directory.join(crate::dataplane::JOURNAL))?,
            conflicts: file(&directory.join(CONFLICTS_FILE))?,
        })
    }

    /// Returns what service indexes stand for.
    pub fn service_keys(&self) -> BTreeMap<u32, &ServiceKey> {
        self.numbers.services.iter().map(|(key, index)| (*index, key)).collect()
    }

    /// Returns what backend ids stand for.
    pub fn backend_keys(&self) -> BTreeMap<u32, &BackendKey> {
        self.numbers.backends.iter().map(|(key, id)| (*id, key)).collect()
    }

    pub fn service(&self, id: &ServiceId) -> Option<&ServiceItem> {
        service(&self.view, id)
    }

    pub fn service_name(&self, id: &ServiceId) -> String {
        self.service(id).map_or_else(|| id.to_string(), |service| service.name.clone())
    }

    pub fn backend(&self, task: &TaskId) -> Option<&Backend> {
        backends(&self.view).find(|backend| backend.task_id == *task)
    }

    pub fn task_name(&self, task: &TaskId) -> String {
        self.backend(task).map_or_else(|| task.to_string(), |backend| backend.task_name.clone())
    }

    pub fn network_of(&self, vni: u32) -> Option<&NetworkItem> {
        networks(&self.view).find(|network| network.vni.get() == vni)
    }

    pub fn network_name(&self, vni: u32) -> String {
        self.network_of(vni).map_or_else(|| vni.to_string(), |network| network.name.clone())
    }

    /// Returns the host name of a node by its index in the maps.
    pub fn node_name(&self, index: u32) -> String {
        let id = match index {
            0 => self.node_id.as_ref(),
            _ => self.numbers.nodes.iter().find(|(_, i)| **i == index).map(|(id, _)| id),
        };
        let Some(id) = id else { return format!("node {index}") };
        match self.view.get(&ItemKey::Peer(id.clone())) {
            Some(Item::Peer(peer)) => peer.hostname.clone(),
            _ => id.to_string(),
        }
    }
}

fn file<T: DeserializeOwned + Default>(path: &Path) -> Result<T, DebugError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(DebugError::File { path: path.display().to_string(), source }),
    }
}

/// Returns the name of an IP protocol number.
pub fn protocol(number: u8) -> &'static str {
    match number {
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        1 => "icmp",
        _ => "other",
    }
}
