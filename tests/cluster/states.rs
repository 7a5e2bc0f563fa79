//! Every state of a task that can last, in `docker service ps`. `Accepted` passes too fast to be seen;
//! `Remove` is only wished for, as in Docker.

use crate::lab::{HOSTS, Lab, SLEEPER, assert_contains, wait_for};

/// Creates a service and does not wait for it.
fn create(lab: &Lab, name: &str, rest: &str) {
    lab.docker(&format!("service create --detach --quiet --name {name} {rest}"));
}

/// `DESIRED|CURRENT|ERROR` of a service's tasks, the newest first.
fn tasks(lab: &Lab, name: &str) -> Vec<String> {
    let format = "--no-trunc --format {{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
    lab.docker(&format!("service ps {name} {format}")).lines().map(str::to_owned).collect()
}

/// Waits until a task is wished and is as said.
#[track_caller]
fn shows(lab: &Lab, name: &str, wish: &str, state: &str) -> String {
    let start = format!("{wish}|{state} ");
    let mut found = String::new();
    wait_for(&format!("{name} is {start}"), || {
        let task = tasks(lab, name).into_iter().find(|task| task.starts_with(&start));
        found = task.unwrap_or_default();
        !found.is_empty()
    });
    found
}

pub(crate) fn of_tasks_on_their_way_are_shown(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay --subnet 10.69.0.0/30 tiny");
    create(lab, "fresh", &format!("--network tiny --replicas 3 {SLEEPER}"));
    let full = shows(lab, "fresh", "Running", "New");
    assert_contains(&full, "no available IPv4 addresses on this network's address pools: tiny");
    create(lab, "nowhere", "--constraint node.hostname==nosuch whoami");
    let waits = shows(lab, "nowhere", "Running", "Pending");
    assert_contains(&waits, "no suitable node (scheduling constraints not satisfied on 3 nodes)");
    // The node is chosen, and does not answer yet.
    lab.lab_ok(&["pause", "node01", "daemon"]);
    create(lab, "given", "--constraint node.hostname==node01 whoami");
    shows(lab, "given", "Running", "Assigned");
    lab.lab_ok(&["resume", "node01", "daemon"]);
    shows(lab, "given", "Running", "Running");
    // The registry does not answer there.
    lab.lab_ok(&["cut", "node02", "registry"]);
    create(lab, "made", "--constraint node.hostname==node02 registry:5000/whoami");
    shows(lab, "made", "Running", "Preparing");
    lab.lab_ok(&["heal"]);
    shows(lab, "made", "Running", "Running");
    create(lab, "later", "--restart-delay 1h --entrypoint /bin/false whoami");
    shows(lab, "later", "Ready", "Ready");
    create(lab, "ill", "--health-cmd false --health-start-period 1h whoami");
    shows(lab, "ill", "Running", "Starting");
    wait_for("three ready nodes", || lab.ready_nodes() == HOSTS.len());
}

pub(crate) fn of_ended_tasks_are_shown(lab: &Lab) {
    lab.form();
    create(lab, "done", "--mode replicated-job --entrypoint /bin/true whoami");
    shows(lab, "done", "Complete", "Complete");
    create(lab, "fails", "--restart-condition none --entrypoint /bin/false whoami");
    assert_contains(&shows(lab, "fails", "Shutdown", "Failed"), "task: non-zero exit (1)");
    let bind = "--restart-condition none --mount type=bind,source=/nosuch,target=/x whoami";
    create(lab, "wrong", bind);
    let rejected = shows(lab, "wrong", "Shutdown", "Rejected");
    assert_contains(&rejected, "bind source path does not exist: /nosuch");
    lab.create("--name renewed whoami");
    lab.docker("service update --quiet --force renewed");
    shows(lab, "renewed", "Shutdown", "Shutdown");
    // It stops for as long as it may, and is listed meanwhile.
    lab.create("--name slow --replicas 2 --stop-grace-period 8s busybox sleep 100000");
    lab.docker("service scale --detach slow=1");
    shows(lab, "slow", "Remove", "Running");
    wait_for("one task is left", || tasks(lab, "slow").len() == 1);
}

pub(crate) fn of_a_removed_nodes_tasks_are_shown(lab: &Lab) {
    lab.form();
    lab.create("--name left --constraint node.hostname==node02 whoami");
    lab.docker("node rm --force node02");
    shows(lab, "left", "Shutdown", "Orphaned");
    lab.ok("node02", &["docker", "swarm", "leave", "--force"]);
    lab.join("node02");
    shows(lab, "left", "Running", "Running");
}
