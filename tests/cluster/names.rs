//! Names: what a task finds, what it does not see, and who answers when parts of the cluster do not.

use swarmnet_tests::harness::place::Place;

use crate::lab::{Lab, SLEEPER, assert_contains, wait_for};
use crate::names_client::{OUTSIDE, OUTSIDE_ADDR, Upstream, ask, ask_for};

fn on(host: &str) -> String {
    format!("--constraint node.hostname=={host}")
}

fn vip(lab: &Lab, service: &str) -> String {
    let format = "{{(index .Endpoint.VirtualIPs 0).Addr}}";
    let vip = lab.ok("master", &["docker", "service", "inspect", service, "--format", format]);
    vip.trim().split('/').next().unwrap().to_owned()
}

/// Addresses of a service's running tasks, in order, behind an `ok`.
fn tasks_of(lab: &Lab, service: &str) -> String {
    let list = lab.docker(&format!("service ps -q --filter desired-state=running {service}"));
    let format = "{{(index (index .NetworksAttachments 0).Addresses 0)}}";
    let mut found: Vec<std::net::Ipv4Addr> = list
        .lines()
        .map(|task| {
            let inspect = ["docker", "inspect", "--type", "task", "-f", format, task];
            let address = lab.ok("master", &inspect);
            address.trim().split('/').next().unwrap().parse().unwrap()
        })
        .collect();
    found.sort_unstable();
    found.iter().fold("ok".to_owned(), |text, addr| format!("{text} {addr}"))
}

pub(crate) fn services_and_tasks_are_found_by_name(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay front");
    lab.docker("network create --driver overlay back");
    lab.docker("network create --driver overlay hidden");
    let replicas = "--replicas 2 --network name=front,alias=www";
    lab.create(&format!("--name server {replicas} {} whoami", on("node01")));
    lab.create(&format!(
        "--name robin --replicas 2 --endpoint-mode dnsrr --network back {} whoami",
        on("node01")
    ));
    lab.create(&format!("--name secret --network hidden {} whoami", on("node02")));
    let two = "--network front --network back";
    lab.create(&format!("--name caller {two} {} {SLEEPER}", on("node02")));
    let server = format!("ok {}", vip(lab, "server"));
    for name in ["server", "SERVER", "server.front", "www", "www.front"] {
        assert_eq!(ask(lab, "node02", "caller", name), server, "{name}");
    }
    assert_eq!(ask_for(lab, "node02", "caller", "server", "A", "tcp"), server);
    wait_for("both tasks by name", || {
        ask(lab, "node02", "caller", "tasks.server") == tasks_of(lab, "server")
    });
    wait_for("both tasks of a service without VIP", || {
        ask(lab, "node02", "caller", "robin") == tasks_of(lab, "robin")
    });
    assert_eq!(ask_for(lab, "node02", "caller", "server", "AAAA", "udp"), "ok");
    for name in ["secret", "tasks.secret", "secret.hidden", "server.back", "nobody"] {
        let answer = ask(lab, "node02", "caller", name);
        assert!(!answer.starts_with("ok"), "{name}: {answer}");
    }
    let page =
        crate::overlay::inside(lab, "node02", "caller", "timeout 5 wget -q -O - http://server/");
    assert_contains(&page, "Hostname");
    lab.docker("service scale server=1");
    wait_for("a task that is gone is not named", || {
        let answer = ask(lab, "node02", "caller", "tasks.server");
        answer == tasks_of(lab, "server") && answer.split(' ').count() == 2
    });
}

pub(crate) fn other_names_are_asked_of_the_upstream(lab: &Lab) {
    lab.form();
    let upstream = Upstream::start(lab);
    let before = lab.ok("node02", &["cat", "/etc/resolv.conf"]);
    lab.sh("node02", "echo nameserver 10.20.20.50 > /etc/resolv.conf");
    lab.docker("network create --driver overlay front");
    lab.docker("network create --driver overlay --internal inner");
    lab.create(&format!("--name open --network front {} {SLEEPER}", on("node02")));
    lab.create(&format!("--name shut --network inner {} {SLEEPER}", on("node02")));
    lab.create(&format!("--name own --dns 10.20.20.50 --network front {} {SLEEPER}", on("node01")));
    let known = format!("ok {OUTSIDE_ADDR}");
    wait_for("the new upstream", || ask(lab, "node02", "open", OUTSIDE) == known);
    assert_eq!(ask_for(lab, "node02", "open", OUTSIDE, "A", "tcp"), known);
    assert_eq!(ask(lab, "node02", "open", "no.example"), "nxdomain");
    assert_eq!(ask(lab, "node01", "own", OUTSIDE), known, "the service names its upstream itself");
    for name in [OUTSIDE, "leak.example"] {
        let answer = ask(lab, "node02", "shut", name);
        assert!(!answer.starts_with("ok"), "{name}: {answer}");
    }
    let shut = format!("ok {}", vip(lab, "shut"));
    assert_eq!(ask(lab, "node02", "shut", "shut"), shut, "its own names it has all the same");
    let asked = upstream.asked_for();
    assert_contains(&asked, "no.example");
    for kept in ["leak", "shut", "open"] {
        assert!(!asked.contains(kept), "the upstream was asked for {kept}:\n{asked}");
    }
    lab.sh("node02", &format!("printf '{}' > /etc/resolv.conf", before.replace('\n', "\\n")));
}

pub(crate) fn names_are_answered_while_daemons_restart(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay front");
    lab.create(&format!("--name server --network front {} whoami", on("node01")));
    lab.create(&format!("--name caller --network front {} {SLEEPER}", on("node02")));
    let server = format!("ok {}", vip(lab, "server"));
    assert_eq!(ask(lab, "node02", "caller", "server"), server);
    lab.lab_ok(&["kill", "node02", "daemon"]);
    std::thread::scope(|scope| {
        // Asked while nobody answers: the socket is there, and the next daemon has it.
        let waiting = scope.spawn(|| ask(lab, "node02", "caller", "server"));
        lab.lab_ok(&["start", "node02", "daemon"]);
        assert_eq!(waiting.join().unwrap(), server);
    });
    lab.lab_ok(&["stop", "master", "daemon"]);
    assert_eq!(ask(lab, "node02", "caller", "server"), server, "no manager");
    lab.lab_ok(&["kill", "node02", "daemon"]);
    lab.lab_ok(&["start", "node02", "daemon"]);
    assert_eq!(ask(lab, "node02", "caller", "server"), server, "started without a manager");
    assert_eq!(ask_for(lab, "node02", "caller", "tasks.server", "A", "tcp").split(' ').count(), 2);
    lab.lab_ok(&["start", "master", "daemon"]);
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
}

pub(crate) fn the_engines_resolver_answers_without_tracking_of_connections(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay front");
    lab.create(&format!("--name server --network front {} whoami", on("node01")));
    lab.create(&format!("--name caller --network front {} {SLEEPER}", on("node02")));
    let inside = |line: &str| crate::overlay::inside(lab, "node02", "caller", line);
    let place = Place::container(lab, "node02", "caller");
    wait_for("the engine's rules are replaced", || {
        let rules = place.sh("nft list ruleset");
        rules.contains("dport set") && !rules.contains("dnat")
    });
    assert_contains(&inside("nslookup $(hostname) 127.0.0.11"), "Name:");
    assert_contains(&inside("timeout 5 wget -q -O - http://server/"), "Hostname");
    let tracked = inside("cat /proc/net/nf_conntrack");
    assert_eq!(tracked.trim(), "", "no connection of the task is tracked");
}
