//! The way out of tasks, and the walls around them: seen from a listener on the client host, from
//! other tasks, and from containers of a node that are no business of the swarm's.

use std::process::Child;

use crate::lab::{CLIENT, Lab, address, assert_contains, binaries, wait_for};

const PORT: &str = "8090";

/// A server on the client host that says who called; it ends with the value.
struct Outside(Child);

impl Outside {
    fn start(lab: &Lab) -> Self {
        let whoami = binaries().join("whoami");
        let server = lab.spawn("client", &[whoami.to_str().unwrap(), "--port", PORT]);
        let url = format!("http://{CLIENT}:{PORT}/");
        wait_for("a server outside", || lab.curl("client", &url).contains("Remote"));
        Self(server)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What a task sees of a URL; nothing if there is no answer.
fn seen_by(lab: &Lab, host: &str, service: &str, url: &str) -> String {
    lab.beside(host, service, &["curl", "--silent", "--fail", "--max-time", "3", url]).stdout
}

fn reaches(lab: &Lab, host: &str, service: &str, addr: &str) -> bool {
    !seen_by(lab, host, service, &format!("http://{addr}/")).is_empty()
}

fn on(host: &str) -> String {
    format!("--constraint node.hostname=={host}")
}

pub(crate) fn tasks_reach_the_outside_by_their_node(lab: &Lab) {
    lab.form();
    let _outside = Outside::start(lab);
    lab.docker("network create --driver overlay way-out");
    lab.create(&format!("--name out --network way-out {} whoami", on("node01")));
    let url = format!("http://{CLIENT}:{PORT}/");
    let masqueraded = format!("Remote: {}:", address("node01"));
    assert_contains(&seen_by(lab, "node01", "out", &url), &masqueraded);
    // The engine forwards nothing that no rule accepts; the accept is ours, and comes back.
    let policy = lab.ok("node01", &["iptables", "-S", "FORWARD"]);
    assert_contains(&policy, "-P FORWARD DROP");
    for flush in [&["iptables", "-F", "DOCKER-USER"][..], &["nft", "flush", "ruleset"]] {
        lab.ok("node01", flush);
        wait_for("the way out after a flush", || {
            seen_by(lab, "node01", "out", &url).contains(&masqueraded)
        });
    }
    assert!(!reaches(lab, "node01", "out", "169.254.87.1:8080"), "the mesh is for host processes");
}

pub(crate) fn internal_networks_have_no_way_out(lab: &Lab) {
    lab.form();
    let _outside = Outside::start(lab);
    lab.docker("network create --driver overlay --internal inside");
    lab.docker("network create --driver overlay normal");
    lab.create(&format!("--name hidden --network inside {} whoami", on("node01")));
    lab.create(&format!("--name other --network normal {} whoami", on("node01")));
    lab.create(&format!("--name both --network inside --network normal {} whoami", on("node01")));
    let outside = format!("{CLIENT}:{PORT}");
    let routes = lab.beside("node01", "hidden", &["ip", "route"]).stdout;
    assert!(!routes.contains("default"), "an internal task has a default route: {routes}");
    let other = lab.address_in("node01", "other", "eth0").to_string();
    let gateway = lab.address_in("node01", "other", "gw0").to_string();
    for target in [&outside, &format!("{}:2375", address("node01")), &other, &gateway] {
        assert!(!reaches(lab, "node01", "hidden", target), "hidden reaches {target}");
    }
    // Also with a route of its own making: a task may have the right to set one.
    let route = ["ip", "route", "add", "default", "dev", "eth0"];
    assert!(lab.beside("node01", "hidden", &route).ok());
    for target in [&outside, &other, &gateway] {
        assert!(!reaches(lab, "node01", "hidden", target), "hidden reaches {target} by a route");
    }
    let hidden = lab.address_in("node01", "hidden", "eth0").to_string();
    assert!(reaches(lab, "node01", "both", &outside), "a second network is a way out");
    assert!(reaches(lab, "node01", "both", &hidden), "the internal network works inside");
    assert!(reaches(lab, "node01", "both", &other));
}

pub(crate) fn tasks_and_local_containers_are_apart(lab: &Lab) {
    lab.form();
    let engine = |words: &str| {
        let words: Vec<&str> =
            ["engine", "node01", "--"].into_iter().chain(words.split(' ')).collect();
        lab.lab_ok(&words)
    };
    let run = |name: &str, network: &str| {
        engine(&format!("run -d --name {name} --network {network} whoami"));
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        lab.lab_ok(&["engine", "node01", "--", "inspect", "-f", address, name]).trim().to_owned()
    };
    engine("network create bridged");
    engine("network create --internal walled");
    let containers = [run("c1", "bridge"), run("c2", "bridged"), run("c3", "walled")];
    for network in ["first", "second"] {
        lab.docker(&format!("network create --driver overlay {network}"));
    }
    lab.create(&format!("--name one --network first {} whoami", on("node01")));
    lab.create(&format!("--name two --network second {} whoami", on("node01")));
    let two = [lab.address_in("node01", "two", "eth0"), lab.address_in("node01", "two", "gw0")];
    let gateway = two[1].to_string();
    wait_for("the walls", || containers.iter().all(|addr| !reaches(lab, "node01", "one", addr)));
    for addr in &two {
        assert!(!reaches(lab, "node01", "one", &addr.to_string()), "a task reaches {addr}");
    }
    let pid = engine("inspect -f {{.State.Pid}} c2").trim().to_owned();
    let url = format!("http://{gateway}/");
    let curl = ["curl", "--silent", "--max-time", "3", &url];
    let from_container = lab.on("node01", &[&["nsenter", "-t", &pid, "-n"], &curl[..]].concat());
    assert!(!from_container.ok(), "a container reaches a task: {}", from_container.stdout);
    let own_host = lab.on("node01", &curl);
    assert!(own_host.ok(), "the task is there, and its own host reaches it");
    lab.ok("client", &["ip", "route", "add", "172.31.240.0/20", "via", address("node01")]);
    let from_client = lab.on("client", &curl);
    lab.ok("client", &["ip", "route", "del", "172.31.240.0/20"]);
    assert!(!from_client.ok(), "a host beside reaches a task: {}", from_client.stdout);
    engine("rm -f c1 c2 c3");
    engine("network rm bridged walled");
}
