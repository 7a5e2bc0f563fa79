//! Pure: VXLAN network identifiers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A VXLAN network identifier of 24 bits. 0–15 belong to swarmnet itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vni(u32);

impl Vni {
    pub const MAX: u32 = (1 << 24) - 1;
    /// First VNI that is given out automatically, as in Docker Swarm.
    pub const FIRST_AUTOMATIC: u32 = 4096;
    /// First VNI a user may name.
    pub const FIRST_USABLE: u32 = 16;

    /// Returns `None` outside 16…2²⁴−1.
    pub fn new(value: u32) -> Option<Self> {
        (Self::FIRST_USABLE..=Self::MAX).contains(&value).then_some(Self(value))
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
