//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::faults::Percent;
use crate::spec::DEFAULT_LAB;
use crate::status::Log;
use crate::target::Part;

/// Several Docker hosts with swarmnet on one machine, and a client, joined by a switch.
///
/// Each host has its own network, mount and UTS namespace, Docker Engine and swarmnet daemon.
/// Needs root. SWARMNET_LAB_DOCKER names another docker CLI than the one on PATH.
#[derive(Debug, Parser)]
#[command(
    name = "swarmnet-lab",
    version,
    after_help = "Example:\n  swarmnet-lab up --swarm\n  swarmnet-lab exec master -- docker \
                  service create --name web --publish 8080:80 nginx\n  swarmnet-lab exec client \
                  -- curl http://node01:8080\n  swarmnet-lab down"
)]
pub(crate) struct Cli {
    /// Which lab: labs of different names do not disturb each other
    #[arg(long, value_name = "LAB", default_value = DEFAULT_LAB, env = "SWARMNET_LAB_NAME")]
    pub(crate) name: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the hosts; return when everything is ready
    #[command(
        after_help = "Example:\n  swarmnet-lab up --hosts master,node01,node02,node03 --swarm --managers 3"
    )]
    Up(Up),
    /// Run a command inside a host, with DOCKER_HOST set to its swarmnet socket
    #[command(after_help = "Example:\n  swarmnet-lab exec master -- docker node ls")]
    Exec {
        host: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Run the docker CLI against a host's Docker Engine itself
    #[command(after_help = "Example:\n  swarmnet-lab engine node01 -- ps --all")]
    Engine {
        host: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// End a daemon, an engine or a whole host in good order (SIGTERM)
    #[command(after_help = "Example:\n  swarmnet-lab stop node01 engine")]
    Stop(Target),
    /// End it at once (SIGKILL)
    #[command(after_help = "Example:\n  swarmnet-lab kill node02 host")]
    Kill(Target),
    /// Freeze it (SIGSTOP)
    #[command(after_help = "Example:\n  swarmnet-lab pause master daemon")]
    Pause(Target),
    /// Let it go on (SIGCONT)
    #[command(after_help = "Example:\n  swarmnet-lab resume master daemon")]
    Resume(Target),
    /// Start what was stopped or killed; return when it is ready
    #[command(after_help = "Example:\n  swarmnet-lab start node02 host")]
    Start(Target),
    /// Drop all packets between two hosts
    #[command(after_help = "Example:\n  swarmnet-lab cut master node01 --one-way")]
    Cut {
        a: String,
        b: String,
        /// Only packets from A to B
        #[arg(long)]
        one_way: bool,
    },
    /// Remove all faults from the switch
    #[command(after_help = "Example:\n  swarmnet-lab heal")]
    Heal,
    /// Lose a share of the packets between two hosts, at random (0 removes the fault)
    #[command(after_help = "Example:\n  swarmnet-lab loss node01 node02 10")]
    Loss {
        a: String,
        b: String,
        percent: Percent,
        /// Only packets from A to B
        #[arg(long)]
        one_way: bool,
    },
    /// List the images of every engine
    #[command(after_help = "Example:\n  swarmnet-lab images")]
    Images,
    /// Show the hosts, what runs on them, and the faults
    #[command(after_help = "Example:\n  swarmnet-lab status")]
    Status,
    /// Print a log of a host
    #[command(after_help = "Example:\n  swarmnet-lab logs node01 daemon --follow")]
    Logs {
        host: String,
        log: Log,
        /// Go on until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// Remove the lab and everything it made; no error if it is not there
    #[command(after_help = "Example:\n  swarmnet-lab --name other down")]
    Down,
    /// Internal: be the first process of a host
    #[command(hide = true)]
    Supervise { host: String },
    /// Internal: become the daemon, with the listening sockets in place
    #[command(hide = true)]
    Launch {
        /// Listening sockets as `name=descriptor`
        #[arg(long = "socket")]
        sockets: Vec<String>,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Hosts of the cluster; the client and the registry are always there
    #[arg(long, value_delimiter = ',', default_value = "master,node01,node02")]
    pub(crate) hosts: Vec<String>,
    /// Form a swarm of all hosts
    #[arg(long)]
    pub(crate) swarm: bool,
    /// How many hosts, from the first on, are managers
    #[arg(long, default_value_t = 1, requires = "swarm")]
    pub(crate) managers: usize,
    /// How the daemons attach their BPF programs (auto, tcx, clsact)
    #[arg(long, value_name = "MODE")]
    pub(crate) attach_mode: Option<String>,
    /// The swarmnet binary, if not the one beside this program
    #[arg(long, value_name = "PATH", env = "SWARMNET_LAB_SWARMNET")]
    pub(crate) swarmnet: Option<PathBuf>,
    /// Start the engines only
    #[arg(long, hide = true, conflicts_with = "swarm")]
    pub(crate) no_daemon: bool,
    /// Start the daemons only: many hosts without containers
    #[arg(long, hide = true, conflicts_with = "no_daemon")]
    pub(crate) no_engine: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) part: Part,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("swarmnet-lab"), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn a_command_is_passed_on_with_and_without_dashes() {
        for line in [&["exec", "node01", "--", "ls", "-l"][..], &["exec", "node01", "ls", "-l"]] {
            let cli = Cli::parse_from([&["swarmnet-lab"], line].concat());
            let Command::Exec { command, .. } = cli.command else { panic!("not an exec") };
            assert_eq!(command, ["ls", "-l"]);
        }
    }
}
