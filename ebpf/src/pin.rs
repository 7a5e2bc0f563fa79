//! Where maps and links are pinned, and what keeps a pin of another layout from being used.
//!
//! ```text
//! <bpffs>/swarmnet/<abi>/maps/<name>
//!                       /links/vx   /links/hostp   /links/uplink-<if>
//!                       /links/veth/<if>   /links/cgroup/<program>
//! ```
//! `<abi>` is a hash of all layouts and map types ([`abi_hash`]): a daemon with other layouts
//! starts beside the old maps, and takes the links over once its own maps are right. bpffs is per
//! mount, so every lab host has its own.

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
        for path in [self.maps(), self.links().join("veth"), self.links().join("cgroup")] {
            std::fs::create_dir_all(&path)
                .map_err(|source| PinError::Directory { path, source })?;
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

/// Returns the hash of all layouts, enums and map types, 16 hexadecimal digits.
///
/// Enums count too: an old program and a new daemon must not disagree about what a number in a map
/// means. Drop reasons do not: they are append-only. FNV-1a over a text, the same everywhere.
#[must_use]
pub fn abi_hash() -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for layout in abi::STRUCTS.iter().filter(|layout| !layout.name.starts_with("test_")) {
        hash.add(&format!("{layout:?}"));
    }
    let enums = abi::ENUMS.iter();
    for layout in enums.filter(|e| !e.name.starts_with("test_") && e.name != "drop_reason") {
        hash.add(&format!("{layout:?}"));
    }
    for map in MapId::ALL {
        let spec = map.spec();
        let (kind, flags) = (spec.kind as u32, spec.flags);
        hash.add(&format!("{} {kind} {flags} {} {}", spec.name, spec.key_size, spec.value_size));
    }
    hash.add(EVENTS);
    format!("{:016x}", hash.0)
}

struct Fnv(u64);

impl Fnv {
    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
