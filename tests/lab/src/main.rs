//! swarmnet-lab: several Docker hosts with swarmnet on one machine.
//!
//! Owns: the hosts of a lab (namespaces, disks, Docker Engines, swarmnet daemons), the switch
//! between them with its faults, the images, and their removal. It knows nothing of what swarmnet
//! does: it starts the binary and speaks to it with the stock docker CLI only.
//!
//! ```text
//!            switch: br0 10.20.20.1, nftables faults
//!   ┌──────────┬──────────┬──────────┬──────────┐
//! master     node01     node02     client     registry
//!  .100       .110       .120       .50        .5:5000
//!  supervisor ── dockerd ── containerd ── containers
//!      └──────── swarmnet daemon (its sockets are the supervisor's)
//! ```
//!
//! What stays true: everything of a lab carries its name (namespaces, cgroups, directory), so
//! `down` needs no record; nothing is made in the machine's own network namespace.

#![expect(clippy::disallowed_methods, reason = "the lab's work is to run other programs")]

mod cgroup;
mod children;
mod cli;
mod command;
mod control;
mod down;
mod exec;
mod faults;
mod hosts;
mod images;
mod launch;
mod machine;
mod mounts;
mod namespace;
mod process;
mod service;
mod spec;
mod status;
mod supervisor;
mod swarm;
mod switch;
mod target;
mod up;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser as _;
use nix::unistd::geteuid;

use cli::{Cli, Command};
use faults::{Direction, Fault};
use spec::{Lab, Spec};
use status::Show;
use target::{Action, act};
use up::{Daemons, Engines, Wanted};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("swarmnet-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command and returns the status to exit with.
fn run(cli: Cli) -> Result<i32> {
    let lab = Lab::new(&cli.name)?;
    ensure!(geteuid().is_root(), "the lab makes namespaces and mounts: run it as root (sudo)");
    match cli.command {
        Command::Exec { host, command } => return exec::exec(&lab, &host, &command),
        Command::Engine { host, args } => return exec::engine(&lab, &host, &args),
        Command::Up(options) => up::up(&lab, &wanted(options))?,
        Command::Stop(target) => act(&lab, &target.host, target.part, Action::Stop)?,
        Command::Kill(target) => act(&lab, &target.host, target.part, Action::Kill)?,
        Command::Pause(target) => act(&lab, &target.host, target.part, Action::Pause)?,
        Command::Resume(target) => act(&lab, &target.host, target.part, Action::Resume)?,
        Command::Start(target) => act(&lab, &target.host, target.part, Action::Start)?,
        Command::Cut { a, b, one_way } => put_fault(&lab, (&a, &b), Fault::Cut, way(one_way))?,
        Command::Loss { a, b, percent, one_way } => {
            put_fault(&lab, (&a, &b), percent.fault(), way(one_way))?;
        }
        Command::Heal => {
            let _spec = Spec::require(&lab)?;
            let _guard = lab.lock()?;
            faults::heal(&lab)?;
        }
        Command::Images => status::images(&lab)?,
        Command::Status => status::status(&lab)?,
        Command::Logs { host, log, follow } => {
            let show = if follow { Show::Follow } else { Show::Once };
            status::logs(&lab, &host, log, show)?;
        }
        Command::Down => down::down(&lab)?,
        Command::Supervise { host } => supervisor::run(&lab, &host)?,
        Command::Launch { sockets, command } => launch::become_daemon(&sockets, &command)?,
    }
    Ok(0)
}

fn wanted(options: cli::Up) -> Wanted {
    Wanted {
        hosts: options.hosts,
        managers: options.swarm.then_some(options.managers),
        swarmnet: options.swarmnet,
        attach_mode: options.attach_mode,
        daemons: if options.no_daemon { Daemons::LeftOut } else { Daemons::Started },
        engines: if options.no_engine { Engines::LeftOut } else { Engines::Started },
    }
}

fn way(one_way: bool) -> Direction {
    if one_way { Direction::OneWay } else { Direction::Both }
}

fn put_fault(lab: &Lab, ends: (&str, &str), fault: Fault, way: Direction) -> Result<()> {
    let spec = Spec::require(lab)?;
    spec.host(ends.0)?;
    spec.host(ends.1)?;
    let _guard = lab.lock()?;
    faults::put(lab, ends, fault, way)
}
