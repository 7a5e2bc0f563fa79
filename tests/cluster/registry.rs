//! Registries that ask who is there: a second one in the lab, with a password, on the same images.

use std::process::Child;

use serde_json::json;
use tempfile::TempDir;

use crate::lab::{HOSTS, Lab, assert_contains, binaries, wait_for};

/// An image that the engines have under other names only.
const IMAGE: &str = "registry:5001/whoami";
const USER: &str = "dca";
const PASSWORD: &str = "harmless-password-of-the-lab";
/// The password as htpasswd keeps it.
const HASH: &str = "$2b$04$e84/W1MRgmfYIVyX7QXK4uoDke/JMawXLaao7d21W7fUWGIXqQSWO";
/// Where the CLI keeps its login on the manager.
const LOGIN: &str = "/run/login-of-a-test";

/// A registry with a password; it ends with the value.
struct Guarded {
    server: Child,
    _files: TempDir,
}

impl Guarded {
    fn start(lab: &Lab) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (users, settings) = (files.path().join("users"), files.path().join("settings.yml"));
        std::fs::write(&users, format!("{USER}:{HASH}\n")).unwrap();
        let storage = format!("/var/lib/swarmnet-lab/{}/hosts/registry/storage", lab.name());
        let config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": storage}},
            "http": {"addr": "10.20.20.5:5001", "secret": "of the test"},
            "auth": {"htpasswd": {"realm": "lab", "path": users}},
        });
        std::fs::write(&settings, config.to_string()).unwrap();
        // What it writes is nobody's to read, and a full pipe would stop it.
        let serve = format!("exec docker-registry serve {} >/dev/null 2>&1", settings.display());
        let server = lab.spawn("registry", &["sh", "-c", &serve]);
        let status = "curl -s -o /dev/null -w '%{http_code}' http://registry:5001/v2/";
        wait_for("a registry that asks who is there", || {
            lab.sh("master", status).stdout.trim() == "401"
        });
        Self { server, _files: files }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// A docker command on the manager, by a user who is logged in; its words split at spaces.
fn as_user(lab: &Lab, line: &str) {
    lab.docker(&format!("--config {LOGIN} {line}"));
}

pub(crate) fn with_a_password(lab: &Lab) {
    lab.form();
    let registry = Guarded::start(lab);
    a_pull_without_credentials_says_why(lab);
    let text =
        lab.refused("master", &format!("--config {LOGIN} login -u {USER} -p wrong registry:5001"));
    assert_contains(&text, "401 Unauthorized");
    as_user(lab, &format!("login -u {USER} -p {PASSWORD} registry:5001"));
    credentials_alone_reach_every_node(lab);
    digests_are_resolved_and_pulled(lab);
    credentials_are_told_to_nobody(lab);
    drop(registry);
    local_images_run_without_a_registry(lab);
    lab.ok("master", &["rm", "-r", LOGIN]);
    lab.docker("service rm open pinned offline");
    wait_for("containers are gone", || {
        HOSTS.iter().all(|host| lab.task_containers(host).is_empty())
    });
    for host in HOSTS {
        lab.sh(host, &format!("docker rmi $(docker images --digests -q {IMAGE})"));
    }
}

fn a_pull_without_credentials_says_why(lab: &Lab) {
    let options = "--detach --name open --mode global --restart-delay 1s";
    let line = format!("docker service create {options} {IMAGE}");
    let created = lab.sh("master", &line);
    assert!(created.ok(), "{}", created.text());
    assert_contains(
        &created.stderr,
        "image registry:5001/whoami:latest could not be accessed on a registry to record\n\
         its digest. Each node will access registry:5001/whoami:latest independently,\n\
         possibly leading to different nodes running different\nversions of the image.",
    );
    let states = || lab.docker("service ps open --no-trunc --format {{.CurrentState}}|{{.Error}}");
    wait_for("refusals that say why", || {
        let refused = |line: &&str| {
            line.starts_with("Rejected") && line.contains("no basic auth credentials")
        };
        states().lines().filter(refused).count() >= HOSTS.len()
    });
}

/// Nothing but the credentials changes: the next tasks can pull, those that run go on.
fn credentials_alone_reach_every_node(lab: &Lab) {
    let update = "service update --detach --quiet --with-registry-auth open";
    as_user(lab, update);
    let running = || {
        let list = "service ps open --filter desired-state=running --format";
        let states = lab.docker(&format!("{list} {{{{.CurrentState}}}}"));
        let all = states.lines().all(|state| state.starts_with("Running"));
        (all && states.lines().count() == HOSTS.len())
            .then(|| lab.docker(&format!("{list} {{{{.ID}}}}")))
    };
    wait_for("a task on every node", || running().is_some());
    let before = running();
    as_user(lab, update);
    lab.create("--name later whoami");
    assert_eq!(running(), before, "credentials replace no task");
    lab.docker("service rm later");
}

fn digests_are_resolved_and_pulled(lab: &Lab) {
    as_user(
        lab,
        &format!(
            "service create --quiet --with-registry-auth --name pinned --replicas 3 \
             --replicas-max-per-node 1 {IMAGE}"
        ),
    );
    let image = |of: &str| {
        lab.docker(&format!(
            "service inspect {of} --format {{{{.Spec.TaskTemplate.ContainerSpec.Image}}}}"
        ))
    };
    let pinned = image("pinned");
    assert_contains(&pinned, "registry:5001/whoami:latest@sha256:");
    for host in HOSTS {
        let digests =
            ["engine", host, "--", "images", "--digests", "--format", "{{.Digest}}", IMAGE];
        let digest = pinned.trim().split_once('@').unwrap().1;
        assert_contains(&lab.lab_ok(&digests), digest);
    }
    assert_eq!(image("open").trim(), "registry:5001/whoami:latest");
}

/// The password is looked for as it is and in base64, wherever a user or a log could find it.
fn credentials_are_told_to_nobody(lab: &Lab) {
    let line =
        format!("for b in '' x xx; do printf ${{b}}{PASSWORD} | base64 -w0 | cut -c5-28; done");
    let mut secrets: Vec<String> = lab.sh("master", &line).stdout.lines().map(Into::into).collect();
    assert_eq!(secrets.len(), 3);
    secrets.push(PASSWORD.to_owned());
    let patterns: Vec<String> = secrets.iter().map(|text| format!("-e {text}")).collect();
    let patterns = patterns.join(" ");
    let there = lab.sh("master", &format!("grep -qF {patterns} {LOGIN}/config.json"));
    assert!(there.ok(), "the search finds what is there");
    let absent = |what: &str, text: &str| {
        let found = secrets.iter().find(|secret| text.contains(&**secret));
        assert!(found.is_none(), "credentials in {what}");
    };
    let get = |path: &str| {
        let socket = "curl -s --unix-socket ${DOCKER_HOST#unix://} http://d";
        let answer = lab.sh("master", &format!("{socket}{path}")).stdout;
        assert_contains(&answer, "registry:5001/whoami");
        answer
    };
    for path in ["/services", "/services/pinned", "/services/pinned?insertDefaults=true", "/tasks"]
    {
        absent(path, &get(path));
    }
    let swarmnet = binaries().join("swarmnet");
    for host in HOSTS {
        absent("a daemon's log", &lab.lab(&["logs", host, "daemon"]).stdout);
        for view in ["lb", "ingress", "overlay", "drops"] {
            let words = [swarmnet.to_str().unwrap(), "debug", view, "-o", "json"];
            absent(view, &lab.ok(host, &words));
        }
        let view = "grep -l registry:5001/whoami /var/lib/swarmnet/agent/view.json";
        wait_for("a stored view with the service", || lab.sh(host, view).ok());
        let search = format!("grep -rlaF -D skip {patterns} /var/lib/swarmnet /run/swarmnet");
        assert_eq!(lab.sh(host, &search).stdout, "", "credentials in files of {host}");
    }
}

fn local_images_run_without_a_registry(lab: &Lab) {
    let create = |name: &str| {
        let line = format!("docker service create --quiet --name {name} {IMAGE}");
        let created = lab.sh("master", &line);
        assert!(created.ok(), "{}", created.text());
        created.stderr
    };
    assert_contains(&create("offline"), "could not be accessed on a registry to record");
    let quiet = format!("service create --quiet --no-resolve-image --name unasked {IMAGE}");
    let created =
        lab.on("master", &[&["docker"], &quiet.split(' ').collect::<Vec<_>>()[..]].concat());
    assert!(created.ok(), "{}", created.text());
    assert!(!created.text().contains("digest"), "{}", created.text());
    lab.docker("service rm unasked");
}
