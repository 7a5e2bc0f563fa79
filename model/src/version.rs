//! Pure: the version of a stored object, as `Version.Index` shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Raft log index of the entry that wrote the object last.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
