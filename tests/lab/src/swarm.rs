//! Forms the cluster of a lab with the stock docker CLI, as a user would.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::output_of;
use crate::exec::inside;
use crate::spec::{Host, Lab, Spec};
use crate::up::for_each;

const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Reports whether a number of managers makes sense for a lab of `hosts` hosts.
pub(crate) fn check_managers(managers: Option<usize>, hosts: usize) -> Result<()> {
    if let Some(managers) = managers {
        ensure!(
            (1..=hosts).contains(&managers),
            "--managers {managers} does not fit: this lab has {hosts} hosts"
        );
    }
    Ok(())
}

/// Makes the first host a swarm, joins the rest, and returns when all are `Ready`.
///
/// A lab whose first host is in a swarm already is left as it is.
pub(crate) fn form(lab: &Lab, spec: &Spec, managers: Option<usize>) -> Result<()> {
    let Some(managers) = managers else { return Ok(()) };
    ensure!(spec.daemon.is_some(), "this lab was started without swarmnet daemons");
    let nodes: Vec<&Host> = spec.nodes().collect();
    check_managers(Some(managers), nodes.len())?;
    let (first, rest) = nodes.split_first().context("this lab has no nodes")?;
    let state = docker(lab, first, &["info", "--format", "{{.Swarm.LocalNodeState}}"])?;
    if state.trim() != "active" {
        let address = first.address.to_string();
        docker(lab, first, &["swarm", "init", "--advertise-addr", &address])?;
        println!("{:8} has begun the swarm", first.name);
        let (others, workers) = rest.split_at(managers - 1);
        // Managers one after the other: each changes the membership.
        for host in others {
            join(lab, first, host, "manager")?;
        }
        for_each(workers, |host| join(lab, first, host, "worker"))?;
    }
    wait_ready(lab, first, nodes.len())
}

fn join(lab: &Lab, first: &Host, host: &Host, role: &str) -> Result<()> {
    let token = docker(lab, first, &["swarm", "join-token", "--quiet", role])?;
    let address = format!("{}:2377", first.address);
    docker(lab, host, &["swarm", "join", "--token", token.trim(), &address])?;
    println!("{:8} has joined as {role}", host.name);
    Ok(())
}

fn wait_ready(lab: &Lab, first: &Host, expected: usize) -> Result<()> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        let shown = docker(lab, first, &["node", "ls", "--format", "{{.Status}}"])?;
        if shown.lines().filter(|status| *status == "Ready").count() == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            let table = docker(lab, first, &["node", "ls"])?;
            bail!("not all {expected} nodes are Ready after {READY_DEADLINE:?}:\n{table}");
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn docker(lab: &Lab, host: &Host, args: &[&str]) -> Result<String> {
    output_of(&mut inside(lab, &host.name, &[&["docker"], args].concat()))
}
