//! Keeps the names up with the view, beside the loop that writes the kernel: neither waits for the other.
//!
//! A generation is applied when both have it: a name must not lead to a task that is about to stop.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Table;
use crate::plugin::journal::JournalFile;
use crate::reconcile::Told;

/// What the feed listens to, and whom it tells.
#[derive(Debug)]
pub struct Channels {
    pub told: watch::Receiver<Option<Told>>,
    /// Generation that is written to the kernel.
    pub wired: watch::Receiver<u64>,
    /// Generation that is written to the kernel and to the names.
    pub applied: watch::Sender<u64>,
}

/// Runs until told to stop; the names stay as they are.
pub async fn run(
    table: Arc<Table>,
    journal: Arc<JournalFile>,
    mut channels: Channels,
    stop: CancellationToken,
) {
    let mut named = 0;
    channels.told.mark_changed();
    loop {
        let told = tokio::select! {
            () = stop.cancelled() => return,
            changed = channels.told.changed() => changed.is_ok(),
            changed = channels.wired.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
        if told {
            let told = channels.told.borrow_and_update().clone();
            let is_of_view = told.is_some();
            let (generation, view) = told.map(|t| (t.generation, t.view)).unwrap_or_default();
            let (names, journal) = (Arc::clone(&table), Arc::clone(&journal));
            let build = tokio::task::spawn_blocking(move || {
                names.view_changed(&view, || journal.read());
            });
            if build.await.is_err() {
                tracing::error!("building the names was interrupted");
                continue;
            }
            if is_of_view {
                table.mark_fed();
            }
            named = generation;
        }
        let both = named.min(*channels.wired.borrow_and_update());
        channels.applied.send_if_modified(|applied| std::mem::replace(applied, both) != both);
    }
}
