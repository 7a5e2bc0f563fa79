//! Pure: what the engine says of itself → how the node describes itself to the managers.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{GenericResourcesInner, SystemInfo};
use swarmnet_model::{GenericResource, NodeDescription};

/// The engine's facts that managers use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFacts {
    pub version: String,
    pub os: String,
    pub architecture: String,
    pub cpus: i64,
    pub memory_bytes: i64,
    pub labels: BTreeMap<String, String>,
    /// (type, name), sorted.
    pub plugins: Vec<(String, String)>,
    /// Sorted.
    pub generic: Vec<GenericResource>,
    /// False where the engine was told to have no bridge of its own (`--bridge=none`).
    pub has_bridge: bool,
}

/// Picks the facts out of `GET /info`; whether there is a bridge it does not say.
pub fn engine_facts(info: &SystemInfo, has_bridge: bool) -> EngineFacts {
    let labels = info.labels.iter().flatten().map(|label| match label.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (label.clone(), String::new()),
    });
    EngineFacts {
        version: info.server_version.clone().unwrap_or_default(),
        os: info.os_type.clone().unwrap_or_default(),
        architecture: info.architecture.clone().unwrap_or_default(),
        cpus: info.ncpu.unwrap_or_default(),
        memory_bytes: info.mem_total.unwrap_or_default(),
        labels: labels.collect(),
        plugins: plugins(info),
        generic: generic(info),
        has_bridge,
    }
}

fn generic(info: &SystemInfo) -> Vec<GenericResource> {
    let read = |resource: &GenericResourcesInner| {
        let discrete = resource.discrete_resource_spec.clone();
        let named = resource.named_resource_spec.clone();
        let counted = discrete
            .and_then(|of| Some(GenericResource::Discrete { kind: of.kind?, value: of.value? }));
        counted.or_else(|| {
            let of = named?;
            Some(GenericResource::Named { kind: of.kind?, value: of.value? })
        })
    };
    let mut all: Vec<_> = info.generic_resources.iter().flatten().filter_map(read).collect();
    all.sort();
    all
}

/// Our own network driver is what managers and users know as `overlay`.
fn plugins(info: &SystemInfo) -> Vec<(String, String)> {
    let Some(plugins) = &info.plugins else { return Vec::new() };
    let kinds = [("Log", &plugins.log), ("Network", &plugins.network), ("Volume", &plugins.volume)];
    let mut found = BTreeSet::new();
    for (kind, names) in kinds {
        found.extend(names.iter().flatten().map(|name| (kind.to_owned(), name.clone())));
    }
    found.remove(&("Network".to_owned(), "swarmnet".to_owned()));
    found.insert(("Network".to_owned(), "overlay".to_owned()));
    found.into_iter().collect()
}

/// Returns the node's description.
///
/// Without facts (the engine has not answered yet) it says so by an empty engine version and no
/// plugins; `previous` keeps what is known of the machine.
pub fn describe(
    hostname: &str,
    facts: Option<&EngineFacts>,
    previous: &NodeDescription,
) -> NodeDescription {
    let Some(facts) = facts else {
        return NodeDescription {
            hostname: hostname.to_owned(),
            engine_version: String::new(),
            plugins: Vec::new(),
            ..previous.clone()
        };
    };
    NodeDescription {
        hostname: hostname.to_owned(),
        os: facts.os.clone(),
        architecture: facts.architecture.clone(),
        nano_cpus: facts.cpus.saturating_mul(1_000_000_000),
        memory_bytes: facts.memory_bytes,
        engine_version: facts.version.clone(),
        engine_labels: facts.labels.clone(),
        plugins: facts.plugins.clone(),
        generic: facts.generic.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> SystemInfo {
        serde_json::from_value(serde_json::json!({
            "NCPU": 2, "MemTotal": 4096, "OSType": "linux", "Architecture": "x86_64",
            "ServerVersion": "20.10.24", "Labels": ["zone=a", "ssd"],
            "Plugins": {"Volume": ["local"], "Network": ["swarmnet", "bridge", "host"],
                        "Authorization": null, "Log": ["json-file"]},
            "GenericResources": [
                {"NamedResourceSpec": {"Kind": "GPU", "Value": "uuid1"}},
                {"DiscreteResourceSpec": {"Kind": "SSD", "Value": 3}}
            ]
        }))
        .unwrap()
    }

    #[test]
    fn the_description_shows_the_plugin_as_overlay() {
        let description =
            describe("node01", Some(&engine_facts(&info(), true)), &Default::default());
        expect_test::expect![[r#"
            NodeDescription {
                hostname: "node01",
                os: "linux",
                architecture: "x86_64",
                nano_cpus: 2000000000,
                memory_bytes: 4096,
                engine_version: "20.10.24",
                engine_labels: {
                    "ssd": "",
                    "zone": "a",
                },
                plugins: [
                    (
                        "Log",
                        "json-file",
                    ),
                    (
                        "Network",
                        "bridge",
                    ),
                    (
                        "Network",
                        "host",
                    ),
                    (
                        "Network",
                        "overlay",
                    ),
                    (
                        "Volume",
                        "local",
                    ),
                ],
                generic: [
                    Discrete {
                        kind: "SSD",
                        value: 3,
                    },
                    Named {
                        kind: "GPU",
                        value: "uuid1",
                    },
                ],
            }
        "#]]
        .assert_debug_eq(&description);
    }

    #[test]
    fn without_an_engine_the_machine_is_still_described() {
        let known = describe("node01", Some(&engine_facts(&info(), true)), &Default::default());
        let away = describe("node01", None, &known);
        assert_eq!((away.engine_version.as_str(), away.plugins.len()), ("", 0));
        assert_eq!((away.nano_cpus, away.hostname.as_str()), (2_000_000_000, "node01"));
    }
}
