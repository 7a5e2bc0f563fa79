//! Pure: what every task of a service should be.

use std::collections::BTreeMap;

use serde_json::Value;
use swarmnet_model::task::NetworkAttachmentSpec;
use swarmnet_model::{NetworkId, TaskSpec};

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
    Ok(TaskSpec {
        container: container(body.container.unwrap_or_default())?,
        resources: resources(body.resources)?,
        restart: body.restart.map(restart_policy).transpose()?,
        placement: placement(body.placement),
        networks: body.networks.into_iter().map(network).collect(),
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

fn network(body: NetworkBody) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        network_id: NetworkId::from_text(body.target),
        aliases: body.aliases,
        driver_options: body.driver_options,
    }
}
