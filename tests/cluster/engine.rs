//! The engine behind the socket: local commands, streams, engines that go and come.

use std::collections::BTreeSet;
use std::io::Write as _;

use crate::lab::{Lab, assert_contains, wait_for};

pub(crate) fn local_commands_go_to_the_engine(lab: &Lab) {
    for command in ["images --quiet", "volume ls", "ps --all --quiet --no-trunc"] {
        let through = lab.docker(command);
        let words: Vec<&str> =
            ["engine", "master", "--"].into_iter().chain(command.split(' ')).collect();
        // The engine lists images of one age in any order.
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(&through), sorted(&lab.lab_ok(&words)), "docker {command}");
    }
    let hello = lab.docker("run --rm --network none busybox echo hello");
    assert_eq!(hello.trim(), "hello");
}

pub(crate) fn exec_logs_and_build_pass_through(lab: &Lab) {
    lab.docker("run --detach --name talker --network none busybox sh -c");
    lab.docker("rm --force talker");
    let start = "docker run --detach --name talker --network none busybox \
                 sh -c 'for i in 1 2 3; do echo line $i; sleep 1; done; sleep 1000'";
    assert!(lab.sh("master", start).ok());
    let follow = "timeout 20 docker logs --follow talker | head -3";
    let lines = lab.sh("master", follow).stdout;
    assert_eq!(lines.lines().collect::<Vec<_>>(), ["line 1", "line 2", "line 3"]);
    let piped = "printf 'to the container' | docker exec -i talker cat";
    assert_eq!(lab.sh("master", piped).stdout, "to the container");
    let tty = "script -qec 'docker exec -it talker sh -c \"tty; exit 5\"' /dev/null";
    let ran = lab.sh("master", tty);
    assert_contains(&ran.stdout, "/dev/pts/");
    assert_eq!(ran.code, Some(5));
    lab.docker("rm --force talker");

    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("Dockerfile")).unwrap();
    writeln!(file, "FROM busybox\nCOPY Dockerfile /copied\nRUN true\nCMD [\"cat\", \"/copied\"]")
        .unwrap();
    let path = folder.path().to_str().unwrap();
    let build = format!("DOCKER_BUILDKIT=0 docker build --quiet --network none --tag built {path}");
    let built = lab.sh("master", &build);
    assert!(built.ok(), "{}", built.text());
    assert_contains(&lab.docker("run --rm --network none built"), "FROM busybox");
    lab.docker("rmi --force built");
}

pub(crate) fn one_that_comes_back_is_picked_up(lab: &Lab) {
    lab.form();
    lab.create("--name web --replicas 3 --publish 8080:80 whoami");
    lab.lab_ok(&["stop", "node02", "engine"]);
    let text = lab.on("node02", &["docker", "ps"]).text();
    assert_contains(&text, "Cannot connect to the Docker Engine on this node");
    assert_contains(&lab.curl("client", "http://node02:8080/"), "Hostname");
    lab.lab_ok(&["start", "node02", "engine"]);
    wait_for("docker ps works again", || lab.on("node02", &["docker", "ps"]).ok());
    wait_for("three tasks run", || lab.docker("service ls --format {{.Replicas}}").trim() == "3/3");
    wait_for("node02 runs a task", || !lab.task_containers("node02").is_empty());
}

pub(crate) fn one_in_its_own_swarm_is_refused(lab: &Lab) {
    lab.form();
    lab.ok("node02", &["docker", "swarm", "leave"]);
    lab.lab_ok(&["engine", "node02", "--", "swarm", "init", "--advertise-addr", "127.0.0.1"]);
    let token = lab.docker("swarm join-token --quiet worker");
    let join = format!("swarm join --token {} 10.20.20.100:2377", token.trim());
    let refused = lab.refused("node02", &join);
    assert_contains(&refused, "swarm leave");
    lab.lab_ok(&["engine", "node02", "--", "swarm", "leave", "--force"]);
    wait_for("joins after the engine left its swarm", || {
        let words: Vec<&str> = std::iter::once("docker").chain(join.split(' ')).collect();
        lab.on("node02", &words).ok()
    });
    wait_for("three ready nodes", || lab.ready_nodes() == 3);
    lab.sh(
        "master",
        "docker node rm $(docker node ls --format '{{.ID}} {{.Status}}' | sed -n 's/ Down//p')",
    );
}
