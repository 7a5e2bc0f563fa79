//! `swarmnet daemon`.

use crate::cli::DaemonArgs;
use crate::config::Config;
use crate::{cleanup, daemon, files, preflight, telemetry};

pub(super) fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    telemetry::start(&config.log, config.log_format)?;
    preflight::check(&config.bpffs)?;
    preflight::check_attach_mode(config.attach_mode)?;
    files::ensure_directory(&config.state_dir)?;
    let _lock = files::lock(&config.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = match args.cleanup {
        true => runtime.block_on(cleanup::run(config)),
        false => runtime.block_on(daemon::run(config)),
    };
    // A blocking call that hangs (a dead disk) must not keep the process.
    runtime.shutdown_timeout(daemon::STOP_TIMEOUT);
    result
}
