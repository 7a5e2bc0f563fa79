//! Pure: which range of slots a service gets.
//!
//! Ranges have a power of two of slots and start at a multiple of it (buddies), so that two freed
//! halves are a whole again and a range is found in the same time whether ten services or ten
//! thousand have one.

use std::collections::{BTreeMap, BTreeSet};

/// Slots in the map `slots`.
pub const SLOTS: u32 = 1 << ORDERS_MAX;
const ORDERS_MAX: u32 = 20;

/// A range: first slot and number of slots.
pub type Range = (u32, u32);

/// Free and taken ranges of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// First slots of free ranges, by the power of two they have.
    free: Vec<BTreeSet<u32>>,
    /// First slot of each taken range, with its power of two.
    taken: BTreeMap<u32, u32>,
}

impl Default for Slots {
    fn default() -> Self {
        let mut free = vec![BTreeSet::new(); ORDERS_MAX as usize + 1];
        free[ORDERS_MAX as usize].insert(0);
        Self { free, taken: BTreeMap::new() }
    }
}

impl Slots {
    /// Returns the map with these ranges taken.
    pub fn with(taken: impl IntoIterator<Item = Range>) -> Self {
        let mut slots = Self::default();
        taken.into_iter().for_each(|range| slots.take(range));
        slots
    }

    /// Returns the first slot of a range for `count` entries, which is taken now; the lowest one
    /// that fits. `None` if there is no room.
    pub fn give(&mut self, count: u32) -> Option<u32> {
        let order = order(count)?;
        let fits = (order..=ORDERS_MAX).filter_map(|o| Some((*self.free_of(o).first()?, o)));
        let (base, found) = fits.min()?;
        self.split(base, found, base, order);
        Some(base)
    }

    /// Gives a range back; one that was never taken is left alone.
    pub fn give_back(&mut self, (base, count): Range) {
        let Some(mut order) = order(count).filter(|order| self.taken.get(&base) == Some(order))
        else {
            return;
        };
        self.taken.remove(&base);
        let mut base = base;
        while order < ORDERS_MAX && self.free_of(order).contains(&(base ^ (1 << order))) {
            self.free_mut(order).remove(&(base ^ (1 << order)));
            base &= !(1 << order);
            order += 1;
        }
        self.free_mut(order).insert(base);
    }

    /// Takes a range that is in use; one that is taken already, even in part, is left alone.
    fn take(&mut self, (base, count): Range) {
        let Some(order) = order(count).filter(|order| base % (1 << order) == 0) else { return };
        let around = |found: &u32| (base & !((1 << *found) - 1), *found);
        let free = (order..=ORDERS_MAX)
            .map(|found| around(&found))
            .find(|(first, found)| self.free_of(*found).contains(first));
        if let Some((first, found)) = free {
            self.split(first, found, base, order);
        }
    }

    /// Takes `base` of size `order` out of the free range `first` of size `found`.
    fn split(&mut self, first: u32, found: u32, base: u32, order: u32) {
        self.free_mut(found).remove(&first);
        let mut first = first;
        for half in (order..found).rev() {
            let upper = first + (1 << half);
            let (kept, freed) = if base < upper { (first, upper) } else { (upper, first) };
            self.free_mut(half).insert(freed);
            first = kept;
        }
        self.taken.insert(base, order);
    }

    fn free_of(&self, order: u32) -> &BTreeSet<u32> {
        &self.free[order as usize]
    }

    fn free_mut(&mut self, order: u32) -> &mut BTreeSet<u32> {
        &mut self.free[order as usize]
    }
}

/// The power of two that has room for `count` entries; `None` for none and for too many.
fn order(count: u32) -> Option<u32> {
    (1..=SLOTS).contains(&count).then(|| count.next_power_of_two().trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(a: Range, b: Range) -> bool {
        a.0 < b.0 + b.1 && b.0 < a.0 + a.1
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_lie_inside_and_all_come_back(
            steps in prop::collection::vec((1_u32..5_000, any::<bool>()), 1..120),
        ) {
            let (mut slots, mut taken) = (Slots::default(), Vec::<Range>::new());
            for (count, returns) in steps {
                if returns && !taken.is_empty() {
                    slots.give_back(taken.remove(count as usize % taken.len()));
                }
                let Some(base) = slots.give(count) else { continue };
                let range = (base, count);
                prop_assert!(base + count.next_power_of_two() <= SLOTS);
                prop_assert!(taken.iter().all(|other| !overlap(*other, range)));
                taken.push(range);
                prop_assert_eq!(&Slots::with(taken.iter().copied()), &slots);
            }
            taken.into_iter().for_each(|range| slots.give_back(range));
            prop_assert_eq!(slots, Slots::default());
        }
    }

    #[test]
    fn the_lowest_range_that_fits_is_given() {
        let mut slots = Slots::with([(0, 3), (8, 8)]);
        assert_eq!(slots.give(4), Some(4));
        assert_eq!(slots.give(16), Some(16));
        assert_eq!(slots.give(1), Some(32));
    }

    #[test]
    fn a_full_map_is_an_answer_and_nonsense_takes_nothing() {
        assert_eq!(Slots::with([(0, SLOTS)]).give(1), None);
        assert_eq!(Slots::default().give(SLOTS + 1), None);
        assert_eq!(Slots::default().give(SLOTS), Some(0));
        let mut slots = Slots::with([(5, 16), (0, 0), (SLOTS, 4)]);
        slots.give_back((64, 64));
        assert_eq!(slots, Slots::default());
    }
}
