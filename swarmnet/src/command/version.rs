//! `swarmnet version`.

use std::io::{Write, stdout};

pub(super) fn run() -> anyhow::Result<()> {
    writeln!(stdout(), "swarmnet {}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
