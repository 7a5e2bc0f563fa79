//! Pure: changes of keyed state: what sets and removals turn one map into another.

use std::collections::BTreeMap;
use std::fmt;

use crate::brief::Brief;

/// One change of one key; complete and idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<K, V> {
    Set(K, V),
    Remove(K),
}

impl<K: Ord + Clone, V: Clone + PartialEq> Edit<K, V> {
    /// Returns the changes that turn `observed` into `desired`; none for equal maps.
    pub fn between<'a>(
        desired: &'a BTreeMap<K, V>,
        observed: &'a BTreeMap<K, V>,
    ) -> impl Iterator<Item = Self> + 'a {
        Self::sets(desired, observed).chain(Self::removals(desired, observed))
    }

    /// Returns what has to be set alone.
    pub fn sets<'a>(
        desired: &'a BTreeMap<K, V>,
        observed: &'a BTreeMap<K, V>,
    ) -> impl Iterator<Item = Self> + 'a {
        let differing = desired.iter().filter(|(key, value)| observed.get(key) != Some(value));
        differing.map(|(key, value)| Self::Set(key.clone(), value.clone()))
    }

    /// Returns what has to be removed alone.
    pub fn removals<'a>(
        desired: &'a BTreeMap<K, V>,
        observed: &'a BTreeMap<K, V>,
    ) -> impl Iterator<Item = Self> + 'a {
        observed.keys().filter(|key| !desired.contains_key(key)).cloned().map(Self::Remove)
    }

    /// Does to a map what the change does to the kernel.
    pub fn fold(&self, map: &mut BTreeMap<K, V>) {
        match self {
            Self::Set(key, value) => map.insert(key.clone(), value.clone()),
            Self::Remove(key) => map.remove(key),
        };
    }

    pub fn is_removal(&self) -> bool {
        match self {
            Self::Set(..) => false,
            Self::Remove(_) => true,
        }
    }
}

impl<K: Brief, V: Brief> fmt::Display for Edit<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(key, value) => write!(f, "set {} {}", key.brief(), value.brief()),
            Self::Remove(key) => write!(f, "remove {}", key.brief()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_laws_hold(
            desired in prop::collection::btree_map(0_u8..6, 0_u8..3, 0..6),
            observed in prop::collection::btree_map(0_u8..6, 0_u8..3, 0..6),
        ) {
            prop_assert_eq!(Edit::between(&desired, &desired).count(), 0);
            let mut state = observed.clone();
            for edit in Edit::between(&desired, &observed) {
                edit.fold(&mut state);
            }
            prop_assert_eq!(state, desired);
        }
    }
}
