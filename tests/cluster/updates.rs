//! Updates: health checks gate them, failures and deadlines end them, no request is lost.

use crate::lab::{HOSTS, Lab, SLEEPER, assert_contains, wait_for};
use crate::names_client::ask;
use crate::vip_client::{Client, Line, containers};

/// Creates a service of whoami tasks with a health check.
fn create_checked(lab: &Lab, name: &str, check: &str, options: &str) {
    let health = ["--health-cmd", check, "--health-interval", "1s", "--health-retries", "1"];
    let words: Vec<&str> = options.split(' ').collect();
    let args = [&["docker", "service", "create", "--name", name], &health[..], &words].concat();
    lab.ok("master", &args);
}

fn state(lab: &Lab, name: &str) -> String {
    let format = "{{.UpdateStatus.State}}: {{.UpdateStatus.Message}}";
    lab.ok("master", &["docker", "service", "inspect", name, "--format", format]).trim().to_owned()
}

/// Asserts that a client at work lost nothing.
pub(crate) fn assert_lost_nothing(lab: &Lab, client: Client) {
    let lines = client.finish(lab);
    let failed: Vec<&Line> = lines.iter().filter(|line| !line.is_answer()).collect();
    println!("  {} requests, {} failed", lines.len(), failed.len());
    assert!(!lines.is_empty() && failed.is_empty(), "failed requests: {failed:?}");
}

pub(crate) fn with_health_checks_lose_no_request(lab: &Lab) {
    lab.form();
    for order in ["stop-first", "start-first"] {
        let options = format!(
            "--replicas 2 --update-order {order} --update-monitor 1s --publish 8094:80 --detach \
             whoami"
        );
        create_checked(lab, "checked", "/usr/local/lib/swarmnet/whoami healthcheck", &options);
        wait_for("two healthy tasks", || {
            lab.docker("service ls --format {{.Replicas}}").trim() == "2/2"
        });
        let client = Client::on_host(lab, "client", order, "--each 10.20.20.110 8094");
        wait_for("an answer", || !client.lines(lab).is_empty());
        lab.docker("service update --quiet --force checked");
        assert_eq!(state(lab, "checked"), "completed: update completed");
        assert_lost_nothing(lab, client);
        lab.docker("service rm checked");
        wait_for("no task", || HOSTS.iter().all(|host| lab.task_containers(host).is_empty()));
    }
}

/// A task that is not healthy yet is not RUNNING, has no traffic and no name.
pub(crate) fn wait_until_a_task_is_healthy(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay gates");
    let place = "--network gates --constraint node.hostname==node01";
    lab.create(&format!("--name looker {place} {SLEEPER}"));
    let options = format!("{place} --health-start-period 10m --publish 8095:80 --detach whoami");
    create_checked(lab, "gated", "test -e /healthy", &options);
    let container = || containers(lab, "node01", "gated").pop();
    wait_for("a started container", || container().is_some());
    wait_for("a task that starts", || {
        lab.docker("service ps gated --format {{.CurrentState}}").starts_with("Starting")
    });
    assert_eq!(lab.curl("client", "http://node02:8095/"), "", "no traffic goes there");
    let name = || ask(lab, "node01", "looker", "tasks.gated");
    assert!(!name().contains("10."), "it has a name: {}", name());
    let healthy = ["engine", "node01", "--", "exec", &container().unwrap(), "touch", "/healthy"];
    assert!(lab.lab(&healthy).ok());
    wait_for("a running task", || {
        lab.docker("service ps gated --format {{.CurrentState}}").starts_with("Running")
    });
    wait_for("an answer", || lab.curl("client", "http://node02:8095/").contains("Hostname"));
    wait_for("a name", || name().starts_with("ok 10."));
    lab.docker("service rm gated looker");
    wait_for("no task", || lab.task_containers("node01").is_empty());
    lab.docker("network rm gates");
}

pub(crate) fn pause_or_roll_back_on_failure(lab: &Lab) {
    lab.form();
    create_checked(lab, "judged", "true", "--update-monitor 2s --restart-delay 1s whoami");
    let bad = ["docker", "service", "update", "--health-cmd", "false", "judged"];
    let paused = lab.on("master", &bad);
    assert_eq!(paused.code, Some(1), "{}", paused.text());
    let reason = "due to failure or early termination of task ";
    assert_contains(&paused.text(), &format!("service update paused: update paused {reason}"));
    assert_contains(&state(lab, "judged"), &format!("paused: update paused {reason}"));
    lab.docker("service update --quiet --health-cmd true judged");
    assert_eq!(state(lab, "judged"), "completed: update completed");
    let rolled = ["docker", "service", "update", "--update-failure-action", "rollback"];
    let ran = lab.on("master", &[&rolled[..], &["--health-cmd", "false", "judged"]].concat());
    assert_contains(&ran.text(), &format!("update rolled back {reason}"));
    wait_for("the rollback's end", || {
        state(lab, "judged") == "rollback_completed: rollback completed"
    });
    let check = "{{.Spec.TaskTemplate.ContainerSpec.Healthcheck.Test}} {{.PreviousSpec}}";
    let left = lab.ok("master", &["docker", "service", "inspect", "judged", "--format", check]);
    assert_eq!(left.trim(), "[CMD-SHELL true] <nil>");
}

pub(crate) fn have_a_deadline(lab: &Lab) {
    lab.form();
    create_checked(lab, "late", "true", "whoami");
    let refused =
        lab.refused("master", "service update --label-add swarmnet.update.deadline=x late");
    assert_contains(&refused, "label swarmnet.update.deadline: \"x\" is neither 0 nor a duration");
    let never =
        ["--health-cmd", "false", "--health-start-period", "10m", "--health-interval", "1s"];
    let update = ["docker", "service", "update", "--label-add", "swarmnet.update.deadline=5s"];
    let ran = lab.on("master", &[&update[..], &never, &["late"]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.text());
    assert_contains(&ran.text(), "service update paused: update paused because task ");
    assert_contains(&state(lab, "late"), " did not run within 5s");
}

/// Two tasks that each want more than half of a node's memory, and may be on that node only.
pub(crate) fn say_for_what_they_wait(lab: &Lab) {
    lab.form();
    let memory = "node inspect node02 --format {{.Description.Resources.MemoryBytes}}";
    let memory: u64 = lab.docker(memory).trim().parse().unwrap();
    let place = format!("--constraint node.hostname==node02 --reserve-memory {}", memory / 5 * 3);
    let order = "--update-order start-first --label swarmnet.update.deadline=20s";
    lab.create(&format!("--name room {place} {order} whoami"));
    let before = containers(lab, "node02", "room");
    lab.docker("service update --detach --quiet --force room");
    let why = "no suitable node (scheduling constraints not satisfied on 2 nodes; \
               insufficient resources on 1 node)";
    let waits = format!("updating: update in progress (waits for room beside the old task: {why})");
    wait_for("the reason in the status", || state(lab, "room") == waits);
    let task = lab.docker("service ps room -q --no-trunc").lines().next().unwrap().to_owned();
    let tasks = "service ps room --no-trunc --format {{.CurrentState}}|{{.Error}}";
    assert_contains(&lab.docker(tasks), &format!("|\"{why}\""));
    let paused = format!("paused: update paused because task {task} did not run within 20s: {why}");
    wait_for("the deadline", || state(lab, "room") == paused);
    assert_eq!(containers(lab, "node02", "room"), before, "the old task stays");
    assert_eq!(lab.docker("service ls --format {{.Replicas}}").trim(), "1/1");
    // Made smaller, there is room for two.
    lab.docker("service update --quiet --reserve-memory 16m room");
    assert_eq!(state(lab, "room"), "completed: update completed");
}

pub(crate) fn stop_first_where_a_host_port_is_held(lab: &Lab) {
    lab.form();
    let publish = "--publish mode=host,published=8096,target=80";
    lab.create(&format!("--name held {publish} --update-order start-first whoami"));
    let ran = lab.on("master", &["docker", "service", "update", "--force", "held"]);
    assert!(ran.ok(), "{}", ran.text());
    assert_contains(
        &ran.text(),
        "stop-first instead of start-first: two tasks cannot share host port 8096/tcp",
    );
    assert_eq!(state(lab, "held"), "completed: update completed");
}
