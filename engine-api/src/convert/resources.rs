//! Pure: limits, reservations, placement.

use serde_json::Value;
use swarmnet_model::placement::{Placement, Platform};
use swarmnet_model::resources::Resources;

use crate::error::ApiError;
use crate::json::wire;

wire! {
    ResourcesBody {
        "Limits" => limits: Limits,
        "Reservations" => reservations: Reservations,
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
        "GenericResources" => generic: Vec<Value>,
    }
}

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
/// 501 for generic resources.
pub(crate) fn resources(body: ResourcesBody) -> Result<Resources, ApiError> {
    if !body.reservations.generic.is_empty() {
        return Err(ApiError::unsupported("generic resources are"));
    }
    Ok(Resources {
        limit_nano_cpus: body.limits.nano_cpus,
        limit_memory_bytes: body.limits.memory_bytes,
        limit_pids: body.limits.pids,
        reserve_nano_cpus: body.reservations.nano_cpus,
        reserve_memory_bytes: body.reservations.memory_bytes,
    })
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
