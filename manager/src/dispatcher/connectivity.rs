//! The connectivity test on the leader: asks every node with a session, waits, hands out the result.
//!
//! Agents dial managers and never the other way round, so the question travels in the session's
//! stream and the findings come back as a call. One test at a time; nothing of it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use swarmnet_model::connectivity::ProbeOrder;
use swarmnet_model::limits::{CONNECTIVITY_BOUND, CONNECTIVITY_NODES_MAX, TASK_ERROR_LENGTH_MAX};
use swarmnet_model::{CallError, Code, Connectivity, Findings, IdSource, NodeId};
use swarmnet_proto::document;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::assess::{Asked, assess};
use super::run::Request;
use super::service::Desk;
use crate::store::Store;

/// Where findings of the test that goes on are delivered.
#[derive(Clone, Default)]
pub struct Current(Arc<Mutex<Option<Running>>>);

struct Running {
    test: u64,
    findings: mpsc::Sender<(NodeId, Findings)>,
}

impl Current {
    /// Begins a test; `None` while another one goes on.
    fn begin(&self, test: u64) -> Option<(Ended, mpsc::Receiver<(NodeId, Findings)>)> {
        let mut current = self.lock();
        if current.is_some() {
            return None;
        }
        // One answer of each node; what a node says twice has no room and is not needed.
        let (findings, receiver) = mpsc::channel(CONNECTIVITY_NODES_MAX);
        *current = Some(Running { test, findings });
        Some((Ended(self.clone()), receiver))
    }

    /// Takes what a node has found; nothing happens if nobody waits for it.
    pub(super) fn take(&self, node: NodeId, mut findings: Findings) {
        findings.paths.truncate(CONNECTIVITY_NODES_MAX);
        let texts = findings.paths.iter_mut().filter_map(|path| path.refused.as_mut());
        for text in texts.chain(findings.problem.as_mut()) {
            *text = text.chars().take(TASK_ERROR_LENGTH_MAX).collect();
        }
        if let Some(running) = self.lock().as_ref()
            && running.test == findings.test
            && let Err(error) = running.findings.try_send((node, findings))
        {
            tracing::debug!(%error, "findings of a connectivity test ignored");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        // No operation on it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the test when its caller has the result, or has given up.
struct Ended(Current);

impl Drop for Ended {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// Has all nodes test the tunnel to each other; only the leader can.
///
/// # Errors
/// A test goes on already; the cluster is too large; this manager does not lead.
pub async fn test(
    desk: &Desk,
    store: &Store,
    ids: &mut (dyn IdSource + Send),
) -> Result<Connectivity, CallError> {
    let tables = store.snapshot();
    if tables.nodes.len() > CONNECTIVITY_NODES_MAX {
        let text = format!("the connectivity test is for up to {CONNECTIVITY_NODES_MAX} nodes");
        return Err(CallError::manager(Code::FailedPrecondition, text));
    }
    // The lower half of the random number: no test has the number of an earlier one.
    let test = (ids.bits() & u128::from(u64::MAX)).try_into().unwrap_or(u64::MAX);
    let busy = || CallError::manager(Code::FailedPrecondition, "a connectivity test goes on");
    let (_ended, mut findings) = desk.test.begin(test).ok_or_else(busy)?;
    let order = document::encode(&ProbeOrder { test });
    let (reply, told) = oneshot::channel();
    let not_leading = |_| CallError::no_leader();
    desk.ask(Request::Probe { order, reply }).await.map_err(|_| CallError::no_leader())?;
    let told = told.await.map_err(not_leading)?;
    let mut found = BTreeMap::new();
    // What has come by then is the result.
    let _ = timeout(CONNECTIVITY_BOUND, collect(&mut findings, &told, &mut found)).await;
    Ok(assess(&Asked { tables: &tables, told: &told }, &found))
}

async fn collect(
    findings: &mut mpsc::Receiver<(NodeId, Findings)>,
    told: &BTreeSet<NodeId>,
    found: &mut BTreeMap<NodeId, Findings>,
) {
    while !told.iter().all(|node| found.contains_key(node)) {
        let Some((node, findings)) = findings.recv().await else { return };
        found.insert(node, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(test: u64) -> Findings {
        Findings { test, ..Findings::default() }
    }

    #[test]
    fn one_test_at_a_time_takes_findings_of_its_own_nodes() {
        let current = Current::default();
        let node = NodeId::from_text("n1");
        current.take(node.clone(), findings(0));
        let (ended, mut received) = current.begin(1).unwrap();
        assert!(current.begin(2).is_none());
        current.take(node.clone(), findings(0));
        assert!(received.try_recv().is_err(), "an earlier test's findings");
        current.take(node.clone(), findings(1));
        assert_eq!(received.try_recv().unwrap(), (node.clone(), findings(1)));
        drop(ended);
        assert!(current.begin(2).is_some());
    }

    #[tokio::test]
    async fn the_wait_ends_when_every_node_that_was_asked_has_answered() {
        let current = Current::default();
        let (_ended, mut received) = current.begin(1).unwrap();
        let told: BTreeSet<_> = ["n1", "n2"].map(NodeId::from_text).into();
        for node in ["n2", "n3", "n1"] {
            current.take(NodeId::from_text(node), findings(1));
        }
        let mut found = BTreeMap::new();
        collect(&mut received, &told, &mut found).await;
        assert_eq!(found.len(), 3);
    }
}
