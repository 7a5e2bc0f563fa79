//! How much of something one asker and all askers together may have at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts who is inside, by attachment.
#[derive(Debug)]
pub(super) struct Gate {
    inside: Mutex<Inside>,
    total_max: usize,
    /// So that one container cannot take everybody's share.
    each_max: usize,
}

#[derive(Debug, Default)]
struct Inside {
    total: usize,
    by_asker: BTreeMap<u32, usize>,
}

/// One place inside, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    asker: u32,
}

impl Gate {
    pub(super) fn new(total_max: usize, each_max: usize) -> Arc<Self> {
        Arc::new(Self { inside: Mutex::default(), total_max, each_max })
    }

    /// Takes a place; `None` if the asker or all together have theirs already.
    pub(super) fn enter(self: &Arc<Self>, asker: u32) -> Option<Place> {
        let mut inside = self.lock();
        let own = inside.by_asker.get(&asker).copied().unwrap_or_default();
        if inside.total >= self.total_max || own >= self.each_max {
            return None;
        }
        inside.total += 1;
        inside.by_asker.insert(asker, own + 1);
        Some(Place { gate: Arc::clone(self), asker })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.total -= 1;
        let own = inside.by_asker.get(&self.asker).copied().unwrap_or_default();
        if own > 1 {
            inside.by_asker.insert(self.asker, own - 1);
        } else {
            inside.by_asker.remove(&self.asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asker_cannot_take_the_places_of_the_others() {
        let gate = Gate::new(3, 2);
        let first = gate.enter(1).unwrap();
        let _second = gate.enter(1).unwrap();
        assert!(gate.enter(1).is_none());
        let _third = gate.enter(2).unwrap();
        assert!(gate.enter(3).is_none(), "all places are taken");
        drop(first);
        assert!(gate.enter(3).is_some());
        assert!(gate.enter(1).is_some());
    }
}
