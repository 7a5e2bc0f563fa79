//! The kernel's maps behind [`Backing`]: batches for hashes, shared memory for mmapable arrays.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::map::{Backing, Elements, MMAPABLE, MapError, MapId, MapType, Maps};
use crate::pin::Pins;
use crate::sys;

type Bytes = Vec<u8>;

struct OpenMap {
    fd: OwnedFd,
    size: u32,
    memory: Option<sys::Mapping>,
}

/// All maps of one pin directory, open.
pub(crate) struct KernelMaps {
    maps: BTreeMap<MapId, OpenMap>,
    cpus: usize,
}

/// Bytes from one element to the next, in arrays and in per-CPU values.
const fn stride(map: MapId) -> usize {
    (map.spec().value_size as usize).next_multiple_of(8)
}

impl Maps {
    /// Opens the pinned maps without loading a program: for looking at a node whose daemon may be
    /// dead.
    ///
    /// # Errors
    /// `Kernel` if nothing is pinned there, or by a program with other layouts.
    pub fn open_pinned(pins: &Pins) -> Result<Self, MapError> {
        Ok(Self::new(std::sync::Arc::new(KernelMaps::open(pins)?)))
    }
}

impl KernelMaps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, MapError> {
        let mut maps = BTreeMap::new();
        for id in MapId::ALL.iter().copied() {
            maps.insert(id, OpenMap::open(pins, id).map_err(|e| failure(id, "open", e))?);
        }
        let cpus = aya::util::nr_cpus()
            .map_err(|(_, error)| failure(MapId::Drops, "counting CPUs of", error))?;
        Ok(Self { maps, cpus })
    }

    fn map(&self, id: MapId) -> &OpenMap {
        self.maps.get(&id).expect("open() opened every map")
    }

    fn fd(&self, id: MapId) -> BorrowedFd<'_> {
        self.map(id).fd.as_fd()
    }

    fn value_len(&self, id: MapId) -> usize {
        match id.spec().kind {
            MapType::PercpuArray => stride(id) * self.cpus,
            MapType::Hash
            | MapType::Array
            | MapType::LruHash
            | MapType::LpmTrie
            | MapType::Ringbuf => id.spec().value_size as usize,
        }
    }

    /// Offset of `count` elements from `first` on, if they are inside the map.
    fn offset(&self, id: MapId, first: u32, count: usize) -> Result<usize, MapError> {
        let end = first as usize + count;
        if end > self.map(id).size as usize {
            return Err(MapError::OutOfRange { map: id.name(), index: first });
        }
        Ok(first as usize * stride(id))
    }

    fn memory(&self, id: MapId) -> Result<&sys::Mapping, MapError> {
        let none = || failure(id, "mapping", io::Error::from_raw_os_error(libc::EPERM));
        self.map(id).memory.as_ref().ok_or_else(none)
    }

    fn update_one(&self, id: MapId, key: &[u8], value: &[u8]) -> Result<(), MapError> {
        match (&self.map(id).memory, u32_of(key)) {
            (Some(memory), Some(index)) => {
                memory.write(self.offset(id, index, 1)?, value);
                Ok(())
            }
            _ => sys::map_update(self.fd(id), key, &self.for_every_cpu(id, value))
                .map_err(|e| failure(id, "update", e)),
        }
    }

    /// A per-CPU element is written with one value for each CPU.
    fn for_every_cpu<'a>(&self, id: MapId, value: &'a [u8]) -> Cow<'a, [u8]> {
        if id.spec().kind != MapType::PercpuArray {
            return Cow::Borrowed(value);
        }
        let mut one = value.to_vec();
        one.resize(stride(id), 0);
        Cow::Owned(one.repeat(self.cpus))
    }

    /// Writes a batch; what the kernel's batch call could not take is written one by one.
    fn update_hash(&self, id: MapId, keys: &[u8], values: &[u8]) -> Result<(), MapError> {
        let count = u32::try_from(keys.len() / id.spec().key_size as usize)
            .map_err(|e| failure(id, "update", io::Error::other(e)))?;
        let (done, result) = sys::map_update_batch(self.fd(id), keys, values, count);
        if result.is_ok() {
            return Ok(());
        }
        // ENOMEM on a fresh NO_PREALLOC map is transient; single inserts tell the real error.
        elements(id, keys, values)
            .skip(done as usize)
            .try_for_each(|(key, value)| self.update_one(id, key, value))
    }

    fn dump_hash(&self, id: MapId, chunk: u32) -> io::Result<Elements> {
        let spec = id.spec();
        let (key_size, value_size) = (spec.key_size as usize, spec.value_size as usize);
        let (mut chunk, mut cursor, mut out) = (chunk, Vec::new(), Elements::default());
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        loop {
            keys.resize(key_size * chunk as usize, 0);
            values.resize(value_size * chunk as usize, 0);
            let read =
                sys::map_lookup_batch(self.fd(id), &mut cursor, &mut keys, &mut values, chunk);
            let (count, end) = match read {
                // A bucket did not fit.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    chunk = chunk.saturating_mul(2);
                    continue;
                }
                other => other?,
            };
            out.keys.extend(keys.iter().take(key_size * count as usize));
            out.values.extend(values.iter().take(value_size * count as usize));
            if end {
                return Ok(out);
            }
            std::thread::yield_now();
        }
    }

    fn dump_by_key(&self, id: MapId) -> io::Result<Elements> {
        let mut out = Elements::default();
        let mut next = vec![0; id.spec().key_size as usize];
        loop {
            let last = out.keys.chunks(next.len()).next_back();
            match sys::map_next_key(self.fd(id), last, &mut next) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(out),
                other => other?,
            }
            let mut value = vec![0; self.value_len(id)];
            match sys::map_lookup(self.fd(id), &next, &mut value) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(out),
                other => other?,
            }
            out.keys.extend_from_slice(&next);
            out.values.extend(value);
        }
    }

    fn dump_array(&self, id: MapId) -> Result<Elements, MapError> {
        let size = self.map(id).size;
        let keys = (0..size).flat_map(u32::to_ne_bytes).collect();
        Ok(Elements { keys, values: self.read_range(id, 0, size)? })
    }
}

/// Takes elements apart.
fn elements<'a>(
    map: MapId,
    keys: &'a [u8],
    values: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let spec = map.spec();
    keys.chunks(spec.key_size as usize).zip(values.chunks(spec.value_size as usize))
}

impl OpenMap {
    fn open(pins: &Pins, id: MapId) -> io::Result<Self> {
        let fd = sys::obj_get(&pins.map(id))?;
        let size = sys::map_info(fd.as_fd())?.max_entries;
        let memory = match id.spec().flags & MMAPABLE {
            0 => None,
            _ => Some(sys::Mapping::new(fd.as_fd(), stride(id) * size as usize)?),
        };
        Ok(Self { fd, size, memory })
    }
}

impl Backing for KernelMaps {
    fn lookup(&self, map: MapId, key: &[u8]) -> Result<Option<Bytes>, MapError> {
        let mut value = vec![0; self.value_len(map)];
        if let (Some(memory), Some(index)) = (&self.map(map).memory, u32_of(key)) {
            memory.read(self.offset(map, index, 1)?, &mut value);
            return Ok(Some(value));
        }
        match sys::map_lookup(self.fd(map), key, &mut value) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
                Err(failure(map, "lookup", error))
            }
            Err(_) => match (map.spec().kind, u32_of(key)) {
                (MapType::Array | MapType::PercpuArray, Some(index)) => {
                    Err(MapError::OutOfRange { map: map.name(), index })
                }
                _ => Ok(None),
            },
        }
    }

    fn update(&self, map: MapId, keys: &[u8], values: &[u8]) -> Result<(), MapError> {
        let many = keys.len() > map.spec().key_size as usize;
        if many && matches!(map.spec().kind, MapType::Hash | MapType::LruHash) {
            return self.update_hash(map, keys, values);
        }
        elements(map, keys, values).try_for_each(|(key, value)| self.update_one(map, key, value))
    }

    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool, MapError> {
        match sys::map_delete(self.fd(map), key) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(failure(map, "delete", error)),
        }
    }

    fn dump(&self, map: MapId, chunk: u32) -> Result<Elements, MapError> {
        let listed = match map.spec().kind {
            MapType::Hash | MapType::LruHash => self.dump_hash(map, chunk),
            MapType::Array if self.map(map).memory.is_some() => return self.dump_array(map),
            MapType::Array | MapType::PercpuArray | MapType::LpmTrie | MapType::Ringbuf => {
                self.dump_by_key(map)
            }
        };
        listed.map_err(|error| failure(map, "listing", error))
    }

    fn store_word(&self, map: MapId, index: u32, offset: u32, word: u64) -> Result<(), MapError> {
        let start = self.offset(map, index, 1)?;
        self.memory(map)?.store(start + offset as usize, word);
        Ok(())
    }

    fn write_range(&self, map: MapId, first: u32, bytes: &[u8]) -> Result<(), MapError> {
        let size = map.spec().value_size as usize;
        let start = self.offset(map, first, bytes.len() / size)?;
        let memory = self.memory(map)?;
        for (i, value) in bytes.chunks_exact(size).enumerate() {
            memory.write(start + i * stride(map), value);
        }
        Ok(())
    }

    fn read_range(&self, map: MapId, first: u32, count: u32) -> Result<Bytes, MapError> {
        let size = map.spec().value_size as usize;
        let start = self.offset(map, first, count as usize)?;
        let memory = self.memory(map)?;
        let mut out = vec![0; size * count as usize];
        for (i, value) in out.chunks_exact_mut(size).enumerate() {
            memory.read(start + i * stride(map), value);
        }
        Ok(out)
    }

    fn capacity(&self, map: MapId) -> u32 {
        self.map(map).size
    }
}

fn u32_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(key.try_into().ok()?))
}

fn failure(map: MapId, call: &'static str, source: io::Error) -> MapError {
    match source.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC) => MapError::Full { map: map.name() },
        _ => MapError::Kernel { map: map.name(), call, source },
    }
}
