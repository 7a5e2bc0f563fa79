//! Pure: limits and reservations of a task.

use serde::{Deserialize, Serialize};

/// CPU in billionths of a core, memory in bytes; 0 means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub limit_nano_cpus: i64,
    pub limit_memory_bytes: i64,
    pub limit_pids: i64,
    pub reserve_nano_cpus: i64,
    pub reserve_memory_bytes: i64,
    #[serde(default)]
    pub reserve_generic: Vec<GenericResource>,
    /// Swap on top of the memory limit; -1: without limit, `None`: as the engine does it.
    #[serde(default)]
    pub swap_bytes: Option<i64>,
    /// 0 to 100; -1 and `None`: as the engine does it.
    #[serde(default)]
    pub memory_swappiness: Option<i64>,
}

/// Something of a node that its operator declares and counts or names: `GPU=2`, `GPU=uuid1`.
///
/// A node has them, a task reserves them, and an assigned task holds some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GenericResource {
    /// So many of a kind.
    Discrete { kind: String, value: i64 },
    /// One of a kind, by its name.
    Named { kind: String, value: String },
}

impl GenericResource {
    pub fn kind(&self) -> &str {
        match self {
            Self::Discrete { kind, .. } | Self::Named { kind, .. } => kind,
        }
    }
}
