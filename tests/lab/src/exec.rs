//! Runs commands inside a host.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cgroup;
use crate::namespace;
use crate::service::{API_SOCKET, ENGINE_SOCKET};
use crate::spec::{Lab, Role, Spec};

/// Names the docker CLI to use in place of the one on `PATH`.
const DOCKER_VARIABLE: &str = "SWARMNET_LAB_DOCKER";
/// The status shells give for a command that does not exist.
const NOT_FOUND: i32 = 127;
/// Network tools of busybox; a plain Debian has few of them.
const BUSYBOX_TOOLS: [&str; 7] =
    ["arping", "httpd", "nslookup", "ping", "telnet", "traceroute", "wget"];
/// Limit for commands of our own, in seconds: pulls on a busy machine with two cores included.
const OWN_COMMAND_LIMIT_S: &str = "120";

/// Becomes a command inside a host: all its namespaces, its cgroup, `DOCKER_HOST` set.
///
/// Returns only if that fails; the status is then that of a shell.
pub(crate) fn exec(lab: &Lab, host: &str, command: &[OsString]) -> Result<i32> {
    let docker_host = match Spec::require(lab)?.host(host)?.role {
        Role::Node => Some(API_SOCKET),
        Role::Client | Role::Registry => None,
    };
    become_command(lab, host, docker_host, command)
}

/// Becomes the docker CLI talking to a host's engine itself.
pub(crate) fn engine(lab: &Lab, host: &str, args: &[OsString]) -> Result<i32> {
    let role = Spec::require(lab)?.host(host)?.role;
    anyhow::ensure!(role == Role::Node, "{host} runs no engine");
    let command = [&[OsString::from("docker")], args].concat();
    become_command(lab, host, Some(ENGINE_SOCKET), &command)
}

/// Returns a command that runs inside a host, for use by other commands of this program.
pub(crate) fn inside<S: AsRef<OsStr>>(lab: &Lab, host: &str, command: &[S]) -> Command {
    own_command(lab, "exec", host, command)
}

/// Returns a docker command against a host's engine itself.
pub(crate) fn at_engine<S: AsRef<OsStr>>(lab: &Lab, host: &str, args: &[S]) -> Command {
    own_command(lab, "engine", host, args)
}

fn own_command<S: AsRef<OsStr>>(lab: &Lab, verb: &str, host: &str, args: &[S]) -> Command {
    // By number and not as `self`: it is `timeout` that starts it.
    let program = format!("/proc/{}/exe", std::process::id());
    let mut own = Command::new("timeout");
    own.args([OWN_COMMAND_LIMIT_S, &program, "--name", lab.name(), verb, host, "--"]).args(args);
    own
}

fn become_command(
    lab: &Lab,
    host: &str,
    docker_host: Option<&str>,
    command: &[OsString],
) -> Result<i32> {
    let directory = std::env::current_dir();
    namespace::enter(lab, host)?;
    cgroup::join(lab, host)?;
    let (name, args) = command.split_first().context("no command to run")?;
    let mut command = Command::new(program(name));
    command.args(args).env("DOCKER_CONFIG", lab.docker_config());
    // What a user's own shell says about Docker is about another engine.
    for variable in ["DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(variable);
    }
    command.env("PATH", search_path(lab));
    match docker_host {
        Some(socket) => command.env("DOCKER_HOST", format!("unix://{socket}")),
        None => command.env_remove("DOCKER_HOST"),
    };
    if let Ok(directory) = directory {
        command.current_dir(directory);
    }
    let error = command.exec();
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    eprintln!("swarmnet-lab: {}: {error}", name.to_string_lossy());
    Ok(if missing { NOT_FOUND } else { NOT_FOUND - 1 })
}

/// Makes the directory with the tools that hosts have even where this machine has them not.
pub(crate) fn prepare_tools(lab: &Lab, whoami: &Path) -> Result<()> {
    let dir = lab.tools();
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let busybox = BUSYBOX_TOOLS.map(|tool| (tool, Path::new("/bin/busybox")));
    for (tool, program) in busybox.into_iter().chain([("nc", whoami)]) {
        let link = dir.join(tool);
        symlink(program, &link).with_context(|| format!("making {}", link.display()))?;
    }
    Ok(())
}

/// Returns `PATH` with the lab's tools at the end: the machine's own come first.
fn search_path(lab: &Lab) -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(lab.tools());
    path
}

fn program(name: &OsStr) -> OsString {
    match std::env::var_os(DOCKER_VARIABLE) {
        Some(docker) if name == "docker" => docker,
        _ => name.to_owned(),
    }
}
