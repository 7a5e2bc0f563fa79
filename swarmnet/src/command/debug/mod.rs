//! `swarmnet debug …`: the agent reads, this prints.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;
use swarmnet_agent::debug::{drops, ingress, lb, overlay};

use crate::cli::{DebugView, Output, ViewArgs};

/// Reads the view from the pinned maps and prints it; the daemon may be dead.
pub(super) fn run(view: &DebugView) -> anyhow::Result<()> {
    match view {
        DebugView::Lb(args) => print(args, &lb::view(&args.bpffs, &args.state_dir)?),
        DebugView::Overlay(args) => print(args, &overlay::view(&args.bpffs, &args.state_dir)?),
        DebugView::Ingress(args) => print(args, &ingress::view(&args.bpffs, &args.state_dir)?),
        DebugView::Drops(args) => print(args, &drops::view(&args.bpffs, &args.state_dir)?),
    }
}

fn print<T: Display + Serialize>(args: &ViewArgs, view: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Table => write!(out, "{view}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(view)?)?,
    }
    Ok(())
}
