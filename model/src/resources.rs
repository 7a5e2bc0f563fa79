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
}
