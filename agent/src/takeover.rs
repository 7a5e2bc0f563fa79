//! Once per loaded object: what an earlier version of the daemon has attached gets its programs.

use crate::pass::{Passes, chain};

impl Passes {
    /// After the first pass over a loaded object the maps hold what is known: packets may meet its
    /// programs now.
    pub(crate) async fn take_over(&mut self) {
        let Some(plane) = self.plane.clone().filter(|_| !self.taken_over) else { return };
        let taken = tokio::task::spawn_blocking(move || plane.take_over()).await;
        match taken {
            Ok(Ok(others)) => {
                self.taken_over = true;
                if others {
                    tracing::info!("the programs of an earlier version have been replaced");
                }
            }
            Ok(Err(error)) => {
                let error = chain(&error);
                if self.reported.insert(error.clone()) {
                    tracing::warn!(%error, "replacing the programs of an earlier version");
                }
            }
            Err(error) => tracing::error!(%error, "replacing programs was interrupted"),
        }
    }
}
