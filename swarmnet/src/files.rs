//! Small files of the state directory: written whole or not at all, with the right mode.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

pub(crate) const PUBLIC: u32 = 0o644;
pub(crate) const PRIVATE: u32 = 0o600;
const DIRECTORY: u32 = 0o700;

/// Why state on disk cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("{path} is a symbolic link: the state directory must be a real directory")]
    Symlink { path: PathBuf },
    #[error("{path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("{path} belongs to user {owner}, not to the user of this daemon: chown it")]
    ForeignOwner { path: PathBuf, owner: u32 },
    #[error("{path} can be used by group or others (mode {mode:o}): chmod {fix} {path}")]
    OpenToOthers { path: PathBuf, mode: u32, fix: &'static str },
    #[error("{path} is in use: is a swarmnet daemon running already?")]
    InUse { path: PathBuf },
    #[error("reading {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("writing {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
}

impl StateError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }
}

/// Makes the directory (0700) if it is missing.
///
/// # Errors
/// One that is a link, no directory, or open to others: keys lie below it.
pub(crate) fn ensure_directory(path: &Path) -> Result<(), StateError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY)
                .create(path)
                .map_err(StateError::write(path));
        }
        other => other.map_err(StateError::read(path))?,
    };
    let path = path.to_owned();
    if metadata.file_type().is_symlink() {
        return Err(StateError::Symlink { path });
    }
    if !metadata.is_dir() {
        return Err(StateError::NotADirectory { path });
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(StateError::ForeignOwner { path, owner: metadata.uid() });
    }
    match metadata.mode() & 0o022 {
        0 => Ok(()),
        _ => Err(StateError::OpenToOthers { path, mode: metadata.mode() & 0o777, fix: "700" }),
    }
}

/// Keeps other daemons off this state directory for as long as the result lives.
///
/// # Errors
/// `InUse` if another process has it.
pub(crate) fn lock(state_dir: &Path) -> Result<Flock<File>, StateError> {
    let path = state_dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(&path)
        .map_err(StateError::write(&path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| StateError::InUse { path: state_dir.to_owned() })
}

/// Reads a text file; `None` if there is none.
///
/// # Errors
/// `OpenToOthers` for a private file that group or others can read.
pub(crate) fn read(path: &Path, mode: u32) -> Result<Option<String>, StateError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(StateError::read(path))?,
    };
    if metadata.file_type().is_symlink() {
        return Err(StateError::Symlink { path: path.to_owned() });
    }
    let found = metadata.mode() & 0o777;
    if mode == PRIVATE && found & 0o077 != 0 {
        return Err(StateError::OpenToOthers { path: path.to_owned(), mode: found, fix: "600" });
    }
    fs::read_to_string(path).map(Some).map_err(StateError::read(path))
}

/// Replaces the file in one step: after a crash it holds the old text or the new one.
///
/// # Errors
/// `Write`; the old file is untouched.
pub(crate) fn write(path: &Path, mode: u32, text: &str) -> Result<(), StateError> {
    let fresh = sibling(path);
    write_fresh(&fresh, mode, text).map_err(StateError::write(&fresh))?;
    fs::rename(&fresh, path).map_err(StateError::write(path))?;
    let directory = path.parent().expect("state files lie in a directory");
    File::open(directory).and_then(|dir| dir.sync_all()).map_err(StateError::write(directory))
}

fn write_fresh(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // One left by a crash keeps its mode.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes a file or directory tree; an absent one is no error.
///
/// # Errors
/// `Write`.
pub(crate) fn remove(path: &Path) -> Result<(), StateError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StateError::Write { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn sibling(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".fresh");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_linked_or_open_state_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        ensure_directory(&real).unwrap();
        ensure_directory(&real).unwrap();
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(ensure_directory(&link), Err(StateError::Symlink { .. })));
        fs::set_permissions(&real, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(ensure_directory(&real), Err(StateError::OpenToOthers { .. })));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(ensure_directory(&file), Err(StateError::NotADirectory { .. })));
    }

    #[test]
    fn a_private_file_that_others_can_read_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        write(&path, PRIVATE, "secret").unwrap();
        assert_eq!(read(&path, PRIVATE).unwrap().as_deref(), Some("secret"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, PRIVATE).unwrap_err().to_string();
        assert!(error.ends_with(&format!("(mode 640): chmod 600 {}", path.display())), "{error}");
        assert_eq!(read(&dir.path().join("absent"), PRIVATE).unwrap(), None);
    }

    #[test]
    fn a_state_directory_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(StateError::InUse { .. })));
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn what_is_absent_is_removed_already() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("raft/x")).unwrap();
        for _ in 0..2 {
            remove(&dir.path().join("raft")).unwrap();
        }
        assert!(!dir.path().join("raft").exists());
    }
}
