//! How a reader's orders come into the sessions of nodes: by the leader, which alone has sessions.

use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::{LogOrder, NodeId};
use swarmnet_proto::document;
use swarmnet_proto::transport::TlsContext;
use tokio::time::timeout;
use tonic::Status;

use super::subscription::Ask;
use crate::control::forward;
use crate::dispatcher::run::Request;
use crate::dispatcher::service::Desk;
use crate::raft::{Leader, RaftGroup};

/// The leader answers at once; nodes that do not begin to send are asked again.
const ORDER_DEADLINE: Duration = Duration::from_secs(2);

/// Returns what carries orders to the leader.
pub fn asker(group: Arc<RaftGroup>, desk: Desk, tls: TlsContext) -> Ask {
    Arc::new(move |orders| {
        let (group, desk, tls) = (Arc::clone(&group), desk.clone(), tls.clone());
        Box::pin(async move {
            match timeout(ORDER_DEADLINE, carry(&group, &desk, &tls, orders)).await {
                Ok(Ok(())) => {}
                Ok(Err(status)) => tracing::debug!(%status, "orders of logs not sent"),
                Err(_) => tracing::debug!("orders of logs not sent in time"),
            }
        })
    })
}

async fn carry(
    group: &RaftGroup,
    desk: &Desk,
    tls: &TlsContext,
    orders: Vec<(NodeId, LogOrder)>,
) -> Result<(), Status> {
    let orders = orders.into_iter().map(|(node, order)| (node, document::encode(&order))).collect();
    match group.await_leader(ORDER_DEADLINE).await {
        Leader::Own => desk.ask(Request::Logs { orders }).await,
        Leader::Other(leader) => forward::order_logs(tls, &leader.addr, orders).await,
        Leader::Unknown => Err(Status::unavailable("the swarm does not have a leader")),
    }
}
