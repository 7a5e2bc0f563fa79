//! Keeps the few firewall rules alive that the way out of tasks needs.
//!
//! No rule is in the path of a published port or an overlay packet: `nft flush ruleset` costs tasks
//! their way to the outside until the next look, nothing else. Level-triggered: every
//! [`LOOK_EVERY`], and at once when the wanted rules change.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::netlink::nft_rules::TableSpec;
use crate::netlink::{iptables, nft};

/// Pause between two looks; a look costs two short-lived processes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Asserts the rules until told to stop; `None` wants none and touches nothing.
pub async fn run(mut wanted: watch::Receiver<Option<TableSpec>>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let spec = wanted.borrow_and_update().clone();
        if let Some(spec) = spec {
            failing = assert_rules(&spec, failing).await;
        }
        let changed = tokio::time::timeout(LOOK_EVERY, wanted.changed());
        match stop.run_until_cancelled(changed).await {
            None | Some(Ok(Err(_))) => return,
            Some(Ok(Ok(())) | Err(_)) => {}
        }
    }
}

/// Returns whether it failed; only the first failure of a row is a warning.
async fn assert_rules(spec: &TableSpec, failing: bool) -> bool {
    let table = nft::ensure_table(spec).await;
    let accepts = iptables::ensure_accepts().await;
    if matches!(table, Ok(true)) {
        tracing::info!(action = "table swarmnet written", "firewall");
    }
    if let Ok(added @ 1..) = accepts {
        tracing::info!(added, action = "accepts added to DOCKER-USER", "firewall");
    }
    let error = table.err().or(accepts.err());
    if let Some(error) = error.as_ref().filter(|_| !failing) {
        tracing::warn!(%error, "tasks may not reach the outside: firewall rules not written");
    }
    error.is_some()
}

/// Takes our rules away.
///
/// # Errors
/// The first program that refused.
pub async fn remove() -> Result<(), nft::FirewallError> {
    iptables::remove_accepts().await?;
    nft::remove_table().await
}
