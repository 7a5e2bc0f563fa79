//! Pure: what happened to an object of the cluster, as `docker events` tells it.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Node,
    Service,
    Network,
}

impl EventKind {
    /// Returns the word the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Service => "service",
            Self::Network => "network",
        }
    }
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventAction {
    Create,
    Update,
    Remove,
}

impl EventAction {
    /// Returns the word the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }
}

/// One event of scope `swarm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub action: EventAction,
    pub id: String,
    /// Always `name`; of an update also what changed, as `<what>.old` and `<what>.new`.
    pub attributes: BTreeMap<String, String>,
    pub time: Timestamp,
}
