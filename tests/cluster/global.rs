//! Global services: one task on every node that takes one, whatever becomes of the nodes.

use crate::lab::{HOSTS, Lab, wait_for};

/// `NODE|TASK` of the service's running tasks, in order.
fn running(lab: &Lab) -> Vec<String> {
    let format = "--format {{.Node}}|{{.ID}}|{{.CurrentState}}";
    let tasks = lab.docker(&format!("service ps every --filter desired-state=running {format}"));
    let running = tasks.lines().filter_map(|line| line.rsplit_once('|'));
    let running = running.filter(|(_, state)| state.starts_with("Running"));
    let mut tasks: Vec<_> = running.map(|(task, _)| task.to_owned()).collect();
    tasks.sort();
    tasks
}

fn nodes(lab: &Lab) -> Vec<String> {
    running(lab).iter().filter_map(|task| task.split('|').next()).map(str::to_owned).collect()
}

fn set(lab: &Lab, host: &str, availability: &str) {
    lab.docker(&format!("node update --availability {availability} {host}"));
}

pub(crate) fn follows_what_becomes_of_the_nodes(lab: &Lab) {
    lab.form();
    set(lab, "node02", "drain");
    lab.create("--name every --mode global --restart-delay 0s whoami");
    assert_eq!(nodes(lab), ["master", "node01"], "a drained node gets none");
    set(lab, "node02", "active");
    wait_for("a task where there is a place now", || nodes(lab) == HOSTS);

    set(lab, "node01", "drain");
    wait_for("none on the drained node", || nodes(lab) == ["master", "node02"]);
    wait_for("no container there", || {
        lab.lab(&["engine", "node01", "--", "ps", "-q"]).stdout.trim().is_empty()
    });
    // Paused, the node gets nothing new; and keeps what it has.
    set(lab, "node01", "pause");
    set(lab, "node02", "pause");
    let before = running(lab);
    lab.docker("service update --detach --quiet --force every");
    wait_for("the task of the active node is replaced", || {
        let after = running(lab);
        after.len() == 2 && after[0].starts_with("master|") && after[0] != before[0]
    });
    assert_eq!(running(lab)[1], before[1], "what runs on a paused node stays");
    set(lab, "node02", "active");
    wait_for("the update reaches it", || {
        running(lab).iter().any(|task| task.starts_with("node02|") && !before.contains(task))
    });
    set(lab, "node01", "active");
    wait_for("one on every node", || nodes(lab) == HOSTS);
}

pub(crate) fn is_on_a_new_node_at_once(lab: &Lab) {
    lab.form();
    lab.create("--name every --mode global whoami");
    lab.docker("node rm --force node02");
    wait_for("two tasks", || nodes(lab) == ["master", "node01"]);
    lab.ok("node02", &["docker", "swarm", "leave", "--force"]);
    lab.join("node02");
    wait_for("a task on the new node", || nodes(lab) == HOSTS);
    assert_eq!(lab.docker("service ls --format {{.Replicas}}").trim(), "3/3");
}
