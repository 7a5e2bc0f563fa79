//! Puts programs on devices and cgroups and takes them off again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};

use crate::program::{AttachMode, Attached, CGROUP_PROGRAMS, Dataplane, DataplaneError, Hook, Via};
use crate::{clsact, sys};

/// Preference and handle of our clsact filter.
const PREFERENCE: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// What is said where tcx was asked for and is missing.
const NO_TCX: &str = "the kernel makes no tcx links (Linux 6.6); attach mode auto takes clsact";

impl Dataplane {
    /// Puts a program on a device of the current network namespace; idempotent.
    ///
    /// An existing attachment of the same device gets this object's program in place. On uplinks
    /// ours is the first tcx program. Returns how it is attached.
    ///
    /// # Errors
    /// `Attach` or `Filter` if the kernel refuses, for example because the device is gone.
    pub fn attach(&self, hook: Hook, ifname: &str, ifindex: u32) -> Result<Via, DataplaneError> {
        if self.mode != AttachMode::Clsact {
            match self.attach_tcx(hook, ifname, ifindex) {
                Ok(()) => {
                    // A filter of an earlier run in the other mode would see what we pass on.
                    clsact::remove(ifindex, hook.program()).ok();
                    return Ok(Via::Tcx);
                }
                Err(error) if self.mode == AttachMode::Auto && lacks_tcx(&error) => {}
                Err(error) if lacks_tcx(&error) => {
                    let source = io::Error::new(io::ErrorKind::Unsupported, NO_TCX);
                    return Err(attach_error(hook.program(), ifname, source));
                }
                Err(source) => return Err(attach_error(hook.program(), ifname, source)),
            }
        }
        self.attach_clsact(hook, ifname)?;
        self.unpin_everywhere(&self.pins.link(hook, ifname))
            .map_err(|source| attach_error(hook.program(), ifname, source))?;
        Ok(Via::Clsact)
    }

    /// Takes a program off a device; no error if it is not there or the device is gone.
    ///
    /// # Errors
    /// `Attach` if a pin or filter exists and cannot be removed.
    pub fn detach(&self, hook: Hook, ifname: &str, ifindex: u32) -> Result<(), DataplaneError> {
        self.unpin_everywhere(&self.pins.link(hook, ifname))
            .and_then(|()| clsact::remove(ifindex, hook.program()))
            .map_err(|source| attach_error(hook.program(), ifname, source))
    }

    /// Puts the socket programs on a cgroup2 directory (normally its root); idempotent.
    ///
    /// # Errors
    /// `Attach` if `cgroup` is not a cgroup2 directory.
    pub fn attach_cgroup(&self, cgroup: &Path) -> Result<(), DataplaneError> {
        let target = cgroup.display().to_string();
        for (program, attach_type) in CGROUP_PROGRAMS {
            self.attach_cgroup_program(program, *attach_type, cgroup)
                .map_err(|source| attach_error(program, &target, source))?;
        }
        Ok(())
    }

    /// Takes the socket programs off their cgroup.
    ///
    /// # Errors
    /// `Attach` if a pin cannot be removed.
    pub fn detach_cgroup(&self) -> Result<(), DataplaneError> {
        for (program, _) in CGROUP_PROGRAMS {
            self.unpin_everywhere(&self.pins.cgroup_link(program))
                .map_err(|source| attach_error(program, "cgroup", source))?;
        }
        Ok(())
    }

    /// Returns what is attached: every pinned link, and the clsact filters of this namespace; those
    /// of another version count.
    ///
    /// # Errors
    /// `Attach` if pins or filters cannot be read.
    pub fn attached(&self) -> Result<Vec<Attached>, DataplaneError> {
        let list = || -> io::Result<Vec<Attached>> {
            let mut out = Vec::new();
            for pin in self.all_pinned_links()? {
                let info = sys::link_info(sys::obj_get(&pin)?.as_fd())?;
                let program = sys::prog_info(info.prog_id).map(|info| info.name())?;
                let tcx = info.kind == sys::LINK_TCX;
                let ifindex = if tcx { info.target } else { 0 };
                out.push(Attached { program, ifindex, via: Via::Tcx, pin: Some(pin) });
            }
            let ours = clsact::list()?;
            out.extend(ours.into_iter().filter(|f| Hook::of_program(&f.program).is_some()).map(
                |filter| Attached {
                    program: filter.program,
                    ifindex: filter.ifindex,
                    via: Via::Clsact,
                    pin: None,
                },
            ));
            Ok(out)
        };
        list().map_err(|source| attach_error("programs", "(listing)", source))
    }

    /// Gives every pinned link the program of the same name of this object.
    pub(crate) fn replace_pinned(&self) -> Result<(), DataplaneError> {
        let pins = self.pins.all_links().map_err(|e| attach_error("programs", "(listing)", e))?;
        for pin in pins {
            self.replace_one(&pin)
                .map_err(|e| attach_error("programs", &pin.display().to_string(), e))?;
        }
        Ok(())
    }

    /// Those of a version with other layouts too, until they are taken over.
    fn all_pinned_links(&self) -> io::Result<Vec<PathBuf>> {
        let mut links = self.pins.all_links()?;
        for other in self.pins.others().map_err(io::Error::other)? {
            links.extend(other.all_links()?);
        }
        Ok(links)
    }

    pub(crate) fn replace_one(&self, pin: &Path) -> io::Result<()> {
        let link = sys::obj_get(pin)?;
        let info = sys::link_info(link.as_fd())?;
        if info.target == 0 {
            return unpin(pin);
        }
        let name = sys::prog_info(info.prog_id)?.name();
        match self.programs.get(&name) {
            Some(program) => update(&link, program.as_fd(), pin).map(drop),
            None => Ok(()),
        }
    }

    fn program(&self, name: &'static str) -> io::Result<BorrowedFd<'_>> {
        let missing = || io::Error::other(DataplaneError::NoProgram { program: name });
        Ok(self.programs.get(name).ok_or_else(missing)?.as_fd())
    }

    fn attach_tcx(&self, hook: Hook, ifname: &str, ifindex: u32) -> io::Result<()> {
        let program = self.program(hook.program())?;
        let pin = self.pins.link(hook, ifname);
        if let Some(link) = self.existing(&pin)? {
            let same = sys::link_info(link.as_fd())?.target == ifindex;
            if same && update(&link, program, &pin)? {
                return Ok(());
            }
            unpin(&pin)?;
        }
        let flags = if hook == Hook::Uplink { sys::LINK_FIRST } else { 0 };
        let link = sys::link_create(program, ifindex, sys::TCX_INGRESS, flags)?;
        sys::obj_pin(link.as_fd(), &pin)
    }

    /// Opens the link that is pinned there, also if a version with other layouts has pinned it.
    fn existing(&self, pin: &Path) -> io::Result<Option<OwnedFd>> {
        if !pin.exists() {
            self.adopt(pin)?;
        }
        existing(pin)
    }

    pub(crate) fn attach_clsact(&self, hook: Hook, ifname: &str) -> Result<(), DataplaneError> {
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let name = hook.program();
        let program = ebpf.program_mut(name).ok_or(DataplaneError::NoProgram { program: name })?;
        filter(program, ifname).map_err(|source| DataplaneError::Filter {
            program: name,
            target: ifname.to_owned(),
            source: Box::new(source),
        })
    }

    fn attach_cgroup_program(
        &self,
        name: &'static str,
        attach_type: u32,
        cgroup: &Path,
    ) -> io::Result<()> {
        let program = self.program(name)?;
        let dir = File::open(cgroup)?;
        let pin = self.pins.cgroup_link(name);
        if let Some(link) = self.existing(&pin)? {
            // The id of a cgroup2 directory is its inode number.
            let same = sys::link_info(link.as_fd())?.cgroup_id() == dir.metadata()?.ino();
            if same && update(&link, program, &pin)? {
                return Ok(());
            }
            unpin(&pin)?;
        }
        let link = sys::link_create(program, dir.as_raw_fd().cast_unsigned(), attach_type, 0)?;
        sys::obj_pin(link.as_fd(), &pin)
    }
}

/// Replaces the program in place, or creates the filter; the qdisc is made if missing.
fn filter(program: &mut aya::programs::Program, ifname: &str) -> Result<(), ProgramError> {
    match tc::qdisc_add_clsact(ifname) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
        Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let program: &mut SchedClassifier = program.try_into()?;
    let options = NlOptions { priority: PREFERENCE, handle: HANDLE, classid: None };
    let attached = program.attach_with_options(
        ifname,
        TcAttachType::Ingress,
        TcAttachOptions::Netlink(options),
    );
    let id = match attached {
        Ok(id) => id,
        Err(_exists) => {
            let ingress = TcAttachType::Ingress;
            let link = SchedClassifierLink::attached(ifname, ingress, PREFERENCE, HANDLE, None)?;
            program.attach_to_link(link)?
        }
    };
    // Dropping the link would remove the filter; it has to survive this process.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Replaces the program of a link; false (and unpinned) if what it was attached to is gone.
fn update(link: &OwnedFd, program: BorrowedFd<'_>, pin: &Path) -> io::Result<bool> {
    match sys::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => unpin(pin).map(|()| false),
        Err(error) => Err(error),
    }
}

pub(crate) fn existing(pin: &Path) -> io::Result<Option<OwnedFd>> {
    match sys::obj_get(pin) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn unpin(pin: &Path) -> io::Result<()> {
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A kernel without tcx does not know the attach type.
fn lacks_tcx(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

pub(crate) fn attach_error(
    program: &'static str,
    target: &str,
    source: io::Error,
) -> DataplaneError {
    DataplaneError::Attach { program, target: target.to_owned(), source }
}
