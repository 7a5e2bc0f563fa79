//! What a host runs: how each program is started, and how one sees that it is ready.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cgroup;
use crate::hosts::REGISTRY;
use crate::spec::{DaemonOptions, Host, Lab};

pub(crate) const ENGINE_SOCKET: &str = "/run/docker.sock";
pub(crate) const API_SOCKET: &str = "/run/swarmnet/docker.sock";
pub(crate) const PLUGIN_SOCKET: &str = "/run/docker/plugins/swarmnet.sock";
pub(crate) const NOTIFY_SOCKET: &str = "/run/swarmnet-notify.sock";
const ENGINE_PID_FILE: &str = "/run/docker.pid";
pub(crate) const REGISTRY_PORT: u16 = 5000;
/// One try of a readiness probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A program that the supervisor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Service {
    Engine,
    Daemon,
    Registry,
}

impl Service {
    /// Returns the name in commands, messages and log files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Daemon => "daemon",
            Self::Registry => "registry",
        }
    }

    /// Returns how long it may take to be ready, on a busy machine with two cores.
    pub(crate) fn start_deadline(self) -> Duration {
        match self {
            Self::Engine => Duration::from_secs(90),
            Self::Daemon | Self::Registry => Duration::from_secs(60),
        }
    }

    /// Reports whether it answers requests. Called inside the host.
    pub(crate) fn is_ready(self, host: &Host) -> bool {
        match self {
            Self::Engine => ping(ENGINE_SOCKET),
            Self::Daemon => ping(API_SOCKET),
            Self::Registry => {
                let address = SocketAddr::from((host.address, REGISTRY_PORT));
                TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_ok_and(|stream| {
                    let _unlimited = stream.set_read_timeout(Some(PROBE_TIMEOUT));
                    answers_ok(stream, "/v2/")
                })
            }
        }
    }
}

/// Returns the command of the swarmnet daemon; `launch` puts its sockets in place.
pub(crate) fn daemon(options: &DaemonOptions, sockets: &[(&str, BorrowedFd<'_>)]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("launch");
    for (name, socket) in sockets {
        command.args(["--socket", &format!("{name}={}", socket.as_raw_fd())]);
    }
    command.arg("--").arg(&options.binary).args([
        "daemon",
        "--socket",
        API_SOCKET,
        "--engine",
        &format!("unix://{ENGINE_SOCKET}"),
        "--state-dir",
        "/var/lib/swarmnet",
        "--plugin-socket",
        PLUGIN_SOCKET,
        "--bpffs",
        "/sys/fs/bpf",
    ]);
    if let Some(mode) = &options.attach_mode {
        command.args(["--attach-mode", mode]);
    }
    command.env("NOTIFY_SOCKET", NOTIFY_SOCKET);
    command
}

/// Returns the command of the host's Docker Engine and writes its configuration.
pub(crate) fn engine(lab: &Lab, host: &Host) -> Result<Command> {
    let registry = format!("{REGISTRY}:{REGISTRY_PORT}");
    let config = json!({
        "cgroup-parent": cgroup::containers(lab, &host.name),
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        // The second one is free for tests that bring a registry of their own.
        "insecure-registries": [registry, format!("{REGISTRY}:{}", REGISTRY_PORT + 1)],
        "registry-mirrors": [format!("http://{registry}")],
        "node-generic-resources": ["gpu=lab-0", "gpu=lab-1"],
    });
    fs::write("/etc/docker/daemon.json", serde_json::to_vec_pretty(&config)?)
        .context("writing the engine's configuration")?;
    // Nobody else runs an engine here: what a killed one left would only stop the next.
    let _absent = fs::remove_file(ENGINE_PID_FILE);
    let mut command = Command::new("dockerd");
    command.args(["-H", &format!("unix://{ENGINE_SOCKET}")]);
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    Ok(command)
}

/// Returns the command of the registry and writes its configuration.
pub(crate) fn registry(lab: &Lab, host: &Host) -> Result<Command> {
    let dir = lab.host_dir(&host.name);
    let config = json!({
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {
            "filesystem": {"rootdirectory": registry_storage(lab)},
            "delete": {"enabled": true},
        },
        "http": {
            "addr": format!("{}:{REGISTRY_PORT}", host.address),
            "secret": "of the lab",
        },
    });
    // YAML is a superset of JSON.
    let path: PathBuf = dir.join("registry.yml");
    fs::write(&path, serde_json::to_vec_pretty(&config)?)
        .with_context(|| format!("writing {}", path.display()))?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(path);
    Ok(command)
}

/// Returns where the registry keeps its images.
pub(crate) fn registry_storage(lab: &Lab) -> PathBuf {
    lab.host_dir(REGISTRY).join("storage")
}

fn ping(socket: impl AsRef<Path>) -> bool {
    UnixStream::connect(socket).is_ok_and(|stream| {
        let _unlimited = stream.set_read_timeout(Some(PROBE_TIMEOUT));
        answers_ok(stream, "/_ping")
    })
}

/// Reports whether a GET is answered with status 200.
fn answers_ok(mut stream: impl Write + Read, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    let mut status = [0; 12];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut status).is_ok()
        && status.ends_with(b" 200")
}
