//! The manager's data key: 32 random bytes in `raft/dek`, readable by root only.
//!
//! It lies in a file of its own beside the log. Autolock, when it comes, wraps the content of this
//! file with the unlock key; nothing else of the log changes then.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Why the data key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    #[error("the data key {path} is missing, and without it the Raft log cannot be read")]
    Missing { path: PathBuf },
    #[error("the data key {path} can be read by others (mode {mode:o}); it must be 0600")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the data key {path} does not have 32 bytes")]
    WrongSize { path: PathBuf },
    #[error("the data key {path} cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
}

/// Reads the key; makes one only where there is no log yet that an older key has sealed.
///
/// # Errors
/// `DataKeyError` says what is wrong with the file.
pub(super) fn load(
    directory: &Path,
    log_exists: bool,
) -> Result<Zeroizing<[u8; 32]>, DataKeyError> {
    let path = directory.join("dek");
    let io = |source| DataKeyError::Io { path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if log_exists {
                return Err(DataKeyError::Missing { path });
            }
            return create(directory, &path).map_err(io);
        }
        Err(error) => return Err(io(error)),
    };
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DataKeyError::Exposed { path, mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(33));
    (&mut file).take(33).read_to_end(&mut bytes).map_err(io)?;
    let key = <[u8; 32]>::try_from(bytes.as_slice());
    key.map(Zeroizing::new).map_err(|_| DataKeyError::WrongSize { path })
}

fn create(directory: &Path, path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(key.as_mut()).expect("the kernel's generator never fails once booted");
    write_file(directory, path, key.as_ref())?;
    Ok(key)
}

/// Writes a 0600 file so that after a crash it is there whole, or as it was before.
pub(super) fn write_file(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let made = load(directory.path(), false).unwrap();
        assert_eq!(load(directory.path(), true).unwrap(), made);
        let mode = fs::metadata(directory.path().join("dek")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_exposed_or_short_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(load(directory.path(), true), Err(DataKeyError::Missing { .. })));
        load(directory.path(), false).unwrap();
        let path = directory.path().join("dek");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(directory.path(), true), Err(DataKeyError::Exposed { .. })));
        write_file(directory.path(), &path, &[1; 31]).unwrap();
        assert!(matches!(load(directory.path(), true), Err(DataKeyError::WrongSize { .. })));
    }
}
