//! Where the managers are, and how whichever of them leads is asked something outside a session.

use std::time::Duration;

use futures::future::select_ok;
use swarmnet_model::NodeId;
use swarmnet_proto::v1::dispatcher_client::DispatcherClient;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use crate::session::Connect;

/// The managers this node knows.
pub(crate) struct Managers {
    pub(crate) connect: Connect,
    /// `host:port`, from the binary.
    pub(crate) known: watch::Receiver<Vec<String>>,
    /// As the cluster names them.
    pub(crate) learned: watch::Receiver<Vec<(NodeId, String)>>,
}

impl Managers {
    /// Asks all at once: only the leader carries it out, and one that is away must not use up the
    /// time.
    ///
    /// # Errors
    /// Nobody did in time: the last refusal, `Unavailable` or `DeadlineExceeded`.
    pub(crate) async fn ask<T, F>(
        &self,
        within: Duration,
        call: impl Fn(DispatcherClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let ask = |addr: &String| Box::pin(call(DispatcherClient::new((self.connect)(addr))));
        let calls: Vec<_> = self.addresses().iter().map(ask).collect();
        if calls.is_empty() {
            return Err(Status::unavailable("no manager is known"));
        }
        match timeout(within, select_ok(calls)).await {
            Ok(answered) => answered.map(|(answer, _)| answer),
            Err(_) => Err(Status::deadline_exceeded("no manager answered in time")),
        }
    }

    fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<String> =
            self.learned.borrow().iter().map(|(_, addr)| addr.clone()).collect();
        addresses.extend(self.known.borrow().iter().cloned());
        addresses.sort();
        addresses.dedup();
        addresses
    }
}
