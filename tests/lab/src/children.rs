//! The services of one host as processes: started, signalled, reaped, under one lock.
//!
//! A pid is signalled only while the lock is held and reaped only under it too, so a signal never
//! reaches another process that got the same number.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::control::Condition;
use crate::process;
use crate::service::{self, Service};
use crate::spec::{Host, Lab, Spec};
use crate::supervisor::Sockets;

/// The engine stops its containers first, each with a grace period of 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const LOG_TAIL_LINES: usize = 15;

/// A service as the supervisor last saw it.
#[derive(Debug, Clone)]
enum Child {
    Alive(Pid),
    Ended(String),
}

/// The services of this host.
pub(crate) struct Children {
    lab: Lab,
    spec: Spec,
    host: Host,
    sockets: Option<Sockets>,
    table: Mutex<BTreeMap<Service, Child>>,
    /// A child was started or reaped.
    changed: Condvar,
}

impl Children {
    pub(crate) fn new(lab: Lab, spec: Spec, host: Host, sockets: Option<Sockets>) -> Arc<Self> {
        let (table, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { lab, spec, host, sockets, table, changed })
    }

    /// Starts a service that is not running and returns when it is ready.
    ///
    /// # Errors
    /// It ended or was not ready in time: with the last lines of its log.
    pub(crate) fn start(&self, service: Service) -> Result<()> {
        let pid = self.spawn(service)?;
        let deadline = Instant::now() + service.start_deadline();
        while !service.is_ready(&self.host) {
            let name = service.name();
            if let Some(Child::Ended(how)) = self.table().get(&service) {
                bail!("the {name} {how} before it was ready:\n{}", self.log_tail(service));
            }
            ensure!(
                Instant::now() < deadline,
                "the {name} (pid {pid}) is not ready after {} s:\n{}",
                service.start_deadline().as_secs(),
                self.log_tail(service)
            );
            std::thread::sleep(PROBE_INTERVAL);
        }
        Ok(())
    }

    /// Asks a service to end and returns when it has; one that is not running is no error.
    pub(crate) fn stop(&self, service: Service) -> Result<()> {
        self.signal_if_alive(service, Signal::SIGTERM)?;
        // A paused process takes its signal only when it runs.
        self.signal_if_alive(service, Signal::SIGCONT)?;
        self.wait_for_end(service, STOP_DEADLINE)
    }

    pub(crate) fn kill(&self, service: Service) -> Result<()> {
        self.signal_if_alive(service, Signal::SIGKILL)?;
        self.wait_for_end(service, STOP_DEADLINE)
    }

    pub(crate) fn pause(&self, service: Service) -> Result<()> {
        self.require_alive(service)?;
        self.signal_if_alive(service, Signal::SIGSTOP)
    }

    pub(crate) fn resume(&self, service: Service) -> Result<()> {
        self.require_alive(service)?;
        self.signal_if_alive(service, Signal::SIGCONT)
    }

    pub(crate) fn status(&self) -> BTreeMap<Service, Condition> {
        let condition = |child: &Child| match child {
            Child::Ended(how) => Condition::Ended { how: how.clone() },
            Child::Alive(pid) if process::is_stopped(pid.as_raw()) => {
                Condition::Paused { pid: pid.as_raw() }
            }
            Child::Alive(pid) => Condition::Running { pid: pid.as_raw() },
        };
        self.table().iter().map(|(service, child)| (*service, condition(child))).collect()
    }

    /// Reaps whatever ends below this process, for ever.
    pub(crate) fn reap(&self) {
        loop {
            // Looks without reaping: the pid must stay taken until the lock is held.
            match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => self.note_end(&status),
                Err(Errno::ECHILD) => self.wait_for_a_child(),
                Err(_interrupted) => {}
            }
        }
    }

    fn spawn(&self, service: Service) -> Result<Pid> {
        let mut table = self.table();
        if let Some(Child::Alive(pid)) = table.get(&service) {
            return Ok(*pid);
        }
        let mut command = self.command(service)?;
        let sockets = self.sockets.as_ref().filter(|_| service == Service::Daemon);
        // Under the lock: a failed exec is waited for by the standard library, not by our reaper; and
        // nothing else that starts gets the daemon's sockets.
        sockets.map_or(Ok(()), |sockets| sockets.keep_over_exec(true))?;
        let child = command.spawn().with_context(|| format!("starting the {}", service.name()));
        sockets.map_or(Ok(()), |sockets| sockets.keep_over_exec(false))?;
        let child = child?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("pid out of range")?);
        table.insert(service, Child::Alive(pid));
        self.changed.notify_all();
        Ok(pid)
    }

    fn command(&self, service: Service) -> Result<Command> {
        let log = self.log(service)?;
        let mut command = match service {
            Service::Engine => service::engine(&self.lab, &self.host)?,
            Service::Registry => service::registry(&self.lab, &self.host)?,
            Service::Daemon => {
                let options = self.spec.daemon.as_ref();
                let options = options.context("this lab was started without swarmnet daemons")?;
                let sockets = self.sockets.as_ref().context("this host runs no daemon")?;
                service::daemon(options, &sockets.all())
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn signal_if_alive(&self, service: Service, signal: Signal) -> Result<()> {
        let table = self.table();
        let Some(Child::Alive(pid)) = table.get(&service) else { return Ok(()) };
        // The engine's containerd stands and falls with it.
        let helpers = match (service, signal) {
            (Service::Engine, Signal::SIGSTOP | Signal::SIGCONT) => {
                process::children(pid.as_raw(), "containerd")
            }
            _ => vec![],
        };
        for pid in std::iter::once(pid.as_raw()).chain(helpers) {
            kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {pid}"))?;
        }
        Ok(())
    }

    fn require_alive(&self, service: Service) -> Result<()> {
        let alive = matches!(self.table().get(&service), Some(Child::Alive(_)));
        ensure!(alive, "the {} is not running", service.name());
        Ok(())
    }

    fn wait_for_end(&self, service: Service, limit: Duration) -> Result<()> {
        let alive = |table: &mut BTreeMap<Service, Child>| {
            matches!(table.get(&service), Some(Child::Alive(_)))
        };
        let (_table, waited) = self
            .changed
            .wait_timeout_while(self.table(), limit, alive)
            .expect("no thread panics while it holds the lock");
        ensure!(
            !waited.timed_out(),
            "the {} still runs after {} s",
            service.name(),
            limit.as_secs()
        );
        Ok(())
    }

    fn note_end(&self, status: &WaitStatus) {
        let (pid, how) = match *status {
            WaitStatus::Exited(pid, code) => (pid, format!("ended with status {code}")),
            WaitStatus::Signaled(pid, signal, _) => (pid, format!("was ended by {signal}")),
            WaitStatus::Stopped(..)
            | WaitStatus::PtraceEvent(..)
            | WaitStatus::PtraceSyscall(_)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => return,
        };
        let mut table = self.table();
        // Gone already when the standard library waited for a failed exec.
        let _reaped = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        for (service, child) in table.iter_mut() {
            if matches!(child, Child::Alive(alive) if *alive == pid) {
                eprintln!("supervisor: the {} (pid {pid}) {how}", service.name());
                *child = Child::Ended(how.clone());
            }
        }
        self.changed.notify_all();
    }

    /// Orphans arrive without notice, so this ends by itself after a while.
    fn wait_for_a_child(&self) {
        let _woken = self.changed.wait_timeout(self.table(), Duration::from_millis(500));
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Service, Child>> {
        self.table.lock().expect("no thread panics while it holds the lock")
    }

    fn log(&self, service: Service) -> Result<fs::File> {
        let path = self.lab.log(&self.host.name, service.name());
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).append(true).open(&path);
        file.with_context(|| format!("opening {}", path.display()))
    }

    fn log_tail(&self, service: Service) -> String {
        let path = self.lab.log(&self.host.name, service.name());
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(LOG_TAIL_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
