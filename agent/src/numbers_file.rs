//! The numbers of [`crate::numbers`] on disk, written before a map holds them.
//!
//! ```text
//!   agent/numbers.json   all numbers of a moment
//!   agent/numbers.log    the changes since, a line each; made twice they change nothing
//! ```
//!
//! A change costs its own line, not a file of a hundred thousand numbers. Nothing is synced: numbers
//! are worth nothing after a reboot.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swarmnet_ebpf::abi::SVC_USED;
use swarmnet_ebpf::map::{Backends, Svc};

use crate::kernel::{ApplyError, Kernel};
use crate::numbers::{Entry, NODES_MAX, Numbers, SERVICES_MAX, Wanted};
use crate::plans::Plans;
use crate::plugin::journal::write_atomically;

/// Name of the file below the agent's state directory.
pub const FILE: &str = "numbers.json";
const LOG: &str = "numbers.log";

/// Lines of the log beyond as many as there are numbers, before all numbers are written anew.
const LINES_MAX: usize = 4_096;

/// Numbers in memory and on disk.
#[derive(Debug)]
pub struct NumbersFile {
    directory: PathBuf,
    numbers: Arc<Numbers>,
    /// Of the log; `None` if it cannot be appended to.
    lines: Option<usize>,
    /// False until numbers that only the maps know have been stepped over.
    checked: bool,
    /// True if some node or service has no number and it has been said.
    warned: bool,
}

/// Reads the numbers as a process wrote them last, of whichever boot; for looking at a node.
///
/// # Errors
/// A file exists and cannot be read.
pub fn read(directory: &Path) -> io::Result<Numbers> {
    let text = match fs::read(directory.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Numbers::default()),
        Err(error) => return Err(error),
    };
    let mut numbers = serde_json::from_slice::<Numbers>(&text).unwrap_or_default();
    let log = match fs::read(directory.join(LOG)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        Err(error) => return Err(error),
    };
    for line in log.split(|byte| *byte == b'\n') {
        // Half a line was never in use: the process ended while it wrote it.
        if let Ok(entry) = serde_json::from_slice::<Entry>(line) {
            numbers.take(&entry);
        }
    }
    Ok(numbers)
}

impl NumbersFile {
    /// Reads the numbers of this boot; others, or a damaged file, count as none.
    ///
    /// # Errors
    /// A file exists and cannot be read, or the first one cannot be written.
    pub fn open(directory: &Path, boot_id: &str) -> io::Result<Self> {
        let stored = read(directory)?;
        let fresh = || Numbers { boot_id: boot_id.to_owned(), ..Numbers::default() };
        let numbers = if stored.boot_id == boot_id { stored } else { fresh() };
        let mut file = Self {
            directory: directory.to_path_buf(),
            numbers: Arc::new(numbers),
            lines: None,
            checked: false,
            warned: false,
        };
        fs::create_dir_all(directory)?;
        file.compact()?;
        Ok(file)
    }

    pub fn read(&self) -> Arc<Numbers> {
        Arc::clone(&self.numbers)
    }

    /// Gives numbers to what has none.
    ///
    /// # Errors
    /// The disk or the maps could not be read or written; then no new number is in use.
    pub fn assign(&mut self, kernel: &Kernel, wanted: &Wanted) -> Result<(), ApplyError> {
        if !self.checked {
            let services = kernel.maps.entries::<Svc>()?.into_iter();
            let services = services.filter(|(_, service)| service.flags & SVC_USED != 0);
            let services = services.map(|(index, _)| index).collect();
            let backends = kernel.maps.entries::<Backends>()?.into_keys().collect();
            Arc::make_mut(&mut self.numbers).skip_held(&services, &backends);
            self.checked = true;
        }
        let missing = self.numbers.missing(wanted);
        self.warn(missing.without_room);
        self.append(&missing.entries).map_err(ApplyError::Journal)
    }

    fn warn(&mut self, without_room: usize) {
        let full = without_room > 0;
        if full && !self.warned {
            let (services, nodes) = (SERVICES_MAX - 1, NODES_MAX - 1);
            tracing::error!(
                without_room,
                "no numbers left: this node's maps hold {services} services (one per network, one \
                 for published ports) and {nodes} other nodes; what is beyond is not served here"
            );
        }
        self.warned = full;
    }

    /// Forgets what `gone` names; no map holds it any more.
    ///
    /// # Errors
    /// The disk could not be written.
    pub fn forget(&mut self, gone: &Wanted) -> Result<(), ApplyError> {
        let entries = self.numbers.forgotten(gone);
        self.append(&entries).map_err(ApplyError::Journal)
    }

    /// Forgets what nothing wants and no map holds.
    ///
    /// # Errors
    /// The disk could not be written.
    pub fn forget_unwanted(&mut self, wanted: &Wanted, plans: &Plans) -> Result<(), ApplyError> {
        let held = &plans.balancer;
        let gone = self.numbers.unwanted(wanted, &held.services, &held.backends);
        self.forget(&gone)
    }

    /// Starts anew: the maps are gone.
    pub fn clear(&mut self) {
        let boot_id = self.numbers.boot_id.clone();
        self.numbers = Arc::new(Numbers { boot_id, ..Numbers::default() });
        self.checked = false;
        if let Err(error) = self.compact() {
            tracing::warn!(%error, directory = %self.directory.display(), "writing {FILE}");
        }
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let known = self.numbers.services.len() + self.numbers.backends.len();
        match self.lines.filter(|lines| *lines <= known + LINES_MAX) {
            Some(lines) => {
                // After a failure the end of the log is unknown.
                self.lines = None;
                self.write_log(entries)?;
                self.lines = Some(lines + entries.len());
                self.take(entries);
                Ok(())
            }
            None => {
                let before = Arc::clone(&self.numbers);
                self.take(entries);
                self.compact().inspect_err(|_| self.numbers = before)
            }
        }
    }

    fn take(&mut self, entries: &[Entry]) {
        Arc::make_mut(&mut self.numbers).take_all(entries);
    }

    fn write_log(&self, entries: &[Entry]) -> io::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry).map_err(io::Error::other)?;
            text.push(b'\n');
        }
        let mut log =
            OpenOptions::new().append(true).create(true).open(self.directory.join(LOG))?;
        log.write_all(&text)
    }

    /// Writes all numbers, then empties the log: made again, its lines would change nothing.
    fn compact(&mut self) -> io::Result<()> {
        self.lines = None;
        let text = serde_json::to_vec(&*self.numbers).map_err(io::Error::other)?;
        write_atomically(&self.directory.join(FILE), &text)?;
        match fs::remove_file(self.directory.join(LOG)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.lines = Some(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmnet_model::ServiceId;

    use crate::numbers::ServiceKey;

    fn wanted(services: &[&str]) -> Wanted {
        let key = |name: &&str| ServiceKey::Mesh(ServiceId::from_text(*name));
        Wanted { services: services.iter().map(key).collect(), ..Wanted::default() }
    }

    fn give(file: &mut NumbersFile, services: &[&str]) {
        let entries = file.read().missing(&wanted(services)).entries;
        file.append(&entries).unwrap();
    }

    #[test]
    fn numbers_survive_a_process_that_died_while_it_wrote_and_end_with_the_boot() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = NumbersFile::open(directory.path(), "boot").unwrap();
        give(&mut file, &["a", "b"]);
        file.forget(&wanted(&["a"])).unwrap();
        let mut log = OpenOptions::new().append(true).open(directory.path().join(LOG)).unwrap();
        log.write_all(b"{\"Service\":[\"mesh c").unwrap();
        let numbers = NumbersFile::open(directory.path(), "boot").unwrap().read();
        assert_eq!(numbers.services.len(), 1);
        assert_eq!((numbers.last_service, &*numbers), (2, &*file.read()));
        let next = NumbersFile::open(directory.path(), "next boot").unwrap();
        assert_eq!(next.read().last_service, 0);
    }

    #[test]
    fn the_log_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = NumbersFile::open(directory.path(), "boot").unwrap();
        for _ in 0..LINES_MAX {
            give(&mut file, &["a"]);
            file.forget(&wanted(&["a"])).unwrap();
        }
        assert!(file.lines.unwrap() <= LINES_MAX + 1);
        assert_eq!(*NumbersFile::open(directory.path(), "boot").unwrap().read(), *file.read());
    }
}
