//! The last word of a node that leaves the swarm, to whichever manager leads.

use std::time::Duration;

use swarmnet_proto::v1;
use tracing::{info, warn};

use crate::managers::Managers;

/// A leader that is there has written it by then; a cluster without one must not keep a node in.
const BOUND: Duration = Duration::from_secs(2);

/// Tells the managers that this node leaves. Without an answer they miss its heartbeats.
pub(crate) async fn say(managers: &Managers) {
    let leave = |mut client: crate::session::Client| async move {
        client.leave(v1::LeaveRequest {}).await.map(drop)
    };
    match managers.ask(BOUND, leave).await {
        Ok(()) => info!("the managers know that this node leaves"),
        Err(status) => warn!(%status, "no manager noted that this node leaves"),
    }
}
