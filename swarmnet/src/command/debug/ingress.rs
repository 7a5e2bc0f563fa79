//! `swarmnet debug ingress`.

use swarmnet_agent::debug::ingress;

use crate::cli::ViewArgs;

pub(super) fn run(args: &ViewArgs) -> anyhow::Result<()> {
    super::print(&ingress::view(&args.bpffs, &args.state_dir)?, args)
}
