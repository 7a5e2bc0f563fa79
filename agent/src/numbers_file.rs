//! The numbers of [`crate::numbers`] on disk, written before a map holds them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use swarmnet_ebpf::abi::SVC_USED;
use swarmnet_ebpf::map::{Backends, Svc};

use crate::kernel::{ApplyError, Kernel};
use crate::numbers::{Numbers, Wanted};
use crate::plans::Plans;
use crate::plugin::journal::write_atomically;

/// Name of the file below the agent's state directory.
pub const FILE: &str = "numbers.json";

/// Numbers in memory and on disk.
#[derive(Debug)]
pub struct NumbersFile {
    path: PathBuf,
    numbers: Numbers,
    /// False until numbers that only the maps know have been stepped over.
    checked: bool,
}

impl NumbersFile {
    /// Reads the numbers of this boot; others, or a damaged file, count as none.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn open(directory: &Path, boot_id: &str) -> io::Result<Self> {
        let path = directory.join(FILE);
        let numbers = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Numbers>(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Numbers::default(),
            Err(error) => return Err(error),
        };
        let fresh = || Numbers { boot_id: boot_id.to_owned(), ..Numbers::default() };
        let numbers = if numbers.boot_id == boot_id { numbers } else { fresh() };
        Ok(Self { path, numbers, checked: false })
    }

    pub fn read(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Gives numbers to what has none.
    ///
    /// # Errors
    /// The disk or the maps could not be read or written; then no new number is in use.
    pub fn assign(&mut self, kernel: &Kernel, wanted: &Wanted) -> Result<(), ApplyError> {
        let mut next = self.numbers.clone();
        if !self.checked {
            let (services, backends) = held(kernel)?;
            next.skip_held(&services, &backends);
        }
        next.assign(wanted);
        self.write(next)?;
        self.checked = true;
        Ok(())
    }

    /// Forgets what nothing wants and no map holds.
    ///
    /// # Errors
    /// The disk could not be written.
    pub fn forget(&mut self, wanted: &Wanted, plans: &Plans) -> Result<(), ApplyError> {
        let services = plans.balancer.services.keys().copied().collect();
        let backends = plans.balancer.backends.keys().copied().collect();
        let mut next = self.numbers.clone();
        next.forget(wanted, &services, &backends);
        self.write(next)
    }

    /// Starts anew: the maps are gone.
    pub fn clear(&mut self) {
        let boot_id = self.numbers.boot_id.clone();
        self.numbers = Numbers { boot_id, ..Numbers::default() };
        self.checked = false;
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "removing a state file");
        }
    }

    fn write(&mut self, next: Numbers) -> Result<(), ApplyError> {
        if next != self.numbers {
            let text = serde_json::to_vec_pretty(&next).map_err(io::Error::other);
            let written = text.and_then(|text| write_atomically(&self.path, &text));
            written.map_err(ApplyError::Journal)?;
            self.numbers = next;
        }
        Ok(())
    }
}

fn held(kernel: &Kernel) -> Result<(BTreeSet<u32>, BTreeSet<u32>), ApplyError> {
    let backends = kernel.maps.entries::<Backends>()?.into_keys().collect();
    let services = kernel.maps.entries::<Svc>()?;
    let services = services.into_iter().filter(|(_, service)| service.flags & SVC_USED != 0);
    Ok((services.map(|(index, _)| index).collect(), backends))
}
