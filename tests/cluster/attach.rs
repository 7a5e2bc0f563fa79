//! Plain containers on attachable networks: `docker run --network NET` on any node.

use crate::lab::{Lab, SLEEPER, assert_contains, wait_for};

fn docker(lab: &Lab, host: &str, line: &str) -> String {
    let words: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
    lab.ok(host, &words).trim().to_owned()
}

fn address(lab: &Lab, host: &str, container: &str, network: &str) -> String {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    let shown = lab.ok(host, &["docker", "inspect", "-f", &format, container]);
    shown.trim().to_owned()
}

fn ping(lab: &Lab, host: &str, container: &str, address: &str) {
    wait_for("the container answers", || {
        let exec = ["docker", "exec", container, "ping", "-c", "1", "-W", "2", address];
        lab.on(host, &exec).ok()
    });
}

fn has_network(lab: &Lab, host: &str, network: &str) -> bool {
    docker(lab, host, "network ls --format {{.Name}}").lines().any(|name| name == network)
}

/// Removes containers, then waits until nothing of the network is left on the nodes.
fn clean_up(lab: &Lab, containers: &[(&str, &str)], network: &str) {
    for (host, container) in containers {
        docker(lab, host, &format!("rm -f {container}"));
    }
    wait_for("the network can be removed", || {
        lab.on("master", &["docker", "network", "rm", network]).ok()
    });
    for host in ["node01", "node02"] {
        wait_for("the network leaves the worker", || !has_network(lab, host, network));
    }
    wait_for("the engine's network goes", || {
        let list = ["engine", "node01", "--", "network", "ls", "--format", "{{.Name}}"];
        !lab.lab_ok(&list).contains(&format!("{network}."))
    });
}

pub(crate) fn plain_containers_meet_across_nodes(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay --attachable --subnet 10.76.0.0/24 plain");
    let server = "--name server --network plain --constraint node.hostname==master whoami";
    lab.create(server);
    assert!(!has_network(lab, "node01", "plain"), "a worker without a container does not list it");
    docker(lab, "node01", &format!("run -d --name p1 --network plain {SLEEPER}"));
    docker(
        lab,
        "node02",
        &format!(
            "run -d --name p2 --network-alias cache --network plain --ip 10.76.0.200 {SLEEPER}"
        ),
    );
    let id = lab.docker("network inspect plain --format {{.Id}}");
    let shown = docker(lab, "node01", "inspect p1 --format {{.HostConfig.NetworkMode}}");
    assert_eq!(shown, "plain");
    assert_eq!(docker(lab, "node01", "network inspect plain --format {{.Id}}"), id.trim());
    let first = address(lab, "node01", "p1", "plain");
    let containers = docker(lab, "node01", "network inspect plain --format {{.Containers}}");
    assert_contains(&containers, &format!("{first}/24"));
    assert_eq!(address(lab, "node02", "p2", "plain"), "10.76.0.200");
    ping(lab, "node01", "p1", "10.76.0.200");
    ping(lab, "node02", "p2", &first);
    let vip = "{{(index .Endpoint.VirtualIPs 0).Addr}}";
    let vip = lab.ok("master", &["docker", "service", "inspect", "server", "--format", vip]);
    let url = format!("http://{}/", vip.trim().split('/').next().unwrap());
    let page = lab.on("node01", &["docker", "exec", "p1", "timeout", "5", "wget", "-qO-", &url]);
    assert_contains(&page.text(), "Hostname");
    for host in ["master", "node02"] {
        let verbose = ["docker", "network", "inspect", "-v", "plain", "-f", "{{json .Services}}"];
        let services = lab.ok(host, &verbose);
        assert_contains(&services, "\"Name\":\"p2\"");
        assert_contains(&services, "\"EndpointIP\":\"10.76.0.200\"");
    }
    names(lab);
    // The way out of the node, and to the client's host.
    ping(lab, "node01", "p1", crate::lab::CLIENT);
    assert_contains(&lab.refused("master", "network rm plain"), "is in use by");
    lab.docker("service rm server");
    clean_up(lab, &[("node01", "p1"), ("node02", "p2")], "plain");
}

/// Names of containers here and elsewhere, aliases, and services.
fn names(lab: &Lab) {
    docker(lab, "node01", &format!("run -d --name p3 --network plain {SLEEPER}"));
    for name in ["p2", "cache", "p3", "server", "tasks.server"] {
        wait_for("the name is known", || {
            let exec = ["docker", "exec", "p1", "ping", "-c", "1", "-W", "2", name];
            lab.on("node01", &exec).ok()
        });
    }
    let mounts = docker(lab, "node01", "inspect p3 --format {{.Mounts}}{{.HostConfig.Binds}}");
    assert!(!mounts.contains("resolv"), "{mounts}");
    docker(lab, "node01", "rm -f p3");
}

pub(crate) fn plain_containers_are_refused_in_dockers_words(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay closed");
    lab.docker("network create --driver overlay --attachable --subnet 10.77.0.0/24 open");
    for host in ["master", "node02"] {
        let refused = lab.refused(host, "run --rm --network closed busybox true");
        assert_contains(
            &refused,
            "Could not attach to network closed: rpc error: code = PermissionDenied desc = network \
             closed not manually attachable",
        );
        let unknown = lab.refused(host, "run --rm --network nowhere busybox true");
        assert_contains(&unknown, "network nowhere not found");
    }
    docker(lab, "node01", &format!("run -d --name p1 --network open --ip 10.77.0.9 {SLEEPER}"));
    let taken = lab.refused("node02", "run --rm --network open --ip 10.77.0.9 busybox true");
    assert_contains(&taken, "Address already in use");
    let outside = lab.refused("node02", "run --rm --network open --ip 10.78.0.9 busybox true");
    assert_contains(&outside, "It does not belong to any of this network's subnets");
    for wish in ["-p 8080:80", "--mac-address 02:11:22:33:44:55"] {
        let refused =
            lab.refused("node01", &format!("run --rm --network open {wish} busybox true"));
        assert_contains(&refused, "not supported");
    }
    docker(lab, "node01", "rm -f p1");
    docker(lab, "node02", &format!("run -d --name p2 --network open --ip 10.77.0.9 {SLEEPER}"));
    clean_up(lab, &[("node02", "p2")], "open");
    lab.docker("network rm closed");
}

pub(crate) fn plain_containers_keep_their_address(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay --attachable kept");
    docker(lab, "node01", &format!("run -d --name p1 --network kept {SLEEPER}"));
    docker(lab, "node02", &format!("run -d --name p2 --network kept {SLEEPER}"));
    let first = address(lab, "node01", "p1", "kept");
    docker(lab, "node01", "stop -t 0 p1");
    docker(lab, "node02", &format!("run -d --name p3 --network kept {SLEEPER}"));
    assert_ne!(address(lab, "node02", "p3", "kept"), first, "a stopped container keeps it");
    docker(lab, "node01", "start p1");
    assert_eq!(address(lab, "node01", "p1", "kept"), first);
    ping(lab, "node02", "p2", &first);
    lab.lab_ok(&["kill", "node01", "daemon"]);
    ping(lab, "node02", "p2", &first);
    lab.lab_ok(&["start", "node01", "daemon"]);
    lab.lab_ok(&["stop", "master", "daemon"]);
    docker(lab, "node01", "restart -t 0 p1");
    ping(lab, "node02", "p2", &first);
    lab.lab_ok(&["start", "master", "daemon"]);
    // Behind swarmnet's back.
    lab.lab_ok(&["engine", "node02", "--", "rm", "-f", "p2", "p3"]);
    wait_for("the network leaves the worker", || !has_network(lab, "node02", "kept"));
    clean_up(lab, &[("node01", "p1")], "kept");
}

/// A container made without a swarm network finds names once it is connected, also after a restart,
/// and is the engine's alone again afterwards.
fn connected_ones_find_names(lab: &Lab) {
    lab.create("--name far --network front --constraint node.hostname==node02 whoami");
    docker(lab, "node01", &format!("run -d --name later {SLEEPER}"));
    let file = || docker(lab, "node01", "exec later cat /etc/resolv.conf");
    let before = file();
    docker(lab, "node01", "network connect --alias late front later");
    for round in 1..=2 {
        ping(lab, "node01", "later", "far");
        ping(lab, "node01", "p1", "late");
        if round == 1 {
            docker(lab, "node01", "restart -t 0 later");
        }
    }
    assert_ne!(file(), before);
    docker(lab, "node01", "network disconnect front later");
    wait_for("the resolv.conf names the engine's resolver", || file().contains("127.0.0.11"));
    docker(lab, "node01", "rm -f later");
    lab.docker("service rm far");
}

pub(crate) fn plain_containers_connect_and_disconnect(lab: &Lab) {
    lab.form();
    for (name, more) in [("front", " --subnet 10.79.0.0/24"), ("back", " --internal")] {
        lab.docker(&format!("network create --driver overlay --attachable{more} {name}"));
    }
    docker(lab, "node01", &format!("run -d --name p1 --network front {SLEEPER}"));
    docker(lab, "node02", &format!("run -d --name p2 --network back {SLEEPER}"));
    docker(lab, "node01", &format!("run -d --name local {SLEEPER}"));
    docker(lab, "node01", "network connect back p1");
    docker(lab, "node01", "network connect --alias db --ip 10.79.0.99 front local");
    assert_eq!(address(lab, "node01", "local", "front"), "10.79.0.99");
    ping(lab, "node02", "p2", &address(lab, "node01", "p1", "back"));
    ping(lab, "node01", "p1", "10.79.0.99");
    connected_ones_find_names(lab);
    ping(lab, "node01", "p1", crate::lab::CLIENT);
    let shut_in = ["docker", "exec", "p2", "ping", "-c", "1", "-W", "2", crate::lab::CLIENT];
    assert!(!lab.on("node02", &shut_in).ok(), "an internal network has no way out");
    let twice = lab.refused("node01", "network connect front p1");
    assert_contains(&twice, "p1 is already attached to network front");
    docker(lab, "node01", "network disconnect front local");
    let left = docker(lab, "node01", "inspect local --format {{.NetworkSettings.Networks}}");
    assert!(!left.contains("front") && left.contains("bridge"), "{left}");
    wait_for("the address is free", || {
        let run = "run --rm --network front --ip 10.79.0.99 busybox true";
        let words: Vec<&str> = std::iter::once("docker").chain(run.split(' ')).collect();
        lab.on("node02", &words).ok()
    });
    docker(lab, "node01", "network disconnect front p1");
    docker(lab, "node01", "rm -f local");
    let outside = ["docker", "exec", "p1", "ping", "-c", "1", "-W", "2", crate::lab::CLIENT];
    assert!(!lab.on("node01", &outside).ok(), "only the internal network is left");
    ping(lab, "node02", "p2", &address(lab, "node01", "p1", "back"));
    docker(lab, "node01", "network connect front p1");
    ping(lab, "node01", "p1", crate::lab::CLIENT);
    docker(lab, "node01", "network disconnect front p1");
    clean_up(lab, &[], "front");
    clean_up(lab, &[("node01", "p1"), ("node02", "p2")], "back");
}
