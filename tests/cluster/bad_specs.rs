//! Specs that are wrong in one field: Docker's status, a message that names the field, and nothing
//! has changed.

use serde_json::{Value, json};

use crate::lab::{Lab, assert_contains};

/// Path of the field, its value, the status, a part of the message.
type Row = (&'static str, Value, u16, &'static str);

const CONTAINER: &str = "TaskTemplate.ContainerSpec.";

/// Fields of the container, below `TaskTemplate.ContainerSpec`.
fn container() -> Vec<Row> {
    let mounts = |mount: Value| json!([mount]);
    let cycle = "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}";
    vec![
        ("Image", json!(""), 400, "ContainerSpec: image reference must be provided"),
        ("Image", json!("!!"), 400, "ContainerSpec: \"!!\" is not a valid repository/tag"),
        ("Image", json!(7), 400, "invalid JSON: TaskTemplate.ContainerSpec.Image: invalid type"),
        ("Env", json!("A=1"), 400, "invalid JSON: TaskTemplate.ContainerSpec.Env: invalid type"),
        ("Env", json!(["=x"]), 400, "ContainerSpec: invalid environment variable in Env"),
        ("Env", json!(["A={{range .Service.Labels}}"]), 400, "expanding env failed: template: "),
        ("Hostname", json!("{{.Nope}}"), 400, "expanding hostname failed: template: expansion:1: "),
        ("Hostname", json!(cycle), 400, "expanding hostname failed: template: expansion:1: "),
        ("StopGracePeriod", json!(-1), 400, "StopGracePeriod cannot be negative"),
        (
            "Healthcheck",
            json!({"Interval": 5}),
            400,
            "Interval in HealthConfig cannot be less than",
        ),
        ("Healthcheck", json!({"Retries": -1}), 400, "Retries in HealthConfig cannot be negative"),
        ("DNSConfig", json!({"Nameservers": ["zz"]}), 400, "DNSConfig.Nameservers"),
        ("Ulimits", json!([{"Name": "core", "Soft": 2, "Hard": 1}]), 400, "Ulimits: \"core\""),
        ("Privileges", json!({"Seccomp": {"Mode": "x"}}), 400, "Privileges.Seccomp.Mode: \"x\""),
        ("Mounts", mounts(json!({"Type": "zz"})), 400, "invalid MountType: \"zz\""),
        ("Mounts", mounts(json!({"Type": "volume", "BindOptions": {}})), 400, "field BindOptions"),
        (
            "Mounts",
            mounts(json!({"BindOptions": {"Propagation": "x"}})),
            400,
            "invalid MountPropagation: \"x\"",
        ),
        (
            "Mounts",
            json!([{"Type": "tmpfs", "Target": "/x"}, {"Type": "volume", "Target": "/x"}]),
            400,
            "ContainerSpec: duplicate mount point: /x",
        ),
    ]
}

/// The other fields of a task.
fn task() -> Vec<Row> {
    let limits = |limits: Value| json!({"Limits": limits});
    let restart = |key: &str, value: Value| json!({key: value});
    let constraint = |text: &str| json!({"Constraints": [text]});
    vec![
        ("Resources", limits(json!({"NanoCPUs": 10})), 400, "invalid cpu value 1e-08: Must be at"),
        ("Resources", limits(json!({"MemoryBytes": 10})), 400, "invalid memory value 10: Must be"),
        ("Resources", limits(json!({"Pids": "1"})), 400, "TaskTemplate.Resources.Limits.Pids"),
        (
            "Resources",
            json!({"Reservations": {"GenericResources": [{}]}}),
            400,
            "invalid GenericResources[0]",
        ),
        (
            "Placement",
            constraint("node.role=x"),
            400,
            "constraint expected one operator from ==, !=",
        ),
        ("Placement", constraint("a b==x"), 400, "key 'a b' is invalid"),
        ("RestartPolicy", restart("Condition", json!("x")), 400, "invalid RestartCondition: \"x\""),
        ("RestartPolicy", restart("Delay", json!(-1)), 400, "restart-delay cannot be negative"),
        ("RestartPolicy", restart("Window", json!(-1)), 400, "restart-window cannot be negative"),
        ("RestartPolicy", restart("MaxAttempts", json!(-1)), 400, "RestartPolicy.MaxAttempts"),
        ("Networks", json!([{"Target": "nosuch"}]), 404, "network nosuch not found"),
        ("Networks", json!([{"Target": "ingress"}]), 400, "cannot be explicitly attached to the"),
        ("ForceUpdate", json!(-1), 400, "invalid JSON: TaskTemplate.ForceUpdate"),
        ("Runtime", json!("x"), 400, "unsupported runtime"),
        ("Runtime", json!("attachment"), 400, "mismatched Runtime and *Spec fields"),
        ("Runtime", json!("plugin"), 501, "plugin services are not supported"),
    ]
}

/// The fields beside the task.
fn service() -> Vec<Row> {
    let update = |key: &str, value: Value| json!({key: value});
    let ports = |ports: Value| json!({"Ports": ports});
    let replicas = |count: Value| json!({"Replicated": {"Replicas": count}});
    vec![
        ("Labels", json!([]), 400, "invalid JSON: Labels: invalid type: sequence"),
        (
            "Mode",
            json!({"Global": {}, "Replicated": {}}),
            400,
            "must specify only one service mode",
        ),
        ("Mode", replicas(json!(-1)), 400, "invalid JSON: Mode.Replicated.Replicas: invalid value"),
        ("Mode", replicas(json!(1_u64 << 63)), 400, "Number of replicas must be non-negative"),
        ("UpdateConfig", update("Parallelism", json!(-1)), 400, "UpdateConfig.Parallelism"),
        ("UpdateConfig", update("Delay", json!(-1)), 400, "update-delay cannot be negative"),
        ("UpdateConfig", update("Monitor", json!(-1)), 400, "update-monitor cannot be negative"),
        ("UpdateConfig", update("MaxFailureRatio", json!(2)), 400, "update-maxfailureratio cannot"),
        ("UpdateConfig", update("FailureAction", json!("x")), 400, "update failure action x"),
        ("UpdateConfig", update("Order", json!("x")), 400, "unrecognized update order x"),
        ("RollbackConfig", update("Order", json!("x")), 400, "unrecognized update order x"),
        ("EndpointSpec", json!({"Mode": "x"}), 400, "invalid resolution mode: \"x\""),
        ("EndpointSpec", ports(json!([{"Protocol": "icmp"}])), 400, "invalid protocol: \"icmp\""),
        ("EndpointSpec", ports(json!([{"PublishMode": "x"}])), 400, "invalid publish mode: \"x\""),
        (
            "EndpointSpec",
            ports(json!([{"TargetPort": 0}])),
            400,
            "EndpointSpec: target port must be",
        ),
        (
            "EndpointSpec",
            ports(json!([{"TargetPort": 65_536}])),
            400,
            "EndpointSpec.Ports[0].Target",
        ),
        (
            "EndpointSpec",
            ports(json!([
                {"TargetPort": 80, "PublishedPort": 8087}, {"TargetPort": 81, "PublishedPort": 8087},
            ])),
            400,
            "EndpointSpec: duplicate published ports provided",
        ),
        (
            "EndpointSpec",
            json!({"Mode": "dnsrr", "Ports": [{"TargetPort": 80}]}),
            400,
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
    ]
}

fn named(name: &str) -> Value {
    json!({"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "whoami"}}})
}

/// Sets what a dotted path names.
fn set(value: &mut Value, path: &str, to: &Value) {
    match path.split_once('.') {
        Some((head, rest)) => set(&mut value[head], rest, to),
        None => value[path] = to.clone(),
    }
}

/// Returns the whole of the only service, and that there is no other.
fn only(lab: &Lab, name: &str) -> Value {
    let list = lab.docker("service ls --format {{.Name}}");
    assert_eq!(list.trim(), name, "nothing else was made");
    serde_json::from_str(&lab.docker(&format!("service inspect {name}"))).unwrap()
}

/// The service as it is, and the path that updates it.
fn kept(lab: &Lab) -> (Value, String) {
    lab.form();
    lab.create("--name kept whoami");
    let kept = only(lab, "kept");
    let path = format!("/services/kept/update?version={}", kept[0]["Version"]["Index"]);
    (kept, path)
}

pub(crate) fn every_field_is_named(lab: &Lab) {
    let (before, update) = kept(lab);
    let below = |prefix: &'static str, rows: Vec<Row>| {
        rows.into_iter().map(move |(path, value, status, text)| {
            (format!("{prefix}{path}"), value, status, text)
        })
    };
    let rows = below(CONTAINER, container())
        .chain(below("TaskTemplate.", task()))
        .chain(below("", service()));
    for (path, value, status, text) in rows {
        for (call, name) in [("/services/create", "bad"), (&*update, "kept")] {
            let mut spec = named(name);
            set(&mut spec, &path, &value);
            let body = spec.to_string();
            let (answered, message) = lab.post(call, &body);
            let message = message.replace("\\\"", "\"");
            assert_eq!(answered, status, "{call} {body}: {message}");
            assert!(message.contains(text), "{call} {body}: {message}");
        }
    }
    assert_eq!(only(lab, "kept"), before);
}

pub(crate) fn versions_and_bodies(lab: &Lab) {
    let (before, update) = kept(lab);
    let spec = named("kept").to_string();
    let refused = |path: &str, body: &str, status: u16, text: &str| {
        let (answered, message) = lab.post(path, body);
        assert_eq!(answered, status, "{path} {body}: {message}");
        assert_contains(&message, text);
    };
    let sequence = "rpc error: code = Unknown desc = update out of sequence";
    refused("/services/kept/update?version=1", &spec, 409, sequence);
    refused("/services/kept/update?version=99999999", &spec, 409, sequence);
    refused("/services/kept/update?version=zz", &spec, 400, "invalid service version 'zz'");
    refused("/services/kept/update", &spec, 400, "invalid service version ''");
    refused("/services/nosuch/update?version=1", &spec, 404, "service nosuch not found");
    let renamed = named("other").to_string();
    refused(&update, &renamed, 501, "renaming services is not supported");
    let global = json!({"Name": "kept", "Mode": {"Global": {}}}).to_string();
    refused(&update, &global, 501, "service mode change is not allowed");
    refused(&format!("{update}&rollback=zz"), &spec, 400, "unrecognized rollback option zz");
    refused(&format!("{update}&registryAuthFrom=zz"), &spec, 400, "invalid registryAuthFrom 'zz'");
    refused(&format!("{update}&rollback=previous"), &spec, 400, "does not have a previous spec");

    let create = "/services/create";
    let dns_name = "name must be valid as a DNS name component";
    for name in ["a.b", "-a", "a b", "{{.Task.ID}}"] {
        refused(create, &named(name).to_string(), 400, dns_name);
    }
    refused(
        create,
        &named(&"a".repeat(64)).to_string(),
        400,
        "name must be 63 characters or fewer",
    );
    refused(create, &spec, 409, "name conflicts with an existing object: service kept already");
    refused(
        create,
        r#"{"nAME": "a.b", "TASKTEMPLATE": {"containerspec": {"image": "a"}}}"#,
        400,
        dns_name,
    );
    refused(create, r#"{"name": "ok", "NAME": 7}"#, 400, "invalid JSON: Name: invalid type");
    let deep = format!("{{\"Name\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    refused(create, &deep, 400, "invalid JSON: recursion limit exceeded");
    let large = "head -c 104857600 /dev/zero | curl -s --unix-socket ${DOCKER_HOST#unix://} \
                 -w ' %{http_code}' -H 'Content-Type: application/json' --data-binary @- \
                 http://d/services/create";
    let answer = lab.sh("master", large).stdout;
    assert_contains(&answer, "request body too large");
    assert!(answer.ends_with(" 413"), "{answer}");
    assert_eq!(only(lab, "kept"), before);
}
