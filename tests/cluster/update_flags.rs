//! `docker service update`: every flag that adds, removes or sets changes what it names, and
//! `--rollback` takes all of it back.

use serde_json::{Value, json};

use crate::lab::Lab;

/// What a flag adds, the flag that removes it, where the spec shows it.
type Pair = (&'static str, &'static str, &'static str, fn() -> Value);

const CONTAINER: &str = "/TaskTemplate/ContainerSpec";

const PAIRS: &[Pair] = &[
    ("--label-add=l=1", "--label-rm=l", "/Labels", || json!({"l": "1"})),
    ("--container-label-add=c=1", "--container-label-rm=c", "C/Labels", || json!({"c": "1"})),
    ("--env-add=A=1", "--env-rm=A", "C/Env", || json!(["A=1"])),
    ("--group-add=1001", "--group-rm=1001", "C/Groups", || json!(["1001"])),
    ("--host-add=h:10.9.9.9", "--host-rm=h:10.9.9.9", "C/Hosts", || json!(["10.9.9.9 h"])),
    ("--dns-add=10.9.9.8", "--dns-rm=10.9.9.8", "C/DNSConfig/Nameservers", || json!(["10.9.9.8"])),
    ("--dns-option-add=ndots:3", "--dns-option-rm=ndots:3", "C/DNSConfig/Options", || {
        json!(["ndots:3"])
    }),
    ("--dns-search-add=ex.org", "--dns-search-rm=ex.org", "C/DNSConfig/Search", || {
        json!(["ex.org"])
    }),
    (
        "--mount-add=type=tmpfs,target=/t",
        "--mount-rm=/t",
        "C/Mounts",
        || json!([{"Type": "tmpfs", "Target": "/t"}]),
    ),
    (
        "--sysctl-add=net.core.somaxconn=9",
        "--sysctl-rm=net.core.somaxconn",
        "C/Sysctls",
        || json!({"net.core.somaxconn": "9"}),
    ),
    (
        "--ulimit-add=nofile=100:200",
        "--ulimit-rm=nofile",
        "C/Ulimits",
        || json!([{"Name": "nofile", "Soft": 100, "Hard": 200}]),
    ),
    ("--cap-add=NET_ADMIN", "--cap-drop=NET_ADMIN", "C/CapabilityAdd", || json!(["CAP_NET_ADMIN"])),
    (
        "--generic-resource-add=gpu=1",
        "--generic-resource-rm=gpu",
        "/TaskTemplate/Resources/Reservations/GenericResources",
        || json!([{"DiscreteResourceSpec": {"Kind": "gpu", "Value": 1}}]),
    ),
    (
        "--constraint-add=node.role==manager",
        "--constraint-rm=node.role==manager",
        "/TaskTemplate/Placement/Constraints",
        || json!(["node.role==manager"]),
    ),
    (
        "--placement-pref-add=spread=node.labels.x",
        "--placement-pref-rm=spread=node.labels.x",
        "/TaskTemplate/Placement/Preferences",
        || json!([{"Spread": {"SpreadDescriptor": "node.labels.x"}}]),
    ),
    ("--publish-add=8181:80", "--publish-rm=80", "/EndpointSpec/Ports", || {
        let port = json!({"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8181});
        json!([merged(port, &json!({"PublishMode": "ingress"}))])
    }),
];

/// A flag that sets, where the spec shows it, and as what. `--health-start-interval` is not here: the CLI
/// accepts it and sends nothing.
const SET: &[(&str, &str, &str)] = &[
    ("--hostname=h9", "C/Hostname", "\"h9\""),
    ("--user=9", "C/User", "\"9\""),
    ("--workdir=/w", "C/Dir", "\"/w\""),
    ("--args=1 2", "C/Args", r#"["1","2"]"#),
    ("--entrypoint=sh -c", "C/Command", r#"["sh","-c"]"#),
    ("--read-only", "C/ReadOnly", "true"),
    ("--init", "C/Init", "true"),
    ("--tty", "C/TTY", "true"),
    ("--stop-signal=SIGINT", "C/StopSignal", "\"SIGINT\""),
    ("--stop-grace-period=3s", "C/StopGracePeriod", "3000000000"),
    ("--health-cmd=true", "C/Healthcheck/Test", r#"["CMD-SHELL","true"]"#),
    ("--health-interval=2s", "C/Healthcheck/Interval", "2000000000"),
    ("--health-timeout=3s", "C/Healthcheck/Timeout", "3000000000"),
    ("--health-retries=4", "C/Healthcheck/Retries", "4"),
    ("--health-start-period=5s", "C/Healthcheck/StartPeriod", "5000000000"),
    ("--limit-cpu=0.5", "/TaskTemplate/Resources/Limits/NanoCPUs", "500000000"),
    ("--limit-memory=64m", "/TaskTemplate/Resources/Limits/MemoryBytes", "67108864"),
    ("--limit-pids=50", "/TaskTemplate/Resources/Limits/Pids", "50"),
    ("--reserve-cpu=0.1", "/TaskTemplate/Resources/Reservations/NanoCPUs", "100000000"),
    ("--reserve-memory=16m", "/TaskTemplate/Resources/Reservations/MemoryBytes", "16777216"),
    ("--replicas-max-per-node=2", "/TaskTemplate/Placement/MaxReplicas", "2"),
    ("--restart-condition=on-failure", "/TaskTemplate/RestartPolicy/Condition", "\"on-failure\""),
    ("--restart-delay=1s", "/TaskTemplate/RestartPolicy/Delay", "1000000000"),
    ("--restart-max-attempts=2", "/TaskTemplate/RestartPolicy/MaxAttempts", "2"),
    ("--restart-window=3s", "/TaskTemplate/RestartPolicy/Window", "3000000000"),
    ("--log-driver=json-file", "/TaskTemplate/LogDriver/Name", "\"json-file\""),
    ("--log-opt=max-size=1m", "/TaskTemplate/LogDriver/Options/max-size", "\"1m\""),
    ("--endpoint-mode=dnsrr", "/EndpointSpec/Mode", "\"dnsrr\""),
    ("--force", "/TaskTemplate/ForceUpdate", "1"),
    ("--update-parallelism=2", "/UpdateConfig/Parallelism", "2"),
    ("--update-delay=2s", "/UpdateConfig/Delay", "2000000000"),
    ("--update-monitor=3s", "/UpdateConfig/Monitor", "3000000000"),
    ("--update-failure-action=rollback", "/UpdateConfig/FailureAction", "\"rollback\""),
    ("--update-max-failure-ratio=0.25", "/UpdateConfig/MaxFailureRatio", "0.25"),
    ("--update-order=start-first", "/UpdateConfig/Order", "\"start-first\""),
    ("--rollback-parallelism=2", "/RollbackConfig/Parallelism", "2"),
    ("--rollback-delay=2s", "/RollbackConfig/Delay", "2000000000"),
    ("--rollback-monitor=3s", "/RollbackConfig/Monitor", "3000000000"),
    ("--rollback-failure-action=continue", "/RollbackConfig/FailureAction", "\"continue\""),
    ("--rollback-max-failure-ratio=0.25", "/RollbackConfig/MaxFailureRatio", "0.25"),
    ("--rollback-order=start-first", "/RollbackConfig/Order", "\"start-first\""),
];

fn merged(mut one: Value, other: &Value) -> Value {
    let (Some(members), Some(more)) = (one.as_object_mut(), other.as_object()) else { return one };
    members.extend(more.clone());
    one
}

fn spec(lab: &Lab) -> Value {
    let inspect = ["docker", "service", "inspect", "flagged", "--format", "{{json .Spec}}"];
    let text = lab.ok("master", &inspect);
    serde_json::from_str(&text).unwrap()
}

fn shown<'a>(spec: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix('C').map_or(path.to_owned(), |rest| format!("{CONTAINER}{rest}"));
    spec.pointer(&path).filter(|value| !value.is_null())
}

fn update<'a>(lab: &Lab, flags: impl Iterator<Item = &'a str>) -> Value {
    let mut args = vec!["docker", "service", "update", "--quiet", "--detach"];
    args.extend(flags);
    args.push("flagged");
    lab.ok("master", &args);
    spec(lab)
}

pub(crate) fn every_one_changes_what_it_names(lab: &Lab) {
    lab.form();
    lab.create("--detach --name flagged --replicas 0 whoami");
    let before = spec(lab);
    let added = update(lab, PAIRS.iter().map(|(add, ..)| *add));
    for (add, _, path, wanted) in PAIRS {
        assert_eq!(shown(&added, path), Some(&wanted()), "{add}: {added}");
    }
    let removed = update(lab, PAIRS.iter().map(|(_, remove, ..)| *remove));
    for (_, remove, path, _) in PAIRS {
        assert_eq!(shown(&removed, path), shown(&before, path), "{remove}: {removed}");
    }
    assert_eq!(update(lab, ["--rollback"].into_iter()), added);
    update(lab, PAIRS.iter().map(|(_, remove, ..)| *remove));
    let set = update(lab, SET.iter().map(|(flag, ..)| *flag));
    for (flag, path, wanted) in SET {
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(shown(&set, path), Some(&wanted), "{flag}: {set}");
        assert_ne!(shown(&before, path), Some(&wanted), "{flag} has to change something");
    }
}
