//! Tasks on the engine's own networks: `host` and `bridge`, as services of Docker use them.

use crate::lab::{CLIENT, HOSTS, Lab, address, assert_contains, wait_for};

const PORT: &str = "8095";
const STACK: &str = "
version: \"3.8\"
services:
  probe:
    image: whoami
    command: [\"--port\", \"8096\"]
    networks: [own]
    deploy: {mode: global}
networks:
  own: {external: true, name: host}
";

/// The engine's network mode of a service's container on a host.
fn mode(lab: &Lab, host: &str, service: &str) -> String {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let id = lab.lab_ok(&["engine", host, "--", "ps", "-q", "--filter", &filter]);
    let format = "{{.HostConfig.NetworkMode}}";
    lab.lab_ok(&["engine", host, "--", "inspect", "-f", format, id.trim()]).trim().to_owned()
}

fn answers(lab: &Lab, host: &str, port: &str) -> bool {
    lab.curl("client", &format!("http://{}:{port}/", address(host))).contains("Hostname")
}

pub(crate) fn a_service_on_the_host_network_listens_on_its_nodes(lab: &Lab) {
    lab.form();
    let service = format!("--name own-host --mode global --network host whoami --port {PORT}");
    lab.create(&service);
    for host in HOSTS {
        assert_eq!(mode(lab, host, "own-host"), "host");
        wait_for("an answer on the node's own address", || answers(lab, host, PORT));
    }
    assert_contains(&lab.docker("service inspect --pretty own-host"), "Networks: host");
    let task = lab.docker("service ps -q own-host");
    let format = "{{(index .NetworksAttachments 0).Network.Spec.Name}}";
    let first = task.lines().next().unwrap();
    let shown = lab.ok("master", &["docker", "inspect", "--type", "task", "-f", format, first]);
    assert_eq!(shown.trim(), "host");
    let listed = lab.docker("network ls --format {{.Name}}:{{.Scope}}");
    assert_eq!(listed.lines().filter(|line| line.starts_with("host:")).count(), 1, "{listed}");
    lab.docker("service update --quiet --network-rm host own-host");
    for host in HOSTS {
        assert_eq!(mode(lab, host, "own-host"), "bridge");
        assert!(!answers(lab, host, PORT), "the task has left the node's network");
    }
}

pub(crate) fn a_stack_uses_the_host_network(lab: &Lab) {
    lab.form();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.yml");
    std::fs::write(&file, STACK).unwrap();
    lab.docker(&format!("stack deploy --detach=false --compose-file {} own", file.display()));
    for host in HOSTS {
        wait_for("an answer on the node's own address", || answers(lab, host, "8096"));
    }
    lab.docker("stack rm own");
}

pub(crate) fn what_cannot_be_on_the_host_network_is_refused(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay beside-host");
    let create = "service create --network host --name own-wrong";
    let published = lab.refused("master", &format!("{create} --publish 8080:80 whoami"));
    assert_contains(&published, "port 80 cannot be published");
    let both = lab.refused("master", &format!("{create} --network beside-host whoami"));
    assert_contains(&both, "host cannot be combined with other networks");
    let both = lab.refused("master", &format!("{create} --network bridge whoami"));
    assert_contains(&both, "only one of bridge and host is possible");
    let host_mode = "--publish mode=host,published=8097,target=8097";
    let warned = ["docker", "service", "create", "--quiet", "--network", "host", "--name"];
    let line = [&warned[..], &["own-port"], &host_mode.split(' ').collect::<Vec<_>>()].concat();
    let ran = lab.on("master", &[&line[..], &["whoami", "--port", "8097"]].concat());
    assert!(ran.ok(), "{}", ran.text());
    assert_contains(&ran.text(), "Published ports are discarded when using host network mode");
    wait_for("the task itself listens", || HOSTS.iter().any(|host| answers(lab, host, "8097")));
}

pub(crate) fn a_task_that_asks_for_no_network_is_on_the_bridge(lab: &Lab) {
    lab.form();
    lab.create("--name own-plain --mode global --dns 10.20.20.50 whoami");
    for host in HOSTS {
        assert_eq!(mode(lab, host, "own-plain"), "bridge");
        let pid = lab.pid_of(host, "own-plain").to_string();
        let names = lab.ok(host, &["cat", &format!("/proc/{pid}/root/etc/resolv.conf")]);
        assert_contains(&names, "nameserver 10.20.20.50");
        let out = lab.beside(host, "own-plain", &["ping", "-c", "1", "-W", "3", CLIENT]);
        assert!(out.ok(), "no way out: {}", out.text());
    }
    // What is published is served by the mesh, whose answers leave by the gateway.
    lab.docker("service update --quiet --publish-add 8098:80 own-plain");
    for host in HOSTS {
        assert_eq!(mode(lab, host, "own-plain"), "swarmnet_gateway");
        wait_for("an answer of the mesh", || answers(lab, host, "8098"));
    }
}
