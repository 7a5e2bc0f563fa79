//! What becomes of tasks that end: successors, history, and their states in `service ps`.

use crate::lab::{Lab, assert_contains, wait_for};

/// Wish, state and error of a service's tasks, the newest first.
fn tasks(lab: &Lab, name: &str) -> Vec<String> {
    let format = "--format {{.DesiredState}}|{{.CurrentState}}|{{.Error}}";
    lab.docker(&format!("service ps {name} {format}")).lines().map(str::to_owned).collect()
}

pub(crate) fn a_container_removed_by_hand_is_replaced(lab: &Lab) {
    lab.form();
    lab.create("--name web --constraint node.hostname==node01 --restart-delay 1s whoami");
    let container = lab.task_containers("node01").remove(0);
    lab.ok("node01", &["docker", "rm", "-f", &container]);
    wait_for("a successor and its failed predecessor", || {
        let tasks = tasks(lab, "web");
        tasks.len() == 2
            && tasks[0].starts_with("Running|Running ")
            && tasks[1].starts_with("Shutdown|Failed ")
            && tasks[1].contains("task: non-zero exit (137)")
    });
}

pub(crate) fn restart_policies_are_kept(lab: &Lab) {
    lab.form();
    let create = "service create --detach --restart-delay 1s";
    lab.docker(&format!(
        "{create} --name never --restart-condition none --entrypoint /bin/false whoami"
    ));
    lab.docker(&format!(
        "{create} --name done --restart-condition on-failure --entrypoint /bin/true whoami"
    ));
    lab.docker(&format!(
        "{create} --name twice --restart-max-attempts 2 --entrypoint /bin/false whoami"
    ));
    wait_for("one failed task", || {
        let tasks = tasks(lab, "never");
        tasks.len() == 1 && tasks[0].starts_with("Shutdown|Failed ")
    });
    wait_for("one completed task", || {
        let tasks = tasks(lab, "done");
        tasks.len() == 1 && tasks[0].starts_with("Shutdown|Complete ")
    });
    wait_for("a first task and two attempts", || {
        let tasks = tasks(lab, "twice");
        tasks.len() == 3 && tasks.iter().all(|task| task.starts_with("Shutdown|Failed "))
    });
    assert_contains(&tasks(lab, "twice")[0], "task: non-zero exit (1)");
}

pub(crate) fn history_is_limited(lab: &Lab) {
    lab.form();
    lab.docker("swarm update --task-history-limit 2");
    let create = "service create --detach --restart-delay 100ms --name fails";
    lab.docker(&format!("{create} --entrypoint /bin/false whoami"));
    let first = || tasks(lab, "fails").len() >= 3;
    wait_for("ended tasks", first);
    let ended = || tasks(lab, "fails").iter().filter(|task| task.starts_with("Shutdown|")).count();
    for _ in 0..10 {
        // One more has ended and is forgotten in the next pass.
        assert!(ended() <= 4, "{:?}", tasks(lab, "fails"));
    }
    lab.docker("service scale --detach fails=0");
    lab.docker("swarm update --task-history-limit 5");
}
