//! Which attachments the API is at work on: their containers may not be there yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarmnet_model::TaskId;
use tokio::sync::watch;

/// Engine networks that are held, by attachment; an attachment may be held by several requests.
type Held = BTreeMap<TaskId, Vec<BTreeSet<String>>>;

/// The leases of this node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Leases(Arc<watch::Sender<Held>>);

/// Held from before the managers are asked until the container is made, or given up.
#[derive(Debug)]
pub struct Lease {
    id: TaskId,
    networks: BTreeSet<String>,
    leases: Leases,
}

impl Default for Leases {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Held::new())))
    }
}

impl Leases {
    /// Begins to hold an attachment.
    pub(crate) fn take(&self, id: &TaskId) -> Lease {
        let lease = Lease { id: id.clone(), networks: BTreeSet::new(), leases: self.clone() };
        lease.leases.0.send_modify(|held| held.entry(id.clone()).or_default().push([].into()));
        lease
    }

    /// Returns the attachments that are held.
    pub(crate) fn ids(&self) -> BTreeSet<TaskId> {
        self.0.borrow().keys().cloned().collect()
    }

    /// True if somebody is about to put a container on that engine network.
    pub(crate) fn holds_network(&self, engine_name: &str) -> bool {
        self.0.borrow().values().flatten().any(|networks| networks.contains(engine_name))
    }

    /// Changes with every lease that begins or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<Held> {
        self.0.subscribe()
    }
}

impl Lease {
    /// Keeps engine networks from being removed while the lease lasts.
    pub(crate) fn hold(&mut self, engine_names: BTreeSet<String>) {
        self.leases.0.send_modify(|held| {
            remove(held, &self.id, &self.networks);
            held.entry(self.id.clone()).or_default().push(engine_names.clone());
        });
        self.networks = engine_names;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.0.send_modify(|held| remove(held, &self.id, &self.networks));
    }
}

fn remove(held: &mut Held, id: &TaskId, networks: &BTreeSet<String>) {
    let Some(of_id) = held.get_mut(id) else { return };
    if let Some(index) = of_id.iter().position(|other| other == networks) {
        of_id.swap_remove(index);
    }
    if of_id.is_empty() {
        held.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_held_until_its_last_lease_ends() {
        let leases = Leases::default();
        let id = TaskId::from_text("a");
        let mut first = leases.take(&id);
        let second = leases.take(&id);
        first.hold(["net".to_owned()].into());
        assert!(leases.holds_network("net") && leases.ids().contains(&id));
        drop(first);
        assert!(!leases.holds_network("net") && leases.ids().contains(&id));
        drop(second);
        assert!(leases.ids().is_empty());
    }
}
