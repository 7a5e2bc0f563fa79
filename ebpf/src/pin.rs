//! Where maps and links are pinned, and what keeps a pin of another layout from being used.
//!
//! ```text
//! <bpffs>/swarmnet/<abi>/maps/<name>
//!                       /links/vx   /links/hostp   /links/uplink-<if>
//!                       /links/veth/<if>   /links/cgroup/<program>
//!                       /flows-<layouts of the flow maps>
//! ```
//! `<abi>` is a hash of all layouts and map types ([`abi_hash`]): a daemon with other layouts
//! starts beside the old maps, and takes the links over once its own maps are right. Maps that only
//! packets fill ([`FLOW_MAPS`]) are used by both as long as their own layouts are the same, which the
//! name of an empty directory tells ([`flow_hash`]). bpffs is per mount, so every lab host has its own.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::abi;
use crate::map::{EVENTS, MapId};
use crate::program::Hook;
use crate::sys;

/// Why pins could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The directory is not on a bpffs, or not writable.
    #[error("creating {path} (is a bpffs mounted there?)")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// A pinned map is not the map of that name; remove the directory after stopping the daemon.
    #[error("pinned map {path} has {field} {found}, expected {expected}")]
    Mismatch {
        /// The pin.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// In the kernel.
        found: u32,
        /// In this program.
        expected: u32,
    },
    /// The kernel refused.
    #[error("{call} {path}")]
    Kernel {
        /// What was tried.
        call: &'static str,
        /// The pin.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Paths of one data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Returns the paths under a bpffs mount, for the layouts of this program.
    #[must_use]
    pub fn new(bpffs: &Path) -> Self {
        Self { root: bpffs.join("swarmnet").join(abi_hash()) }
    }

    /// Returns `<bpffs>/swarmnet/<abi>`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of the maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Returns the pin of a map.
    #[must_use]
    pub fn map(&self, map: MapId) -> PathBuf {
        self.maps().join(map.name())
    }

    /// Returns the directory whose name tells the layouts of the flow maps.
    #[must_use]
    pub fn flows(&self) -> PathBuf {
        self.root.join(format!("flows-{}", flow_hash()))
    }

    /// Returns the directory of the links.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Returns the pin of a device's link.
    #[must_use]
    pub fn link(&self, hook: Hook, ifname: &str) -> PathBuf {
        // bpffs refuses names with a dot (VLAN devices: eth0.5), so they are written with '%'.
        let ifname = ifname.replace('.', "%");
        match hook {
            Hook::Tunnel => self.links().join("vx"),
            Hook::HostPair => self.links().join("hostp"),
            Hook::Uplink => self.links().join(format!("uplink-{ifname}")),
            Hook::Task | Hook::Gateway => self.links().join("veth").join(ifname),
        }
    }

    /// Returns the pin of a cgroup program's link.
    #[must_use]
    pub fn cgroup_link(&self, program: &str) -> PathBuf {
        self.links().join("cgroup").join(program)
    }

    /// Returns what versions with other layouts have left beside these.
    ///
    /// # Errors
    /// `Kernel` if the directory cannot be read.
    pub fn others(&self) -> Result<Vec<Self>, PinError> {
        let Some(parent) = self.root.parent() else { return Ok(Vec::new()) };
        let list = || -> io::Result<Vec<Self>> {
            let mut others = Vec::new();
            for entry in std::fs::read_dir(parent)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() && entry.path() != self.root {
                    others.push(Self { root: entry.path() });
                }
            }
            Ok(others)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|source| {
                let path = parent.to_path_buf();
                PinError::Kernel { call: "listing", path, source }
            }),
        }
    }

    /// Returns every pinned link of a device or cgroup.
    pub(crate) fn all_links(&self) -> io::Result<Vec<PathBuf>> {
        let links = self.links();
        let mut out = Vec::new();
        for dir in [links.clone(), links.join("veth"), links.join("cgroup")] {
            let entries = match std::fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    out.push(entry.path());
                }
            }
        }
        out.sort();
        Ok(out)
    }

    /// Returns the path that a pin of `other` has here.
    pub(crate) fn same_here(&self, other: &Self, pin: &Path) -> PathBuf {
        self.root.join(pin.strip_prefix(&other.root).unwrap_or(pin))
    }

    /// Creates all directories.
    ///
    /// # Errors
    /// `Directory` if the path is not on a bpffs.
    pub fn create(&self) -> Result<(), PinError> {
        let links = ["veth", "cgroup"].map(|kind| self.links().join(kind));
        for path in [self.maps(), self.flows()].into_iter().chain(links) {
            std::fs::create_dir_all(&path)
                .map_err(|source| PinError::Directory { path, source })?;
        }
        Ok(())
    }

    /// Pins the flow maps of an earlier version here too, where its flows look as ours do and we have
    /// none: an answer that is under way while programs change needs its flow.
    ///
    /// # Errors
    /// `Kernel` if a pin cannot be read or made.
    pub(crate) fn adopt_flows(&self) -> Result<(), PinError> {
        for other in self.others()? {
            let theirs =
                other.root.join(self.flows().strip_prefix(&self.root).unwrap_or(&self.root));
            if !theirs.is_dir() {
                continue;
            }
            for map in FLOW_MAPS {
                let path = self.map(map);
                pin_also(&other.map(map), &path).map_err(|source| PinError::Kernel {
                    call: "adopting",
                    path,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Compares every pinned map with what this program expects.
    ///
    /// Returns the maps whose size differs from `size_of_map`: they stay as they are, since live
    /// flows are in them; type, key, value and flags must fit.
    ///
    /// # Errors
    /// `Mismatch` if a pin is not our map.
    pub fn check(&self, size_of_map: impl Fn(MapId) -> u32) -> Result<Vec<(MapId, u32)>, PinError> {
        let mut other_size = Vec::new();
        for map in MapId::ALL.iter().copied() {
            let path = self.map(map);
            let fd = match sys::obj_get(&path) {
                Ok(fd) => fd,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(PinError::Kernel { call: "opening", path, source }),
            };
            let info = sys::map_info(fd.as_fd()).map_err(|source| PinError::Kernel {
                call: "reading",
                path: path.clone(),
                source,
            })?;
            compare(&path, map, &info)?;
            if info.max_entries != size_of_map(map) {
                other_size.push((map, info.max_entries));
            }
        }
        Ok(other_size)
    }

    /// Unpins everything of this layout. Links that are pinned nowhere else end, and programs with
    /// them.
    ///
    /// # Errors
    /// `Kernel` at the first pin that cannot be removed; calling again continues.
    pub fn remove(&self) -> Result<(), PinError> {
        match std::fs::remove_dir_all(&self.root) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(PinError::Kernel { call: "removing", path: self.root.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

fn compare(path: &Path, map: MapId, info: &sys::MapInfo) -> Result<(), PinError> {
    let spec = map.spec();
    let pairs = [
        ("type", info.kind, spec.kind as u32),
        ("key size", info.key_size, spec.key_size),
        ("value size", info.value_size, spec.value_size),
        ("flags", info.flags, spec.flags),
    ];
    match pairs.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((field, found, expected)) => {
            Err(PinError::Mismatch { path: path.to_path_buf(), field, found, expected })
        }
    }
}

/// Pins a pinned map a second time; nothing if there is none, or the second pin exists.
fn pin_also(map: &Path, pin: &Path) -> io::Result<()> {
    if pin.exists() {
        return Ok(());
    }
    match sys::obj_get(map) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        fd => sys::obj_pin(fd?.as_fd(), pin),
    }
}

/// What packets leave behind: flows with the numbers that stand for nodes, services and backends
/// until the next boot, whatever version gave them, and which attachments have some.
pub const FLOW_MAPS: [MapId; 4] = [MapId::Ct, MapId::Frags, MapId::SockRev, MapId::Lflags];

const FLOW_STRUCTS: [&str; 6] =
    ["ct_key", "ct_val", "frag_key", "frag_val", "sock_key", "sock_val"];
const FLOW_ENUMS: [&str; 4] = ["ct_dir", "ct_flag", "lflag", "reserved_vni"];

/// Returns the hash of the layouts and enums of [`FLOW_MAPS`], 16 hexadecimal digits.
#[must_use]
pub fn flow_hash() -> String {
    let mut hash = Fnv::new();
    hash.add_layouts(|name| FLOW_STRUCTS.contains(&name), |name| FLOW_ENUMS.contains(&name));
    FLOW_MAPS.iter().for_each(|map| hash.add_map(*map));
    hash.text()
}

/// Returns the hash of all layouts, enums and map types, 16 hexadecimal digits.
///
/// Enums count too: an old program and a new daemon must not disagree about what a number in a map
/// means. Drop reasons do not: they are append-only.
#[must_use]
pub fn abi_hash() -> String {
    let is_real = |name: &str| !name.starts_with("test_");
    let mut hash = Fnv::new();
    hash.add_layouts(is_real, |name| is_real(name) && name != "drop_reason");
    MapId::ALL.iter().for_each(|map| hash.add_map(*map));
    hash.add(EVENTS);
    hash.text()
}

/// FNV-1a over a text, the same everywhere.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn add_layouts(&mut self, structs: impl Fn(&str) -> bool, enums: impl Fn(&str) -> bool) {
        for layout in abi::STRUCTS.iter().filter(|layout| structs(layout.name)) {
            self.add(&format!("{layout:?}"));
        }
        for layout in abi::ENUMS.iter().filter(|layout| enums(layout.name)) {
            self.add(&format!("{layout:?}"));
        }
    }

    fn add_map(&mut self, map: MapId) {
        let spec = map.spec();
        let (kind, flags) = (spec.kind as u32, spec.flags);
        self.add(&format!("{} {kind} {flags} {} {}", spec.name, spec.key_size, spec.value_size));
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_of_the_flow_maps_is_in_their_hash() {
        let structs: Vec<_> = abi::STRUCTS.iter().map(|layout| layout.name).collect();
        let enums: Vec<_> = abi::ENUMS.iter().map(|layout| layout.name).collect();
        assert!(FLOW_STRUCTS.iter().all(|name| structs.contains(name)), "{structs:?}");
        assert!(FLOW_ENUMS.iter().all(|name| enums.contains(name)), "{enums:?}");
        assert_ne!(flow_hash(), abi_hash());
    }
}
