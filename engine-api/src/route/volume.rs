//! Volumes are the engine's; cluster volumes, which an older engine would silently make local, are
//! refused.

use crate::app::Exchange;
use crate::error::ApiError;
use crate::passthrough::forward_read;
use crate::reply::Answer;
use crate::{body, json};

json::wire! {
    VolumeCreate { "ClusterVolumeSpec" => cluster: Option<serde_json::Value>, }
}

pub(crate) async fn create(mut x: Exchange) -> Answer {
    let bytes = body::read(&mut x.request).await?;
    // A body that is no JSON is the engine's to refuse.
    let wanted = json::read::<VolumeCreate>(&bytes)
        .and_then(|document| json::typed::<VolumeCreate>(&document.value))
        .unwrap_or_default();
    match wanted.cluster {
        Some(_) => Err(ApiError::unsupported("cluster volumes are")),
        None => forward_read(x, bytes).await,
    }
}

pub(crate) fn update() -> Answer {
    Err(ApiError::unavailable(
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}
