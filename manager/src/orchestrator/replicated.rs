//! Pure: as many slots as replicas are asked for.

use std::collections::BTreeMap;

use swarmnet_model::{DesiredState, Service};

use super::Pass;
use super::slot::{Slot, SlotKey};
use crate::follow::CHANGES_PER_PASS;

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
            // The next pass goes on.
            if count >= replicas || self.plan.changes.len() >= CHANGES_PER_PASS {
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

#[cfg(test)]
mod tests {
    use crate::follow::CHANGES_PER_PASS;
    use crate::orchestrator::plan;
    use crate::world::World;

    #[test]
    fn one_pass_plans_a_bounded_part_of_a_huge_service() {
        for mode in ["replicas=900000", "job=900000/900000"] {
            let world = World::given(&format!("service web {mode}"));
            let planned = plan(&world.tables, world.now, &mut || 7);
            assert_eq!(planned.changes.len(), CHANGES_PER_PASS, "{mode}");
        }
    }
}
