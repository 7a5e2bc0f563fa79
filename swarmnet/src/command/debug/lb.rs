//! `swarmnet debug lb`.

use swarmnet_agent::debug::lb;

use crate::cli::ViewArgs;

pub(super) fn run(args: &ViewArgs) -> anyhow::Result<()> {
    super::print(&lb::view(&args.bpffs, &args.state_dir)?, args)
}
