//! Jobs: tasks that run to their end, once in every place and execution.

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};

/// `NAME|MODE|REPLICAS` of the only service.
fn listed(lab: &Lab) -> String {
    lab.docker("service ls --format {{.Name}}|{{.Mode}}|{{.Replicas}}").trim().to_owned()
}

/// Nodes and states of a service's tasks that are wished to complete.
fn completing(lab: &Lab, name: &str) -> Vec<String> {
    let format = "--format {{.Node}}|{{.CurrentState}}";
    let tasks = lab.docker(&format!("service ps {name} --filter desired-state=complete {format}"));
    tasks.lines().map(str::to_owned).collect()
}

pub(crate) fn a_replicated_job_ends(lab: &Lab) {
    lab.form();
    let create = "service create --name job --mode replicated-job --replicas 4 --max-concurrent 2";
    let created = lab.docker(&format!("{create} --entrypoint /bin/true whoami"));
    assert_contains(&created, "job complete");
    assert_eq!(listed(lab), "job|replicated job|0/2 (4/4 completed)");
    let tasks = completing(lab, "job");
    assert_eq!(tasks.len(), 4, "one for each slot: {tasks:?}");
    assert!(tasks.iter().all(|task| task.contains("|Complete ")), "{tasks:?}");

    let again = lab.docker("service update --force job");
    assert_contains(&again, "job complete");
    let status = lab.docker("service inspect job --format {{.JobStatus.JobIteration.Index}}");
    assert_eq!(status.trim(), "1");
    assert_eq!(completing(lab, "job").len(), 4, "those of the present execution");
    assert_eq!(listed(lab), "job|replicated job|0/2 (4/4 completed)");

    lab.docker("service rm job");
    wait_for("no container on any node", || {
        HOSTS.iter().all(|host| lab.task_containers(host).is_empty())
    });
}

pub(crate) fn a_global_job_ends_on_every_node(lab: &Lab) {
    lab.form();
    let created =
        lab.docker("service create --name every --mode global-job --entrypoint /bin/true whoami");
    assert_contains(&created, "job complete");
    let mut nodes: Vec<_> = completing(lab, "every")
        .iter()
        .map(|task| task.split('|').next().unwrap_or_default().to_owned())
        .collect();
    nodes.sort();
    let mut hosts: Vec<_> = HOSTS.iter().map(|host| (*host).to_owned()).collect();
    hosts.sort();
    assert_eq!(nodes, hosts);
    assert_eq!(listed(lab), "every|global job|0/0 (3/3 completed)");
}

pub(crate) fn a_failing_job_is_tried_again(lab: &Lab) {
    lab.form();
    let policy = "--restart-delay 1s --restart-max-attempts 1";
    let create = "service create --detach --name broken --mode replicated-job";
    lab.docker(&format!("{create} {policy} --entrypoint /bin/false whoami"));
    let states = "service ps broken --format {{.DesiredState}}|{{.Error}}";
    wait_for("two failed attempts", || {
        lab.docker(states).matches("Shutdown|\"task: non-zero exit (1)\"").count() == 2
    });
    assert_eq!(listed(lab), "broken|replicated job|0/1 (0/1 completed)");
    lab.docker("service rm broken");
    let create = "service create --detach --name broken --mode global-job";
    lab.docker(&format!("{create} {policy} --entrypoint /bin/false whoami"));
    wait_for("two failed attempts on every node", || {
        lab.docker(states).matches("Shutdown|\"task: non-zero exit (1)\"").count() == 6
    });
    assert_eq!(listed(lab), "broken|global job|0/3 (0/3 completed)");
}

pub(crate) fn bad_jobs_are_refused(lab: &Lab) {
    lab.form();
    let body = r#"{"Name":"j","TaskTemplate":{"ContainerSpec":{"Image":"whoami"}},
        "Mode":{"GlobalJob":{}},"UpdateConfig":{"Parallelism":1}}"#;
    let socket = "/run/swarmnet/docker.sock";
    let line = format!(
        "curl -s --unix-socket {socket} -H 'Content-Type: application/json' -d '{body}' \
         http://d/v1.41/services/create"
    );
    assert_contains(&lab.sh("master", &line).text(), "Jobs may not have an update config");
}
