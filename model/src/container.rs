//! Pure: what runs in a task: the container part of a task spec.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The container of a task. Empty vectors and `None` mean "as the image says".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// Replaces the image's entry point.
    pub command: Vec<String>,
    /// Arguments of the entry point.
    pub args: Vec<String>,
    pub hostname: Option<String>,
    /// `K=V`.
    pub env: Vec<String>,
    pub dir: Option<String>,
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub init: Option<bool>,
    pub tty: bool,
    pub open_stdin: bool,
    pub read_only: bool,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Option<Duration>,
    pub healthcheck: Option<Healthcheck>,
    /// `IP name`, as the CLI sends it.
    pub hosts: Vec<String>,
    pub dns: DnsConfig,
    pub mounts: Vec<Mount>,
    pub sysctls: BTreeMap<String, String>,
    pub capability_add: Vec<String>,
    pub capability_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub oom_score_adj: Option<i64>,
    /// As the engine takes them: `no-new-privileges=true`, `seccomp=…`.
    #[serde(default)]
    pub security_options: Vec<String>,
}

/// Health check of a container; `test` as in Docker (`["NONE"]`, `["CMD", …]`, `["CMD-SHELL", x]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    pub test: Vec<String>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    /// 0 means the engine's default.
    pub retries: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDriver {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// A mount; options that belong to another kind are refused by the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    Bind {
        propagation: Option<String>,
        non_recursive: bool,
        create_mountpoint: bool,
        #[serde(default)]
        read_only_non_recursive: bool,
        #[serde(default)]
        read_only_force_recursive: bool,
    },
    Volume {
        no_copy: bool,
        labels: BTreeMap<String, String>,
        driver: Option<LogDriver>,
        subpath: Option<String>,
    },
    Tmpfs {
        size_bytes: Option<i64>,
        mode: Option<u32>,
        /// Words of one or two parts: `noexec`, `uid` and `1000`.
        #[serde(default)]
        options: Vec<Vec<String>>,
    },
    /// The root file system of an image.
    Image { subpath: Option<String> },
    /// A named pipe of Windows; the engine refuses it elsewhere.
    Npipe,
}
