//! `docker stack` with a compose file of three services and two networks, by the stock CLI.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};

const STACK: &str = "demo";
/// Removed and deployed again so often.
const LOOPS: usize = 5;

const WEB: &str = r#"
  web:
    image: whoami
    environment: {COLOR: "$color"}
    ports: ["8080:80"]
    networks: [front, back]
    deploy: {replicas: 2}
"#;
const API: &str = "
  api:
    image: whoami
    networks: {back: {aliases: [backend]}}
    stop_grace_period: 5s
    deploy:
      replicas: 2
      labels: {tier: inner}
      update_config: {order: start-first, parallelism: 1}
      restart_policy: {condition: any, delay: 1s}
";
const SHELL: &str = r#"
  shell:
    image: busybox
    command: ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"]
    networks: [back]
    deploy: {mode: global}
"#;
const NETWORKS: &str = "
networks:
  front:
  back: {driver: overlay, attachable: true, labels: {tier: inner}}
";

/// A compose file, gone with the value.
struct File(tempfile::TempDir);

impl File {
    fn of(color: &str, services: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let services = services.concat().replace("$color", color);
        let text = format!("version: \"3.8\"\nservices:{services}{NETWORKS}");
        std::fs::write(directory.path().join("stack.yml"), text).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("stack.yml")
    }
}

fn deploy(lab: &Lab, file: &File, more: &[&str]) -> String {
    let path = file.path();
    let words = ["docker", "stack", "deploy", "-c", path.to_str().unwrap()];
    let ran = lab.on("master", &[&words, more, &[STACK]].concat());
    assert!(ran.ok(), "stack deploy: {}", ran.text());
    ran.text()
}

/// Waits until exactly these services run all their tasks.
fn converged(lab: &Lab, services: &[&str]) {
    let mut wanted: Vec<String> = services.iter().map(|name| format!("{STACK}_{name}")).collect();
    wanted.sort();
    wait_for("the stack's tasks", || {
        let list = lab.docker("stack services --format {{.Name}}={{.Replicas}} demo");
        let mut names: Vec<String> = list
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(_, tasks)| {
                let (running, all) = tasks.split_once('/').unwrap();
                running == all.split(' ').next().unwrap() && running != "0"
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort();
        names == wanted && list.lines().count() == wanted.len() && !is_updating(lab, &wanted)
    });
}

fn is_updating(lab: &Lab, services: &[String]) -> bool {
    let format = "{{with .UpdateStatus}}{{.State}}{{end}}";
    services.iter().any(|name| {
        lab.ok("master", &["docker", "service", "inspect", "--format", format, name]).trim()
            == "updating"
    })
}

/// The tasks of each service, past ones too.
fn tasks(lab: &Lab) -> BTreeMap<String, Vec<String>> {
    let names = lab.docker("stack services --format {{.Name}} demo");
    let tasks = |name: &str| {
        let mut ids: Vec<String> = lab
            .docker(&format!("service ps --no-trunc -q {name}"))
            .lines()
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids
    };
    names.lines().map(|name| (name.to_owned(), tasks(name))).collect()
}

/// Runs a shell line in the task of `shell` on a node.
fn in_shell(lab: &Lab, host: &str, line: &str) -> String {
    let filter = "label=com.docker.swarm.service.name=demo_shell";
    let ids = lab.lab_ok(&["engine", host, "--", "ps", "-q", "--filter", filter]);
    // The newest: that of a stack removed a moment ago may still be stopping.
    let id = ids.lines().next().unwrap_or_default();
    lab.lab(&["engine", host, "--", "exec", id, "sh", "-c", line]).stdout
}

pub(crate) fn are_deployed_and_updated(lab: &Lab) {
    lab.form();
    let all = [WEB, API, SHELL];
    let text = deploy(lab, &File::of("blue", &all), &[]);
    for line in ["network demo_front", "network demo_back", "service demo_web", "service demo_api"]
    {
        assert_contains(&text, &format!("Creating {line}"));
    }
    converged(lab, &["web", "api", "shell"]);
    assert_eq!(lab.docker("stack ls --format {{.Name}}={{.Services}}").trim(), "demo=3");
    let ps = lab.docker("stack ps --format {{.Name}}={{.DesiredState}} demo");
    assert_eq!(ps.lines().filter(|line| line.ends_with("=Running")).count(), 7, "{ps}");
    for host in HOSTS {
        assert_contains(&lab.curl("client", &format!("http://{host}:8080/")), "Hostname");
        for name in ["api", "backend", "demo_api", "web"] {
            let line = format!("timeout 10 wget -qO- http://{name}/");
            assert_contains(&in_shell(lab, host, &line), "Hostname");
        }
    }
    let format = "{{.Attachable}}={{index .Labels \"tier\"}}";
    let inspect = ["docker", "network", "inspect", "--format", format, "demo_back"];
    assert_eq!(lab.ok("master", &inspect).trim(), "true=inner");
    an_unchanged_file_restarts_nothing(lab);
    only_what_changed_is_updated(lab);
    what_is_not_in_the_file_is_pruned(lab);
    they_leave_nothing(lab);
}

fn an_unchanged_file_restarts_nothing(lab: &Lab) {
    let before = tasks(lab);
    for more in [&[][..], &["--resolve-image", "changed"], &["--resolve-image", "never"]] {
        let text = deploy(lab, &File::of("blue", &[WEB, API, SHELL]), more);
        assert_contains(&text, "Updating service demo_web");
        converged(lab, &["web", "api", "shell"]);
        assert_eq!(tasks(lab), before, "{more:?}");
    }
}

fn only_what_changed_is_updated(lab: &Lab) {
    let before = tasks(lab);
    deploy(lab, &File::of("green", &[WEB, API, SHELL]), &[]);
    let color = "{{.Spec.TaskTemplate.ContainerSpec.Env}}";
    wait_for("new tasks of web", || {
        let now = tasks(lab);
        now["demo_web"].iter().filter(|id| !before["demo_web"].contains(id)).count() == 2
    });
    converged(lab, &["web", "api", "shell"]);
    let env = lab.ok("master", &["docker", "service", "inspect", "--format", color, "demo_web"]);
    assert_eq!(env.trim(), "[COLOR=green]");
    let after = tasks(lab);
    for untouched in ["demo_api", "demo_shell"] {
        assert_eq!(after[untouched], before[untouched], "{untouched}");
    }
}

fn what_is_not_in_the_file_is_pruned(lab: &Lab) {
    let before = tasks(lab);
    deploy(lab, &File::of("green", &[WEB, SHELL]), &[]);
    converged(lab, &["web", "api", "shell"]);
    let text = deploy(lab, &File::of("green", &[WEB, SHELL]), &["--prune"]);
    assert_contains(&text, "Removing service demo_api");
    converged(lab, &["web", "shell"]);
    let after = tasks(lab);
    for untouched in ["demo_web", "demo_shell"] {
        assert_eq!(after[untouched], before[untouched], "{untouched}");
    }
}

fn they_leave_nothing(lab: &Lab) {
    let text = lab.on("master", &["docker", "stack", "rm", STACK]).text();
    for line in
        ["service demo_web", "service demo_shell", "network demo_front", "network demo_back"]
    {
        assert_contains(&text, &format!("Removing {line}"));
    }
    wait_for("no tasks of the stack", || {
        lab.on("master", &["docker", "stack", "ps", STACK])
            .text()
            .contains("nothing found in stack: demo")
    });
    assert_eq!(lab.docker("stack ls --format {{.Name}}").trim(), "");
    let networks = lab.docker("network ls --filter label=com.docker.stack.namespace=demo -q");
    assert_eq!(networks.trim(), "");
}

/// A removal is answered while tasks still stop; the next deployment does not wait for them.
pub(crate) fn come_and_go_without_a_pause(lab: &Lab) {
    lab.form();
    let file = File::of("red", &[WEB, API, SHELL]);
    for number in 0..LOOPS {
        deploy(lab, &file, &[]);
        // Removed while tasks are being made, and while they run.
        if number % 2 == 1 {
            converged(lab, &["web", "api", "shell"]);
        }
        let ran = lab.on("master", &["docker", "stack", "rm", STACK]);
        assert!(ran.ok(), "stack rm, round {number}: {}", ran.text());
    }
    deploy(lab, &file, &[]);
    converged(lab, &["web", "api", "shell"]);
    assert_contains(&in_shell(lab, "node01", "timeout 10 wget -qO- http://api/"), "Hostname");
    let networks = lab.docker("network ls --filter name=demo_ --format {{.Name}}");
    assert_eq!(networks.lines().count(), 2, "{networks}");
    lab.docker("stack rm demo");
    wait_for("no networks of the stack", || {
        lab.docker("network ls --filter name=demo_ -q").trim().is_empty()
    });
}
