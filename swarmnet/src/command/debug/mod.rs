//! `swarmnet debug …`.

use anyhow::bail;

use crate::cli::DebugView;

pub(super) fn run(view: &DebugView) -> anyhow::Result<()> {
    bail!("debug view {view:?} is not part of this build")
}
