//! `up`: from nothing to hosts that answer.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io::BufRead as _, io::BufReader};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Pid;

use crate::command::{exists, output_of};
use crate::control::{self, Condition, Request, ask};
use crate::exec::{at_engine, prepare_tools};
use crate::hosts;
use crate::images;
use crate::machine;
use crate::namespace;
use crate::service::{self, Service};
use crate::spec::{DaemonOptions, Host, Lab, Role, Spec};
use crate::swarm;
use crate::switch;

/// Programs the lab needs, and the Debian packages that have them.
const TOOLS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("nginx", "nginx-light"),
    ("busybox", "busybox-static"),
];

/// What `up` was asked for.
pub(crate) struct Wanted {
    pub(crate) hosts: Vec<String>,
    /// Number of managers of the swarm to form; `None` for no swarm.
    pub(crate) managers: Option<usize>,
    pub(crate) swarmnet: Option<PathBuf>,
    pub(crate) attach_mode: Option<String>,
    pub(crate) daemons: Daemons,
    pub(crate) engines: Engines,
}

/// Whether the hosts run a swarmnet daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemons {
    Started,
    LeftOut,
}

/// Whether the hosts run a Docker Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engines {
    Started,
    LeftOut,
}

/// Starts a lab and returns when everything in it is ready.
pub(crate) fn up(lab: &Lab, wanted: &Wanted) -> Result<()> {
    let _guard = lab.lock()?;
    let started = Instant::now();
    if let Some(spec) = Spec::load(lab)? {
        require_running(lab, &spec)?;
        println!("lab {:?} is already up", lab.name());
        return swarm::form(lab, &spec, wanted.managers);
    }
    let spec = plan(wanted)?;
    let whoami = beside_this_program("whoami")?;
    let images = images::ensure(&whoami)?;
    spec.save(lab)?;
    fs::create_dir_all(lab.docker_config())?;
    prepare_tools(lab, &whoami)?;
    namespace::prepare_pins(lab)?;
    switch::create(lab)?;
    for host in &spec.hosts {
        machine::prepare_disk(lab, &spec, host)?;
    }
    images.copy(&service::registry_storage(lab))?;
    drop(images);
    // One after the other: each host begins as a copy of the machine's mounts, without its
    // neighbours' still growing ones.
    for host in &spec.hosts {
        boot(lab, host)?;
        println!("{:8} {:14} is up{}", host.name, host.address.to_string(), since(started));
    }
    ask(lab, hosts::REGISTRY, Request::Start(Service::Registry))?;
    let nodes: Vec<&Host> = spec.nodes().collect();
    for_each(&nodes, |host| start_node(lab, &spec, host, started))?;
    swarm::form(lab, &spec, wanted.managers)?;
    println!("lab {:?} is ready{}", lab.name(), since(started));
    Ok(())
}

/// Makes a host's namespaces, its cable and its supervisor.
pub(crate) fn boot(lab: &Lab, host: &Host) -> Result<()> {
    namespace::create_network(&lab.netns(&host.name))?;
    switch::plug(lab, host)?;
    let mut supervisor = spawn_supervisor(lab, &host.name)?;
    let stdout = supervisor.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() != "ready" {
        let log = fs::read_to_string(lab.log(&host.name, "supervisor")).unwrap_or_default();
        bail!("{} did not come up: {}", host.name, log.trim());
    }
    let pid = i32::try_from(supervisor.id()).context("pid out of range")?;
    namespace::pin(lab, &host.name, Pid::from_raw(pid))
}

/// Starts what a host's role asks for, all at once as a boot does, and waits until it is ready: an engine
/// that lost its power calls its plugin about old containers before it answers anybody.
pub(crate) fn start_services(lab: &Lab, spec: &Spec, host: &Host) -> Result<()> {
    std::thread::scope(|scope| {
        let start = |service| ask(lab, &host.name, Request::Start(service)).map(drop);
        let services = wanted_services(spec, host).into_iter();
        let threads: Vec<_> = services.map(|service| scope.spawn(move || start(service))).collect();
        let results =
            threads.into_iter().map(|thread| thread.join().expect("the thread does not panic"));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Runs `work` for all hosts at once; the error is that of the first host that failed.
pub(crate) fn for_each<'a>(
    hosts: &[&'a Host],
    work: impl Fn(&'a Host) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = hosts.iter().map(|host| scope.spawn(|| work(host))).collect();
        let results =
            threads.into_iter().map(|thread| thread.join().expect("the thread does not panic"));
        // All are joined before the first error is returned.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

fn start_node(lab: &Lab, spec: &Spec, host: &Host, started: Instant) -> Result<()> {
    if spec.engines {
        ask(lab, &host.name, Request::Start(Service::Engine))?;
        println!("{:8} engine is ready{}", host.name, since(started));
    }
    std::thread::scope(|scope| {
        let images = scope.spawn(|| if spec.engines { preload(lab, host) } else { Ok(()) });
        if spec.daemon.is_some() {
            ask(lab, &host.name, Request::Start(Service::Daemon))?;
            println!("{:8} daemon is ready{}", host.name, since(started));
        }
        images.join().expect("the thread does not panic")
    })?;
    println!("{:8} has what it runs{}", host.name, since(started));
    Ok(())
}

fn preload(lab: &Lab, host: &Host) -> Result<()> {
    for image in images::NAMES {
        output_of(&mut at_engine(lab, &host.name, &["pull", "--quiet", image]))?;
    }
    Ok(())
}

fn spawn_supervisor(lab: &Lab, host: &str) -> Result<Child> {
    let path = lab.log(host, "supervisor");
    let log = fs::OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("opening {}", path.display()))?;
    Command::new("/proc/self/exe")
        .arg0("swarmnet-lab")
        .args(["--name", lab.name(), "supervise", host])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("starting the host's supervisor")
}

fn plan(wanted: &Wanted) -> Result<Spec> {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !exists(tool)).map(|(_, package)| *package).collect();
    ensure!(
        missing.is_empty(),
        "these Debian packages are missing: {}; install them with: make deps",
        missing.join(" ")
    );
    let hosts = hosts::plan(&wanted.hosts)?;
    swarm::check_managers(wanted.managers, wanted.hosts.len())?;
    let daemon = match wanted.daemons {
        Daemons::LeftOut => None,
        Daemons::Started => Some(daemon_options(wanted)?),
    };
    Ok(Spec { hosts, daemon, engines: wanted.engines == Engines::Started })
}

fn daemon_options(wanted: &Wanted) -> Result<DaemonOptions> {
    let binary = match &wanted.swarmnet {
        Some(path) => path.clone(),
        None => beside_this_program("swarmnet")?,
    };
    let binary = fs::canonicalize(&binary)
        .with_context(|| format!("{}: build it with: make build", binary.display()))?;
    Ok(DaemonOptions { binary, attach_mode: wanted.attach_mode.clone() })
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(program.parent().unwrap_or(Path::new("/")).join(name))
}

/// Reports a lab that is there only in part: after a crash, or an `up` that did not get through.
fn require_running(lab: &Lab, spec: &Spec) -> Result<()> {
    for host in &spec.hosts {
        let services =
            control::status(lab, &host.name).with_context(|| partial(lab, host, "off"))?;
        for service in wanted_services(spec, host) {
            ensure!(
                matches!(services.get(&service), Some(Condition::Running { .. })),
                partial(lab, host, &format!("without its {}", service.name()))
            );
        }
    }
    Ok(())
}

fn partial(lab: &Lab, host: &Host, how: &str) -> String {
    format!(
        "lab {:?} is there in part ({} is {how}); mend it with `start`, or remove it with `down`",
        lab.name(),
        host.name
    )
}

fn wanted_services(spec: &Spec, host: &Host) -> Vec<Service> {
    match host.role {
        Role::Client => vec![],
        Role::Registry => vec![Service::Registry],
        Role::Node => {
            let engine = spec.engines.then_some(Service::Engine);
            engine.into_iter().chain(spec.daemon.as_ref().map(|_| Service::Daemon)).collect()
        }
    }
}

fn since(started: Instant) -> String {
    let elapsed: Duration = started.elapsed();
    format!(" ({:.1} s)", elapsed.as_secs_f64())
}
