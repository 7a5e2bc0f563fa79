//! Pure: what every task of a service should be.

use std::collections::BTreeMap;

use serde_json::Value;
use swarmnet_model::task::NetworkAttachmentSpec;
use swarmnet_model::{NetworkId, PredefinedNetwork, TaskSpec};

use crate::convert::container::{ContainerBody, container};
use crate::convert::mount::{DriverBody, driver};
use crate::convert::resources::{PlacementBody, ResourcesBody, placement, resources};
use crate::convert::update::{RestartBody, restart_policy};
use crate::error::ApiError;
use crate::json::wire;

wire! {
    TemplateBody {
        "ContainerSpec" => container: Option<ContainerBody>,
        "PluginSpec" => plugin: Option<Value>,
        "NetworkAttachmentSpec" => attachment: Option<Value>,
        "Resources" => resources: ResourcesBody,
        "RestartPolicy" => restart: Option<RestartBody>,
        "Placement" => placement: PlacementBody,
        "Networks" => networks: Vec<NetworkBody>,
        "LogDriver" => log_driver: Option<DriverBody>,
        "ForceUpdate" => force_update: u64,
        "Runtime" => runtime: String,
    }
}

wire! {
    NetworkBody {
        "Target" => target: String,
        "Aliases" => aliases: Vec<String>,
        "DriverOpts" => driver_options: BTreeMap<String, String>,
    }
}

/// Reads a task template whose network targets are ids.
///
/// # Errors
/// 400 with Docker's texts, 501 for what this version cannot do.
pub(crate) fn task_spec(body: TemplateBody) -> Result<TaskSpec, ApiError> {
    check_runtime(&body)?;
    let (predefined, networks) = split(body.networks)?;
    Ok(TaskSpec {
        container: container(body.container.unwrap_or_default())?,
        resources: resources(body.resources)?,
        restart: body.restart.map(restart_policy).transpose()?,
        placement: placement(body.placement),
        networks: networks.into_iter().map(network).collect(),
        predefined,
        log_driver: body.log_driver.map(driver),
        force_update: body.force_update,
    })
}

fn check_runtime(body: &TemplateBody) -> Result<(), ApiError> {
    let other_spec = body.plugin.is_some() || body.attachment.is_some();
    match body.runtime.as_str() {
        "" | "container" if !other_spec => Ok(()),
        "plugin" => Err(ApiError::unsupported("plugin services are")),
        "" | "container" | "attachment" => {
            Err(ApiError::bad_request("mismatched Runtime and *Spec fields"))
        }
        _ => Err(ApiError::bad_request("unsupported runtime")),
    }
}

/// Tells the engine's own network, of which a task can have one, from the swarm's.
fn split(
    networks: Vec<NetworkBody>,
) -> Result<(Option<PredefinedNetwork>, Vec<NetworkBody>), ApiError> {
    let own = |body: &NetworkBody| PredefinedNetwork::by_reference(&body.target);
    let (predefined, networks): (Vec<_>, Vec<_>) =
        networks.into_iter().partition(|body| own(body).is_some());
    match predefined.as_slice() {
        [] => Ok((None, networks)),
        [one] => Ok((own(one), networks)),
        _ => Err(ApiError::bad_request(
            "TaskTemplate.Networks: only one of bridge and host is possible",
        )),
    }
}

fn network(body: NetworkBody) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        network_id: NetworkId::from_text(body.target),
        aliases: body.aliases,
        driver_options: body.driver_options,
    }
}
