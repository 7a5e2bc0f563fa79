//! The command line, as data.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Docker Swarm mode with an eBPF data plane.
///
/// The daemon runs beside a Docker Engine. Clusters, nodes and services are managed with the docker
/// command line over the daemon's socket: `export DOCKER_HOST=unix:///run/swarmnet/docker.sock`.
#[derive(Debug, Parser)]
#[command(
    name = "swarmnet",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  swarmnet daemon\n  \
                  docker -H unix:///run/swarmnet/docker.sock swarm init"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon of this node
    ///
    /// Options may also stand in the file (one per line, `state-dir = "/var/lib/swarmnet"`) or in
    /// the environment (SWARMNET_STATE_DIR). Flags win over the environment, the environment over
    /// the file, the file over the defaults. Stopping the daemon leaves containers and flows alone.
    #[command(after_help = "Example:\n  swarmnet daemon --engine unix:///var/run/docker.sock")]
    Daemon(DaemonArgs),
    /// Look into this node's data plane; changes nothing
    #[command(after_help = "Example:\n  swarmnet debug lb\n  swarmnet debug drops -o json")]
    Debug(DebugArgs),
    /// Test how the nodes of the cluster reach each other
    #[command(after_help = "Example:\n  swarmnet connectivity test")]
    Connectivity(ConnectivityArgs),
    /// Print the version
    #[command(after_help = "Example:\n  swarmnet version")]
    Version,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  swarmnet completion bash > \
                      /usr/share/bash-completion/completions/swarmnet")]
    Completion {
        /// Shell the script is for
        shell: Shell,
    },
}

/// How programs are put on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachMode {
    /// tcx where the kernel has it, else clsact
    Auto,
    /// tcx only
    Tcx,
    /// clsact even where tcx exists
    Clsact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What the user gave: all optional, so that the file and the defaults can fill in.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DaemonArgs {
    /// File with options [default: /etc/swarmnet/swarmnet.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "SWARMNET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Socket the docker command line talks to [default: /run/swarmnet/docker.sock]
    #[arg(long, value_name = "PATH", env = "SWARMNET_SOCKET")]
    pub(crate) socket: Option<String>,
    /// Socket of the Docker Engine [default: unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", env = "SWARMNET_ENGINE")]
    pub(crate) engine: Option<String>,
    /// Directory of certificates, Raft log and journals [default: /var/lib/swarmnet]
    #[arg(long, value_name = "DIR", env = "SWARMNET_STATE_DIR")]
    pub(crate) state_dir: Option<String>,
    /// Socket the engine's network plugin calls come in [default: /run/docker/plugins/swarmnet.sock]
    #[arg(long, value_name = "PATH", env = "SWARMNET_PLUGIN_SOCKET")]
    pub(crate) plugin_socket: Option<String>,
    /// Mounted BPF file system [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR", env = "SWARMNET_BPFFS")]
    pub(crate) bpffs: Option<String>,
    /// How programs are put on devices [default: auto]
    #[arg(long, value_name = "MODE", env = "SWARMNET_ATTACH_MODE")]
    pub(crate) attach_mode: Option<AttachMode>,
    /// Log filter, such as `info` or `warn,swarmnet_agent=debug` [default: info,openraft=warn]
    #[arg(long, value_name = "FILTER", env = "SWARMNET_LOG")]
    pub(crate) log: Option<String>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORMAT", env = "SWARMNET_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Take down this node's data plane and exit: for removing swarmnet from a machine
    #[arg(long)]
    pub(crate) cleanup: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ConnectivityArgs {
    #[command(subcommand)]
    pub(crate) action: ConnectivityAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectivityAction {
    /// Send frames of full size between every pair of nodes
    ///
    /// Run it on a manager. Every node sends VXLAN frames to every other one, as it sends those of
    /// tasks, and tells what came back: the round trip, lost frames, and the largest packet that the
    /// underlay carries in one piece. No container is started and nothing is changed. Exits with 1
    /// if a node is missing or a way does not carry full frames; each problem comes with the hop and
    /// a remedy.
    #[command(after_help = "Example:\n  swarmnet connectivity test\n  \
                            swarmnet connectivity test -o json")]
    Test(ConnectivityTestArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ConnectivityTestArgs {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Output,
    /// Socket of this node's daemon
    #[arg(
        long,
        value_name = "PATH",
        env = "SWARMNET_SOCKET",
        default_value = "/run/swarmnet/docker.sock"
    )]
    pub(crate) socket: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    pub(crate) view: DebugView,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugView {
    /// VIPs and published ports with their backends
    #[command(after_help = "Example:\n  swarmnet debug lb")]
    Lb(ViewArgs),
    /// Networks, endpoints and peers
    #[command(after_help = "Example:\n  swarmnet debug overlay -o json")]
    Overlay(ViewArgs),
    /// Published ports and what is behind them
    #[command(after_help = "Example:\n  swarmnet debug ingress")]
    Ingress(ViewArgs),
    /// Dropped packets by reason, with cause and fix
    #[command(after_help = "Example:\n  swarmnet debug drops")]
    Drops(ViewArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct ViewArgs {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Output,
    /// Directory of the daemon's state
    #[arg(
        long,
        value_name = "DIR",
        env = "SWARMNET_STATE_DIR",
        default_value = "/var/lib/swarmnet"
    )]
    pub(crate) state_dir: PathBuf,
    /// Mounted BPF file system
    #[arg(long, value_name = "DIR", env = "SWARMNET_BPFFS", default_value = "/sys/fs/bpf")]
    pub(crate) bpffs: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn all(command: &clap::Command) -> Vec<clap::Command> {
        let below = command.get_subcommands().flat_map(all);
        std::iter::once(command.clone()).chain(below).collect()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        for mut command in all(&Cli::command()) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  swarmnet"), "{}: {help}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn the_labs_command_line_is_understood() {
        let line = "swarmnet daemon --socket /run/swarmnet/docker.sock --engine \
                    unix:///run/docker.sock --state-dir /var/lib/swarmnet --plugin-socket \
                    /run/docker/plugins/swarmnet.sock --bpffs /sys/fs/bpf --attach-mode clsact";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Daemon(args) = cli.command else { panic!("{cli:?}") };
        assert_eq!(args.attach_mode, Some(AttachMode::Clsact));
        assert_eq!(args.engine.as_deref(), Some("unix:///run/docker.sock"));
    }
}
