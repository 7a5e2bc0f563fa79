//! Pure: the range of automatically published ports.

use std::ops::RangeInclusive;

/// Published ports are chosen from here when the user names none (Docker Swarm's range).
pub const DYNAMIC_PORTS: RangeInclusive<u16> = 30_000..=32_767;
