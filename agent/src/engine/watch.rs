//! Watching the engine: is it there, what does it say of itself, what happens to containers.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use swarmnet_model::TaskId;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Engine, EngineError, EngineEvent, EngineFacts};
use crate::backoff::Backoff;

/// The engine's facts are asked for this often, as Docker does.
const REFRESH: Duration = Duration::from_secs(20);
/// First and longest wait for an engine that is away.
const AWAY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Events on their way to the runner; a full queue holds back the engine's stream.
pub const EVENT_QUEUE: usize = 1_024;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    Task(TaskId),
    /// The engine is back, or events were missed: look at everything.
    All,
}

/// Follows the engine until cancelled. `facts` is `None` while the engine does not answer; `plain`
/// counts what concerns containers that are no task's.
pub async fn follow(
    engine: Arc<dyn Engine>,
    facts: watch::Sender<Option<EngineFacts>>,
    wakes: mpsc::Sender<Wake>,
    plain: watch::Sender<u64>,
    stop: CancellationToken,
    seed: u64,
) {
    let mut backoff = Backoff::new(AWAY_WAITS.0, AWAY_WAITS.1, seed);
    let follow = async {
        loop {
            let error = match listen(engine.as_ref(), &facts, &wakes, &plain, &mut backoff).await {
                Ok(()) => EngineError::Away { reason: "its event stream ended".to_owned() },
                Err(error) => error,
            };
            if facts.send_replace(None).is_some() {
                warn!(%error, "the Docker Engine is away");
            }
            sleep(backoff.next_wait()).await;
        }
    };
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}

/// Listens to one event stream until it ends. Events are subscribed to before the first look, so
/// that nothing falls between.
async fn listen(
    engine: &dyn Engine,
    facts: &watch::Sender<Option<EngineFacts>>,
    wakes: &mpsc::Sender<Wake>,
    plain: &watch::Sender<u64>,
    backoff: &mut Backoff,
) -> Result<(), EngineError> {
    let mut events = engine.events().await?;
    let mut refresh = interval(REFRESH);
    let mut first = true;
    loop {
        let wake = tokio::select! {
            event = events.next() => match event {
                Some(EngineEvent::Task(task_id)) => Wake::Task(task_id),
                Some(EngineEvent::Plain) => {
                    plain.send_modify(|count| *count += 1);
                    continue;
                }
                None => return Ok(()),
            },
            _ = refresh.tick() => {
                let known = engine.facts().await?;
                let version = known.version.clone();
                let back = facts.send_replace(Some(known)).is_none();
                if back {
                    backoff.reset();
                    info!(version, "the Docker Engine answers");
                }
                if !std::mem::take(&mut first) {
                    continue;
                }
                plain.send_modify(|count| *count += 1);
                Wake::All
            }
        };
        if wakes.send(wake).await.is_err() {
            return Ok(());
        }
    }
}
