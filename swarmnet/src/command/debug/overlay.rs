//! `swarmnet debug overlay`.

use swarmnet_agent::debug::overlay;

use crate::cli::ViewArgs;

pub(super) fn run(args: &ViewArgs) -> anyhow::Result<()> {
    super::print(&overlay::view(&args.bpffs, &args.state_dir)?, args)
}
