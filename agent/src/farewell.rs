//! The last word of a node that leaves the swarm, to whichever manager leads.

use std::time::Duration;

use futures::future::select_ok;
use swarmnet_model::NodeId;
use swarmnet_proto::v1;
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::session::Connect;

/// A leader that is there has written it by then; a cluster without one must not keep a node in.
const BOUND: Duration = Duration::from_secs(2);

/// Where the managers are.
pub(crate) struct Farewell {
    pub(crate) connect: Connect,
    /// `host:port`, from the binary.
    pub(crate) managers: watch::Receiver<Vec<String>>,
    /// As the cluster names them.
    pub(crate) learned: watch::Receiver<Vec<(NodeId, String)>>,
}

impl Farewell {
    /// Tells the managers that this node leaves. Without an answer they miss its heartbeats.
    pub(crate) async fn say(&self) {
        // All at once: only the leader takes it, and one that is away must not use up the time.
        let calls: Vec<_> =
            self.addresses().iter().map(|addr| Box::pin(self.leave(addr))).collect();
        if calls.is_empty() {
            return;
        }
        match timeout(BOUND, select_ok(calls)).await {
            Ok(Ok(_)) => info!("the managers know that this node leaves"),
            Ok(Err(status)) => warn!(%status, "no manager noted that this node leaves"),
            Err(_) => warn!("no manager noted in time that this node leaves"),
        }
    }

    fn addresses(&self) -> Vec<String> {
        let learned = self.learned.borrow().iter().map(|(_, addr)| addr.clone()).collect();
        let mut addresses: Vec<String> = learned;
        addresses.extend(self.managers.borrow().iter().cloned());
        addresses.sort();
        addresses.dedup();
        addresses
    }

    fn leave(&self, addr: &str) -> impl Future<Output = Result<(), tonic::Status>> + use<> {
        let mut client = DispatcherClient::new((self.connect)(addr));
        async move { client.leave(v1::LeaveRequest {}).await.map(drop) }
    }
}
