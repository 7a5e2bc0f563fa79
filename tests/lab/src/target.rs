//! `stop`, `kill`, `pause`, `resume` and `start` of a daemon, an engine or a whole host.

use anyhow::{Result, bail};
use clap::ValueEnum;
use nix::sys::signal::Signal;

use crate::control::{self, Request, ask};
use crate::namespace;
use crate::process::{self, Owner};
use crate::service::Service;
use crate::spec::{Host, Lab, Role, Spec};
use crate::switch::{self, Link};
use crate::up;

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The swarmnet daemon.
    Daemon,
    /// The Docker Engine (dockerd with its containerd).
    Engine,
    /// Everything on the host, containers included, and its link.
    Host,
}

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGTERM and wait.
    Stop,
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// Start and wait until ready.
    Start,
}

/// Does an action to a part of a host.
pub(crate) fn act(lab: &Lab, name: &str, part: Part, action: Action) -> Result<()> {
    let spec = Spec::require(lab)?;
    let host = spec.host(name)?;
    match (part, host.role) {
        (Part::Host, _) => act_on_host(lab, &spec, host, action),
        (Part::Daemon, Role::Node) => act_on_service(lab, name, Service::Daemon, action),
        (Part::Engine, Role::Node) => act_on_service(lab, name, Service::Engine, action),
        (Part::Daemon | Part::Engine, Role::Client | Role::Registry) => {
            bail!("{name} runs neither engine nor daemon")
        }
    }
}

/// Returns what belongs to one host, or to the whole lab.
pub(crate) fn owner(lab: &Lab, hosts: &[String], cgroup: String) -> Owner {
    Owner { cgroup, namespaces: namespace::inodes(lab, hosts) }
}

fn act_on_service(lab: &Lab, host: &str, service: Service, action: Action) -> Result<()> {
    let request = match action {
        Action::Stop => Request::Stop(service),
        Action::Kill => Request::Kill(service),
        Action::Pause => Request::Pause(service),
        Action::Resume => Request::Resume(service),
        Action::Start => Request::Start(service),
    };
    ask(lab, host, request).map(drop)
}

fn act_on_host(lab: &Lab, spec: &Spec, host: &Host, action: Action) -> Result<()> {
    let _guard = lab.lock()?;
    let name = &host.name;
    let owner = owner(lab, std::slice::from_ref(name), format!("{}/{name}", lab.cgroup()));
    match action {
        Action::Stop => {
            // The engine first: while it ends, it calls the daemon's plugin for each container.
            for service in [Service::Engine, Service::Daemon, Service::Registry] {
                if control::status(lab, name).is_some_and(|all| all.contains_key(&service)) {
                    ask(lab, name, Request::Stop(service))?;
                }
            }
            switch::set_link(lab, name, Link::Down)?;
            power_off(lab, name, &owner)
        }
        // The link first: a host without power says no goodbye.
        Action::Kill => {
            switch::set_link(lab, name, Link::Down)?;
            power_off(lab, name, &owner)
        }
        Action::Pause => {
            switch::set_link(lab, name, Link::Down)?;
            signal_all_but_supervisor(lab, name, &owner, Signal::SIGSTOP)
        }
        Action::Resume => {
            signal_all_but_supervisor(lab, name, &owner, Signal::SIGCONT)?;
            switch::set_link(lab, name, Link::Up)
        }
        Action::Start => start_host(lab, spec, host, &owner),
    }
}

/// Ends all that runs; what stays is the disk, and the network namespace without a link.
fn power_off(lab: &Lab, host: &str, owner: &Owner) -> Result<()> {
    process::end(owner)?;
    namespace::unpin(lab, host)
}

/// Boots a host that is off: new namespaces, as after a reboot, with the disk it had.
fn start_host(lab: &Lab, spec: &Spec, host: &Host, owner: &Owner) -> Result<()> {
    if control::status(lab, &host.name).is_none() {
        process::end(owner)?;
        // Absent when an earlier start came no further.
        let _absent = switch::unplug(lab, &host.name);
        namespace::unpin(lab, &host.name)?;
        namespace::remove_network(&lab.netns(&host.name))?;
        up::boot(lab, host)?;
    }
    up::start_services(lab, spec, host)
}

fn signal_all_but_supervisor(lab: &Lab, host: &str, owner: &Owner, signal: Signal) -> Result<()> {
    if control::status(lab, host).is_none() {
        bail!("{host} is off");
    }
    let mut pids = process::owned(owner);
    // It must answer `status` and `resume`.
    pids.retain(|pid| !process::is_supervisor(*pid));
    process::signal_all(&pids, signal);
    Ok(())
}
