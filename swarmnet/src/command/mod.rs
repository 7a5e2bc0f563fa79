//! What each command does: one file per command.

mod completion;
mod connectivity;
mod daemon;
mod debug;
mod version;

use std::process::ExitCode;

use crate::cli::{Cli, Command, ConnectivityAction};

/// Runs the command; errors go to standard error with their causes, and give status 1.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Daemon(args) => daemon::run(&args),
        Command::Debug(args) => debug::run(&args.view),
        Command::Connectivity(args) => match &args.action {
            ConnectivityAction::Test(args) => connectivity::run(args),
        },
        Command::Version => version::run(),
        Command::Completion { shell } => completion::run(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swarmnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
