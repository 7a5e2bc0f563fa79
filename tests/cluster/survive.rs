//! Daemons that stop, crash and start: no request and no state is lost.

use crate::lab::{Lab, assert_contains, wait_for};
use crate::mesh::REQUESTS;

pub(crate) fn a_killed_daemon_loses_no_request(lab: &Lab) {
    lab.form();
    lab.create("--name who --replicas 3 --publish 8080:80 whoami");
    let containers = lab.task_containers("node01");
    let client = lab.spawn("client", &["sh", "-c", REQUESTS, "node01"]);
    for _ in 0..3 {
        lab.lab_ok(&["kill", "node01", "daemon"]);
        assert_contains(&lab.curl("client", "http://node01:8080/"), "Hostname");
        lab.lab_ok(&["start", "node01", "daemon"]);
    }
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "failed requests");
    assert_eq!(lab.task_containers("node01"), containers, "no container was replaced");
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
}

pub(crate) fn a_restarted_manager_keeps_its_state(lab: &Lab) {
    lab.form();
    lab.create("--name kept --replicas 3 --publish 8080:80 whoami");
    let before = lab.docker("service ps -q kept");
    lab.lab_ok(&["kill", "master", "daemon"]);
    assert_contains(&lab.curl("client", "http://node02:8080/"), "Hostname");
    lab.lab_ok(&["start", "master", "daemon"]);
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
    wait_for("three tasks", || lab.docker("service ls --format {{.Replicas}}").trim() == "3/3");
    assert_eq!(lab.docker("service ps -q kept"), before, "no task was replaced");
    lab.docker("service scale kept=4");
}
