//! The sockets of the daemon: inherited from a supervisor, or bound here.
//!
//! A supervisor that holds them (systemd's socket units, the lab) keeps them open while the daemon
//! restarts: an engine waits for its plugin then, instead of failing after 15 s per call.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, chown};
use tokio::net::UnixListener;

use crate::config::Config;
use crate::dns_sockets::DnsSockets;

/// Names in `LISTEN_FDNAMES`.
const PLUGIN: &str = "plugin";
const API: &str = "api";
const DNS_UDP: &str = "dns-udp";
const DNS_TCP: &str = "dns-tcp";
/// Only root: the engine runs as root.
const PLUGIN_MODE: u32 = 0o600;
/// root and the group `docker`, as with the engine's own socket.
const API_MODE: u32 = 0o660;
const API_GROUP: &str = "docker";

/// Plugin and API are listening; those for DNS are bound later if the supervisor has none.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) plugin: UnixListener,
    pub(crate) api: UnixListener,
    pub(crate) dns: DnsSockets,
}

impl Sockets {
    /// Takes what the supervisor passed and binds the rest.
    ///
    /// # Errors
    /// Sockets that cannot be used, or that another process listens on.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let (mut plugin, mut api) = (None, None);
        let mut dns = DnsSockets::default();
        for (name, socket) in inherited()? {
            match name.as_str() {
                PLUGIN => plugin = Some(StdListener::from(socket)),
                API => api = Some(StdListener::from(socket)),
                DNS_UDP => dns.udp = Some(socket.into()),
                DNS_TCP => dns.tcp = Some(socket.into()),
                _ => tracing::warn!(%name, "inherited socket with an unknown name"),
            }
        }
        let docker = docker_group();
        let plugin = match plugin {
            Some(listener) => listener,
            None => bind(&config.plugin_socket, PLUGIN_MODE, None)?,
        };
        let api = match api {
            Some(listener) => listener,
            None => bind(&config.socket, API_MODE, docker)?,
        };
        Ok(Self { plugin: listener(plugin)?, api: listener(api)?, dns })
    }
}

/// Listens for the plugin in place of a supervisor whose daemon is gone for good. The caller holds the
/// lock of the state directory, so no daemon of this node serves the socket.
///
/// # Errors
/// A file in the way that is no socket.
pub(crate) fn take_over_plugin(config: &Config) -> anyhow::Result<UnixListener> {
    let path = &config.plugin_socket;
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    listener(bind(path, PLUGIN_MODE, None)?)
}

fn listener(listener: StdListener) -> anyhow::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

fn inherited() -> anyhow::Result<Vec<(String, OwnedFd)>> {
    let passed = sd_notify::listen_fds_with_names(false).context("inherited sockets")?;
    let take = |(fd, name)| {
        // SAFETY: sd_listen_fds(3) gives these descriptors to this process (LISTEN_PID is checked
        // by the call above) and nothing else in it takes them; this runs once, at the start.
        #[expect(unsafe_code, reason = "adopting a descriptor has no safe form")]
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        (name, owned)
    };
    Ok(passed.map(take).collect())
}

fn docker_group() -> Option<Gid> {
    Group::from_name(API_GROUP).ok().flatten().map(|group| group.gid)
}

/// Binds with the right owner and mode from the first moment on. The directory is made if missing.
fn bind(path: &Path, mode: u32, group: Option<Gid>) -> anyhow::Result<StdListener> {
    let directory = path.parent().context("a socket needs a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    remove_stale(path)?;
    // Nobody else can connect between bind and chmod. Called before other threads make files.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = StdListener::bind(path);
    umask(before);
    let bound = bound.with_context(|| format!("listening on {}", path.display()))?;
    chown(path, None, group).with_context(|| format!("owner of {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(bound)
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("looking at {}", path.display()))?,
    };
    if !metadata.file_type().is_socket() {
        bail!("{} is in the way: it is not a socket", path.display());
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "another process listens on {}: is a swarmnet daemon running already?",
            path.display()
        );
    }
    fs::remove_file(path).with_context(|| format!("removing the stale {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_its_mode_and_replaces_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/api.sock");
        for _ in 0..2 {
            drop(bind(&path, API_MODE, None).unwrap());
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, API_MODE);
        }
    }

    #[test]
    fn a_socket_in_use_and_a_file_in_the_way_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let _first = bind(&path, API_MODE, None).unwrap();
        let error = bind(&path, API_MODE, None).unwrap_err().to_string();
        assert!(error.contains("another process listens"), "{error}");
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(bind(&file, API_MODE, None).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }
}
