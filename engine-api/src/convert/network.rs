//! Pure: swarm networks as they are shown.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swarmnet_model::{Network, Tables};

use crate::control_plane::LocalNetwork;
use crate::version::ApiVersion;

/// Driver option that carries the VNI.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Renders a network of the store, as a manager shows one that no container of its node is on.
pub(crate) fn network(network: &Network, version: ApiVersion) -> Value {
    let mut config = json!({
        "Subnet": network.subnet.subnet.to_string(),
        "Gateway": network.subnet.gateway.to_string(),
    });
    if let Some(range) = network.subnet.range {
        config["IPRange"] = json!(range.to_string());
    }
    let auxiliary: BTreeMap<_, _> =
        network.spec.ipam.iter().flat_map(|given| &given.auxiliary).collect();
    if !auxiliary.is_empty() {
        config["AuxiliaryAddresses"] = json!(auxiliary);
    }
    let mut options = network.spec.options.clone();
    options.insert(VNI_OPTION.to_owned(), network.vni.to_string());
    let labels = &network.spec.labels;
    let facts = Facts {
        name: &network.spec.name,
        id: network.id.as_str(),
        created: &network.created_at.to_string(),
        config,
        internal: network.spec.internal,
        attachable: network.spec.attachable,
        ingress: network.spec.ingress,
        options: json!(options),
    };
    let mut value = facts.render(version);
    value["Labels"] = if labels.is_empty() { Value::Null } else { json!(labels) };
    value
}

/// Renders a network of which only the node knows (workers); `created` is the engine's date.
pub(crate) fn local_network(of: &LocalNetwork, created: &str, version: ApiVersion) -> Value {
    let facts = Facts {
        name: &of.name,
        id: of.id.as_str(),
        created,
        config: json!({"Subnet": of.subnet.to_string(), "Gateway": of.gateway.to_string()}),
        internal: of.internal,
        attachable: of.attachable,
        ingress: false,
        options: json!({VNI_OPTION: of.vni.to_string()}),
    };
    facts.render(version)
}

/// What is shown of every network.
struct Facts<'a> {
    name: &'a str,
    id: &'a str,
    created: &'a str,
    config: Value,
    internal: bool,
    attachable: bool,
    ingress: bool,
    options: Value,
}

impl Facts<'_> {
    fn render(self, version: ApiVersion) -> Value {
        let mut value = json!({
            "Name": self.name,
            "Id": self.id,
            "Created": self.created,
            "Scope": "swarm",
            "Driver": "overlay",
            "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Options": null, "Config": [self.config]},
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": self.ingress,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": false,
            "Containers": null,
            "Options": self.options,
            "Labels": {},
        });
        if version >= ApiVersion::new(1, 48) {
            value["EnableIPv4"] = json!(true);
        }
        value
    }
}

/// Renders a network inside a task's attachment.
pub(crate) fn attached_network(network: &Network) -> Value {
    let spec = &network.spec;
    let mut shown = json!({
        "Name": spec.name,
        "Labels": spec.labels,
        "DriverConfiguration": {},
        "IPAMOptions": {"Driver": {}},
        "Scope": "swarm",
    });
    for (name, present) in
        [("Ingress", spec.ingress), ("Internal", spec.internal), ("Attachable", spec.attachable)]
    {
        if present {
            shown[name] = json!(true);
        }
    }
    json!({
        "ID": network.id,
        "Version": {"Index": network.version.0},
        "CreatedAt": network.created_at.to_string(),
        "UpdatedAt": network.updated_at.to_string(),
        "Spec": shown,
        "DriverState": {"Name": "overlay", "Options": {VNI_OPTION: network.vni.to_string()}},
        "IPAMOptions": {
            "Driver": {"Name": "default"},
            "Configs": [{
                "Subnet": network.subnet.subnet.to_string(),
                "Gateway": network.subnet.gateway.to_string(),
            }],
        },
    })
}

/// Renders the nodes that have a live task on a network.
pub(crate) fn peers(of: &Network, tables: &Tables) -> Value {
    let on = |node: &swarmnet_model::NodeId| {
        tables.tasks_on(node).any(|task| {
            !task.status.state.is_terminal()
                && task.attachments.iter().any(|attachment| attachment.network_id == of.id)
        })
    };
    let shown = |node: &swarmnet_model::Node| {
        let name: String = node.id.as_str().chars().take(12).collect();
        json!({"Name": name, "IP": node.status.addr.to_string()})
    };
    tables.nodes.values().filter(|node| on(&node.id)).map(|node| shown(node)).collect()
}

/// Renders the services of a network and their tasks on all nodes (`verbose=true`).
pub(crate) fn services(of: &Network, tables: &Tables) -> Value {
    let mut all = serde_json::Map::new();
    for service in tables.services.values().filter(|service| !service.pending_delete) {
        if !service.spec.task.networks.iter().any(|network| network.network_id == of.id) {
            continue;
        }
        let vips = service.endpoint.iter().flat_map(|endpoint| &endpoint.vips);
        let vip = vips.filter(|vip| vip.network_id == of.id).map(|vip| vip.address.ip()).next();
        let tasks: Vec<Value> =
            tables.tasks_of(&service.id).filter_map(|task| task_on(of, task, tables)).collect();
        let shown = json!({
            "VIP": vip.map(|vip| vip.to_string()).unwrap_or_default(),
            "Ports": [],
            "LocalLBIndex": 0,
            "Tasks": tasks,
        });
        all.insert(service.spec.name.clone(), shown);
    }
    Value::Object(all)
}

fn task_on(of: &Network, task: &swarmnet_model::Task, tables: &Tables) -> Option<Value> {
    if !task.is_live() {
        return None;
    }
    let attachment = task.attachments.iter().find(|attachment| attachment.network_id == of.id)?;
    let node = tables.nodes.get(task.node_id.as_ref()?)?;
    Some(json!({
        "Name": task.container_name(),
        "EndpointID": "",
        "EndpointIP": attachment.address.ip().to_string(),
        "Info": {"Host IP": node.status.addr.to_string()},
    }))
}
