//! Takes the managers' orders and has them carried out, each by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use swarmnet_model::limits::LOG_STREAMS_PER_NODE_MAX;
use swarmnet_model::{Clock, LogOrder, NodeId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::publish::publish;
use crate::engine::Engine;
use crate::report::Reporter;
use crate::session::Connect;
use crate::task::runner::Told;

/// Orders that wait to be taken up; a manager asks again for what was lost.
pub(crate) const ORDERS_QUEUED_MAX: usize = 64;

/// What sending logs needs of its agent.
pub(crate) struct LogParts {
    pub(crate) connect: Connect,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) told: watch::Receiver<Told>,
    pub(crate) reporter: Arc<Reporter>,
    /// Managers as the cluster names them.
    pub(crate) managers: watch::Receiver<Vec<(NodeId, String)>>,
}

/// Runs until cancelled; what is being sent ends then.
pub(crate) async fn run(
    parts: LogParts,
    mut orders: mpsc::Receiver<LogOrder>,
    stop: CancellationToken,
) {
    let parts = Arc::new(parts);
    let mut under_way = BTreeSet::new();
    let mut sending = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = sending.join_next() => match ended {
                Ok(subscription) => drop(under_way.remove::<String>(&subscription)),
                Err(error) => {
                    tracing::error!(%error, "sending logs has failed");
                    under_way.clear();
                }
            },
            Some(order) = orders.recv() => {
                if under_way.len() >= LOG_STREAMS_PER_NODE_MAX {
                    warn!(bound = LOG_STREAMS_PER_NODE_MAX, "too many readers of logs");
                    continue;
                }
                if under_way.insert(order.subscription.clone()) {
                    sending.spawn(carry_out(Arc::clone(&parts), order));
                }
            }
        }
    }
}

/// Carries out one order; returns whose it was.
async fn carry_out(parts: Arc<LogParts>, order: LogOrder) -> String {
    let subscription = order.subscription.clone();
    let addr = {
        let managers = parts.managers.borrow();
        managers.iter().find(|(id, _)| *id == order.manager).map(|(_, addr)| addr.clone())
    };
    let Some(addr) = addr else {
        debug!(manager = %order.manager, "logs are wanted by an unknown manager");
        return subscription;
    };
    if let Err(status) = publish(&parts, &addr, order).await {
        debug!(manager = addr, %status, "logs not sent to their end");
    }
    subscription
}
