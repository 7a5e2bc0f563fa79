//! What is refused, with whose words.

use std::process::Command;

use crate::lab::{Lab, assert_contains, binaries, wait_for};

pub(crate) fn service_requests(lab: &Lab) {
    lab.form();
    lab.create("--name web --publish 8080:80 whoami");
    let id = lab.docker("service inspect web --format {{.ID}}");
    let name = lab.refused("master", "service create --name web whoami");
    assert_contains(&name, "name conflicts with an existing object: service web already exists");
    let port = lab.refused("master", "service create --publish 8080:80 whoami");
    let text = format!(
        "rpc error: code = InvalidArgument desc = port '8080' is already in use by service 'web' \
         ({}) as an ingress port",
        id.trim()
    );
    assert_contains(&port, &text);
    lab.refused("master", "service create --publish 80000:80 whoami");
    let name = lab.refused("master", "service create --name a.b whoami");
    assert_contains(&name, "name must be valid as a DNS name component");
    let twice = "service create --publish 9:80 --publish 9:81 whoami";
    assert_contains(&lab.refused("master", twice), "duplicate published ports provided");
    let cpu = "service create --limit-cpu 0.00000001 whoami";
    assert_contains(&lab.refused("master", cpu), "Must be at least 0.001");
    let network = lab.refused("master", "service create --network nosuch whoami");
    assert_contains(&network, "network nosuch not found");
    let constraint = lab.refused("master", "service create --constraint node.role=x whoami");
    assert_contains(&constraint, "constraint expected one operator from ==, !=");
    assert_contains(&lab.refused("master", "service inspect nosuch"), "nosuch");
    assert_eq!(lab.docker("service ls --quiet").lines().count(), 1, "nothing else was made");

    let status = |path: &str, body: &str| lab.post(&format!("/v1.41{path}"), body).0;
    assert_eq!(status("/services/create", "{"), 400);
    assert_eq!(status("/services/create", "{}"), 400);
    assert_eq!(status("/nosuch/thing/create", "{}"), 404);
}

pub(crate) fn an_unknown_image(lab: &Lab) {
    lab.form();
    let create = "service create --detach --quiet --no-resolve-image --restart-delay 1s \
                  --name lost registry:5000/nosuch:1";
    lab.docker(&create.split_whitespace().collect::<Vec<_>>().join(" "));
    let states = || lab.docker("service ps lost --no-trunc --format {{.CurrentState}}|{{.Error}}");
    wait_for("a rejected task that names the image", || {
        states().lines().any(|line| line.starts_with("Rejected") && line.contains("nosuch"))
    });
    wait_for("a second attempt", || states().matches("Rejected").count() >= 2);
}

pub(crate) fn a_daemon_that_cannot_work(_lab: &Lab) {
    let swarmnet = binaries().join("swarmnet");
    let nobody = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&swarmnet)
        .args(["daemon", "--state-dir", "/tmp/swarmnet-nobody"])
        .output()
        .unwrap();
    assert!(!nobody.status.success());
    assert_contains(&String::from_utf8_lossy(&nobody.stderr), "root");
    let state = tempfile::tempdir().unwrap();
    let no_bpf = Command::new(&swarmnet)
        .args(["daemon", "--bpffs", "/proc", "--state-dir"])
        .arg(state.path())
        .args(["--socket", "/tmp/swarmnet-nobpf.sock", "--plugin-socket", "/tmp/swarmnet-p.sock"])
        .output()
        .unwrap();
    assert!(!no_bpf.status.success());
    assert_contains(&String::from_utf8_lossy(&no_bpf.stderr), "mount -t bpf");
}
