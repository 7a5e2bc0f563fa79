//! Typed access to every map of the data plane, behind a trait.
//!
//! [`Maps`] is a cheap handle; `M` names the map: `maps.set::<Eps>(&key, &value)`. Behind it is a
//! [`Backing`]: the kernel's maps ([`crate::program::Dataplane::maps`]), or [`crate::memory::MemoryMaps`]
//! for unit tests, which can fail on demand. The table at the end of this file is the only place
//! where map names occur in Rust.
//!
//! Write order of a service (adding): `eps`, `backends` → [`Maps::write_slots`] into a free range →
//! [`Maps::store_sel`] / [`Maps::store_mg`] → `ports`; removal in the reverse order.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::abi::{
    AllowKey, Asker, Backend, Be32, Budget, ConfValue, Counter, CtKey, CtValue, Ep, EpKey, EpStat,
    FragKey, FragValue, Iface, MeshKey, MeshTarget, NetnsValue, Node, Peer, Plain, Port, PortKey,
    Probe, Service, SlotRange, SockKey, SockValue, SvcStat, VniValue,
};

/// Why an access to a map did not happen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// No room for another element.
    #[error("map {map} is full")]
    Full {
        /// Name of the map.
        map: &'static str,
    },
    /// The key lies outside the array.
    #[error("map {map} has no element {index}")]
    OutOfRange {
        /// Name of the map.
        map: &'static str,
        /// The element asked for.
        index: u32,
    },
    /// The kernel refused.
    #[error("{call} on map {map}")]
    Kernel {
        /// Name of the map.
        map: &'static str,
        /// What was tried.
        call: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The bytes do not have the expected length; the map is not ours.
    #[error("map {map} holds elements of another layout")]
    Layout {
        /// Name of the map.
        map: &'static str,
    },
    /// A failure ordered by a test.
    #[error("injected failure on map {map}")]
    Injected {
        /// Name of the map.
        map: &'static str,
    },
}

/// Kernel map types in use; the discriminants are the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MapType {
    /// BPF_MAP_TYPE_HASH.
    Hash = 1,
    /// BPF_MAP_TYPE_ARRAY.
    Array = 2,
    /// BPF_MAP_TYPE_PERCPU_ARRAY.
    PercpuArray = 6,
    /// BPF_MAP_TYPE_LRU_HASH.
    LruHash = 9,
    /// BPF_MAP_TYPE_LPM_TRIE.
    LpmTrie = 11,
    /// BPF_MAP_TYPE_RINGBUF.
    Ringbuf = 27,
}

/// Creation flag BPF_F_NO_PREALLOC.
pub const NO_PREALLOC: u32 = 1;
/// Creation flag BPF_F_MMAPABLE.
pub const MMAPABLE: u32 = 1 << 10;

/// What a map is, apart from its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSpec {
    /// Which one.
    pub id: MapId,
    /// Name in the object and under `maps/`.
    pub name: &'static str,
    /// Kernel type.
    pub kind: MapType,
    /// Creation flags.
    pub flags: u32,
    /// Key size in bytes.
    pub key_size: u32,
    /// Value size in bytes.
    pub value_size: u32,
    /// Size unless configured.
    pub max_entries: u32,
}

/// A map as a type: which one, and what it holds.
pub trait TypedMap {
    /// Which map.
    const ID: MapId;
    /// Key in kernel layout.
    type Key: Plain + Ord;
    /// Value in kernel layout; for per-CPU maps the value of one CPU.
    type Value: Plain;
}

/// Elements as bytes: all keys one after the other, and all values in the same order.
#[derive(Debug, Default)]
pub struct Elements {
    /// Each of the map's key size.
    pub keys: Vec<u8>,
    /// Each of the map's value size.
    pub values: Vec<u8>,
}

/// Byte-level access to all maps; object safe, implemented by the kernel and by the fake.
///
/// Array elements always exist: `lookup` of one inside the range is never `None`, and `delete` of
/// one is an error. Per-CPU maps return the values of all CPUs one after the other.
pub trait Backing: Send + Sync {
    /// Returns the value of `key`.
    fn lookup(&self, map: MapId, key: &[u8]) -> Result<Option<Vec<u8>>, MapError>;
    /// Creates or replaces elements, in order; on error the earlier ones are written.
    fn update(&self, map: MapId, keys: &[u8], values: &[u8]) -> Result<(), MapError>;
    /// Removes `key`; false if it was not there.
    fn delete(&self, map: MapId, key: &[u8]) -> Result<bool, MapError>;
    /// Returns all elements, reading about `chunk` at a time and yielding the CPU in between.
    fn dump(&self, map: MapId, chunk: u32) -> Result<Elements, MapError>;
    /// Stores one aligned word of an array element so that BPF sees all earlier writes first.
    fn store_word(&self, map: MapId, index: u32, offset: u32, word: u64) -> Result<(), MapError>;
    /// Writes consecutive elements of an array.
    fn write_range(&self, map: MapId, first: u32, bytes: &[u8]) -> Result<(), MapError>;
    /// Returns `count` consecutive elements of an array.
    fn read_range(&self, map: MapId, first: u32, count: u32) -> Result<Vec<u8>, MapError>;
    /// Returns the number of elements the map has room for.
    fn capacity(&self, map: MapId) -> u32;
}

/// Elements read at a time by [`Maps::entries`].
const DUMP_CHUNK: u32 = 4096;

/// Handle to all maps of one data plane.
#[derive(Clone)]
pub struct Maps(Arc<dyn Backing>);

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maps")
    }
}

impl Maps {
    /// Returns a handle to `backing`.
    #[must_use]
    pub fn new(backing: Arc<dyn Backing>) -> Self {
        Self(backing)
    }

    /// Returns the value of `key`, for array maps always one.
    ///
    /// # Errors
    /// The kernel refused, or a test ordered it (so for every method here).
    pub fn get<M: TypedMap>(&self, key: &M::Key) -> Result<Option<M::Value>, MapError> {
        match self.0.lookup(M::ID, key.as_bytes())? {
            Some(bytes) => Ok(Some(value::<M>(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Creates or replaces one element.
    ///
    /// # Errors
    /// `Full` if there is no room.
    pub fn set<M: TypedMap>(&self, key: &M::Key, value: &M::Value) -> Result<(), MapError> {
        self.0.update(M::ID, key.as_bytes(), value.as_bytes())
    }

    /// Creates or replaces many elements, batched where the kernel can.
    ///
    /// # Errors
    /// `Full` if there is no room; the elements before are written.
    pub fn set_many<M: TypedMap>(
        &self,
        elements: impl IntoIterator<Item = (M::Key, M::Value)>,
    ) -> Result<(), MapError> {
        let mut bytes = Elements::default();
        for (key, value) in elements {
            bytes.keys.extend_from_slice(key.as_bytes());
            bytes.values.extend_from_slice(value.as_bytes());
        }
        self.0.update(M::ID, &bytes.keys, &bytes.values)
    }

    /// Removes an element; false if it was not there.
    ///
    /// # Errors
    /// `Kernel` for array maps, whose elements cannot be removed.
    pub fn delete<M: TypedMap>(&self, key: &M::Key) -> Result<bool, MapError> {
        self.0.delete(M::ID, key.as_bytes())
    }

    /// Returns all elements, keyed. Concurrent writers may or may not be seen.
    ///
    /// # Errors
    /// `Layout` if the map is not what this program expects.
    pub fn entries<M: TypedMap>(&self) -> Result<BTreeMap<M::Key, M::Value>, MapError> {
        let Elements { keys, values } = self.0.dump(M::ID, DUMP_CHUNK)?;
        let keys = keys.chunks(size_of::<M::Key>()).map(M::Key::from_bytes);
        let values = values.chunks(size_of::<M::Value>()).map(M::Value::from_bytes);
        let fit = keys.len() == values.len();
        let elements = keys.zip(values).map(|(key, value)| key.zip(value));
        let elements = fit.then(|| elements.collect::<Option<_>>()).flatten();
        elements.ok_or(MapError::Layout { map: M::ID.name() })
    }

    /// Returns one element of a per-CPU map: one value per CPU.
    ///
    /// # Errors
    /// `OutOfRange` beyond the map's size.
    pub fn per_cpu<M: TypedMap>(&self, key: &M::Key) -> Result<Vec<M::Value>, MapError> {
        let bytes = self.0.lookup(M::ID, key.as_bytes())?.unwrap_or_default();
        bytes.chunks(size_of::<M::Value>()).map(value::<M>).collect()
    }

    /// Returns the number of elements a map has room for.
    #[must_use]
    pub fn capacity<M: TypedMap>(&self) -> u32 {
        self.0.capacity(M::ID)
    }

    /// Switches a service's VIP to a slot range: one atomic release store.
    ///
    /// # Errors
    /// `OutOfRange` for an index the map has not.
    pub fn store_sel(&self, svc: u32, range: SlotRange) -> Result<(), MapError> {
        self.0.store_word(MapId::Svc, svc, 0, range.pack())
    }

    /// Switches a service's mesh table to a slot range: one atomic release store.
    ///
    /// # Errors
    /// `OutOfRange` for an index the map has not.
    pub fn store_mg(&self, svc: u32, range: SlotRange) -> Result<(), MapError> {
        self.0.store_word(MapId::Svc, svc, 8, range.pack())
    }

    /// Switches a service's table of local backends: one atomic release store.
    ///
    /// # Errors
    /// `OutOfRange` for an index the map has not.
    pub fn store_mgl(&self, svc: u32, range: SlotRange) -> Result<(), MapError> {
        self.0.store_word(MapId::Svc, svc, 16, range.pack())
    }

    /// Fills a range of slots with backend ids. Only for a range no service uses.
    ///
    /// # Errors
    /// `OutOfRange` if the range does not fit.
    pub fn write_slots(&self, base: u32, backends: &[u32]) -> Result<(), MapError> {
        let bytes: Vec<u8> = backends.iter().flat_map(|id| id.to_ne_bytes()).collect();
        self.0.write_range(MapId::Slots, base, &bytes)
    }

    /// Returns the backend ids in a range of slots.
    ///
    /// # Errors
    /// `OutOfRange` if the range does not fit.
    pub fn slots(&self, base: u32, count: u32) -> Result<Vec<u32>, MapError> {
        let bytes = self.0.read_range(MapId::Slots, base, count)?;
        Ok(bytes.chunks_exact(4).filter_map(u32::from_bytes).collect())
    }

    /// Returns packets and bytes of an attachment, summed over all CPUs.
    ///
    /// # Errors
    /// `OutOfRange` beyond the map's size.
    pub fn ep_stat(&self, lidx: u32) -> Result<EpStat, MapError> {
        Ok(self.per_cpu::<EpStats>(&lidx)?.iter().fold(EpStat::default(), |a, b| EpStat {
            rx_packets: a.rx_packets + b.rx_packets,
            rx_bytes: a.rx_bytes + b.rx_bytes,
            tx_packets: a.tx_packets + b.tx_packets,
            tx_bytes: a.tx_bytes + b.tx_bytes,
        }))
    }

    /// Returns the counters of a service, summed over all CPUs.
    ///
    /// # Errors
    /// `OutOfRange` beyond the map's size.
    pub fn svc_stat(&self, svc: u32) -> Result<SvcStat, MapError> {
        Ok(self.per_cpu::<SvcStats>(&svc)?.iter().fold(SvcStat::default(), |a, b| SvcStat {
            packets: a.packets + b.packets,
            bytes: a.bytes + b.bytes,
            flows: a.flows + b.flows,
            refused: a.refused + b.refused,
        }))
    }
}

fn value<M: TypedMap>(bytes: &[u8]) -> Result<M::Value, MapError> {
    M::Value::from_bytes(bytes).ok_or(MapError::Layout { map: M::ID.name() })
}

macro_rules! maps {
    ($($(#[$doc:meta])* $id:ident = $name:literal $kind:ident ($flags:expr) $max:expr,
        $key:ty => $value:ty;)*) => {
        /// Every map of the data plane.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum MapId { $($(#[$doc])* $id,)* }

        impl MapId {
            /// All maps.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            /// Returns type, sizes and name.
            #[must_use]
            #[expect(clippy::cast_possible_truncation, reason = "sizes of small structs")]
            pub const fn spec(self) -> MapSpec {
                match self {
                    $(Self::$id => MapSpec {
                        id: self,
                        name: $name,
                        kind: MapType::$kind,
                        flags: $flags,
                        key_size: size_of::<$key>() as u32,
                        value_size: size_of::<$value>() as u32,
                        max_entries: $max,
                    },)*
                }
            }

            /// Returns the name in the object and under `maps/`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                self.spec().name
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $id {}

            impl TypedMap for $id {
                const ID: MapId = MapId::$id;
                type Key = $key;
                type Value = $value;
            }
        )*
    };
}

maps! {
    /// Node-wide settings, element 0.
    Conf = "conf" Array (MMAPABLE) 1, u32 => ConfValue;
    /// Our devices and the uplinks, by interface index.
    Ifaces = "ifaces" Hash (NO_PREALLOC) 16_384, u32 => Iface;
    /// Overlay addresses: where they are.
    Eps = "eps" Hash (NO_PREALLOC) 262_144, EpKey => Ep;
    /// Outer addresses of the other nodes.
    Peers = "peers" Hash (0) 16_384, Be32 => Peer;
    /// Nodes by index; element 0 is this node.
    Nodes = "nodes" Array (0) 4_096, u32 => Node;
    /// Networks in use here.
    Vnis = "vnis" Hash (0) 16_384, u32 => VniValue;
    /// Services by index.
    Svc = "svc" Array (MMAPABLE) 16_384, u32 => Service;
    /// Backend ids; ranges belong to services.
    Slots = "slots" Array (MMAPABLE) 1_048_576, u32 => u32;
    /// Backends by id.
    Backends = "backends" Hash (NO_PREALLOC) 262_144, u32 => Backend;
    /// Published ports.
    Ports = "ports" Hash (0) 16_384, PortKey => Port;
    /// Addresses of this host and their interface index.
    LocalAddrs = "local_addrs" Hash (0) 1_024, Be32 => u32;
    /// What remote entry nodes may reach here.
    MeshLocal = "mesh_local" Hash (0) 65_536, MeshKey => MeshTarget;
    /// Frames of the connectivity test that are waited for, by nonce.
    Probes = "probes" Hash (NO_PREALLOC) 4_096, u64 => Probe;
    /// Number of the connectivity test that each node's last frame was of.
    Heard = "heard" Array (0) 4_096, u32 => u64;
    /// Flows.
    Ct = "ct" LruHash (0) 131_072, CtKey => CtValue;
    /// Ports of fragmented datagrams.
    Frags = "frags" LruHash (0) 8_192, FragKey => FragValue;
    /// What a socket asked for before socket load balancing.
    SockRev = "sock_rev" LruHash (0) 131_072, SockKey => SockValue;
    /// Overlay attachments by lidx, for answers of the resolver.
    Askers = "askers" Hash (NO_PREALLOC) 8_192, u32 => Asker;
    /// Sandboxes by network namespace cookie.
    Netns = "netns" Hash (0) 16_384, u64 => NetnsValue;
    /// Per attachment: `LFLAG_*`.
    Lflags = "lflags" Array (MMAPABLE) 8_192, u32 => u32;
    /// Clients allowed to use a port with an allow list.
    AllowSrc = "allow_src" LpmTrie (NO_PREALLOC) 16_384, AllowKey => u32;
    /// Dropped packets by reason.
    Drops = "drops" PercpuArray (0) 64, u32 => Counter;
    /// Packets per attachment.
    EpStats = "ep_stats" PercpuArray (0) 8_192, u32 => EpStat;
    /// Packets per service.
    SvcStats = "svc_stats" PercpuArray (0) 16_384, u32 => SvcStat;
    /// What this second has used of the limits.
    BudgetMap = "budget" PercpuArray (0) 1, u32 => Budget;
}

/// Name of the ring buffer, which has no elements to get or set.
pub const EVENTS: &str = "events";
