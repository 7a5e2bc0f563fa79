//! Pure: the numbers by which the maps know nodes, services and backends.
//!
//! Numbers are local to this node. They are written to disk before a map holds them, so that a
//! restart finds the same ones and `swarmnet debug` can name what is in the maps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use swarmnet_model::{NetworkId, NodeId, ServiceId, TaskId};

/// Size of map `nodes`; index 0 is this node.
const NODES_MAX: u32 = 4_096;
/// Size of map `svc`; index 0 is never given.
const SERVICES_MAX: u32 = 16_384;

/// What a service index stands for, as text: the key of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ServiceKey {
    /// A service on one network.
    Vip(ServiceId, NetworkId),
    /// The published ports of a service.
    Mesh(ServiceId),
    /// The host-mode ports of one task.
    Host(TaskId),
}

impl From<ServiceKey> for String {
    fn from(key: ServiceKey) -> Self {
        match key {
            ServiceKey::Vip(service, network) => format!("vip {service} {network}"),
            ServiceKey::Mesh(service) => format!("mesh {service}"),
            ServiceKey::Host(task) => format!("host {task}"),
        }
    }
}

impl TryFrom<String> for ServiceKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<_> = text.split(' ').collect();
        match parts.as_slice() {
            ["vip", service, network] => {
                Ok(Self::Vip(ServiceId::from_text(*service), NetworkId::from_text(*network)))
            }
            ["mesh", service] => Ok(Self::Mesh(ServiceId::from_text(*service))),
            ["host", task] => Ok(Self::Host(TaskId::from_text(*task))),
            _ => Err(format!("{text} names no service")),
        }
    }
}

/// What a backend id stands for: a task on one network (VNI), or in the mesh (0).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BackendKey {
    pub task: TaskId,
    pub vni: u32,
}

impl From<BackendKey> for String {
    fn from(key: BackendKey) -> Self {
        format!("{} {}", key.task, key.vni)
    }
}

impl TryFrom<String> for BackendKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once(' ').and_then(|(task, vni)| {
            Some(Self { task: TaskId::from_text(task), vni: vni.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text} names no backend"))
    }
}

/// Everything that must have a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub nodes: BTreeSet<NodeId>,
    pub services: BTreeSet<ServiceKey>,
    pub backends: BTreeSet<BackendKey>,
}

/// The numbers given on this node since it booted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub boot_id: String,
    /// Never given to another node before a reboot: flows remember it.
    pub nodes: BTreeMap<NodeId, u32>,
    pub services: BTreeMap<ServiceKey, u32>,
    pub backends: BTreeMap<BackendKey, u32>,
    /// Given last; when the highest ones have been given, it begins anew with freed ones.
    pub last_service: u32,
    /// Backend ids are never given twice: flows remember them.
    pub last_backend: u32,
}

impl Numbers {
    /// Gives a number to everything that has none; what finds no room stays without.
    pub fn assign(&mut self, wanted: &Wanted) {
        for node in &wanted.nodes {
            let next = self.nodes.values().max().map_or(1, |highest| highest + 1);
            if !self.nodes.contains_key(node) && next < NODES_MAX {
                self.nodes.insert(node.clone(), next);
            }
        }
        let mut used: BTreeSet<u32> = self.services.values().copied().collect();
        for service in &wanted.services {
            if !self.services.contains_key(service)
                && let Some(index) = self.free_service(&used)
            {
                used.insert(index);
                self.services.insert(service.clone(), index);
                self.last_service = index;
            }
        }
        for backend in &wanted.backends {
            if !self.backends.contains_key(backend) && self.last_backend < u32::MAX {
                self.last_backend += 1;
                self.backends.insert(backend.clone(), self.last_backend);
            }
        }
    }

    /// Forgets services and backends that nothing wants and no map holds.
    pub fn forget(
        &mut self,
        wanted: &Wanted,
        services_held: &BTreeSet<u32>,
        backends_held: &BTreeSet<u32>,
    ) {
        self.services
            .retain(|key, index| wanted.services.contains(key) || services_held.contains(index));
        self.backends.retain(|key, id| wanted.backends.contains(key) || backends_held.contains(id));
    }

    /// Steps over numbers that the maps hold although the file does not know them.
    pub fn skip_held(&mut self, services: &BTreeSet<u32>, backends: &BTreeSet<u32>) {
        self.last_service = self.last_service.max(services.last().copied().unwrap_or_default());
        self.last_backend = self.last_backend.max(backends.last().copied().unwrap_or_default());
    }

    /// Returns the highest service index that a map may hold.
    pub fn highest_service(&self) -> u32 {
        self.services.values().copied().max().unwrap_or_default().max(self.last_service)
    }

    /// Fresh indexes first, so that a freed one rests as long as possible.
    fn free_service(&self, used: &BTreeSet<u32>) -> Option<u32> {
        let fresh = (self.last_service + 1)..SERVICES_MAX;
        fresh.chain(1..=self.last_service.min(SERVICES_MAX - 1)).find(|i| !used.contains(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(services: &[&str], backends: &[&str]) -> Wanted {
        Wanted {
            nodes: BTreeSet::new(),
            services: services.iter().map(|s| ServiceKey::Mesh(ServiceId::from_text(*s))).collect(),
            backends: backends
                .iter()
                .map(|t| BackendKey { task: TaskId::from_text(*t), vni: 0 })
                .collect(),
        }
    }

    #[test]
    fn a_number_stays_and_a_freed_backend_id_never_returns() {
        let mut numbers = Numbers::default();
        numbers.assign(&wanted(&["s"], &["a", "b"]));
        let before = numbers.clone();
        numbers.assign(&wanted(&["s"], &["b"]));
        assert_eq!(numbers, before);
        numbers.forget(&wanted(&["s"], &["b"]), &BTreeSet::new(), &BTreeSet::new());
        numbers.assign(&wanted(&["s"], &["a", "b"]));
        assert_eq!(numbers.backends.values().copied().collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn services_above_the_last_number_are_not_lost_when_numbers_begin_anew() {
        let mut numbers = Numbers { last_service: SERVICES_MAX - 3, ..Numbers::default() };
        numbers.assign(&wanted(&["a", "b"], &[]));
        numbers.assign(&wanted(&["a", "b", "c"], &[]));
        assert_eq!(numbers.services.values().copied().collect::<Vec<_>>(), [16_382, 16_383, 1]);
        assert_eq!((numbers.last_service, numbers.highest_service()), (1, 16_383));
    }

    #[test]
    fn what_a_map_still_holds_is_not_forgotten() {
        let mut numbers = Numbers::default();
        numbers.assign(&wanted(&["s"], &["a"]));
        numbers.forget(&Wanted::default(), &[1].into(), &[1].into());
        assert_eq!((numbers.services.len(), numbers.backends.len()), (1, 1));
    }

    #[test]
    fn numbers_survive_json() {
        let mut numbers = Numbers::default();
        numbers.assign(&wanted(&["s"], &["a"]));
        let vip = ServiceKey::Vip(ServiceId::from_text("s"), NetworkId::from_text("n"));
        numbers.services.insert(vip, 9);
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(serde_json::from_str::<Numbers>(&text).unwrap(), numbers);
    }
}
