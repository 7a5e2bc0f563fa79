//! Pure: the engine's own networks as a swarm shows them, which are never listed among its own.

use serde_json::{Value, json};
use swarmnet_model::{PredefinedNetwork, Timestamp};

use crate::version::ApiVersion;

/// Label by which clients know them.
const LABEL: &str = "com.docker.swarm.predefined";

/// Renders one for a client that asks for the scope `swarm`.
pub(crate) fn network(of: PredefinedNetwork, version: ApiVersion) -> Value {
    let mut value = json!({
        "Name": of.name(),
        "Id": of.id(),
        "Created": Timestamp::UNSET.to_string(),
        "Scope": "swarm",
        "Driver": of.name(),
        "EnableIPv6": false,
        "IPAM": {"Driver": "", "Options": null, "Config": null},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": null,
        "Options": null,
        "Labels": {LABEL: "true"},
    });
    if version >= ApiVersion::new(1, 48) {
        value["EnableIPv4"] = json!(false);
    }
    value
}

/// Renders one inside a task's attachment.
pub(crate) fn attached(of: PredefinedNetwork) -> Value {
    json!({
        "ID": of.id(),
        "Spec": {
            "Name": of.name(),
            "Labels": {LABEL: "true"},
            "DriverConfiguration": {"Name": of.name()},
            "Scope": "swarm",
        },
        "DriverState": {"Name": of.name()},
    })
}
