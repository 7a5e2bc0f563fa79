//! The node as a whole: ping, version, info.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use http::{HeaderMap, Method, Response};
use serde_json::{Value, json};
use swarmnet_model::{Role, Tables};

use crate::app::{App, Exchange};
use crate::body;
use crate::control_plane::{LocalNode, LocalState};
use crate::convert::swarm as convert;
use crate::error::ApiError;
use crate::host::Host;
use crate::network_name::PLUGIN_DRIVER;
use crate::reply::{self, Answer};
use crate::route::without_engine;
use crate::version::LOWEST;

/// Answers also when the engine is down: it is how clients learn that somebody is there.
pub(crate) fn ping(x: &Exchange) -> Answer {
    let mut response = Response::new(body::full("OK"));
    if x.request.method() == Method::HEAD {
        response = Response::new(body::empty());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let swarm = swarm_header(&x.app.control.local_node());
    ping_headers(response.headers_mut(), swarm);
    let builder = x.app.engine.facts().and_then(|facts| facts.builder_version);
    if let Some(builder) = builder.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(HeaderName::from_static("builder-version"), builder);
    }
    Ok(response)
}

fn ping_headers(headers: &mut HeaderMap, swarm: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static(swarm));
}

fn swarm_header(node: &LocalNode) -> &'static str {
    match (node.state, node.is_manager) {
        (LocalState::Active, true) => "active/manager",
        (LocalState::Active, false) => "active/worker",
        (state, _) => state.as_str(),
    }
}

/// The engine's version, with what this API speaks and who serves it; without the engine's part
/// while it does not answer.
pub(crate) async fn version(x: Exchange) -> Answer {
    let announced = x.app.announced();
    let engine_version = x.app.engine.version_for(x.version);
    let mut version = match x.app.engine.get_object(format!("/v{engine_version}/version")).await {
        Ok(version) => version,
        Err(error) => {
            let (host, ours) = (Host::read(), &x.app.swarmnet_version);
            let version = without_engine::version(&host, announced, ours, error.message());
            return reply::ok(&version);
        }
    };
    version["ApiVersion"] = json!(announced.to_string());
    version["MinAPIVersion"] = json!(LOWEST.to_string());
    let ours = json!({
        "Name": "swarmnet",
        "Version": x.app.swarmnet_version,
        "Details": {"ApiVersion": announced.to_string(), "MinAPIVersion": LOWEST.to_string()},
    });
    let components = version.get_mut("Components").and_then(Value::as_array_mut);
    for component in components.into_iter().flatten() {
        let engine = component["Name"] == "Engine";
        let details = component.get_mut("Details").filter(|details| details.is_object());
        if let Some(details) = details.filter(|_| engine) {
            details["ApiVersion"] = json!(announced.to_string());
            details["MinAPIVersion"] = json!(LOWEST.to_string());
        }
    }
    match version.get_mut("Components").and_then(Value::as_array_mut) {
        Some(components) => components.push(ours),
        None => version["Components"] = json!([ours]),
    }
    reply::ok(&version)
}

/// The engine's info with this node's swarm in place of the engine's own; the swarm alone while the
/// engine does not answer.
pub(crate) async fn info(x: Exchange) -> Answer {
    let engine_version = x.app.engine.version_for(x.version);
    let mut info = match x.app.engine.get_object(format!("/v{engine_version}/info")).await {
        Ok(info) => info,
        Err(error) => without_engine::info(&Host::read(), error.message()),
    };
    let (swarm, warnings) = swarm_block(&x.app).await;
    info["Swarm"] = swarm;
    if !warnings.is_empty() {
        let mut all = info["Warnings"].as_array().cloned().unwrap_or_default();
        all.extend(warnings.into_iter().map(Value::from));
        info["Warnings"] = Value::Array(all);
    }
    let drivers = info.pointer_mut("/Plugins/Network");
    if let Some(drivers) = drivers.and_then(Value::as_array_mut) {
        drivers.retain(|driver| driver != PLUGIN_DRIVER);
        if !drivers.iter().any(|driver| driver == "overlay") {
            drivers.push(json!("overlay"));
        }
    }
    reply::ok(&info)
}

/// Returns `Info.Swarm` and the warnings about it.
async fn swarm_block(app: &App) -> (Value, Vec<String>) {
    let node = app.control.local_node();
    let mut block = convert::local(&node);
    if !node.is_manager || node.state != LocalState::Active {
        return (block, Vec::new());
    }
    block["ControlAvailable"] = json!(true);
    let mut warnings = Vec::new();
    match app.tables().await {
        Ok(tables) => {
            warnings.extend(add_cluster(&mut block, &tables));
        }
        Err(error) => {
            block["Error"] = json!(error.message());
            block["Cluster"] = convert::no_cluster();
        }
    }
    (block, warnings)
}

fn add_cluster(block: &mut Value, tables: &Tables) -> Option<String> {
    let managers = tables.nodes.values().filter(|node| node.spec.role == Role::Manager).count();
    block["Nodes"] = json!(tables.nodes.len());
    block["Managers"] = json!(managers);
    if let Some(cluster) = &tables.cluster {
        block["Cluster"] = convert::cluster(cluster);
    }
    let warning = (managers == 2).then(|| TWO_MANAGERS.to_owned())?;
    block["Warnings"] = json!([warning]);
    Some(warning)
}

const TWO_MANAGERS: &str = "WARNING: Running Swarm in a two-manager configuration. \
This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.";

impl LocalState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
            Self::Locked => "locked",
        }
    }
}

/// Refuses to take an engine into a swarm that is in a swarm of its own.
///
/// # Errors
/// 503 that says how to leave it. An engine that cannot be asked is no obstacle: the agent waits
/// for it.
pub(crate) async fn check_engine_is_free(app: &App) -> Result<(), ApiError> {
    let Ok(info) = app.engine.get_json("/info").await else { return Ok(()) };
    match info["Swarm"]["LocalNodeState"].as_str() {
        None | Some("inactive" | "") => Ok(()),
        Some(state) => Err(ApiError::unavailable(format!(
            "The Docker Engine behind this node is in a swarm of its own (state {state}). Make it \
             leave with \"docker swarm leave\" on the engine's own socket and try again."
        ))),
    }
}
