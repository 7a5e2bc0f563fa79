//! Maps in memory, for unit tests of the agent: same rules as the kernel's, failures on demand.
//!
//! Models: element limits, arrays whose elements always exist and cannot be deleted, sizes of keys
//! and values. Does not model: eviction of LRU maps, longest prefix match (`allow_src` is exact).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::map::{Backing, Elements, MapError, MapId, MapType, Maps};

type Bytes = Vec<u8>;

/// All maps, in memory.
#[derive(Debug, Default)]
pub struct MemoryMaps {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    maps: BTreeMap<MapId, BTreeMap<Bytes, Bytes>>,
    sizes: BTreeMap<MapId, u32>,
    writes: u64,
    fail: BTreeMap<MapId, u32>,
}

impl MemoryMaps {
    /// Returns empty maps of default sizes.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Returns a handle to these maps.
    #[must_use]
    pub fn maps(self: &Arc<Self>) -> Maps {
        Maps::new(Arc::clone(self) as Arc<dyn Backing>)
    }

    /// Lets a map hold at most `max_entries` elements.
    pub fn limit(&self, map: MapId, max_entries: u32) {
        self.lock().sizes.insert(map, max_entries);
    }

    /// Lets the next `times` writes (set, delete, store) to a map fail with `Injected`.
    pub fn fail_next(&self, map: MapId, times: u32) {
        self.lock().fail.insert(map, times);
    }

    /// Returns the number of successful writes so far: a pass over a right state adds none.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn is_array(map: MapId) -> bool {
    matches!(map.spec().kind, MapType::Array | MapType::PercpuArray)
}

impl State {
    fn size(&self, map: MapId) -> u32 {
        self.sizes.get(&map).copied().unwrap_or(map.spec().max_entries)
    }

    fn check_index(&self, map: MapId, key: &[u8]) -> Result<(), MapError> {
        let spec = map.spec();
        if key.len() != spec.key_size as usize {
            return Err(MapError::Layout { map: spec.name });
        }
        if !is_array(map) {
            return Ok(());
        }
        let index = u32::from_ne_bytes([key[0], key[1], key[2], key[3]]);
        if index < self.size(map) {
            return Ok(());
        }
        Err(MapError::OutOfRange { map: spec.name, index })
    }

    fn start_write(&mut self, map: MapId) -> Result<(), MapError> {
        if let Some(left) = self.fail.get_mut(&map).filter(|left| **left > 0) {
            *left -= 1;
            return Err(MapError::Injected { map: map.name() });
        }
        self.writes += 1;
        Ok(())
    }

    fn insert(&mut self, map: MapId, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        let spec = map.spec();
        if value.len() != spec.value_size as usize {
            return Err(MapError::Layout { map: spec.name });
        }
        self.check_index(map, key)?;
        self.start_write(map)?;
        let room = self.size(map) as usize;
        let elements = self.maps.entry(map).or_default();
        if !elements.contains_key(key) && elements.len() >= room {
            return Err(MapError::Full { map: spec.name });
        }
        elements.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn get(&self, map: MapId, key: &[u8]) -> Option<Bytes> {
        let found = self.maps.get(&map).and_then(|elements| elements.get(key)).cloned();
        match found {
            None if is_array(map) => Some(vec![0; map.spec().value_size as usize]),
            other => other,
        }
    }
}

impl Backing for MemoryMaps {
    fn lookup(&self, map: MapId, key: &[u8]) -> Result<Option<Bytes>, MapError> {
        let state = self.lock();
        state.check_index(map, key)?;
        Ok(state.get(map, key))
    }

    fn update(&self, map: MapId, keys: &[u8], values: &[u8]) -> Result<(), MapError> {
        let (mut state, spec) = (self.lock(), map.spec());
        let values = values.chunks(spec.value_size as usize);
        let mut elements = keys.chunks(spec.key_size as usize).zip(values);
        elements.try_for_each(|(key, value)| state.insert(map, key, value))
    }

    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool, MapError> {
        let mut state = self.lock();
        state.check_index(map, key)?;
        if is_array(map) {
            let source = std::io::Error::from_raw_os_error(libc::EINVAL);
            return Err(MapError::Kernel { map: map.name(), call: "delete", source });
        }
        state.start_write(map)?;
        Ok(state.maps.entry(map).or_default().remove(key).is_some())
    }

    fn dump(&self, map: MapId, _chunk: u32) -> Result<Elements, MapError> {
        let (state, mut out) = (self.lock(), Elements::default());
        if is_array(map) {
            for key in (0..state.size(map)).map(u32::to_ne_bytes) {
                out.keys.extend(key);
                out.values.extend(state.get(map, &key).unwrap_or_default());
            }
            return Ok(out);
        }
        for (key, value) in state.maps.get(&map).into_iter().flatten() {
            out.keys.extend(key);
            out.values.extend(value);
        }
        Ok(out)
    }

    fn store_word(&self, map: MapId, index: u32, offset: u32, word: u64) -> Result<(), MapError> {
        let mut state = self.lock();
        let key = index.to_ne_bytes();
        state.check_index(map, &key)?;
        let mut value = state.get(map, &key).ok_or(MapError::Layout { map: map.name() })?;
        let start = offset as usize;
        let target = value.get_mut(start..start + 8).ok_or(MapError::Layout { map: map.name() })?;
        target.copy_from_slice(&word.to_ne_bytes());
        state.insert(map, &key, &value)
    }

    fn write_range(&self, map: MapId, first: u32, bytes: &[u8]) -> Result<(), MapError> {
        let mut state = self.lock();
        let chunks = bytes.chunks_exact(map.spec().value_size as usize);
        (first..)
            .zip(chunks)
            .try_for_each(|(index, chunk)| state.insert(map, &index.to_ne_bytes(), chunk))
    }

    fn read_range(&self, map: MapId, first: u32, count: u32) -> Result<Bytes, MapError> {
        let state = self.lock();
        let mut out = Bytes::new();
        for index in first..first.saturating_add(count) {
            let key = index.to_ne_bytes();
            state.check_index(map, &key)?;
            out.extend(state.get(map, &key).unwrap_or_default());
        }
        Ok(out)
    }

    fn capacity(&self, map: MapId) -> u32 {
        self.lock().size(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Backend, EpKey, Service, SlotRange};
    use crate::map::{Backends, Eps, Nodes, Svc};

    #[test]
    fn what_is_set_is_read_back_and_listed() {
        let maps = MemoryMaps::new().maps();
        let backend = Backend { vni: 4096, node: 3, ..Backend::default() };
        maps.set::<Backends>(&7, &backend).unwrap();
        assert_eq!(maps.get::<Backends>(&7).unwrap(), Some(backend));
        assert_eq!(
            maps.entries::<Backends>().unwrap().into_iter().collect::<Vec<_>>(),
            [(7, backend)]
        );
        assert!(maps.delete::<Backends>(&7).unwrap());
        assert!(!maps.delete::<Backends>(&7).unwrap());
    }

    #[test]
    fn the_master_word_of_a_service_is_stored_alone() {
        let maps = MemoryMaps::new().maps();
        maps.set::<Svc>(&5, &Service { vni: 4097, ..Service::default() }).unwrap();
        let range = SlotRange { base: 64, count: 3, tag: 9 };
        maps.write_slots(64, &[1, 2, 3]).unwrap();
        maps.store_mg(5, range).unwrap();
        let service = maps.get::<Svc>(&5).unwrap().unwrap();
        assert_eq!((SlotRange::unpack(service.mg), service.sel, service.vni), (range, 0, 4097));
        assert_eq!(maps.slots(64, 3).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn array_elements_exist_and_stay() {
        let maps = MemoryMaps::new().maps();
        assert_eq!(maps.get::<Nodes>(&9).unwrap(), Some(Default::default()));
        assert!(maps.delete::<Nodes>(&9).is_err());
        assert!(maps.get::<Nodes>(&1_000_000).is_err());
    }

    #[test]
    fn a_full_map_and_an_ordered_failure_are_reported() {
        let memory = MemoryMaps::new();
        let maps = memory.maps();
        memory.limit(MapId::Eps, 1);
        let key = |vni| EpKey { vni, ..EpKey::default() };
        maps.set::<Eps>(&key(1), &Default::default()).unwrap();
        let full = maps.set::<Eps>(&key(2), &Default::default());
        assert!(matches!(full, Err(MapError::Full { map: "eps" })));
        memory.fail_next(MapId::Eps, 1);
        let injected = maps.set::<Eps>(&key(1), &Default::default());
        assert!(matches!(injected, Err(MapError::Injected { map: "eps" })));
        maps.set::<Eps>(&key(1), &Default::default()).unwrap();
    }
}
