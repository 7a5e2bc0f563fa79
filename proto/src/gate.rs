//! How much of something one peer and all peers together may have at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts who is inside, by peer.
#[derive(Debug)]
pub struct Gate<K> {
    inside: Mutex<Inside<K>>,
    total_max: usize,
    /// So that one peer cannot take everybody's share.
    each_max: usize,
}

#[derive(Debug)]
struct Inside<K> {
    total: usize,
    by_peer: BTreeMap<K, usize>,
}

/// One place inside, given back when dropped.
#[derive(Debug)]
pub struct Place<K: Copy + Ord> {
    gate: Arc<Gate<K>>,
    peer: K,
}

impl<K: Copy + Ord> Gate<K> {
    pub fn new(total_max: usize, each_max: usize) -> Arc<Self> {
        let inside = Mutex::new(Inside { total: 0, by_peer: BTreeMap::new() });
        Arc::new(Self { inside, total_max, each_max })
    }

    /// Takes a place; `None` if the peer or all together have theirs already.
    pub fn enter(self: &Arc<Self>, peer: K) -> Option<Place<K>> {
        let mut inside = self.lock();
        let own = inside.by_peer.get(&peer).copied().unwrap_or_default();
        if inside.total >= self.total_max || own >= self.each_max {
            return None;
        }
        inside.total += 1;
        inside.by_peer.insert(peer, own + 1);
        Some(Place { gate: Arc::clone(self), peer })
    }

    fn lock(&self) -> MutexGuard<'_, Inside<K>> {
        // No operation on what it holds can panic half way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        inside.total -= 1;
        let own = inside.by_peer.get(&self.peer).copied().unwrap_or_default();
        if own > 1 {
            inside.by_peer.insert(self.peer, own - 1);
        } else {
            inside.by_peer.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_the_places_of_the_others() {
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
