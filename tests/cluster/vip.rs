//! VIPs: every protocol from everywhere, no backend, several networks, and backends that come and go
//! under load.

use std::collections::BTreeSet;

use crate::guard::counts;
use crate::lab::{HOSTS, Lab, SLEEPER, assert_contains, binaries, wait_for};
use crate::overlay::{address_of, inside};
use crate::vip_client::{Client, Line, call, container, containers};

fn network(lab: &Lab, name: &str) {
    lab.docker(&format!("network create --driver overlay {name}"));
}

fn caller(lab: &Lab, networks: &str) {
    lab.create(&format!("--name caller {networks} --constraint node.hostname==node02 {SLEEPER}"));
}

/// Returns the VIPs of a service without their prefix lengths, in the order of its networks.
fn vips(lab: &Lab, service: &str) -> Vec<String> {
    let format = "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}";
    let list = lab.ok("master", &["docker", "service", "inspect", service, "--format", format]);
    list.split_whitespace().map(|vip| vip.split('/').next().unwrap().to_owned()).collect()
}

fn vip(lab: &Lab, service: &str) -> String {
    vips(lab, service).remove(0)
}

fn scale(lab: &Lab, service: &str, replicas: usize) {
    lab.docker(&format!("service update --quiet --detach --replicas {replicas} {service}"));
    wait_for_replicas(lab, service, replicas);
}

fn wait_for_replicas(lab: &Lab, service: &str, replicas: usize) {
    let list = format!("service ls --filter name={service} --format {{{{.Replicas}}}}");
    let want = format!("{replicas}/{replicas}");
    wait_for("the replicas", || lab.docker(&list).trim() == want);
}

/// Ways to call: by TCP, by UDP with and without a peer, past the sockets, and from IPv6 sockets.
const WAYS: [&str; 6] = ["", "--udp", "--plain", "--raw", "--v6", "--v6 --udp"];

pub(crate) fn is_reached_from_everywhere(lab: &Lab) {
    lab.form();
    network(lab, "front");
    lab.create(&format!("--name everywhere --mode global --network front {SLEEPER}"));
    lab.create("--name server --network front --constraint node.hostname==node01 whoami");
    let (vip, server) = (vip(lab, "server"), container(lab, "node01", "server"));
    // The last caller is the only backend itself.
    let callers = HOSTS.map(|host| (host, "everywhere")).into_iter().chain([("node01", "server")]);
    for (host, service) in callers {
        // The answer to one's own raw packet is a datagram of a socket, and leaves as such.
        let own_raw = |way: &&str| service == "server" && *way == "--raw";
        for way in WAYS.iter().filter(|way| !own_raw(way)) {
            let options = format!("{way} {vip} 80");
            wait_for(&format!("{service} on {host} is answered: {options}"), || {
                call(lab, host, service, &options) == server
            });
        }
        let ping = inside(lab, host, service, &format!("ping -c 2 -W 2 {vip}"));
        assert_contains(&ping, "2 packets received");
    }
}

pub(crate) fn without_backends_refuses_at_once(lab: &Lab) {
    lab.form();
    network(lab, "front");
    caller(lab, "--network front");
    lab.create("--name empty --network front --constraint node.hostname==node01 whoami");
    let (vip, task) = (vip(lab, "empty"), address_of(lab, "empty"));
    let ask = |way: &str, to: &str| call(lab, "node02", "caller", &format!("{way} {to} 80"));
    assert_eq!(ask("", &task), container(lab, "node01", "empty"));
    scale(lab, "empty", 0);
    for way in ["", "--udp", "--v6"] {
        wait_for("a refusal", || ask(way, &vip).contains("refused"));
        counts(lab, "node02", "VIP_NO_BACKEND", || drop(ask(way, &vip)));
        // The task's own address tells for a while that the task is gone.
        wait_for("a refusal", || ask(way, &task).contains("refused"));
        counts(lab, "node02", "ENDPOINT_GONE", || drop(ask(way, &task)));
    }
    scale(lab, "empty", 1);
    let server = container(lab, "node01", "empty");
    for way in WAYS {
        wait_for("an answer", || ask(way, &vip) == server);
    }
}

pub(crate) fn on_several_networks(lab: &Lab) {
    lab.form();
    network(lab, "left");
    network(lab, "right");
    let both = "--network left --network right";
    caller(lab, both);
    lab.create(&format!(
        "--name sided --network left --constraint node.hostname==node02 {SLEEPER}"
    ));
    for service in ["one", "two"] {
        lab.create(&format!("--name {service} {both} --constraint node.hostname==node01 whoami"));
    }
    for service in ["one", "two"] {
        let server = container(lab, "node01", service);
        let vips = vips(lab, service);
        assert_eq!(vips.iter().collect::<BTreeSet<_>>().len(), 2, "{vips:?}");
        for vip in &vips {
            for way in WAYS {
                let options = format!("{way} {vip} 80");
                wait_for("an answer of the right service", || {
                    call(lab, "node02", "caller", &options) == server
                });
            }
        }
        let answered =
            |vip: &&String| call(lab, "node02", "sided", &format!("--udp {vip} 80")) == server;
        let reached = vips.iter().filter(answered).count();
        assert_eq!(reached, 1, "a task reaches a service on its own network only");
    }
}

/// Socket load balancing knows eight networks of a task; with more, packets are balanced.
pub(crate) fn on_many_networks(lab: &Lab) {
    lab.form();
    let names: Vec<String> = (1..=9).map(|number| format!("many{number}")).collect();
    names.iter().for_each(|name| network(lab, name));
    let all: Vec<String> = names.iter().map(|name| format!("--network {name}")).collect();
    caller(lab, &all.join(" "));
    lab.create("--name last --network many9 --constraint node.hostname==node01 whoami");
    let (vip, server) = (vip(lab, "last"), container(lab, "node01", "last"));
    for way in WAYS {
        let options = format!("{way} {vip} 80");
        wait_for("an answer", || call(lab, "node02", "caller", &options) == server);
    }
}

/// What `swarmnet debug lb` on the caller's node says of a service.
fn balancer_rows(lab: &Lab, service: &str) -> Vec<String> {
    let swarmnet = binaries().join("swarmnet");
    let table = lab.ok("node02", &[swarmnet.to_str().unwrap(), "debug", "lb"]);
    table.lines().filter(|line| line.contains(service)).map(str::to_owned).collect()
}

pub(crate) fn a_dnsrr_service_has_none(lab: &Lab) {
    lab.form();
    network(lab, "front");
    caller(lab, "--network front");
    let place = "--constraint node.hostname==node01";
    lab.create(&format!("--name robin --endpoint-mode dnsrr --network front {place} whoami"));
    let has_none = || {
        assert_eq!(vips(lab, "robin"), Vec::<String>::new());
        let task = address_of(lab, "robin");
        let server = container(lab, "node01", "robin");
        wait_for("an answer", || call(lab, "node02", "caller", &format!("{task} 80")) == server);
        wait_for("nothing of it in the maps", || balancer_rows(lab, "robin").is_empty());
    };
    has_none();
    lab.docker("service update --quiet --endpoint-mode vip robin");
    let vip = vip(lab, "robin");
    for way in WAYS {
        let options = format!("{way} {vip} 80");
        wait_for("an answer", || {
            call(lab, "node02", "caller", &options) == container(lab, "node01", "robin")
        });
    }
    assert!(!balancer_rows(lab, "robin").is_empty());
    lab.docker("service update --quiet --endpoint-mode dnsrr robin");
    has_none();
    let late = call(lab, "node02", "caller", &format!("--udp {vip} 80"));
    assert!(late.starts_with("error:"), "the VIP still answers: {late}");
}

/// Milliseconds of the day.
fn of_day(since_1970: u64) -> u64 {
    since_1970 % 86_400_000
}

/// When a host's daemon took a backend out of its tables, first after `from`.
fn withdrawn(lab: &Lab, host: &str, from: u64) -> Option<u64> {
    let log = lab.lab(&["logs", host, "daemon"]).stdout;
    let removals = log.lines().filter(|line| line.contains("balancer: backend remove"));
    let times = removals.filter_map(|line| {
        let time = line.split_once('T')?.1.get(..12)?;
        let parts: Vec<u64> =
            time.split([':', '.']).map(str::parse).collect::<Result<_, _>>().ok()?;
        let [hours, minutes, seconds, millis] = parts[..] else { return None };
        Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
    });
    times.into_iter().find(|time| *time >= of_day(from))
}

/// Returns the last answer of a host and the first one of another after it.
fn moved<'a>(lines: &'a [Line], from: &str) -> Option<(&'a Line, &'a Line)> {
    let last = lines.iter().rposition(|line| line.said == from)?;
    let next = lines[last..].iter().find(|line| line.is_answer() && line.said != from)?;
    Some((&lines[last], next))
}

fn kill_and_watch(lab: &Lab, victim: &str, clients: &[Client]) {
    let using: Vec<&Client> = clients.iter().filter(|client| client.last(lab) == victim).collect();
    let before = lab.ok("node01", &["date", "+%s%3N"]).trim().parse().unwrap();
    lab.lab_ok(&["engine", "node01", "--", "kill", victim]);
    for client in using {
        wait_for(&format!("{} is answered by another backend", client.name), || {
            moved(&client.lines(lab), victim).is_some()
        });
        let lines = client.lines(lab);
        let (last, next) = moved(&lines, victim).unwrap();
        let gap = next.at - last.at;
        let since = withdrawn(lab, "node02", before).map(|w| of_day(next.at).saturating_sub(w));
        println!("  {}: {gap} ms without an answer, {since:?} ms after the tables", client.name);
    }
}

pub(crate) fn udp_moves_to_a_living_backend(lab: &Lab) {
    lab.form();
    network(lab, "front");
    caller(lab, "--network front");
    let place = "--constraint node.hostname==node01";
    let ports = "--publish 8090:80/udp";
    lab.create(&format!("--name echo --replicas 2 --network front {ports} {place} whoami"));
    let vip = vip(lab, "echo");
    let first = containers(lab, "node01", "echo");
    let task = ("node02", "caller");
    let to = |way: &str| format!("{way} {vip} 80");
    let clients = [
        Client::in_task(lab, task, "connected", &to("--udp")),
        Client::in_task(lab, task, "connected-v6", &to("--udp --v6")),
        Client::in_task(lab, task, "plain", &to("--plain")),
        Client::in_task(lab, task, "raw", &to("--raw --from 4001")),
        Client::on_host(lab, "client", "mesh", "--udp --from 4002 10.20.20.120 8090"),
        Client::on_host(lab, "node01", "host", "--udp 127.0.0.1 8090"),
    ];
    for victim in &first {
        wait_for("answers for all clients", || {
            let known = containers(lab, "node01", "echo");
            clients.iter().all(|client| known.contains(&client.last(lab)))
        });
        kill_and_watch(lab, victim, &clients);
        wait_for("a replacement", || {
            let now = containers(lab, "node01", "echo");
            now.len() == 2 && !now.contains(victim)
        });
        wait_for_replicas(lab, "echo", 2);
    }
    for client in clients {
        let name = client.name.clone();
        let lines = client.finish(lab);
        let answered: BTreeSet<&str> =
            lines.iter().filter(|line| line.is_answer()).map(|line| line.said.as_str()).collect();
        assert!(answered.len() > 1, "{name} was answered by {answered:?}");
    }
}

/// Returns the host names that answered, each run of one once.
fn runs(lines: &[Line]) -> Vec<String> {
    let mut names: Vec<String> = lines.iter().map(|line| line.said.clone()).collect();
    names.dedup();
    names
}

pub(crate) fn connections_outlive_changes(lab: &Lab) {
    lab.form();
    network(lab, "front");
    caller(lab, "--network front");
    lab.create("--name kept --replicas 2 --network front --publish 8091:80 whoami");
    lab.create("--name other --replicas 2 --network front whoami");
    let vip = vip(lab, "kept");
    let clients = [
        Client::in_task(lab, ("node02", "caller"), "vip", &format!("--every 100 {vip} 80")),
        Client::on_host(lab, "client", "mesh", "--every 100 10.20.20.110 8091"),
    ];
    for client in &clients {
        wait_for("an answer", || !client.lines(lab).is_empty());
    }
    scale(lab, "kept", 5);
    lab.docker("service update --quiet --force other");
    for host in ["node01", "node02"] {
        lab.lab_ok(&["kill", host, "daemon"]);
        lab.lab_ok(&["start", host, "daemon"]);
    }
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
    for client in clients {
        let name = client.name.clone();
        let before = client.lines(lab).len();
        wait_for("further answers", || client.lines(lab).len() > before + 10);
        let runs = runs(&client.finish(lab));
        assert_eq!(runs.len(), 1, "{name}: one connection to one task: {runs:?}");
    }
}

pub(crate) fn a_rolling_update_loses_no_request(lab: &Lab) {
    lab.form();
    network(lab, "front");
    caller(lab, "--network front");
    lab.create("--name rolled --replicas 3 --network front --publish 8092:80 whoami");
    let vip = vip(lab, "rolled");
    let task = ("node02", "caller");
    let clients = [
        Client::in_task(lab, task, "each", &format!("--each {vip} 80")),
        Client::in_task(lab, task, "kept", &format!("{vip} 80")),
        Client::in_task(lab, task, "slow", &format!("--path /?delay=1500 {vip} 80")),
        Client::on_host(lab, "client", "mesh", "--each 10.20.20.110 8092"),
        Client::on_host(lab, "client", "mesh-slow", "--path /?delay=1500 10.20.20.120 8092"),
        Client::on_host(lab, "node01", "host", "--each 127.0.0.1 8092"),
    ];
    for client in &clients {
        wait_for("an answer", || !client.lines(lab).is_empty());
    }
    let old: BTreeSet<String> =
        HOSTS.iter().flat_map(|host| containers(lab, host, "rolled")).collect();
    lab.docker("service update --quiet --force rolled");
    for client in clients {
        let name = client.name.clone();
        wait_for("answers of new tasks", || !old.contains(&client.last(lab)));
        let lines = client.finish(lab);
        let failed: Vec<&Line> = lines.iter().filter(|line| !line.is_answer()).collect();
        println!("  {name}: {} requests, {} failed", lines.len(), failed.len());
        assert!(failed.is_empty(), "{name}: {failed:?}");
    }
}
