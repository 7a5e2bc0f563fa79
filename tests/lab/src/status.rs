//! `status`, `images` and `logs`: what is there.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::command::output_of;
use crate::control::{self, Condition};
use crate::exec::at_engine;
use crate::faults;
use crate::images;
use crate::service::Service;
use crate::spec::{Host, Lab, Role, Spec};

/// Whose log to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// The swarmnet daemon.
    Daemon,
    /// The Docker Engine.
    Engine,
    /// The lab's own process on the host.
    Supervisor,
    /// The registry (on the host `registry` only).
    Registry,
}

/// How much of a log to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// What is there.
    Once,
    /// What is there, and on until interrupted.
    Follow,
}

/// Prints the hosts of a lab with what runs on them, and the faults on its switch.
pub(crate) fn status(lab: &Lab) -> Result<()> {
    let Some(spec) = Spec::load(lab)? else {
        return print(&format!("lab {:?} is not up\n", lab.name()));
    };
    let mut text = format!(
        "{:10} {:14} {:22} {:22} {:22}\n",
        "HOST", "ADDRESS", "NAMESPACE", "ENGINE", "DAEMON"
    );
    for host in &spec.hosts {
        text.push_str(&line(lab, host));
    }
    for ((from, to), fault) in faults::observe(lab)? {
        text.push_str(&format!("fault: {from} -> {to}: {fault}\n"));
    }
    print(&text)
}

/// Prints the images of every engine.
pub(crate) fn images(lab: &Lab) -> Result<()> {
    let spec = Spec::require(lab)?;
    let format = "{{.Repository}}:{{.Tag}}\t{{.ID}}\t{{.Size}}";
    let mut text = String::new();
    for host in spec.nodes() {
        let shown = output_of(&mut at_engine(lab, &host.name, &["images", "--format", format]))?;
        for line in shown.lines() {
            text.push_str(&format!("{}\t{line}\n", host.name));
        }
    }
    text.push_str(&format!(
        "the registry registry:5000 holds {} (also as library/…)\n",
        images::NAMES.join(", ")
    ));
    print(&text)
}

/// Prints a log of a host.
pub(crate) fn logs(lab: &Lab, host: &str, log: Log, show: Show) -> Result<()> {
    Spec::require(lab)?.host(host)?;
    let name = match log {
        Log::Daemon => "daemon",
        Log::Engine => "engine",
        Log::Supervisor => "supervisor",
        Log::Registry => "registry",
    };
    let path = lab.log(host, name);
    ensure!(path.exists(), "{host} has no {name} log: it was never started there");
    if show == Show::Follow {
        let error = Command::new("tail").args(["-n", "+1", "-F"]).arg(&path).exec();
        return Err(error).context("starting tail");
    }
    let mut file = fs::File::open(&path).with_context(|| format!("reading {}", path.display()))?;
    ended_early_is_fine(io::copy(&mut file, &mut io::stdout().lock()).map(drop))
}

fn line(lab: &Lab, host: &Host) -> String {
    let services = control::status(lab, &host.name);
    let column = |service: Service| match &services {
        None => "off".to_owned(),
        Some(services) => condition(services, service),
    };
    let (engine, daemon) = match host.role {
        Role::Node => (column(Service::Engine), column(Service::Daemon)),
        Role::Client => ("-".to_owned(), "-".to_owned()),
        Role::Registry => (format!("registry {}", column(Service::Registry)), "-".to_owned()),
    };
    let Host { name, address, .. } = host;
    let (address, netns) = (address.to_string(), lab.netns(name));
    format!("{name:10} {address:14} {netns:22} {engine:22} {daemon:22}\n")
}

fn condition(services: &BTreeMap<Service, Condition>, service: Service) -> String {
    match services.get(&service) {
        None => "not started".to_owned(),
        Some(Condition::Running { pid }) => format!("running (pid {pid})"),
        Some(Condition::Paused { pid }) => format!("paused (pid {pid})"),
        Some(Condition::Ended { how }) => how.clone(),
    }
}

fn print(text: &str) -> Result<()> {
    ended_early_is_fine(io::stdout().write_all(text.as_bytes()))
}

/// A reader that has seen enough (`| head -1`) is no failure.
fn ended_early_is_fine(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to stdout"),
    }
}
