//! The images of the lab, made from Debian's programs and `whoami`: there is no outside registry.
//!
//! They are written straight into the storage of a registry (`registry.rs`), kept under a name that
//! depends on their contents, and copied for each lab. Engines get them by pulling, through a
//! mirror entry that makes the lab's registry stand for Docker Hub too; so each engine knows their
//! digests as it would on a real machine, and a service pinned to one finds it preloaded.

mod catalog;
mod layer;
mod registry;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::Flock;
use sha2::{Digest as _, Sha256};

pub(crate) use catalog::NAMES;

use crate::command::run;
use crate::spec::lock_file;

/// Part of the cache's key: to be raised when the same files would give other images.
const FORMAT: &str = "3";
const CACHE_VARIABLE: &str = "SWARMNET_LAB_CACHE";

/// The storage of a registry that holds all images; nobody changes it until this is dropped.
pub(crate) struct Images {
    storage: PathBuf,
    _guard: Flock<fs::File>,
}

/// Returns all images, making them if they are not cached.
pub(crate) fn ensure(whoami: &Path) -> Result<Images> {
    ensure!(whoami.is_file(), "{} is missing: build it with: make build", whoami.display());
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let guard = lock_file(&cache.join("lock"), "another lab that makes the images")?;
    let sources = catalog::sources(whoami)?;
    let dir = cache.join(key(&sources)?);
    let storage = dir.join("registry");
    if storage.is_dir() {
        return Ok(Images { storage, _guard: guard });
    }
    eprintln!("making the images in {}", dir.display());
    remove_others(&cache)?;
    let unfinished = cache.join("unfinished");
    fs::create_dir_all(&unfinished)?;
    catalog::build(&sources, &unfinished).context("making the images")?;
    fs::rename(&unfinished, &dir).context("keeping the images")?;
    Ok(Images { storage, _guard: guard })
}

impl Images {
    /// Copies the storage for one lab: pushes and faults of that lab must not reach the cache.
    pub(crate) fn copy(&self, target: &Path) -> Result<()> {
        let _absent = fs::remove_dir_all(target);
        run("cp", &["-r".as_ref(), self.storage.as_os_str(), target.as_os_str()]).map(drop)
    }
}

/// Returns `target/lab-images` for a binary in a Cargo target directory, else `/var/cache`.
fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os(CACHE_VARIABLE) {
        return Ok(PathBuf::from(dir));
    }
    let program = std::env::current_exe().context("finding this program")?;
    let target = program.ancestors().nth(2).filter(|dir| dir.join("CACHEDIR.TAG").exists());
    Ok(target
        .map_or_else(|| PathBuf::from("/var/cache/swarmnet-lab"), |dir| dir.join("lab-images")))
}

fn remove_others(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn key(sources: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    for path in sources {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize())[..16].to_owned())
}

/// Returns lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
