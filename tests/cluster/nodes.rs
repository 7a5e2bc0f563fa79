//! Nodes: drain, promote and demote at run time, remove.

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};
use crate::updates::assert_lost_nothing;
use crate::vip_client::Client;

fn on(lab: &Lab, host: &str, line: &str) -> String {
    let words: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
    lab.ok(host, &words)
}

pub(crate) fn drain_without_a_lost_request(lab: &Lab) {
    lab.form();
    lab.create("--name moved --replicas 3 --update-order start-first --publish 8097:80 whoami");
    let client = Client::on_host(lab, "client", "drain", "--each 10.20.20.120 8097");
    wait_for("an answer", || !client.lines(lab).is_empty());
    for host in ["node01", "node02"] {
        lab.docker(&format!("node update --availability drain {host}"));
        wait_for("an empty node", || {
            lab.docker(&format!("node ps {host} --filter desired-state=running -q")).is_empty()
        });
        wait_for("three tasks", || lab.docker("service ls --format {{.Replicas}}").trim() == "3/3");
        lab.docker(&format!("node update --availability active {host}"));
    }
    assert_lost_nothing(lab, client);
    let on_node01 = || lab.docker("node ps node01 --filter desired-state=running -q");
    let before = on_node01();
    lab.docker("node update --availability pause node01");
    lab.docker("service scale moved=6");
    assert_eq!(on_node01(), before, "a paused node keeps its tasks and gets no other");
    lab.docker("node update --availability active node01");
    lab.docker("node update --label-add disk=ssd node01");
    let pretty = lab.docker("node inspect --pretty node01");
    for part in ["disk=ssd", "Availability:\tActive".trim(), "Hostname:"] {
        assert_contains(&pretty.replace("  ", ""), part.split('\t').next().unwrap());
    }
    lab.docker("node update --label-rm disk node01");
    assert_eq!(lab.docker("node inspect node01 --format {{.Spec.Labels}}").trim(), "map[]");
}

/// What `node ls` on a host says of another's manager.
fn manager_status(lab: &Lab, asked: &str, of: &str) -> String {
    let format = "{{.Hostname}}={{.ManagerStatus}}";
    let list = lab.on(asked, &["docker", "node", "ls", "--format", format]).stdout;
    let of = format!("{of}=");
    list.lines().find_map(|line| line.strip_prefix(&of)).unwrap_or_default().to_owned()
}

fn promote(lab: &Lab, asked: &str, host: &str) {
    wait_for("an accepted promotion", || lab.on(asked, &["docker", "node", "promote", host]).ok());
    wait_for("a manager that answers", || lab.on(host, &["docker", "node", "ls"]).ok());
    wait_for("a reachable manager", || {
        ["Reachable", "Leader"].contains(&manager_status(lab, host, host).as_str())
            && !manager_status(lab, asked, host).is_empty()
    });
}

fn demote(lab: &Lab, asked: &str, host: &str) {
    wait_for("an accepted demotion", || lab.on(asked, &["docker", "node", "demote", host]).ok());
    wait_for("a worker", || {
        let ran = lab.on(host, &["docker", "node", "ls"]);
        ran.stderr.contains("Worker nodes can't be used to view or modify cluster state")
    });
    wait_for("no manager in the list", || {
        let list = lab.on(asked, &["docker", "node", "ls", "--format", "{{.Hostname}}"]);
        list.stdout.contains(host) && manager_status(lab, asked, host).is_empty()
    });
}

pub(crate) fn change_their_role_in_place(lab: &Lab) {
    lab.form();
    lab.create("--name kept --replicas 3 --publish 8098:80 whoami");
    let tasks = lab.docker("service ps -q kept");
    let client = Client::on_host(lab, "client", "roles", "--each 10.20.20.110 8098");
    wait_for("an answer", || !client.lines(lab).is_empty());
    let last = lab.refused("master", "node demote master");
    assert_contains(&last, "attempting to demote the last manager of the swarm");
    let told = lab.docker("node promote node01");
    assert_contains(&told, "Node node01 promoted to a manager in the swarm.");
    promote(lab, "master", "node01");
    promote(lab, "master", "node02");
    wait_for("one leader, two followers", || {
        manager_status(lab, "master", "master") == "Leader"
            && ["node01", "node02"].iter().all(|h| manager_status(lab, "master", h) == "Reachable")
    });
    let manager = lab.refused("master", "node rm --force node01");
    assert_contains(&manager, "It must be demoted to worker before removal");
    // The leader goes; the others elect one of them.
    demote(lab, "node01", "master");
    wait_for("another leader", || {
        ["node01", "node02"].iter().any(|host| manager_status(lab, "node01", host) == "Leader")
    });
    on(lab, "node02", "service update --quiet --label-add written=yes kept");
    promote(lab, "node01", "master");
    demote(lab, "master", "node02");
    demote(lab, "master", "node01");
    wait_for("the first leads again", || manager_status(lab, "master", "master") == "Leader");
    assert_eq!(lab.docker("service ps -q kept"), tasks, "no task was touched");
    assert_lost_nothing(lab, client);
    let info = lab.ok("node01", &["docker", "info", "--format", "{{.Swarm.ControlAvailable}}"]);
    assert_eq!(info.trim(), "false");
}

pub(crate) fn are_removed(lab: &Lab) {
    lab.form();
    lab.create("--name left --replicas 3 whoami");
    let ready = lab.refused("master", "node rm node02");
    assert_contains(&ready, " is not down and can't be removed");
    let manager = lab.refused("master", "node rm --force master");
    assert_contains(&manager, "is a cluster manager and is a member of the raft cluster.");
    assert_contains(&lab.docker("node rm --force node02"), "node02");
    assert!(!lab.docker("node ls --format {{.Hostname}}").contains("node02"));
    wait_for("tasks elsewhere", || lab.docker("service ls --format {{.Replicas}}").trim() == "3/3");
    assert_contains(&lab.refused("master", "node inspect node02"), "node02");
    lab.ok("node02", &["docker", "swarm", "leave", "--force"]);
    lab.join("node02");
    wait_for("three ready nodes", || lab.ready_nodes() == HOSTS.len());
}
