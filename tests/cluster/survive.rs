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

/// The daemon finds what an earlier version has pinned, by another name of its directory: its own maps
/// are new and empty.
pub(crate) fn an_upgrade_with_other_layouts_cuts_nothing(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay up");
    lab.create("--name who --replicas 3 --network up --publish 8080:80 whoami");
    lab.create("--name shell --mode global --network up busybox sleep 86400");
    for host in ["node01", "master"] {
        let containers = lab.task_containers(host);
        lab.lab_ok(&["stop", host, "daemon"]);
        let old = "cd /sys/fs/bpf/swarmnet && mv * 0123456789abcdef && ls";
        assert_eq!(lab.sh(host, old).stdout.trim(), "0123456789abcdef");
        assert_contains(&lab.curl("client", &format!("http://{host}:8080/")), "Hostname");
        let client = lab.spawn("client", &["sh", "-c", REQUESTS, host]);
        // Asked before, answered after: by tasks of this node and of others.
        let late = format!("curl -s --max-time 30 http://{host}:8080/?delay=6000");
        let late: Vec<_> = (0..6).map(|_| lab.spawn("client", &["sh", "-c", &late])).collect();
        lab.lab_ok(&["start", host, "daemon"]);
        let list = || lab.sh(host, "ls /sys/fs/bpf/swarmnet").stdout;
        wait_for("one directory", || list().lines().count() == 1 && !list().contains("0123456"));
        let output = client.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "failed requests");
        for client in late {
            let output = client.wait_with_output().unwrap();
            assert_contains(&String::from_utf8_lossy(&output.stdout), "Hostname");
        }
        assert_eq!(lab.task_containers(host), containers, "no container was replaced");
        wait_for("three ready nodes", || lab.ready_nodes() == 3);
        // By name, and over the overlay: what the old maps do not tell any more.
        let filter = "label=com.docker.swarm.service.name=shell";
        let id = lab.lab_ok(&["engine", host, "--", "ps", "-q", "--filter", filter]);
        let exec =
            |line: &str| lab.lab(&["engine", host, "--", "exec", id.trim(), "sh", "-c", line]);
        for _ in 0..6 {
            let asked = exec("timeout 10 wget -qO- http://who/");
            assert_contains(&asked.stdout, "Hostname");
        }
        lab.docker("service scale who=5");
        lab.docker("service scale who=3");
        let asked = exec("for i in 1 2 3 4 5 6; do timeout 10 wget -qO- http://who/; done");
        assert_eq!(asked.stdout.matches("Hostname").count(), 6, "{}", asked.text());
    }
}
