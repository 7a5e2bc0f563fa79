//! Pure: how far a task is, and how far it should go.

use serde::{Deserialize, Serialize};

/// How far a task is. Ordered: a task only ever moves to a greater state.
///
/// Managers write up to `Assigned` and `Orphaned`; the agent writes the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    New,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    Complete,
    Shutdown,
    Failed,
    Rejected,
    Remove,
    Orphaned,
}

impl TaskState {
    pub const ALL: [Self; 14] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Remove,
        Self::Orphaned,
    ];

    /// Returns the word the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }

    /// True once nothing of the task can run any more.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }
}

/// How far a task should go; written by managers only. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    Ready,
    Running,
    Complete,
    Shutdown,
    Remove,
}

impl DesiredState {
    /// Returns the word the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Remove => "remove",
        }
    }

    /// True if the task is meant to stop.
    pub fn is_terminal(self) -> bool {
        self >= Self::Shutdown
    }
}
