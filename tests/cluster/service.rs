//! Services: create, publish, update, scale, remove, as the tutorial does it.

use std::collections::BTreeSet;

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};

pub(crate) fn is_created_listed_and_removed(lab: &Lab) {
    lab.form();
    let created =
        lab.on("master", &["docker", "service", "create", "--name", "webserver", "nginx"]);
    assert!(created.ok(), "{}", created.text());
    assert_contains(&created.stdout, "overall progress: 1 out of 1 tasks");
    assert_contains(&created.stdout, "verify: Service ");
    assert_contains(&created.stdout, " converged");
    let list = lab.docker("service ls --format {{.Name}}|{{.Mode}}|{{.Replicas}}|{{.Image}}");
    assert_eq!(list.trim(), "webserver|replicated|1/1|nginx:latest");
    let tasks = lab.docker("service ps webserver --format {{.Name}}|{{.DesiredState}}");
    assert_eq!(tasks.trim(), "webserver.1|Running");
    assert_contains(&lab.docker("service rm webserver"), "webserver");
    wait_for("no container on any node", || {
        HOSTS.iter().all(|host| lab.task_containers(host).is_empty())
    });
    assert_contains(&lab.refused("master", "service inspect webserver"), "webserver");
}

pub(crate) fn a_published_port_answers_everywhere(lab: &Lab) {
    lab.form();
    lab.create("--name webserver nginx");
    let updated = lab.docker("service update --publish-add 80 webserver");
    assert_contains(&updated, "converged");
    let ports = lab.docker("service ls --format {{.Ports}}");
    assert_eq!(ports.trim(), "*:30000->80/tcp");
    let tasks = lab.docker("service ps webserver --format {{.Name}}|{{.DesiredState}}");
    let wished: Vec<&str> = tasks.lines().collect();
    assert_eq!(wished.len(), 2, "{tasks}");
    assert_contains(wished[0], "webserver.1|Running");
    assert_contains(wished[1], "webserver.1|Shutdown");
    for host in HOSTS {
        for name in [host.to_owned(), format!("{host}.docker-dca.example")] {
            let url = format!("http://{name}:30000");
            assert_contains(&lab.curl("client", &url), "nginx");
            for from in HOSTS {
                assert_contains(&lab.curl(from, &url), "nginx");
            }
        }
    }
    let pretty = lab.docker("service inspect --pretty webserver");
    for part in [
        "Endpoint Mode:\tvip",
        "PublishedPort = 30000",
        "Protocol = tcp",
        "TargetPort = 80",
        "PublishMode = ingress",
        "State:\t\tcompleted",
        "Message:\tupdate completed",
    ] {
        assert_contains(&pretty, part);
    }
}

/// Host names that answer, over many connections.
pub(crate) fn answering(lab: &Lab, from: &str, url: &str) -> BTreeSet<String> {
    let line = format!("for i in $(seq 30); do curl -s --max-time 5 {url} | grep ^Hostname; done");
    lab.sh(from, &line).stdout.lines().map(str::to_owned).collect()
}

pub(crate) fn scaling_spreads_tasks_over_nodes(lab: &Lab) {
    lab.form();
    lab.create("--name web --publish 8080:80 whoami");
    let scaled = lab.docker("service scale web=3");
    assert_contains(&scaled, "web scaled to 3");
    assert_contains(&scaled, "verify: Service ");
    let nodes = lab.docker("service ps web --filter desired-state=running --format {{.Node}}");
    assert_eq!(nodes.lines().collect::<BTreeSet<_>>(), HOSTS.into());
    for host in HOSTS {
        let url = format!("http://{host}:8080/");
        wait_for("answers from three tasks", || answering(lab, "client", &url).len() == 3);
    }
    lab.docker("service scale web=1");
    wait_for("answers from one task", || {
        answering(lab, "client", "http://node01:8080/").len() == 1
    });
    lab.docker("service rm web");
    for host in HOSTS {
        let url = format!("http://{host}:8080/");
        wait_for("a closed port", || lab.curl("client", &url).is_empty());
    }
}

pub(crate) fn an_image_is_pulled_from_a_registry(lab: &Lab) {
    lab.form();
    let on_node = "--constraint node.hostname==node02";
    lab.create(&format!("--name pulled --publish 8081:80 {on_node} registry:5000/whoami"));
    assert_contains(&lab.curl("client", "http://master:8081/"), "Hostname");
    let image =
        lab.docker("service inspect pulled --format {{.Spec.TaskTemplate.ContainerSpec.Image}}");
    assert_contains(&image, "registry:5000/whoami:latest@sha256:");
}

pub(crate) fn a_rollback_restores_the_previous_spec(lab: &Lab) {
    lab.form();
    lab.create("--name web --env A=1 whoami");
    let previous = lab.refused("master", "service rollback web");
    assert_contains(&previous, "does not have a previous spec");
    lab.docker("service update --quiet --env-add A=2 web");
    lab.docker("service rollback --quiet web");
    let env = lab.docker("service inspect web --format {{.Spec.TaskTemplate.ContainerSpec.Env}}");
    assert_eq!(env.trim(), "[A=1]");
}

pub(crate) fn both_docker_clis_work(lab: &Lab) {
    lab.form();
    for cli in ["/usr/bin/docker", "/usr/local/bin/docker"] {
        if !std::path::Path::new(cli).exists() {
            println!("  {cli} is not installed on this machine");
            continue;
        }
        let name = "cli";
        lab.ok("master", &[cli, "service", "create", "--quiet", "--name", name, "whoami"]);
        let list = lab.ok("master", &[cli, "service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
        assert_eq!(list.trim(), "cli 1/1");
        assert_contains(&lab.ok("master", &[cli, "service", "ps", name]), "cli.1");
        assert_contains(&lab.ok("master", &[cli, "node", "ls"]), "Leader");
        assert_contains(&lab.ok("master", &[cli, "ps"]), "CONTAINER ID");
        lab.ok("master", &[cli, "service", "rm", name]);
    }
}
