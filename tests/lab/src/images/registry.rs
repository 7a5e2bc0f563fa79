//! Writes images into the storage of a registry, in the layout of Debian's docker-registry 2.8.
//!
//! ```text
//! docker/registry/v2/blobs/sha256/ab/abcd…/data
//! docker/registry/v2/repositories/<name>/_layers/sha256/abcd…/link
//! docker/registry/v2/repositories/<name>/_manifests/revisions/sha256/abcd…/link
//! docker/registry/v2/repositories/<name>/_manifests/tags/latest/{current/link,index/sha256/abcd…/link}
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::images::hex;
use crate::images::layer::Layer;

const TAG: &str = "latest";
/// Images have no time of their own: they depend on their files only.
const CREATED: &str = "2025-01-01T00:00:00Z";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Not compressed: the network of the lab is memory.
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An image to be stored.
pub(super) struct Image<'a> {
    pub(super) name: &'static str,
    /// Bottom first.
    pub(super) layers: Vec<&'a Layer>,
    /// Command, environment, ports, as in an image's `config`.
    pub(super) settings: Value,
}

/// A stored piece of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    /// SHA-256 in hexadecimal digits.
    pub(super) digest: String,
    /// In bytes.
    pub(super) size: usize,
}

/// Stores an image as `<name>` and, for the mirror of Docker Hub, as `library/<name>`.
pub(super) fn store(storage: &Path, image: &Image) -> Result<()> {
    let root = storage.join("docker/registry/v2");
    let config = store_blob(&root, &serde_json::to_vec(&config(image))?)?;
    for layer in &image.layers {
        let data = root.join(blob_path(&layer.blob.digest));
        fs::create_dir_all(data.parent().context("a blob has a directory")?)?;
        fs::copy(&layer.path, &data).with_context(|| format!("storing {}", data.display()))?;
    }
    let manifest = store_blob(&root, &serde_json::to_vec(&manifest(image, &config))?)?;
    for name in [image.name.to_owned(), format!("library/{}", image.name)] {
        let repository = root.join("repositories").join(name);
        for blob in image.layers.iter().map(|layer| &layer.blob).chain([&config]) {
            link(&repository.join("_layers/sha256").join(&blob.digest), blob)?;
        }
        let manifests = repository.join("_manifests");
        let tag = manifests.join("tags").join(TAG);
        link(&manifests.join("revisions/sha256").join(&manifest.digest), &manifest)?;
        link(&tag.join("index/sha256").join(&manifest.digest), &manifest)?;
        link(&tag.join("current"), &manifest)?;
    }
    Ok(())
}

/// Returns the SHA-256 of some bytes in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn config(image: &Image) -> Value {
    let layers = || image.layers.iter().map(|layer| format!("sha256:{}", layer.blob.digest));
    let history = json!({"created": CREATED, "created_by": "swarmnet-lab"});
    json!({
        "architecture": architecture(),
        "os": "linux",
        "created": CREATED,
        "config": image.settings,
        "rootfs": {"type": "layers", "diff_ids": layers().collect::<Vec<_>>()},
        "history": layers().map(|_| history.clone()).collect::<Vec<_>>(),
    })
}

fn manifest(image: &Image, config: &Blob) -> Value {
    let descriptor = |kind: &str, blob: &Blob| {
        json!({
            "mediaType": kind,
            "size": blob.size,
            "digest": format!("sha256:{}", blob.digest),
        })
    };
    let layers = image.layers.iter().map(|layer| descriptor(LAYER, &layer.blob));
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers.collect::<Vec<_>>(),
    })
}

fn store_blob(root: &Path, bytes: &[u8]) -> Result<Blob> {
    let blob = Blob { digest: digest(bytes), size: bytes.len() };
    let data = root.join(blob_path(&blob.digest));
    fs::create_dir_all(data.parent().context("a blob has a directory")?)?;
    fs::write(&data, bytes).with_context(|| format!("storing {}", data.display()))?;
    Ok(blob)
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{}/{digest}/data", &digest[..2])
}

fn link(dir: &Path, blob: &Blob) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("link"), format!("sha256:{}", blob.digest))
        .with_context(|| format!("linking {}", dir.display()))
}

/// Returns the machine's architecture in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sha_256_of_the_bytes() {
        // NIST's example for "abc".
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
