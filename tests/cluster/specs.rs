//! Specs: what a service asks for is what the engine is asked for. Seven services that differ in every
//! field are read back through `docker inspect` on the engines of three nodes.

use serde_json::{Value, json};

use crate::lab::{HOSTS, Lab, assert_contains, until};

/// Options of `docker service create`, the image and its arguments; where and what
/// `docker inspect` shows then. Of lists and objects only the named members are compared.
type Spec = (&'static [&'static str], fn() -> Value);

const SPECS: [Spec; 6] = [
    (IDENTITY, identity),
    (PROCESS, process),
    (RESOURCES, resources),
    (RIGHTS, rights),
    (HEALTH, health),
    (MOUNTS, mounts),
];

const IDENTITY: &[&str] = &[
    "--label=tier=front",
    "--container-label=a=b",
    "--env=A={{.Service.Name}}-{{.Task.Slot}}",
    "--env=NODE={{.Node.ID}}/{{.Node.Hostname}}/{{.Node.Platform.OS}}",
    "--env=TASK={{.Task.Name}}",
    "--env=TIER={{index .Service.Labels \"tier\"}}",
    "--hostname=h-{{.Node.Hostname}}-{{.Task.Slot}}",
    "--workdir=/srv",
    "--entrypoint=sh -c",
    "alpine",
    "exec sleep 1000",
];

fn identity() -> Value {
    json!({
        "Config": {
            "Hostname": "h-master-1", "WorkingDir": "/srv",
            "Entrypoint": ["sh", "-c"], "Cmd": ["exec sleep 1000"],
            "Env": ["A=s0-1", "NODE=<node>/master/linux", "TASK=s0.1.<task>", "TIER=front"],
            "Labels": {"a": "b", "com.docker.swarm.task.name": "s0.1.<task>"},
        },
        "Path": "sh", "Args": ["-c", "exec sleep 1000"], "Name": "/s0.1.<task>",
    })
}

const PROCESS: &[&str] = &[
    "--mode=global",
    "--hostname=h-{{.Task.Slot}}",
    "--user=7",
    "--group=8",
    "--group=9",
    "--read-only",
    "--init",
    "--tty",
    "--stop-signal=SIGINT",
    "--stop-grace-period=3s",
    "alpine",
    "sleep",
    "1000",
];

fn process() -> Value {
    json!({
        "Config": {
            "Hostname": "h-<node>", "User": "7", "Tty": true, "StopSignal": "SIGINT",
            "StopTimeout": 3, "Cmd": ["sleep", "1000"],
        },
        "HostConfig": {"GroupAdd": ["8", "9"], "ReadonlyRootfs": true, "Init": true},
        "Name": "/s1.<node>.<task>",
    })
}

const RESOURCES: &[&str] = &[
    "--limit-cpu=0.5",
    "--limit-memory=64m",
    "--limit-pids=50",
    "--reserve-cpu=0.1",
    "--reserve-memory=16m",
    "--generic-resource=gpu=1",
    "--ulimit=nofile=100:200",
    "whoami",
];

fn resources() -> Value {
    json!({
        "HostConfig": {
            "NanoCpus": 500_000_000, "Memory": 64 << 20, "PidsLimit": 50,
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        },
        "Config": {"Env": ["DOCKER_RESOURCE_GPU=lab-0"]},
    })
}

const RIGHTS: &[&str] = &[
    "--cap-add=NET_ADMIN",
    "--cap-drop=CHOWN",
    "--sysctl=net.core.somaxconn=100",
    "--host=db:10.9.9.9",
    "--dns=10.9.9.8",
    "--dns-option=ndots:3",
    "--dns-search=corp.example",
    "alpine",
    "sleep",
    "1000",
];

fn rights() -> Value {
    json!({
        "HostConfig": {
            "CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["CAP_CHOWN"],
            "Sysctls": {"net.core.somaxconn": "100"}, "ExtraHosts": ["db:10.9.9.9"],
            "Dns": ["10.9.9.8"], "DnsOptions": ["ndots:3"], "DnsSearch": ["corp.example"],
        },
    })
}

const HEALTH: &[&str] = &[
    "--health-cmd=true",
    "--health-interval=2s",
    "--health-timeout=1500ms",
    "--health-retries=4",
    "--health-start-period=7s",
    "--log-driver=json-file",
    "--log-opt=max-size=1m",
    "--log-opt=max-file=2",
    "alpine",
    "sleep",
    "1000",
];

fn health() -> Value {
    json!({
        "Config": {"Healthcheck": {
            "Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000_u64,
            "Timeout": 1_500_000_000, "Retries": 4, "StartPeriod": 7_000_000_000_u64,
        }},
        "State": {"Health": {"Status": "healthy"}},
        "HostConfig": {
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        },
    })
}

const VOLUME: &str = "--mount=type=volume,source=v-{{.Service.Name}}-{{.Task.Slot}},target=/v,\
                      volume-nocopy,volume-driver=local,volume-label=of={{.Node.Hostname}},\
                      volume-opt=type=tmpfs,volume-opt=device=tmpfs,\
                      volume-opt=o=size={{.Task.Slot}}m";

const MOUNTS: &[&str] = &[
    VOLUME,
    "--mount=type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=700",
    "--mount=type=bind,source=/etc,target=/e,readonly,bind-propagation=private",
    "--no-healthcheck",
    "whoami",
];

fn mounts() -> Value {
    let volume = json!({
        "NoCopy": true, "Labels": {"of": "node02"},
        "DriverConfig": {
            "Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
        },
    });
    let bind = json!({"Propagation": "private"});
    let tmpfs = json!({"SizeBytes": 1 << 20, "Mode": 0o700});
    json!({
        "HostConfig": {"Mounts": [
            {"Type": "volume", "Source": "v-s5-1", "Target": "/v", "VolumeOptions": volume},
            {"Type": "bind", "Source": "/etc", "Target": "/e", "ReadOnly": true,
                "BindOptions": bind},
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": tmpfs},
        ]},
        "Mounts": [
            {"Name": "v-s5-1", "Destination": "/v", "RW": true},
            {"Source": "/etc", "Destination": "/e", "RW": false},
        ],
        "Config": {"Healthcheck": {"Test": ["NONE"]}},
    })
}

/// What no flag of the CLI can say.
fn raw() -> Value {
    json!({
        "Name": "s6",
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "alpine", "Command": ["sleep"], "Args": ["1000"], "OpenStdin": true,
                "Privileges": {
                    "NoNewPrivileges": true, "Seccomp": {"Mode": "unconfined"},
                    "AppArmor": {"Mode": "disabled"},
                },
                "Mounts": [{"Type": "volume", "Target": "/nameless"}],
                "StopGracePeriod": 1_500_000_000,
            },
            "Placement": {"Constraints": ["node.hostname==master"]},
        },
    })
}

fn raw_shown() -> Value {
    json!({
        "Config": {"OpenStdin": true, "Entrypoint": ["sleep"], "Cmd": ["1000"], "StopTimeout": 2},
        "HostConfig": {
            "SecurityOpt": ["no-new-privileges=true", "seccomp=unconfined", "apparmor=unconfined"],
        },
        "Mounts": [{"Type": "volume", "Destination": "/nameless"}],
    })
}

pub(crate) fn seven_reach_their_containers(lab: &Lab) {
    lab.form();
    for (at, (options, _)) in SPECS.iter().enumerate() {
        let host = format!("--constraint=node.hostname=={}", HOSTS[at % HOSTS.len()]);
        let name = format!("--name=s{at}");
        let words = ["docker", "service", "create", "--detach", "--quiet", &host, &name];
        lab.ok("master", &[&words, *options].concat());
    }
    let (status, answer) = lab.post("/v1.44/services/create", &raw().to_string());
    assert_eq!(status, 201, "{answer}");
    for (at, (_, shown)) in SPECS.iter().enumerate() {
        is_shown(lab, HOSTS[at % HOSTS.len()], &format!("s{at}"), &shown());
    }
    is_shown(lab, "master", "s6", &raw_shown());

    let volume = engine(lab, "node02", &["volume", "inspect", "v-s5-1"]);
    let wanted = json!([{"Labels": {"of": "node02"}, "Options": {"o": "size=1m"}}]);
    assert_eq!(missing(&wanted, &serde_json::from_str(&volume).unwrap(), ""), None);
    let id = container(lab, "master", "s3").unwrap();
    let resolv = engine(lab, "master", &["exec", &id, "cat", "/etc/resolv.conf"]);
    assert_contains(&resolv, "search corp.example");
    assert_contains(&resolv, "ndots:3");
}

/// Waits until a service's container on a host shows what is wanted.
fn is_shown(lab: &Lab, host: &str, service: &str, wanted: &Value) {
    let mut last = String::new();
    let reached = until(|| {
        let Some(id) = container(lab, host, service) else { return false };
        let seen = engine(lab, host, &["inspect", &id]);
        let seen: Value = serde_json::from_str(&seen).unwrap();
        let seen = &seen[0];
        let label = |key: &str| seen["Config"]["Labels"][key].as_str().unwrap_or("?").to_owned();
        let wanted = wanted
            .to_string()
            .replace("<node>", &label("com.docker.swarm.node.id"))
            .replace("<task>", &label("com.docker.swarm.task.id"));
        match missing(&serde_json::from_str(&wanted).unwrap(), seen, "") {
            Some(what) => last = what,
            None => return true,
        }
        false
    });
    let tasks = || lab.docker(&format!("service ps --no-trunc {service}"));
    assert!(reached, "{service} on {host}: {last}\n{}", tasks());
}

/// Returns the running container of a service.
fn container(lab: &Lab, host: &str, service: &str) -> Option<String> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let ids = engine(lab, host, &["ps", "-q", "--no-trunc", "--filter", &filter]);
    ids.lines().next().map(str::to_owned)
}

/// Returns the first thing wanted that is not there; `None` if everything is.
fn missing(wanted: &Value, seen: &Value, place: &str) -> Option<String> {
    let absent = || format!("{place}: wanted {wanted}, but it is {seen}");
    match (wanted, seen) {
        (Value::Object(wanted), Value::Object(seen)) => wanted.iter().find_map(|(key, value)| {
            let found = seen.get(key).unwrap_or(&Value::Null);
            missing(value, found, &format!("{place}.{key}"))
        }),
        (Value::Array(wanted), Value::Array(seen)) => wanted
            .iter()
            .any(|value| seen.iter().all(|found| missing(value, found, place).is_some()))
            .then(absent),
        _ => (wanted != seen).then(absent),
    }
}

fn engine(lab: &Lab, host: &str, args: &[&str]) -> String {
    lab.lab_ok(&[&["engine", host, "--"], args].concat())
}
