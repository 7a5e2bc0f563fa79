//! `swarmnet debug drops`.

use swarmnet_agent::debug::drops;

use crate::cli::ViewArgs;

pub(super) fn run(args: &ViewArgs) -> anyhow::Result<()> {
    super::print(&drops::view(&args.bpffs, &args.state_dir)?, args)
}
