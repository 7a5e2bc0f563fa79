//! Pure: the numbers by which the maps know nodes, services and backends.
//!
//! Numbers are local to this node. They are written to disk before a map holds them, so that a
//! restart finds the same ones and `swarmnet debug` can name what is in the maps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use swarmnet_model::{NetworkId, NodeId, ServiceId, TaskId};

/// Size of map `nodes`; index 0 is this node.
pub const NODES_MAX: u32 = 4_096;
/// Size of map `svc`; index 0 is never given.
pub const SERVICES_MAX: u32 = 16_384;

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct BackendKey {
    pub task: TaskId,
    pub vni: u32,
}

impl Serialize for BackendKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} {}", self.task, self.vni))
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

/// One change of the numbers: what is appended to the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Node(NodeId, u32),
    Service(ServiceKey, u32),
    Backend(BackendKey, u32),
    ForgetService(ServiceKey),
    ForgetBackend(BackendKey),
}

/// What must be written so that everything wanted has a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    pub entries: Vec<Entry>,
    /// Nodes and services for which no number is left.
    pub without_room: usize,
}

impl Entry {
    fn backend(&self) -> Option<(&BackendKey, u32)> {
        if let Self::Backend(key, id) = self { Some((key, *id)) } else { None }
    }
}

impl Wanted {
    /// Returns what is wanted here and not by `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            nodes: self.nodes.difference(&other.nodes).cloned().collect(),
            services: self.services.difference(&other.services).cloned().collect(),
            backends: self.backends.difference(&other.backends).cloned().collect(),
        }
    }
}

impl Numbers {
    /// Returns numbers for everything that has none; what finds no room stays without.
    pub fn missing(&self, wanted: &Wanted) -> Missing {
        let mut missing = Missing::default();
        self.missing_nodes(wanted, &mut missing);
        self.missing_services(wanted, &mut missing);
        let mut last = self.last_backend;
        for backend in &wanted.backends {
            if !self.backends.contains_key(backend) && last < u32::MAX {
                last += 1;
                missing.entries.push(Entry::Backend(backend.clone(), last));
            }
        }
        missing
    }

    fn missing_nodes(&self, wanted: &Wanted, missing: &mut Missing) {
        let mut next = self.nodes.values().max().map_or(1, |highest| highest + 1);
        for node in wanted.nodes.iter().filter(|node| !self.nodes.contains_key(*node)) {
            if next < NODES_MAX {
                missing.entries.push(Entry::Node(node.clone(), next));
                next += 1;
            } else {
                missing.without_room += 1;
            }
        }
    }

    /// Fresh indexes first, so that a freed one rests as long as possible.
    fn missing_services(&self, wanted: &Wanted, missing: &mut Missing) {
        let new: Vec<_> =
            wanted.services.iter().filter(|key| !self.services.contains_key(*key)).collect();
        if new.is_empty() {
            return;
        }
        let used: BTreeSet<u32> = self.services.values().copied().collect();
        let fresh = (self.last_service.saturating_add(1))..SERVICES_MAX;
        let again = 1..=self.last_service.min(SERVICES_MAX - 1);
        let mut free = fresh.chain(again).filter(|index| !used.contains(index));
        for key in new {
            match free.next() {
                Some(index) => missing.entries.push(Entry::Service(key.clone(), index)),
                None => missing.without_room += 1,
            }
        }
    }

    /// Makes changes, in order.
    pub fn take_all(&mut self, entries: &[Entry]) {
        let forgets = |entry: &Entry| matches!(entry, Entry::ForgetBackend(_));
        if self.backends.is_empty() && !entries.iter().any(forgets) {
            // A map that is made of a list at once costs a fraction of one that grows.
            let backends = entries.iter().filter_map(Entry::backend);
            self.backends = backends.map(|(key, id)| (key.clone(), id)).collect();
            let last = entries.iter().filter_map(Entry::backend).map(|(_, id)| id).max();
            self.last_backend = self.last_backend.max(last.unwrap_or_default());
            let others = entries.iter().filter(|entry| entry.backend().is_none());
            return others.for_each(|entry| self.take(entry));
        }
        entries.iter().for_each(|entry| self.take(entry));
    }

    /// Makes one change.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Node(node, index) => {
                self.nodes.insert(node.clone(), *index);
            }
            Entry::Service(key, index) => {
                self.last_service = *index;
                self.services.insert(key.clone(), *index);
            }
            Entry::Backend(key, id) => {
                self.last_backend = self.last_backend.max(*id);
                self.backends.insert(key.clone(), *id);
            }
            Entry::ForgetService(key) => {
                self.services.remove(key);
            }
            Entry::ForgetBackend(key) => {
                self.backends.remove(key);
            }
        }
    }

    /// Returns how to forget the services and backends of `gone`.
    pub fn forgotten(&self, gone: &Wanted) -> Vec<Entry> {
        let services = gone.services.iter().filter(|key| self.services.contains_key(*key));
        let backends = gone.backends.iter().filter(|key| self.backends.contains_key(*key));
        let services = services.cloned().map(Entry::ForgetService);
        services.chain(backends.cloned().map(Entry::ForgetBackend)).collect()
    }

    /// Returns the services and backends that nothing wants and no map holds.
    pub fn unwanted(
        &self,
        wanted: &Wanted,
        services_held: &BTreeMap<u32, impl Sized>,
        backends_held: &BTreeMap<u32, impl Sized>,
    ) -> Wanted {
        let services = self.services.iter().filter(|(key, index)| {
            !wanted.services.contains(key) && !services_held.contains_key(index)
        });
        let backends = self
            .backends
            .iter()
            .filter(|(key, id)| !wanted.backends.contains(key) && !backends_held.contains_key(id));
        Wanted {
            nodes: BTreeSet::new(),
            services: services.map(|(key, _)| key.clone()).collect(),
            backends: backends.map(|(key, _)| key.clone()).collect(),
        }
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

    fn assign(numbers: &mut Numbers, wanted: &Wanted) {
        numbers.missing(wanted).entries.iter().for_each(|entry| numbers.take(entry));
    }

    fn forget(numbers: &mut Numbers, wanted: &Wanted, services: &[u32], backends: &[u32]) {
        let held = |of: &[u32]| of.iter().map(|number| (*number, ())).collect::<BTreeMap<_, _>>();
        let gone = numbers.unwanted(wanted, &held(services), &held(backends));
        numbers.forgotten(&gone).iter().for_each(|entry| numbers.take(entry));
    }

    #[test]
    fn a_number_stays_and_a_freed_backend_id_never_returns() {
        let mut numbers = Numbers::default();
        assign(&mut numbers, &wanted(&["s"], &["a", "b"]));
        let before = numbers.clone();
        assign(&mut numbers, &wanted(&["s"], &["b"]));
        assert_eq!(numbers, before);
        forget(&mut numbers, &wanted(&["s"], &["b"]), &[], &[]);
        assign(&mut numbers, &wanted(&["s"], &["a", "b"]));
        assert_eq!(numbers.backends.values().copied().collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn services_above_the_last_number_are_not_lost_when_numbers_begin_anew() {
        let mut numbers = Numbers { last_service: SERVICES_MAX - 3, ..Numbers::default() };
        assign(&mut numbers, &wanted(&["a", "b"], &[]));
        assign(&mut numbers, &wanted(&["a", "b", "c"], &[]));
        assert_eq!(numbers.services.values().copied().collect::<Vec<_>>(), [16_382, 16_383, 1]);
        assert_eq!((numbers.last_service, numbers.highest_service()), (1, 16_383));
    }

    #[test]
    fn what_a_map_still_holds_is_not_forgotten() {
        let mut numbers = Numbers::default();
        assign(&mut numbers, &wanted(&["s"], &["a"]));
        forget(&mut numbers, &Wanted::default(), &[1], &[1]);
        assert_eq!((numbers.services.len(), numbers.backends.len()), (1, 1));
    }

    #[test]
    fn numbers_survive_json() {
        let mut numbers = Numbers::default();
        assign(&mut numbers, &wanted(&["s"], &["a"]));
        let vip = ServiceKey::Vip(ServiceId::from_text("s"), NetworkId::from_text("n"));
        numbers.services.insert(vip, 9);
        let text = serde_json::to_string(&numbers).unwrap();
        assert_eq!(serde_json::from_str::<Numbers>(&text).unwrap(), numbers);
    }

    #[test]
    fn services_beyond_the_last_index_are_counted_not_lost_in_silence() {
        let numbers = Numbers { last_service: SERVICES_MAX - 1, ..Numbers::default() };
        let services: BTreeMap<_, _> = (2..SERVICES_MAX)
            .map(|index| (ServiceKey::Mesh(ServiceId::from_text(index.to_string())), index))
            .collect();
        let numbers = Numbers { services, ..numbers };
        let missing = numbers.missing(&wanted(&["a", "b", "c"], &[]));
        assert_eq!((missing.entries.len(), missing.without_room), (1, 2));
    }

    #[test]
    fn changes_that_are_made_twice_end_in_the_same_numbers() {
        let mut numbers = Numbers::default();
        let mut entries = numbers.missing(&wanted(&["s", "t"], &["a", "b"])).entries;
        let mut at_once = Numbers::default();
        at_once.take_all(&entries);
        entries.iter().for_each(|entry| numbers.take(entry));
        assert_eq!(at_once, numbers);
        entries.push(Entry::ForgetService(ServiceKey::Mesh(ServiceId::from_text("s"))));
        entries.push(Entry::Service(ServiceKey::Mesh(ServiceId::from_text("s")), 3));
        entries.iter().for_each(|entry| numbers.take(entry));
        let once = numbers.clone();
        entries.iter().for_each(|entry| numbers.take(entry));
        assert_eq!(numbers, once);
        let text = serde_json::to_string(&entries).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&text).unwrap(), entries);
    }
}
