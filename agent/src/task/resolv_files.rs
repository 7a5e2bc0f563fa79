//! The files that containers see as `/etc/resolv.conf`.
//!
//! Layout: `<state>/agent/resolv/<kind>/<id>`. On disk and not below `/run`: a container that the engine
//! starts after a reboot finds its file. A file is the container's as long as that exists, running or not;
//! which ones are still needed, the caller knows.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use swarmnet_model::container::DnsConfig;

use super::resolv::resolv_conf;
use crate::plugin::journal::write_atomically;

/// Where containers see it.
pub const TARGET: &str = "/etc/resolv.conf";
/// The host's own, whose search domains and options are taken over.
const HOST: &str = "/etc/resolv.conf";
/// Programs in a container may run as any user.
const MODE: u32 = 0o644;

/// The files of one kind of containers.
#[derive(Clone, Debug)]
pub struct ResolvFiles {
    directory: PathBuf,
}

impl ResolvFiles {
    /// Those of tasks, by task id.
    ///
    /// # Errors
    /// The state directory is relative and there is no working directory.
    pub fn of_tasks(state_dir: &Path) -> io::Result<Self> {
        Self::new(state_dir, "tasks")
    }

    /// Those of plain containers on attachable networks.
    ///
    /// # Errors
    /// As [`Self::of_tasks`].
    pub fn of_containers(state_dir: &Path) -> io::Result<Self> {
        Self::new(state_dir, "containers")
    }

    fn new(state_dir: &Path, kind: &str) -> io::Result<Self> {
        // The engine takes absolute paths only.
        let directory = std::path::absolute(state_dir)?.join("agent/resolv").join(kind);
        Ok(Self { directory })
    }

    /// Writes the file of a container that is about to be made and returns its path. A file that is right
    /// is left alone: a bind mount follows the file, not the name.
    ///
    /// # Errors
    /// The disk is full or the directory cannot be made.
    pub fn write(&self, id: &str, dns: &DnsConfig) -> io::Result<PathBuf> {
        let path = self.directory.join(id);
        if path.exists() {
            return Ok(path);
        }
        let text = resolv_conf(dns, &fs::read_to_string(HOST).unwrap_or_default());
        fs::create_dir_all(&self.directory)?;
        write_atomically(&path, text.as_bytes())?;
        fs::set_permissions(&path, Permissions::from_mode(MODE))?;
        Ok(path)
    }

    /// Removes the file of a container that is gone; one that is not there is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Removes the files of all other containers.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn keep(&self, ids: &BTreeSet<String>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| ids.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_as_it_is_until_its_container_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let files = ResolvFiles::of_tasks(state.path()).unwrap();
        files.keep(&BTreeSet::new()).unwrap();
        let search =
            |domain: &str| DnsConfig { search: vec![domain.to_owned()], ..DnsConfig::default() };
        let path = files.write("task1", &search("a.example")).unwrap();
        assert!(path.is_absolute());
        assert!(fs::read_to_string(&path).unwrap().starts_with("search a.example\nnameserver "));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        files.write("task1", &search("b.example")).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("search a.example\n"));
        let other = files.write("task2", &search("c.example")).unwrap();
        files.keep(&["task1".to_owned()].into()).unwrap();
        assert!(path.exists() && !other.exists());
        for _ in 0..2 {
            files.remove("task1").unwrap();
        }
        assert!(!path.exists());
    }
}
