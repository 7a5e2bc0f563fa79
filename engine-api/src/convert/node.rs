//! Pure: nodes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swarmnet_model::node::NodeDescription;
use swarmnet_model::{Node, NodeSpec};

use crate::control_plane::RaftView;
use crate::convert::availability::{availability, role};
use crate::convert::resources::render_generic;
use crate::error::ApiError;
use crate::json::wire;
use crate::tls_info::TlsInfo;

wire! {
    NodeBody {
        "Name" => name: String,
        "Labels" => labels: BTreeMap<String, String>,
        "Role" => role: String,
        "Availability" => availability: String,
    }
}

/// Reads a node's spec, which is always complete.
///
/// # Errors
/// `invalid Role: "x"`, `invalid Availability: "x"`.
pub(crate) fn spec(body: NodeBody) -> Result<NodeSpec, ApiError> {
    Ok(NodeSpec {
        name: Some(body.name).filter(|name| !name.is_empty()),
        labels: body.labels,
        role: role(&body.role)?,
        availability: availability(&body.availability)?,
    })
}

/// Renders a node.
pub(crate) fn node(node: &Node, raft: &RaftView, tls: &TlsInfo) -> Value {
    let mut value = json!({
        "ID": node.id,
        "Version": {"Index": node.version.0},
        "CreatedAt": node.created_at.to_string(),
        "UpdatedAt": node.updated_at.to_string(),
        "Spec": {
            "Labels": node.spec.labels,
            "Role": node.spec.role.as_str(),
            "Availability": node.spec.availability.as_str(),
        },
        "Description": description(node.description.as_ref(), tls),
        "Status": {"State": node.status.state.as_str()},
    });
    if let Some(name) = &node.spec.name {
        value["Spec"]["Name"] = json!(name);
    }
    if !node.status.message.is_empty() {
        value["Status"]["Message"] = json!(node.status.message);
    }
    value["Status"]["Addr"] = json!(node.status.addr.to_string());
    if let Some(member) = &node.manager {
        value["ManagerStatus"] = json!({});
        if raft.leader.as_ref() == Some(&node.id) {
            value["ManagerStatus"]["Leader"] = json!(true);
        }
        value["ManagerStatus"]["Reachability"] = json!(reachability(node, raft));
        value["ManagerStatus"]["Addr"] = json!(member.addr);
    }
    value
}

fn reachability(node: &Node, raft: &RaftView) -> &'static str {
    match raft.reachable.get(&node.id) {
        Some(true) => "reachable",
        Some(false) => "unreachable",
        None => "unknown",
    }
}

fn description(description: Option<&NodeDescription>, tls: &TlsInfo) -> Value {
    let Some(known) = description else {
        return json!({"Platform": {}, "Resources": {}, "Engine": {}, "TLSInfo": tls});
    };
    let mut engine = json!({"EngineVersion": known.engine_version, "Plugins": plugins(known)});
    if !known.engine_labels.is_empty() {
        engine["Labels"] = json!(known.engine_labels);
    }
    let mut resources = json!({"NanoCPUs": known.nano_cpus, "MemoryBytes": known.memory_bytes});
    if !known.generic.is_empty() {
        resources["GenericResources"] = render_generic(&known.generic);
    }
    json!({
        "Hostname": known.hostname,
        "Platform": {"Architecture": known.architecture, "OS": known.os},
        "Resources": resources,
        "Engine": engine,
        "TLSInfo": tls,
    })
}

/// The engine's plugins; overlays are ours, whatever the engine calls their driver.
fn plugins(known: &NodeDescription) -> Vec<Value> {
    let overlay = ("Network".to_owned(), "overlay".to_owned());
    let mut all: Vec<&(String, String)> = known
        .plugins
        .iter()
        .filter(|(kind, name)| !(kind == "Network" && name == crate::network_name::PLUGIN_DRIVER))
        .collect();
    if !all.contains(&&overlay) {
        all.push(&overlay);
    }
    all.sort();
    all.dedup();
    all.iter().map(|(kind, name)| json!({"Type": kind, "Name": name})).collect()
}
