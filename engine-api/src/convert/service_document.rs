//! Pure: a service spec as JSON: what is left out for old clients, what the server fills in, what
//! `insertDefaults` adds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::json::{member, set_default, strip};
use crate::version::ApiVersion;

const TASK: &str = "TaskTemplate";

/// Keys that did not exist below a version and are ignored there.
const SINCE: [(ApiVersion, &[&str]); 5] = [
    (
        ApiVersion::new(1, 40),
        &["TaskTemplate.ContainerSpec.Sysctls", "TaskTemplate.Placement.MaxReplicas"],
    ),
    (
        ApiVersion::new(1, 41),
        &[
            "TaskTemplate.ContainerSpec.CapabilityAdd",
            "TaskTemplate.ContainerSpec.CapabilityDrop",
            "TaskTemplate.ContainerSpec.Ulimits",
            "TaskTemplate.Resources.Limits.Pids",
            "Mode.ReplicatedJob",
            "Mode.GlobalJob",
        ],
    ),
    (
        ApiVersion::new(1, 44),
        &[
            "TaskTemplate.ContainerSpec.Privileges.Seccomp",
            "TaskTemplate.ContainerSpec.Privileges.AppArmor",
            "TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges",
            "TaskTemplate.ContainerSpec.Healthcheck.StartInterval",
        ],
    ),
    (
        ApiVersion::new(1, 46),
        &[
            "TaskTemplate.ContainerSpec.OomScoreAdj",
            "TaskTemplate.ContainerSpec.Mounts[].TmpfsOptions.Options",
        ],
    ),
    (
        ApiVersion::new(1, 52),
        &["TaskTemplate.Resources.SwapBytes", "TaskTemplate.Resources.MemorySwappiness"],
    ),
];

/// Takes away what the client's version does not have, and reads networks in their old place.
pub(crate) fn gate(document: &mut Value, version: ApiVersion) {
    for (since, paths) in SINCE {
        if version < since {
            paths.iter().for_each(|path| strip(document, path));
        }
    }
    let old_place = document.as_object_mut().and_then(|spec| spec.shift_remove("Networks"));
    if let Some(networks) = old_place.filter(|_| version < ApiVersion::new(1, 44)) {
        let template = member(document, TASK);
        let empty = template["Networks"].as_array().is_none_or(Vec::is_empty);
        if empty {
            template["Networks"] = networks;
        }
    }
}

/// Writes ids in place of the networks' names.
pub(crate) fn set_network_ids(document: &mut Value, ids: &BTreeMap<String, String>) {
    // Not by index: that would write a null where there is no key.
    let networks = document.get_mut(TASK).and_then(|template| template.get_mut("Networks"));
    let networks = networks.and_then(Value::as_array_mut);
    for network in networks.into_iter().flatten() {
        let target = network["Target"].as_str().unwrap_or("");
        if let Some(id) = ids.get(target) {
            network["Target"] = json!(id);
        }
    }
}

/// Fills in what Docker's server fills in, so that a stored spec is the spec that is shown.
pub(crate) fn complete(document: &mut Value) {
    set_default(document, "Labels", json!({}));
    let template = member(document, TASK);
    set_default(template, "ForceUpdate", 0);
    set_default(template, "Runtime", "container");
    set_default(member(template, "ContainerSpec"), "Isolation", "default");
    if let Some(restart) = template.get_mut("RestartPolicy") {
        set_default(restart, "Condition", "any");
        set_default(restart, "MaxAttempts", 0);
    }
    for name in ["UpdateConfig", "RollbackConfig"] {
        if let Some(config) = document.get_mut(name) {
            set_default(config, "Parallelism", 0);
            set_default(config, "FailureAction", "pause");
            set_default(config, "MaxFailureRatio", 0);
            set_default(config, "Order", "stop-first");
        }
    }
    complete_mode(member(document, "Mode"));
    if let Some(endpoint) = document.get_mut("EndpointSpec") {
        complete_endpoint(endpoint);
    }
}

fn complete_mode(mode: &mut Value) {
    if mode.as_object().is_some_and(serde_json::Map::is_empty) {
        mode["Replicated"] = json!({});
    }
    if let Some(replicated) = mode.get_mut("Replicated") {
        set_default(replicated, "Replicas", 1);
    }
    if let Some(job) = mode.get_mut("ReplicatedJob") {
        set_default(job, "MaxConcurrent", 1);
        let concurrent = job["MaxConcurrent"].clone();
        set_default(job, "TotalCompletions", concurrent);
    }
}

fn complete_endpoint(endpoint: &mut Value) {
    set_default(endpoint, "Mode", "vip");
    for port in endpoint["Ports"].as_array_mut().into_iter().flatten() {
        set_default(port, "Protocol", "tcp");
        set_default(port, "PublishMode", "ingress");
        if port["PublishedPort"] == json!(0) {
            strip(port, "PublishedPort");
        }
    }
    if endpoint["Ports"].as_array().is_none_or(Vec::is_empty) {
        strip(endpoint, "Ports");
    }
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Adds the defaults in force where the user said nothing (`insertDefaults`).
pub(crate) fn insert_defaults(document: &mut Value) {
    let update = json!({
        "Parallelism": 1, "FailureAction": "pause", "Monitor": 5 * SECOND, "MaxFailureRatio": 0,
        "Order": "stop-first",
    });
    let is_job = ["ReplicatedJob", "GlobalJob"].iter().any(|job| !document["Mode"][job].is_null());
    for name in ["UpdateConfig", "RollbackConfig"].iter().filter(|_| !is_job) {
        set_default(document, name, update.clone());
        set_default(&mut document[*name], "Monitor", 5 * SECOND);
    }
    let template = member(document, TASK);
    set_default(template, "RestartPolicy", json!({"Condition": "any", "MaxAttempts": 0}));
    set_default(&mut template["RestartPolicy"], "Delay", 5 * SECOND);
    let container = member(template, "ContainerSpec");
    set_default(container, "StopGracePeriod", 10 * SECOND);
    set_default(container, "DNSConfig", json!({}));
}

/// Returns what a task shows of its service's spec (given whole, or the template alone).
pub(crate) fn task_view(document: &str) -> Value {
    let mut value: Value = serde_json::from_str(document).unwrap_or_else(|_| json!({}));
    let mut template = match value.get_mut(TASK) {
        Some(template) => template.take(),
        None => value,
    };
    strip(&mut template, "Runtime");
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_of_the_cli_is_completed_as_docker_shows_it() {
        let mut document = json!({
            "Name": "webserver", "Labels": {},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "nginx:latest", "Init": false, "DNSConfig": {}},
                "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0,
            },
            "Mode": {"Replicated": {}}, "EndpointSpec": {"Mode": "vip"},
        });
        complete(&mut document);
        let shown = json!({
            "Name": "webserver", "Labels": {},
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "nginx:latest", "Init": false, "DNSConfig": {}, "Isolation": "default",
                },
                "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0,
                "Runtime": "container",
            },
            "Mode": {"Replicated": {"Replicas": 1}}, "EndpointSpec": {"Mode": "vip"},
        });
        assert_eq!(document, shown);
        complete(&mut document);
        assert_eq!(document, shown, "what comes back from a client is complete already");
        assert_eq!(
            task_view(&document.to_string()),
            json!({
                "ContainerSpec": {
                    "Image": "nginx:latest", "Init": false, "DNSConfig": {}, "Isolation": "default",
                },
                "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "ForceUpdate": 0,
            })
        );
    }

    #[test]
    fn an_empty_endpoint_and_mode_get_their_words() {
        let mut document = json!({
            "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 0}]},
            "Mode": {"ReplicatedJob": {"MaxConcurrent": 2}}, "UpdateConfig": {"Parallelism": 2},
        });
        complete(&mut document);
        let ports = json!([{"TargetPort": 80, "Protocol": "tcp", "PublishMode": "ingress"}]);
        assert_eq!(document["EndpointSpec"], json!({"Mode": "vip", "Ports": ports}));
        assert_eq!(document["Mode"]["ReplicatedJob"]["TotalCompletions"], 2);
        assert_eq!(document["UpdateConfig"]["Order"], "stop-first");
        let mut bare = json!({});
        complete(&mut bare);
        assert_eq!(bare["Mode"], json!({"Replicated": {"Replicas": 1}}));
        assert!(bare.get("EndpointSpec").is_none());
    }

    #[test]
    fn old_clients_keep_the_old_meaning() {
        let spec = || {
            json!({
                "Networks": [{"Target": "n"}],
                "TaskTemplate": {"ContainerSpec": {"Sysctls": {"a": "b"}, "CapabilityAdd": ["X"]}},
            })
        };
        let mut old = spec();
        gate(&mut old, ApiVersion::new(1, 39));
        assert_eq!(
            old,
            json!({"TaskTemplate": {"ContainerSpec": {}, "Networks": [{"Target": "n"}]}})
        );
        let mut new = spec();
        gate(&mut new, ApiVersion::new(1, 44));
        assert!(new["TaskTemplate"].get("Networks").is_none());
        assert!(!new["TaskTemplate"]["ContainerSpec"]["Sysctls"].is_null());
    }

    #[test]
    fn keys_are_ignored_below_the_version_that_brought_them() {
        let spec = json!({"Mode": {"GlobalJob": {}}, "TaskTemplate": {
            "ContainerSpec": {
                "Ulimits": [], "OomScoreAdj": 5, "Healthcheck": {"StartInterval": 1, "Retries": 1},
                "Mounts": [{"Target": "/a"}, {"TmpfsOptions": {"Options": [["x"]], "Mode": 1}}],
                "Privileges": {"NoNewPrivileges": true},
            },
            "Placement": {"MaxReplicas": 1},
            "Resources": {"Limits": {"Pids": 1}, "SwapBytes": 1, "MemorySwappiness": 1},
        }});
        for (minor, place) in [
            (40, "/TaskTemplate/Placement/MaxReplicas"),
            (41, "/TaskTemplate/ContainerSpec/Ulimits"),
            (41, "/Mode/GlobalJob"),
            (41, "/TaskTemplate/Resources/Limits/Pids"),
            (44, "/TaskTemplate/ContainerSpec/Healthcheck/StartInterval"),
            (44, "/TaskTemplate/ContainerSpec/Privileges/NoNewPrivileges"),
            (46, "/TaskTemplate/ContainerSpec/OomScoreAdj"),
            (46, "/TaskTemplate/ContainerSpec/Mounts/1/TmpfsOptions/Options"),
            (52, "/TaskTemplate/Resources/SwapBytes"),
            (52, "/TaskTemplate/Resources/MemorySwappiness"),
        ] {
            let gated = |minor| {
                let mut document = spec.clone();
                gate(&mut document, ApiVersion::new(1, minor));
                document
            };
            assert!(gated(minor).pointer(place).is_some(), "{place} in 1.{minor}");
            assert_eq!(gated(minor - 1).pointer(place), None, "{place} before 1.{minor}");
        }
        let mut oldest = spec.clone();
        gate(&mut oldest, ApiVersion::new(1, 24));
        let kept = &oldest["TaskTemplate"]["ContainerSpec"];
        assert_eq!(kept["Healthcheck"], json!({"Retries": 1}));
        assert_eq!(kept["Mounts"], json!([{"Target": "/a"}, {"TmpfsOptions": {"Mode": 1}}]));
        let mut newest = spec.clone();
        gate(&mut newest, ApiVersion::new(1, 52));
        assert_eq!(newest, spec);
    }

    #[test]
    fn defaults_are_inserted_only_where_nothing_is_said() {
        let mut document = json!({
            "TaskTemplate": {"RestartPolicy": {"Condition": "none"}},
            "UpdateConfig": {"Parallelism": 7}, "Mode": {"Global": {}},
        });
        insert_defaults(&mut document);
        assert_eq!(
            document["TaskTemplate"]["RestartPolicy"],
            json!({"Condition": "none", "Delay": 5 * SECOND})
        );
        assert_eq!(document["UpdateConfig"], json!({"Parallelism": 7, "Monitor": 5 * SECOND}));
        assert_eq!(document["RollbackConfig"]["Parallelism"], 1);
        assert_eq!(document["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"], 10 * SECOND);
    }
}
