//! `swarmnet completion`.

use std::io::{Write, stdout};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;

pub(super) fn run(shell: Shell) -> anyhow::Result<()> {
    // Into memory first: the generator panics on a closed pipe.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "swarmnet", &mut script);
    stdout().write_all(&script)?;
    Ok(())
}
