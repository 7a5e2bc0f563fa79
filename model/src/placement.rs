//! Pure: where tasks may run, as the user wrote it.

use serde::{Deserialize, Serialize};

/// Constraints and limits; constraint expressions were checked when the spec was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// `key==value` or `key!=value`, all must hold.
    pub constraints: Vec<String>,
    /// Labels to spread over (`node.labels.dc`), outermost first.
    pub spread: Vec<String>,
    /// 0 = no limit.
    pub max_replicas: u64,
    pub platforms: Vec<Platform>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}
