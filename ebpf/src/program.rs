//! Loads the object, attaches its programs, replaces them without a gap, and lists what is there.
//!
//! Links are pinned and never dropped on exit: a program on a device lives as long as the device
//! (tcx, clsact) or the pin (cgroup). [`Dataplane::load`] gives every pinned link the programs of
//! this object (`BPF_LINK_UPDATE`, atomic); [`Dataplane::attach`] is idempotent.
//!
//! Interface indexes belong to the calling thread's network namespace: attach from inside it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aya::programs::{CgroupSock, CgroupSockAddr, Program, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use thiserror::Error;

use crate::kernel::KernelMaps;
use crate::map::{MapError, MapId, Maps};
use crate::pin::{PinError, Pins};

/// The compiled object.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/swarmnet.bpf.o"));

/// A tc program, named by the kind of device it belongs on; always ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Host side of an overlay attachment (`swo…`).
    Task,
    /// Host side of a gateway attachment (`swg…`).
    Gateway,
    /// The VXLAN device (`swn-vx`).
    Tunnel,
    /// A NIC that holds the node's address. Needs an entry in `ifaces` with `IFACE_UPLINK` and
    /// the NIC's own MAC.
    Uplink,
    /// The mesh end of the host pair (`swn-hostp`).
    HostPair,
}

impl Hook {
    /// All hooks.
    pub const ALL: &[Self] =
        &[Self::Task, Self::Gateway, Self::Tunnel, Self::Uplink, Self::HostPair];

    /// Returns the program's name in the object and in the kernel.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Task => "sn_from_task",
            Self::Gateway => "sn_from_gw",
            Self::Tunnel => "sn_from_net",
            Self::Uplink => "sn_from_uplink",
            Self::HostPair => "sn_from_host",
        }
    }

    pub(crate) fn of_program(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hook| hook.program() == name)
    }
}

/// Name of one of the socket programs in [`Dataplane::attached`]: they are attached together.
pub const SOCKET_PROGRAM: &str = "sn_connect4";

/// Cgroup programs and their kernel attach types.
pub(crate) const CGROUP_PROGRAMS: &[(&str, u32)] = &[
    ("sn_connect4", 10),
    ("sn_connect6", 11),
    ("sn_sendmsg4", 14),
    ("sn_sendmsg6", 15),
    ("sn_recvmsg4", 19),
    ("sn_recvmsg6", 20),
    ("sn_getpeername4", 29),
    ("sn_getpeername6", 30),
    ("sn_sock_release", 34),
];

/// How to attach to devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// tcx where the kernel has it (6.6), else clsact.
    #[default]
    Auto,
    /// tcx or fail.
    Tcx,
    /// A clsact filter, preference 1, handle 1, even where tcx exists.
    Clsact,
}

/// What to load and where.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Mount point of a bpffs (normally `/sys/fs/bpf`).
    pub bpffs: PathBuf,
    /// How to attach.
    pub mode: AttachMode,
    /// Map sizes other than the defaults; only for maps that are not pinned yet.
    pub sizes: BTreeMap<MapId, u32>,
    /// Builds the programs' test variant: redirects are recorded in `test_out`, device and tunnel
    /// key come from `test_in`. Never for real traffic.
    pub test: bool,
}

/// Why the data plane could not be loaded or attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// Pins are unusable.
    #[error("preparing the pins")]
    Pins(#[from] PinError),
    /// The kernel refused the object; the source has the verifier's words.
    #[error("loading the eBPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel refused a program; the source has the verifier's words.
    #[error("loading program {program}")]
    Program {
        /// Name of the program.
        program: String,
        /// Its answer.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object misses a program.
    #[error("the object has no program {program}")]
    NoProgram {
        /// Name of the program.
        program: &'static str,
    },
    /// A map could not be opened or mapped.
    #[error("opening the maps")]
    Maps(#[from] MapError),
    /// The kernel refused to attach.
    #[error("attaching {program} to {target}")]
    Attach {
        /// Name of the program.
        program: &'static str,
        /// Device or cgroup.
        target: String,
        /// Its answer.
        source: io::Error,
    },
    /// The kernel refused to attach a clsact filter.
    #[error("attaching {program} to {target} as a clsact filter")]
    Filter {
        /// Name of the program.
        program: &'static str,
        /// Device.
        target: String,
        /// Its answer.
        source: Box<aya::programs::ProgramError>,
    },
}

/// How a program is attached to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A pinned tcx link.
    Tcx,
    /// A clsact filter.
    Clsact,
}

/// One program on one device or cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Name of the program in the kernel.
    pub program: String,
    /// Interface index; 0 for a cgroup program, and for a link whose device is gone.
    pub ifindex: u32,
    /// How; cgroup programs count as links.
    pub via: Via,
    /// Pin of the link; none for clsact.
    pub pin: Option<PathBuf>,
}

/// The loaded data plane: maps, programs, pins.
pub struct Dataplane {
    pub(crate) maps: Maps,
    pub(crate) pins: Pins,
    pub(crate) mode: AttachMode,
    pub(crate) programs: BTreeMap<String, OwnedFd>,
    /// aya's own handles; only clsact needs them.
    pub(crate) ebpf: Mutex<Ebpf>,
    other_sizes: Vec<(MapId, u32)>,
}

impl std::fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataplane").field("pins", &self.pins).field("mode", &self.mode).finish()
    }
}

impl Dataplane {
    /// Opens or creates the pinned maps, loads all programs against them, and gives them to every
    /// link that is already pinned.
    ///
    /// Nothing is attached that was not attached. Links of devices that are gone are unpinned.
    /// If it fails half way, what ran before keeps running.
    ///
    /// # Errors
    /// `Pins` if `bpffs` is not a bpffs or holds a foreign map, `Load`/`Program` if the kernel
    /// refuses the object (its source has the verifier's words).
    pub fn load(options: &Options) -> Result<Self, DataplaneError> {
        let pins = Pins::new(&options.bpffs);
        pins.create()?;
        pins.adopt_flows()?;
        let size = |map: MapId| options.sizes.get(&map).copied().unwrap_or(map.spec().max_entries);
        let other_sizes = pins.check(size)?;
        let mut ebpf = load_object(&pins, options, &size)?;
        let programs = load_programs(&mut ebpf)?;
        let maps = Maps::new(Arc::new(KernelMaps::open(&pins)?));
        let plane =
            Self { maps, pins, mode: options.mode, programs, ebpf: Mutex::new(ebpf), other_sizes };
        plane.replace_pinned()?;
        Ok(plane)
    }

    /// Returns the maps.
    #[must_use]
    pub fn maps(&self) -> Maps {
        self.maps.clone()
    }

    /// Returns where maps and links are pinned.
    #[must_use]
    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Returns pinned maps that keep another size than asked for, with their size.
    #[must_use]
    pub fn other_sizes(&self) -> &[(MapId, u32)] {
        &self.other_sizes
    }

    /// Removes all pins: programs leave tcx devices and cgroups, maps vanish. `swarm leave` only.
    ///
    /// clsact filters stay until their device goes or [`Self::detach`] is called for it.
    ///
    /// # Errors
    /// `Pins` at the first pin that cannot be removed; calling again continues.
    pub fn remove(&self) -> Result<(), DataplaneError> {
        for other in self.pins.others()? {
            other.remove()?;
        }
        Ok(self.pins.remove()?)
    }
}

/// Returns whether this kernel can set the outer source address of a tunnel key (6.0).
fn has_tunnel_source() -> bool {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let major = release.split('.').next().and_then(|part| part.parse::<u32>().ok());
    major.is_some_and(|major| major >= 6)
}

fn load_object(
    pins: &Pins,
    options: &Options,
    size: &dyn Fn(MapId) -> u32,
) -> Result<Ebpf, DataplaneError> {
    let tunnel_source = u32::from(has_tunnel_source());
    let test = u32::from(options.test);
    let mut loader = EbpfLoader::new();
    loader
        .default_map_pin_directory(pins.maps())
        .override_global("swn_tunnel_src", &tunnel_source, true)
        .override_global("swn_test", &test, true);
    for map in MapId::ALL {
        loader.map_max_entries(map.name(), size(*map));
    }
    loader.load(OBJECT).map_err(|error| DataplaneError::Load(Box::new(error)))
}

fn load_programs(ebpf: &mut Ebpf) -> Result<BTreeMap<String, OwnedFd>, DataplaneError> {
    let mut programs = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        let fd = load_program(program).map_err(|source| DataplaneError::Program {
            program: name.to_owned(),
            source: Box::new(source),
        })?;
        programs.insert(name.to_owned(), fd);
    }
    Ok(programs)
}

fn load_program(program: &mut Program) -> Result<OwnedFd, aya::programs::ProgramError> {
    if let Ok(tc) = <&mut SchedClassifier>::try_from(&mut *program) {
        tc.load()?;
    } else if let Ok(addr) = <&mut CgroupSockAddr>::try_from(&mut *program) {
        addr.load()?;
    } else {
        <&mut CgroupSock>::try_from(&mut *program)?.load()?;
    }
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}
