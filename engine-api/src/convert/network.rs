//! Pure: swarm networks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde_json::{Value, json};
use swarmnet_model::service::Document;
use swarmnet_model::{CallError, IpamConfig, Network, NetworkSpec, Tables};

use crate::control_plane::LocalNetwork;
use crate::error::ApiError;
use crate::json::wire;
use crate::version::ApiVersion;

/// Driver option that carries the VNI.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

wire! {
    NetworkBody {
        "Name" => name: String,
        "CheckDuplicate" => check_duplicate: bool,
        "Driver" => driver: String,
        "Scope" => scope: String,
        "EnableIPv4" => enable_ipv4: Option<bool>,
        "EnableIPv6" => enable_ipv6: bool,
        "IPAM" => ipam: Ipam,
        "Internal" => internal: bool,
        "Attachable" => attachable: bool,
        "Ingress" => ingress: bool,
        "ConfigOnly" => config_only: bool,
        "ConfigFrom" => config_from: Option<ConfigFrom>,
        "Options" => options: BTreeMap<String, String>,
        "Labels" => labels: BTreeMap<String, String>,
    }
}

wire! {
    Ipam {
        "Driver" => driver: String,
        "Options" => options: BTreeMap<String, String>,
        "Config" => config: Vec<IpamBody>,
    }
}

wire! {
    IpamBody {
        "Subnet" => subnet: String,
        "IPRange" => range: String,
        "Gateway" => gateway: String,
        "AuxiliaryAddresses" => auxiliary: BTreeMap<String, String>,
    }
}

wire! { ConfigFrom { "Network" => network: String, } }

impl NetworkBody {
    /// True if the managers make it, false if the engine does.
    pub(crate) fn is_for_swarm(&self) -> bool {
        self.driver == "overlay" || self.scope == "swarm" || self.ingress
    }
}

/// Reads the spec of a swarm network.
///
/// # Errors
/// 400 with Docker's texts, 501 for what this version cannot do: nothing is left out silently, above
/// all no encryption.
pub(crate) fn spec(body: NetworkBody, document: &Value) -> Result<NetworkSpec, ApiError> {
    refuse_unsupported(&body)?;
    Ok(NetworkSpec {
        name: body.name,
        labels: body.labels,
        internal: body.internal,
        attachable: body.attachable,
        ingress: body.ingress,
        ipam: body.ipam.config.iter().map(ipam).collect::<Result<_, _>>()?,
        options: body.options,
        document: Document(document.to_string()),
    })
}

fn refuse_unsupported(body: &NetworkBody) -> Result<(), ApiError> {
    let driver = body.driver.as_str();
    let ipam_driver = body.ipam.driver.as_str();
    let cases = [
        (!matches!(driver, "overlay" | ""), "swarm networks of drivers other than overlay are"),
        (body.enable_ipv6 || body.enable_ipv4 == Some(false), "swarm networks with IPv6 are"),
        (body.config_only || body.config_from.is_some_and_named(), "configuration networks are"),
        (!matches!(ipam_driver, "default" | ""), "IPAM drivers other than default are"),
        (!body.ipam.options.is_empty(), "IPAM options are"),
        (
            body.ipam.config.iter().any(|config| !config.auxiliary.is_empty()),
            "auxiliary addresses are",
        ),
        (body.options.contains_key("encrypted"), "encrypted networks are"),
    ];
    match cases.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(ApiError::unsupported(what)),
        None => Ok(()),
    }
}

trait Named {
    fn is_some_and_named(&self) -> bool;
}

impl Named for Option<ConfigFrom> {
    fn is_some_and_named(&self) -> bool {
        self.as_ref().is_some_and(|from| !from.network.is_empty())
    }
}

fn ipam(body: &IpamBody) -> Result<IpamConfig, ApiError> {
    let refused =
        |what: String| ApiError::from(CallError::invalid(format!("ipam configuration: {what}")));
    let prefix = |text: &str, what: &str| -> Result<Option<Ipv4Network>, ApiError> {
        let parsed = text.contains('/').then(|| text.parse().ok()).flatten();
        match (text, parsed) {
            ("", _) => Ok(None),
            (_, Some(network)) => Ok(Some(network)),
            (_, None) => Err(refused(format!("invalid {what} {text}"))),
        }
    };
    let subnet = prefix(&body.subnet, "subnet")?;
    let range = prefix(&body.range, "range")?;
    let gateway: Option<Ipv4Addr> = match body.gateway.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| refused(format!("invalid gateway {text}")))?),
    };
    let inside = |addr: Ipv4Addr| subnet.is_none_or(|subnet| subnet.contains(addr));
    if range.is_some_and(|range| !inside(range.network()) || !inside(range.broadcast())) {
        let text = format!("subnet {} does not contain range {}", body.subnet, body.range);
        return Err(refused(text));
    }
    if gateway.is_some_and(|gateway| !inside(gateway)) {
        let text = format!("subnet {} does not contain gateway {}", body.subnet, body.gateway);
        return Err(refused(text));
    }
    Ok(IpamConfig { subnet, range, gateway })
}

/// Renders a network of the store, as a manager shows one that no container of its node is on.
pub(crate) fn network(network: &Network, version: ApiVersion) -> Value {
    let mut config = json!({
        "Subnet": network.subnet.subnet.to_string(),
        "Gateway": network.subnet.gateway.to_string(),
    });
    if let Some(range) = network.subnet.range {
        config["IPRange"] = json!(range.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{read, typed};

    fn refused(config: &str) -> String {
        let text = format!(r#"{{"Driver":"overlay","Name":"n",{config}}}"#);
        let document = read::<NetworkBody>(text.as_bytes()).unwrap();
        let body: NetworkBody = typed(&document.value).unwrap();
        assert!(body.is_for_swarm());
        spec(body, &document.value).unwrap_err().message().to_owned()
    }

    #[test]
    fn address_ranges_are_checked() {
        let ipam = |config: &str| refused(&format!(r#""IPAM":{{"Config":[{config}]}}"#));
        for (config, text) in [
            (r#"{"Subnet":"10.9.0.0"}"#, "invalid subnet 10.9.0.0"),
            (r#"{"Subnet":"10.9.0.0/33"}"#, "invalid subnet 10.9.0.0/33"),
            (r#"{"Subnet":"10.9.0.0/24","IPRange":"x"}"#, "invalid range x"),
            (
                r#"{"Subnet":"10.9.0.0/24","IPRange":"10.8.0.0/25"}"#,
                "subnet 10.9.0.0/24 does not contain range 10.8.0.0/25",
            ),
            (r#"{"Subnet":"10.9.0.0/24","Gateway":"10.9.0"}"#, "invalid gateway 10.9.0"),
            (
                r#"{"Subnet":"10.9.0.0/24","Gateway":"10.8.0.1"}"#,
                "subnet 10.9.0.0/24 does not contain gateway 10.8.0.1",
            ),
        ] {
            let wanted =
                format!("rpc error: code = InvalidArgument desc = ipam configuration: {text}");
            assert_eq!(ipam(config), wanted);
        }
    }

    #[test]
    fn what_cannot_be_done_is_never_left_out_silently() {
        for (config, text) in [
            (r#""Options":{"encrypted":""}"#, "encrypted networks are not supported"),
            (r#""EnableIPv6":true"#, "IPv6"),
            (r#""ConfigFrom":{"Network":"x"}"#, "configuration networks"),
            (r#""IPAM":{"Driver":"x"}"#, "IPAM drivers"),
        ] {
            let message = refused(config);
            assert!(message.contains(text), "{config}: {message}");
        }
    }
}
