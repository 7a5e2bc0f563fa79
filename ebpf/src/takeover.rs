//! Puts this program's object where that of an earlier version still runs.
//!
//! After an upgrade with other layouts, the old programs go on with the old maps while the new daemon
//! fills its own. Then each link gets the new program in place (`BPF_LINK_UPDATE`, atomic), its pin
//! moves to the new directory, and the old directory goes, maps included. At no time a device has two
//! programs, or none. Both versions share the flows (`Pins::adopt_flows`) unless the layout of flows
//! itself is another: then they are found anew with the client's next packet. Backends are picked by
//! hash, so it is the same one as long as it serves; an answer to a client that is silent is lost.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::attach::{attach_error, existing, unpin};
use crate::clsact;
use crate::program::{Dataplane, DataplaneError, Hook};
use crate::sys;

impl Dataplane {
    /// Takes over what another version has attached; idempotent. To be called once the maps are
    /// right. Returns true if there were other layouts.
    ///
    /// # Errors
    /// `Attach` or `Filter` if the kernel refuses, `Pins` if the old directory cannot be removed;
    /// calling again continues.
    pub fn take_over(&self) -> Result<bool, DataplaneError> {
        let others = self.pins.others()?;
        for other in &others {
            let links = other.all_links().map_err(|e| attach_error("programs", "(listing)", e))?;
            for old in links {
                self.take_over_link(&old, &self.pins.same_here(other, &old))
                    .map_err(|e| attach_error("programs", &old.display().to_string(), e))?;
            }
        }
        self.replace_filters()?;
        for other in &others {
            other.remove()?;
        }
        Ok(!others.is_empty())
    }

    /// A link beside one of ours on the same device ends with its pin.
    fn take_over_link(&self, old: &Path, pin: &Path) -> io::Result<()> {
        if pin.exists() {
            return unpin(old);
        }
        self.move_pin(old, pin)?;
        self.replace_one(pin)
    }

    /// Gives the pin the link that another layout has under the same name, if any.
    pub(crate) fn adopt(&self, pin: &Path) -> io::Result<()> {
        for other in self.pins.others().map_err(io::Error::other)? {
            let old = other.same_here(&self.pins, pin);
            if old.exists() {
                return self.move_pin(&old, pin);
            }
        }
        Ok(())
    }

    fn move_pin(&self, old: &Path, pin: &Path) -> io::Result<()> {
        if let Some(link) = existing(old)? {
            sys::obj_pin(link.as_fd(), pin)?;
        }
        unpin(old)
    }

    pub(crate) fn unpin_everywhere(&self, pin: &Path) -> io::Result<()> {
        for other in self.pins.others().map_err(io::Error::other)? {
            unpin(&other.same_here(&self.pins, pin))?;
        }
        unpin(pin)
    }

    /// Filters have no pin by which a start could find them: their program tells whose they are.
    fn replace_filters(&self) -> Result<(), DataplaneError> {
        let listed = |e| attach_error("programs", "(listing)", e);
        for filter in clsact::list().map_err(listed)? {
            let Some(hook) = Hook::of_program(&filter.program) else { continue };
            let program = self.programs.get(hook.program());
            let own = program.map(|program| sys::prog_fd_info(program.as_fd())).transpose();
            if own.map_err(listed)?.is_some_and(|own| own.id == filter.program_id) {
                continue;
            }
            // A device that has just gone has no filter either.
            let Ok(name) = nix::net::if_::if_indextoname(filter.ifindex) else { continue };
            let name = name.to_string_lossy().into_owned();
            self.attach_clsact(hook, &name)?;
        }
        Ok(())
    }
}
