//! `swarmnet debug drops`: what was dropped, why, and what to do about it.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use swarmnet_ebpf::drops::counts;

use super::evidence::Evidence;
use super::{DebugError, table};

/// Every reason that has applied since the node joined.
#[derive(Debug, Serialize)]
pub struct DropsView {
    pub drops: Vec<DroppedFor>,
}

#[derive(Debug, Serialize)]
pub struct DroppedFor {
    pub number: u32,
    pub reason: &'static str,
    pub packets: u64,
    pub bytes: u64,
    pub cause: &'static str,
    pub fix: &'static str,
    /// Normal noise.
    pub quiet: bool,
}

/// Reads the view; quiet reasons are left out of the table, never of the JSON.
///
/// # Errors
/// `DebugError`.
pub fn view(bpffs: &Path, state_dir: &Path) -> Result<DropsView, DebugError> {
    of(&Evidence::read(bpffs, state_dir)?)
}

/// Makes the view of what was read.
///
/// # Errors
/// `Maps` if a map cannot be read.
pub fn of(evidence: &Evidence) -> Result<DropsView, DebugError> {
    let counted = counts(&evidence.maps)?;
    let drops = counted.into_iter().map(|drop| DroppedFor {
        number: drop.reason.number,
        reason: drop.reason.name,
        packets: drop.count.packets,
        bytes: drop.count.bytes,
        cause: drop.reason.cause,
        fix: drop.reason.fix,
        quiet: drop.reason.quiet,
    });
    Ok(DropsView { drops: drops.collect() })
}

impl fmt::Display for DropsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |drop: &DroppedFor| {
            vec![
                drop.reason.to_owned(),
                drop.packets.to_string(),
                drop.bytes.to_string(),
                drop.cause.to_owned(),
                drop.fix.to_owned(),
            ]
        };
        let rows: Vec<_> = self.drops.iter().filter(|drop| !drop.quiet).map(row).collect();
        if rows.is_empty() {
            return writeln!(f, "nothing but normal noise was dropped");
        }
        table::write(f, &["REASON", "PACKETS", "BYTES", "CAUSE", "FIX"], &rows)
    }
}
