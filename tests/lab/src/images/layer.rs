//! One layer of an image: a tree of files, packed so that the same files give the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::run;
use crate::images::registry::{Blob, digest};

/// An uncompressed layer: its digest is also the id that images name it by.
pub(super) struct Layer {
    pub(super) path: PathBuf,
    pub(super) blob: Blob,
}

/// Lets `stage` fill an empty tree and packs it as `dir/layers/<name>.tar`.
pub(super) fn pack(
    dir: &Path,
    name: &str,
    stage: impl FnOnce(&Path) -> Result<()>,
) -> Result<Layer> {
    let root = dir.join("layers").join(name);
    fs::create_dir_all(&root)?;
    stage(&root).with_context(|| format!("filling layer {name}"))?;
    let path = dir.join("layers").join(format!("{name}.tar"));
    let (from, to) = (root.display().to_string(), path.display().to_string());
    run(
        "tar",
        &[
            "--create",
            "--file",
            &to,
            "--directory",
            &from,
            "--sort=name",
            "--format=ustar",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            ".",
        ],
    )?;
    let bytes = fs::read(&path)?;
    Ok(Layer { path, blob: Blob { digest: digest(&bytes), size: bytes.len() } })
}
