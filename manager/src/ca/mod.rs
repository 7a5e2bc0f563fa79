//! The cluster's certificate authority: who becomes a node, and under which name.
//!
//! Owns: the root ([`new_root`]), join tokens ([`JoinToken`]), node certificates ([`issue()`]), the
//! gRPC service `Ca`, and the list of removed nodes that the transport refuses. Does not own: TLS
//! itself (`proto::transport`), files on the node (`swarmnet`).
//!
//! ```text
//!   joiner: GetRoot ─► pin by digest ─► Issue(CSR, token) ─► node + certificate (role of the token)
//!   node:   Issue(CSR, no token) ─► certificate for the name it already has
//! ```
//!
//! What stays true: the root's key lives in the store only; a certificate's names are chosen here,
//! never by who asks; a node exists in the store before its certificate is handed out.

mod guesses;
mod issue;
mod service;
#[cfg(test)]
mod service_tests;
mod token;

use swarmnet_proto::transport::TlsContext;
use tokio_util::sync::CancellationToken;

pub use issue::{IssueError, NodeKey, Subject, issue, new_root};
pub use service::{CaService, LEADER_METADATA};
pub use token::{BadToken, JoinToken, role_of};

use crate::store::Store;

/// Keeps the transport's list of refused nodes equal to the cluster's, until `stop`.
pub async fn refuse_removed_nodes(store: Store, tls: TlsContext, stop: CancellationToken) {
    let mut tables = store.watch();
    loop {
        let removed = match &tables.borrow_and_update().cluster {
            Some(cluster) => cluster.removed_nodes.keys().cloned().collect(),
            None => std::collections::BTreeSet::new(),
        };
        tls.set_removed(removed);
        tokio::select! {
            () = stop.cancelled() => return,
            changed = tables.changed() => if changed.is_err() { return },
        }
    }
}
