//! Pure: limits, reservations, placement.

use serde_json::{Value, json};
use swarmnet_model::GenericResource;
use swarmnet_model::placement::{Placement, Platform};
use swarmnet_model::resources::Resources;

use crate::error::ApiError;
use crate::json::wire;

wire! {
    ResourcesBody {
        "Limits" => limits: Limits,
        "Reservations" => reservations: Reservations,
        "SwapBytes" => swap_bytes: Option<i64>,
        "MemorySwappiness" => memory_swappiness: Option<i64>,
    }
}

wire! {
    Limits {
        "NanoCPUs" => nano_cpus: i64,
        "MemoryBytes" => memory_bytes: i64,
        "Pids" => pids: i64,
    }
}

wire! {
    Reservations {
        "NanoCPUs" => nano_cpus: i64,
        "MemoryBytes" => memory_bytes: i64,
        "GenericResources" => generic: Vec<GenericBody>,
    }
}

wire! {
    GenericBody {
        "NamedResourceSpec" => named: Option<Named>,
        "DiscreteResourceSpec" => discrete: Option<Discrete>,
    }
}

wire! { Named { "Kind" => kind: String, "Value" => value: String, } }
wire! { Discrete { "Kind" => kind: String, "Value" => value: i64, } }

wire! {
    PlacementBody {
        "Constraints" => constraints: Vec<String>,
        "Preferences" => preferences: Vec<Preference>,
        "MaxReplicas" => max_replicas: u64,
        "Platforms" => platforms: Vec<PlatformBody>,
    }
}

wire! { Preference { "Spread" => spread: Option<Spread>, } }
wire! { Spread { "SpreadDescriptor" => descriptor: String, } }
wire! { PlatformBody { "Architecture" => architecture: String, "OS" => os: String, } }

/// Reads limits and reservations.
///
/// # Errors
/// 400 for a generic resource that is neither counted nor named, or both.
pub(crate) fn resources(body: ResourcesBody) -> Result<Resources, ApiError> {
    let generic = body.reservations.generic.into_iter().enumerate();
    Ok(Resources {
        limit_nano_cpus: body.limits.nano_cpus,
        limit_memory_bytes: body.limits.memory_bytes,
        limit_pids: body.limits.pids,
        reserve_nano_cpus: body.reservations.nano_cpus,
        reserve_memory_bytes: body.reservations.memory_bytes,
        reserve_generic: generic.map(read_generic).collect::<Result<_, _>>()?,
        swap_bytes: body.swap_bytes,
        memory_swappiness: body.memory_swappiness,
    })
}

fn read_generic((at, body): (usize, GenericBody)) -> Result<GenericResource, ApiError> {
    match (body.named, body.discrete) {
        (Some(of), None) => Ok(GenericResource::Named { kind: of.kind, value: of.value }),
        (None, Some(of)) => Ok(GenericResource::Discrete { kind: of.kind, value: of.value }),
        (Some(_), Some(_)) | (None, None) => Err(ApiError::bad_request(format!(
            "invalid GenericResources[{at}]: exactly one of NamedResourceSpec and \
             DiscreteResourceSpec is needed"
        ))),
    }
}

/// Renders what a node has or a task holds.
pub(crate) fn render_generic(all: &[GenericResource]) -> Value {
    all.iter()
        .map(|resource| match resource {
            GenericResource::Named { kind, value } => {
                json!({"NamedResourceSpec": {"Kind": kind, "Value": value}})
            }
            GenericResource::Discrete { kind, value } => {
                json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}})
            }
        })
        .collect()
}

/// Reads placement; the managers check the expressions.
pub(crate) fn placement(body: PlacementBody) -> Placement {
    let platform = |of: PlatformBody| Platform { architecture: of.architecture, os: of.os };
    let spread = body.preferences.into_iter().filter_map(|preference| preference.spread);
    Placement {
        constraints: body.constraints,
        spread: spread.map(|spread| spread.descriptor).collect(),
        max_replicas: body.max_replicas,
        platforms: body.platforms.into_iter().map(platform).collect(),
    }
}
