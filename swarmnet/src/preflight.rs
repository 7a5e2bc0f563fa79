//! What the machine must offer before anything is started, each with how to mend it.

use std::path::Path;

use anyhow::bail;
use nix::sys::statfs::{FsType, statfs};
use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use crate::cli::AttachMode;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);

/// Checks that programs can be loaded and pinned here.
///
/// # Errors
/// A text that says what is missing and what to do.
pub(crate) fn check(bpffs: &Path) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        bail!(
            "swarmnet needs root: it makes network devices and loads BPF programs. Start it with \
             sudo or as a system service."
        );
    }
    if !Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists() {
        bail!(
            "this kernel has no BPF (CONFIG_BPF_SYSCALL). Boot a kernel of a current \
             distribution, 5.15 or later."
        );
    }
    match statfs(bpffs) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        Ok(_) => bail!(
            "{path} is not a BPF file system. Mount one: mount -t bpf bpf {path}, or name another \
             with --bpffs.",
            path = bpffs.display()
        ),
        Err(error) => bail!(
            "{path}: {error}. Mount a BPF file system there (mkdir -p {path} && mount -t bpf bpf \
             {path}), or name another with --bpffs.",
            path = bpffs.display()
        ),
    }
}

/// Refuses `--attach-mode tcx` on a kernel without it; the automatic mode needs no check.
///
/// # Errors
/// A text that names the other modes.
pub(crate) fn check_attach_mode(mode: AttachMode) -> anyhow::Result<()> {
    if mode != AttachMode::Tcx {
        return Ok(());
    }
    let release = uname()?.release().to_string_lossy().into_owned();
    if has_tcx(&release) {
        return Ok(());
    }
    bail!(
        "--attach-mode tcx needs Linux 6.6, this is {release}: use auto (which takes clsact here) \
         or clsact."
    )
}

fn has_tcx(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_begins_with_linux_6_6() {
        assert!(has_tcx("6.6.0") && has_tcx("6.18.2-cloud-amd64") && has_tcx("7.0"));
        assert!(!has_tcx("6.1.0-28-amd64") && !has_tcx("5.15.0") && !has_tcx(""));
    }

    #[test]
    fn a_directory_that_is_no_bpffs_is_refused_with_the_mount_command() {
        let dir = tempfile::tempdir().unwrap();
        let error = check(dir.path()).unwrap_err().to_string();
        // Without root that is what is said first.
        match geteuid().is_root() {
            true => assert!(error.contains("mount -t bpf bpf"), "{error}"),
            false => assert!(error.contains("needs root"), "{error}"),
        }
    }

    #[test]
    fn a_missing_directory_is_refused_with_the_mount_command() {
        let error = check(Path::new("/nonexistent/bpf")).unwrap_err().to_string();
        match geteuid().is_root() {
            true => assert!(error.contains("mkdir -p /nonexistent/bpf"), "{error}"),
            false => assert!(error.contains("needs root"), "{error}"),
        }
    }
}
