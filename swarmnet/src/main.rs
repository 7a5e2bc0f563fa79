//! swarmnet: Docker Swarm mode re-done, one binary for every node.
//!
//! Owns: the command line, the daemon's life, the node's identity and roles. Does not own: what a
//! manager decides (`swarmnet-manager`), what an agent does (`swarmnet-agent`), the HTTP API
//! (`swarmnet-engine-api`).
//!
//! ```text
//!   cli ─► command ─► daemon ─┬─ sockets, data plane (always)
//!                             ├─ node: outside │ joining │ member (manager + agent)
//!                             └─ engine-api ─► control_plane ─► node, manager
//! ```

mod advertise;
mod agent_role;
mod agents;
mod bootstrap;
mod checks;
mod cleanup;
mod cli;
mod clock;
mod command;
mod config;
mod control_plane;
mod daemon;
mod dns_sockets;
mod engine;
mod files;
mod identity;
mod interfaces;
mod joining;
mod leaving;
mod manager_role;
mod member;
mod node;
mod node_file;
#[cfg(test)]
mod node_tests;
mod preflight;
mod sockets;
mod telemetry;
mod texts;

use std::process::ExitCode;

use clap::Parser;

/// Status of a command line that cannot be understood, as with docker.
const WRONG_USAGE: u8 = 125;

fn main() -> ExitCode {
    match cli::Cli::try_parse() {
        Ok(cli) => command::run(cli),
        Err(error) => {
            // Help and version come this way too; a closed output is the reader's wish.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
