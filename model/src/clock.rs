//! Pure: wall-clock times as values; the only real clock is in the binary.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, UTC. Zero means "unset" and renders as Go's zero time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const UNSET: Self = Self(0);

    /// Returns the time `by` later, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Returns how long ago `earlier` was, zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with nine digits of nanoseconds, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNSET {
            return f.write_str("0001-01-01T00:00:00Z");
        }
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .expect("64-bit nanoseconds lie inside the calendar's range");
        write!(f, "{time:.9}")
    }
}

/// Tells the time; planners get a [`Timestamp`] instead.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_render_as_docker_shows_them() {
        assert_eq!(Timestamp::UNSET.to_string(), "0001-01-01T00:00:00Z");
        let time = Timestamp(1_795_356_684_952_910_942);
        assert_eq!(time.to_string(), "2026-11-22T14:11:24.952910942Z");
        assert_eq!(time.plus(Duration::from_secs(2)).since(time), Duration::from_secs(2));
        assert_eq!(time.since(time.plus(Duration::from_secs(2))), Duration::ZERO);
    }
}
