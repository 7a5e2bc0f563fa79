//! Pure: when an ended task gets a successor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults::RESTART_DELAY;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    None,
    OnFailure,
    #[default]
    Any,
}

/// Restart policy; absent fields take Docker's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub condition: RestartCondition,
    pub delay: Option<Duration>,
    /// 0 = no limit.
    pub max_attempts: u64,
    /// Zero = the whole life of the spec.
    pub window: Duration,
}

impl RestartPolicy {
    /// Returns the wait before a successor starts.
    pub fn delay(&self) -> Duration {
        self.delay.unwrap_or(RESTART_DELAY)
    }
}
