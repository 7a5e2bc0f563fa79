//! `swarmnet daemon`.

use crate::cli::DaemonArgs;
use crate::config::Config;
use crate::{cleanup, daemon, files, preflight, telemetry};

/// Threads of the runtime at least: a few may wait inside the kernel at the same time (for the one lock
/// of all network devices, for a disk) while answers and sessions go on.
const THREADS_MIN: usize = 4;

pub(super) fn run(args: &DaemonArgs) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    telemetry::start(&config.log, config.log_format)?;
    swarmnet_agent::allocator::prepare();
    preflight::check(&config.bpffs)?;
    preflight::check_attach_mode(config.attach_mode)?;
    files::ensure_directory(&config.state_dir)?;
    let _lock = files::lock(&config.state_dir)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(THREADS_MIN);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let result = match args.cleanup {
        true => runtime.block_on(cleanup::run(config)),
        false => runtime.block_on(daemon::run(config)),
    };
    // A blocking call that hangs (a dead disk) must not keep the process.
    runtime.shutdown_timeout(daemon::STOP_TIMEOUT);
    result
}
