//! `swarmnet debug …`: read-only views of this node's data plane; they work without the daemon.

mod drops;
mod ingress;
mod lb;
mod overlay;

use std::fmt::Display;
use std::io::{Write, stdout};

use serde::Serialize;

use crate::cli::{DebugView, Output, ViewArgs};

pub(super) fn run(view: &DebugView) -> anyhow::Result<()> {
    match view {
        DebugView::Lb(args) => lb::run(args),
        DebugView::Overlay(args) => overlay::run(args),
        DebugView::Ingress(args) => ingress::run(args),
        DebugView::Drops(args) => drops::run(args),
    }
}

/// Prints the view as the user wants it.
fn print(view: &(impl Display + Serialize), args: &ViewArgs) -> anyhow::Result<()> {
    let text = match args.output {
        Output::Table => view.to_string(),
        Output::Json => serde_json::to_string_pretty(view)?,
    };
    writeln!(stdout(), "{}", text.trim_end())?;
    Ok(())
}
