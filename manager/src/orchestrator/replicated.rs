//! Pure: as many slots as replicas are asked for.

use std::collections::BTreeMap;

use swarmnet_model::{DesiredState, NodeId, Service};

use super::Pass;
use super::slot::{Slot, SlotKey};

impl<'a> Pass<'a> {
    /// Makes missing slots and removes those that are too many; returns the slots that stay.
    pub(super) fn scale(
        &mut self,
        service: &Service,
        mut slots: BTreeMap<SlotKey, Slot<'a>>,
        replicas: u64,
    ) -> Vec<Slot<'a>> {
        let mut count = u64::try_from(slots.len()).unwrap_or(u64::MAX);
        let free = (1..).map(SlotKey::Number).filter(|key| !slots.contains_key(key));
        for key in free {
            if count >= replicas {
                break;
            }
            self.create(service, &key, DesiredState::Running);
            count += 1;
        }
        while count > replicas {
            let key = surplus(&slots).expect("there are more slots than replicas");
            let slot = slots.remove(&key).expect("the surplus slot is one of them");
            self.wish_all(&slot.tasks, DesiredState::Remove);
            count -= 1;
        }
        slots.into_values().collect()
    }
}

/// Returns the slot to give up: one that does not run, else one on the fullest node; the highest
/// number of those.
fn surplus(slots: &BTreeMap<SlotKey, Slot<'_>>) -> Option<SlotKey> {
    let mut per_node: BTreeMap<&NodeId, usize> = BTreeMap::new();
    for node in slots.values().filter_map(Slot::node) {
        *per_node.entry(node).or_default() += 1;
    }
    let rank = |slot: &&Slot<'_>| {
        let fullness = slot.node().map_or(0, |node| per_node[node]);
        (!slot.is_running(), fullness, slot.key.clone())
    };
    slots.values().max_by_key(rank).map(|slot| slot.key.clone())
}
