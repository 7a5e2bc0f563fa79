//! The routing mesh: who is seen, which paths answer, what must not disturb it.

use crate::lab::{CLIENT, HOSTS, Lab, address, assert_contains, wait_for};

fn whoami_on(lab: &Lab, node: &str) {
    let place = format!("--constraint node.hostname=={node}");
    let ports = "--publish 8080:80 --publish 8080:80/udp";
    lab.create(&format!("--name who {place} {ports} whoami"));
}

pub(crate) fn the_client_address_survives(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node02");
    for entry in HOSTS {
        let answer = lab.curl("client", &format!("http://{entry}:8080/"));
        assert_contains(&answer, CLIENT);
    }
}

pub(crate) fn udp_is_answered(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node02");
    for entry in HOSTS {
        let line = format!("echo hi | timeout 3 nc -u -w1 {entry} 8080");
        wait_for("an answer by UDP", || lab.sh("client", &line).stdout.contains(CLIENT));
    }
}

pub(crate) fn hosts_reach_ports_by_every_name(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node01");
    for from in HOSTS {
        for target in ["localhost", "127.0.0.1", address(from), "node01", "node02"] {
            let answer = lab.curl(from, &format!("http://{target}:8080/"));
            assert!(answer.contains("Hostname"), "{from} gets no answer from {target}:8080");
        }
    }
}

pub(crate) fn large_answers_pass(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node02");
    let bytes = 20_000_000;
    for entry in ["node02", "node01"] {
        let line = format!("curl -sf --max-time 60 'http://{entry}:8080/?size={bytes}' | wc -c");
        let got: u64 = lab.sh("client", &line).stdout.trim().parse().unwrap();
        assert!(got >= bytes, "{got} bytes through {entry}");
    }
    let line = format!(
        "head -c {bytes} /dev/zero | curl -sf --max-time 60 --data-binary @- http://node01:8080/"
    );
    assert_contains(&lab.sh("client", &line).stdout, "Hostname");
}

pub(crate) fn flushed_firewalls_disturb_nothing(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node02");
    for host in HOSTS {
        lab.ok(host, &["nft", "flush", "ruleset"]);
        lab.ok(host, &["iptables", "-F"]);
    }
    for entry in HOSTS {
        let url = format!("http://{entry}:8080/");
        assert_contains(&lab.curl("client", &url), CLIENT);
        assert_contains(&lab.curl(entry, &url), "Hostname");
    }
    for host in HOSTS {
        wait_for("masquerading and both walls are back", || {
            let table = lab.sh(host, "nft list table ip swarmnet").stdout;
            let walls = ["oifname \"swg*\" ct state", "iifname \"swg*\" meta oifkind \"bridge\""];
            table.contains(" masquerade") && walls.iter().all(|wall| table.contains(wall))
        });
    }
}

/// Requests one after the other, each on a connection of its own; prints the failures.
pub(crate) const REQUESTS: &str = "failed=0; for i in $(seq 200); do \
    curl -s --max-time 10 -o /dev/null http://$0:8080/ || failed=$((failed+1)); done; echo $failed";

pub(crate) fn scaling_down_loses_no_request(lab: &Lab) {
    lab.form();
    lab.create("--name who --replicas 6 --publish 8080:80 whoami");
    let client = lab.spawn("client", &["sh", "-c", REQUESTS, "node01"]);
    for replicas in ["5", "3", "1", "4", "2"] {
        lab.docker(&format!("service update --quiet --detach --replicas {replicas} who"));
        let want = format!("{replicas}/{replicas}");
        wait_for("the replicas", || lab.docker("service ls --format {{.Replicas}}").trim() == want);
    }
    let output = client.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0", "failed requests");
}

/// As in Docker: who takes a port away wants nobody to go on using it. Nobody is left waiting either.
pub(crate) fn an_unpublished_port_ends_its_connections(lab: &Lab) {
    lab.form();
    whoami_on(lab, "node02");
    let download = |entry: &str| {
        let url = format!("http://{entry}:8080/?size=100000000");
        lab.spawn("client", &["curl", "-sS", "--limit-rate", "100k", "-o", "/dev/null", &url])
    };
    let under_way: Vec<_> = ["node02", "node01"].map(download).into();
    let open = || lab.sh("client", "ss -Htn state established dport = :8080 | wc -l").stdout;
    wait_for("two connections", || open().trim() == "2");
    lab.docker("service update --quiet --detach --publish-rm 80 who");
    for child in under_way {
        let output = child.wait_with_output().unwrap();
        assert_contains(&String::from_utf8_lossy(&output.stderr), "Connection reset by peer");
    }
    for entry in HOSTS {
        let url = format!("http://{entry}:8080/");
        // Curl's word for a refused connection.
        let refused = || lab.on("client", &["curl", "--silent", &url]).code == Some(7);
        wait_for("the port is closed", refused);
    }
}

pub(crate) fn a_host_port_without_a_number_gets_one(lab: &Lab) {
    lab.form();
    let env = "--env TASK_NAME={{.Task.Name}}";
    lab.create(&format!("--name any --replicas 4 {env} --publish mode=host,target=80 whoami"));
    let format = "{{.Name}} {{.Node}} {{.Ports}}";
    let shown = lab.ok("master", &["docker", "service", "ps", "--format", format, "any"]);
    assert_eq!(shown.lines().count(), 4, "{shown}");
    for line in shown.lines() {
        // As in "any.1 node01 *:30877->80/tcp".
        let (place, rest) = line.split_once(" *:").unwrap_or_else(|| panic!("no port: {shown}"));
        let (task, host) = place.split_once(' ').unwrap();
        let port = rest.strip_suffix("->80/tcp").unwrap_or_else(|| panic!("no port: {shown}"));
        let url = format!("http://{}:{port}/", address(host));
        let task = format!("Task: {task}.");
        wait_for("an answer of that very task", || lab.curl("client", &url).contains(&task));
    }
}
