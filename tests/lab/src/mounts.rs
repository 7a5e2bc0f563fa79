//! The mount table of the calling process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    pub(crate) fstype: String,
}

/// Returns all mounts, in the order they were made.
pub(crate) fn list() -> Result<Vec<Mount>> {
    let text =
        fs::read_to_string("/proc/thread-self/mountinfo").context("reading the mount table")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// Detaches every mount for which `wanted` holds, the latest first.
pub(crate) fn detach(wanted: impl Fn(&Mount) -> bool) -> Result<()> {
    for mount in list()?.iter().rev().filter(|mount| wanted(mount)) {
        match umount2(&mount.path, MntFlags::MNT_DETACH) {
            // Gone together with a mount above it.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("unmounting {}", mount.path.display()));
            }
        }
    }
    Ok(())
}

/// Detaches every mount at or below a path.
pub(crate) fn detach_below(path: &Path) -> Result<()> {
    detach(|mount| mount.path.starts_with(path))
}

fn parse(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let path = unescape(front.split(' ').nth(4)?);
    Some(Mount { path: PathBuf::from(path), fstype: back.split(' ').next()?.to_owned() })
}

/// Undoes the kernel's octal escapes for blanks, tabs, line ends and backslashes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_its_mount_point_and_type() {
        let line = "36 35 98:0 /root /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!((mount.path.to_str(), mount.fstype.as_str()), (Some("/mnt/a b"), "ext3"));
    }
}
