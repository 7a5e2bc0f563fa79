//! Pure: as many slots as replicas are asked for.

use std::collections::BTreeMap;

use swarmnet_model::{DesiredState, Service};

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
        let surplus = usize::try_from(count.saturating_sub(replicas)).unwrap_or(usize::MAX);
        if surplus > 0 {
            let spread = &service.spec.task.placement.spread;
            for key in super::surplus::surplus(&slots, surplus, spread, self.tables) {
                let slot = slots.remove(&key).expect("the surplus slot is one of them");
                self.wish_all(&slot.tasks, DesiredState::Remove);
            }
        }
        slots.into_values().collect()
    }
}
