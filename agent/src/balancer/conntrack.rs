//! Ageing of BPF flows: how often the table is swept, and the sweep itself.

use std::time::Duration;

use swarmnet_ebpf::conntrack::{Collected, collect, now_s};
use swarmnet_ebpf::map::Maps;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Shortest and longest pause between two sweeps.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Returns the next pause: longer while few entries expire, short again when many do.
pub fn next_pause(pause: Duration, swept: Collected) -> Duration {
    let few = swept.removed * 20 < swept.entries.max(1);
    if few { (pause * 3 / 2).min(PAUSE_MAX) } else { PAUSE_MIN }
}

/// Sweeps until told to stop; a failed sweep is tried again at the shortest pause. `loaded` are the
/// maps in use: none outside a swarm.
pub async fn run(loaded: watch::Receiver<Option<Maps>>, stop: CancellationToken) {
    let mut pause = PAUSE_MIN;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        let Some(maps) = loaded.borrow().clone() else { continue };
        let sweep = tokio::task::spawn_blocking(move || collect(&maps, now_s())).await;
        pause = match sweep {
            Ok(Ok(swept)) => {
                tracing::debug!(entries = swept.entries, removed = swept.removed, "flows swept");
                next_pause(pause, swept)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "sweeping the flow table failed");
                PAUSE_MIN
            }
            Err(_) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_table_is_swept_less_often_and_a_busy_one_at_once() {
        let quiet = Collected { entries: 1_000, removed: 3 };
        assert_eq!(next_pause(PAUSE_MIN, quiet), Duration::from_secs(15));
        assert_eq!(next_pause(PAUSE_MAX, quiet), PAUSE_MAX);
        assert_eq!(next_pause(PAUSE_MAX, Collected { entries: 100, removed: 50 }), PAUSE_MIN);
    }
}
