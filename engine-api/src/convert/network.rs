//! Pure: swarm networks as they are shown.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use swarmnet_model::view::NetworkItem;
use swarmnet_model::{AttachedContainer, Network, Subnet, Tables, Timestamp, Vni};

use crate::convert::network_view::{add_plain, service_shown, task_shown};
use crate::version::ApiVersion;

/// Driver option that carries the VNI.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// Renders a network of the store, as a manager shows one that no container of its node is on.
pub(crate) fn network(network: &Network, version: ApiVersion) -> Value {
    let spec = &network.spec;
    let facts = Facts {
        name: &spec.name,
        id: network.id.as_str(),
        created: network.created_at,
        subnet: &network.subnet,
        auxiliary: network.auxiliary().map(|(name, addr)| (name.clone(), *addr)).collect(),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: spec.options.clone(),
        vni: network.vni,
    };
    let mut value = facts.render(version);
    value["Labels"] = if spec.labels.is_empty() { Value::Null } else { json!(spec.labels) };
    value
}

/// Renders a network of which only the node knows (workers).
pub(crate) fn local_network(of: &NetworkItem, ingress: bool, version: ApiVersion) -> Value {
    let facts = Facts {
        name: &of.name,
        id: of.id.as_str(),
        created: of.shown.created_at,
        subnet: &of.subnet,
        auxiliary: of.shown.auxiliary.clone(),
        internal: of.internal,
        attachable: of.attachable,
        ingress,
        options: of.shown.options.clone(),
        vni: of.vni,
    };
    let mut value = facts.render(version);
    value["Containers"] = json!({});
    value["Labels"] = json!(of.shown.labels);
    value
}

/// What is shown of every network.
struct Facts<'a> {
    name: &'a str,
    id: &'a str,
    created: Timestamp,
    subnet: &'a Subnet,
    auxiliary: BTreeMap<String, Ipv4Addr>,
    internal: bool,
    attachable: bool,
    ingress: bool,
    options: BTreeMap<String, String>,
    vni: Vni,
}

impl Facts<'_> {
    fn render(mut self, version: ApiVersion) -> Value {
        self.options.insert(VNI_OPTION.to_owned(), self.vni.to_string());
        let mut config = ipam_config(self.subnet);
        if !self.auxiliary.is_empty() {
            config["AuxiliaryAddresses"] = json!(self.auxiliary);
        }
        let mut value = json!({
            "Name": self.name,
            "Id": self.id,
            "Created": self.created.to_string(),
            "Scope": "swarm",
            "Driver": "overlay",
            "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Options": null, "Config": [config]},
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

fn ipam_config(of: &Subnet) -> Value {
    let mut config = json!({"Subnet": of.subnet.to_string(), "Gateway": of.gateway.to_string()});
    if let Some(range) = of.range {
        config["IPRange"] = json!(range.to_string());
    }
    config
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
            "Configs": [ipam_config(&network.subnet)],
        },
    })
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
        let shown = service_shown(vip.map(|vip| vip.to_string()).unwrap_or_default(), tasks);
        all.insert(service.spec.name.clone(), shown);
    }
    let running = tables.attached.values().filter(|container| container.running);
    add_plain(&mut all, running.filter_map(|plain| plain_on(of, plain, tables)).collect());
    Value::Object(all)
}

fn plain_on(of: &Network, plain: &AttachedContainer, tables: &Tables) -> Option<Value> {
    let attachment = plain.attachments.iter().find(|attachment| attachment.network_id == of.id)?;
    let node = tables.nodes.get(&plain.node_id)?;
    let address = attachment.address.ip().to_string();
    Some(task_shown(&plain.name, address, node.status.addr.to_string()))
}

fn task_on(of: &Network, task: &swarmnet_model::Task, tables: &Tables) -> Option<Value> {
    if !task.is_live() {
        return None;
    }
    let attachment = task.attachments.iter().find(|attachment| attachment.network_id == of.id)?;
    let node = tables.nodes.get(task.node_id.as_ref()?)?;
    let address = attachment.address.ip().to_string();
    Some(task_shown(&task.container_name(), address, node.status.addr.to_string()))
}
