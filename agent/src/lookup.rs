//! Pure: finding what a hundred thousand backends name, without a search through all items for each.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;

use swarmnet_model::view::{Backend, NetworkItem, ServiceItem};
use swarmnet_model::{NetworkId, NodeView, ServiceId};

use crate::inputs::{networks, services};

/// Entries that a cursor steps over before it searches.
const STEPS_MAX: usize = 4;

/// For one look per backend, which costs less than in an ordered map; never walked through.
#[expect(clippy::disallowed_types, reason = "no order of a hash reaches a plan")]
type Table<K, V> = std::collections::HashMap<K, V>;

/// The services and networks of a view alone.
pub struct Directory<'a> {
    services: Table<ServiceId, (u32, &'a ServiceItem)>,
    networks: BTreeMap<&'a NetworkId, &'a NetworkItem>,
}

impl<'a> Directory<'a> {
    pub fn of(view: &'a NodeView) -> Self {
        let numbered = (0..).zip(services(view));
        Self {
            services: numbered.map(|(n, service)| (service.id.clone(), (n, service))).collect(),
            networks: networks(view).map(|network| (&network.id, network)).collect(),
        }
    }

    /// Returns the service that a backend belongs to, with its place in the view.
    pub fn service_of(&self, backend: &Backend) -> Option<(u32, &'a ServiceItem)> {
        self.services.get(backend.service_id.as_ref()?).copied()
    }

    pub fn network(&self, id: &NetworkId) -> Option<&'a NetworkItem> {
        self.networks.get(id).copied()
    }
}

/// Looks up keys of a map: fast where they come in its order, right in any.
pub struct Cursor<'a, K, V> {
    map: &'a BTreeMap<K, V>,
    next: Peekable<Range<'a, K, V>>,
}

impl<'a, K: Ord, V> Cursor<'a, K, V> {
    pub fn new(map: &'a BTreeMap<K, V>) -> Self {
        Self { map, next: map.range(..).peekable() }
    }

    pub fn find(&mut self, key: &K) -> Option<&'a V> {
        for _ in 0..STEPS_MAX {
            let Some((at, value)) = self.next.peek() else { break };
            match (*at).cmp(key) {
                std::cmp::Ordering::Less => drop(self.next.next()),
                std::cmp::Ordering::Equal => return Some(value),
                std::cmp::Ordering::Greater => break,
            }
        }
        self.next = self.map.range(key..).peekable();
        self.next.peek().filter(|(at, _)| *at == key).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_finds_what_the_map_has(
            map in prop::collection::btree_map(0_u16..200, any::<u8>(), 0..100),
            keys in prop::collection::vec(0_u16..200, 0..100),
        ) {
            let mut cursor = Cursor::new(&map);
            for key in keys {
                prop_assert_eq!(cursor.find(&key), map.get(&key));
            }
        }
    }
}
