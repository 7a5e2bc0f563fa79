//! Forming a swarm: init, join, tokens, node list, leaving.

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};

const NOT_A_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view \
                             or modify cluster state. Please run this command on a manager node or \
                             promote the current node to a manager.";

pub(crate) fn a_node_outside_a_swarm_says_so(lab: &Lab) {
    assert_contains(
        &lab.refused("node01", "node ls"),
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    );
    assert_contains(&lab.refused("node01", "swarm leave"), "This node is not part of a swarm");
    let state = lab.ok("node01", &["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]);
    assert_eq!(state.trim(), "inactive");
}

pub(crate) fn init_and_join_print_dockers_texts(lab: &Lab) {
    let init = lab.docker("swarm init --advertise-addr 10.20.20.100");
    assert_contains(&init, "Swarm initialized: current node (");
    assert_contains(&init, ") is now a manager.");
    assert_contains(&init, "    docker swarm join --token SWMTKN-1-");
    assert_contains(&init, " 10.20.20.100:2377");
    assert_contains(&init, "run 'docker swarm join-token manager'");
    assert_contains(
        &lab.refused("master", "swarm init"),
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and \
         join another one.",
    );
    let worker = lab.docker("swarm join-token worker");
    assert_contains(&worker, "To add a worker to this swarm, run the following command:");
    let token = lab.docker("swarm join-token --quiet worker");
    let manager = lab.docker("swarm join-token --quiet manager");
    assert_eq!(token.rsplit_once('-').unwrap().0, manager.rsplit_once('-').unwrap().0);
    assert_ne!(token, manager);
    for host in &HOSTS[1..] {
        let join = ["docker", "swarm", "join", "--token", token.trim(), "10.20.20.100:2377"];
        assert_contains(&lab.ok(host, &join), "This node joined a swarm as a worker.");
        let again = lab.on(host, &join);
        assert!(!again.ok());
        assert_contains(&again.stderr, "This node is already part of a swarm.");
    }
}

pub(crate) fn nodes_are_listed_as_docker_lists_them(lab: &Lab) {
    lab.form();
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
    let list = lab.docker("node ls");
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(list.lines().next().unwrap().split("  ").next(), Some("ID"));
    let [_, master, node01, node02] = rows.as_slice() else { panic!("four lines: {list}") };
    assert_eq!(master[1..6], ["*", "master", "Ready", "Active", "Leader"]);
    assert_eq!(node01[1..4], ["node01", "Ready", "Active"]);
    assert_eq!(node02[1..4], ["node02", "Ready", "Active"]);
    let engine = lab.lab_ok(&["engine", "node01", "--", "info", "--format", "{{.ServerVersion}}"]);
    assert_eq!(node01.last().copied(), Some(engine.trim()));
    assert_eq!(master[0].len(), 25);
    let networks = lab.docker("network ls --format {{.Name}}:{{.Driver}}:{{.Scope}}");
    assert_contains(&networks, "ingress:overlay:swarm");
    assert!(!networks.contains("swarmnet"), "the plugin's networks are hidden: {networks}");
}

/// Whoever reads a log at night must not have to know which warnings mean nothing.
pub(crate) fn a_new_swarm_warns_of_nothing(lab: &Lab) {
    lab.form();
    for host in HOSTS {
        let log = lab.lab_ok(&["logs", host, "daemon"]);
        assert_contains(&log, "session began");
        let warns = |line: &&str| [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
        let warnings: Vec<&str> = log.lines().filter(warns).collect();
        assert!(warnings.is_empty(), "{host}: {warnings:#?}");
    }
}

pub(crate) fn wrong_tokens_are_refused(lab: &Lab) {
    lab.form();
    let token = lab.docker("swarm join-token --quiet worker");
    let token = token.trim();
    lab.ok("node02", &["docker", "swarm", "leave"]);
    let join = |token: &str| {
        lab.refused("node02", &format!("swarm join --token {token} 10.20.20.100:2377"))
    };
    assert_contains(&join("SWMTKN-1-abc"), "invalid join token");
    let (digest, secret) = token.rsplit_once('-').unwrap();
    let other_secret = format!("{digest}-{}", "0".repeat(secret.len()));
    assert_contains(&join(&other_secret), "A valid join token is necessary to join this cluster");
    let foreign = format!("SWMTKN-1-{}-{secret}", "1".repeat(50));
    assert_contains(&join(&foreign), "remote CA does not match fingerprint. Expected: ");
    let state = lab.ok("node02", &["docker", "info", "--format", "{{.Swarm.LocalNodeState}}"]);
    assert_eq!(state.trim(), "inactive", "a refused join leaves no trace");
    lab.ok("node02", &["docker", "swarm", "join", "--token", token, "10.20.20.100:2377"]);
    wait_for("node02 is back", || lab.ready_nodes() == 3);
    lab.sh(
        "master",
        "docker node rm $(docker node ls --format '{{.ID}} {{.Status}}' | sed -n 's/ Down//p')",
    );
}

pub(crate) fn a_worker_refuses_manager_commands(lab: &Lab) {
    lab.form();
    for command in ["node ls", "service ls", "service create whoami", "swarm join-token worker"] {
        assert_contains(&lab.refused("node01", command), NOT_A_MANAGER);
    }
}

pub(crate) fn leaving_removes_everything(lab: &Lab) {
    lab.form();
    lab.create("--name web --replicas 3 --publish 8080:80 whoami");
    wait_for("an answer", || lab.curl("client", "http://node02:8080/").contains("Hostname"));
    lab.ok("node02", &["docker", "swarm", "leave"]);
    wait_for("no task container", || lab.task_containers("node02").is_empty());
    let links = lab.ok("node02", &["ip", "-brief", "link"]);
    assert!(!links.contains("sw"), "links of swarmnet are left: {links}");
    let tables = lab.ok("node02", &["nft", "list", "tables"]);
    assert!(!tables.contains("swarmnet"), "a table of swarmnet is left: {tables}");
    let pins = lab.sh("node02", "find /sys/fs/bpf/swarmnet -type f | wc -l").stdout;
    assert_eq!(pins.trim(), "0", "pins are left");
    let warning = lab.refused("master", "swarm leave");
    assert_contains(&warning, "You are attempting to leave the swarm on a node that is");
    lab.docker("swarm leave --force");
    lab.ok("node01", &["docker", "swarm", "leave", "--force"]);
}
