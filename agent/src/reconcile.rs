//! The loop of the data plane: wake, observe, plan, apply, report; and Join and Leave in between.
//!
//! One task owns everything that writes to the kernel, so no two passes see each other's halves. A
//! pass repeats until nothing is left to do: a device made in one round has its index written to
//! the maps in the next. Additions go sandbox → overlay → balancer → ingress, removals the other
//! way round. Nothing is removed before the first complete view.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swarmnet_model::{NodeId, NodeView};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::pass::{Outcome, Passes};
use crate::plugin::wire_up::CallError;

/// A look at the kernel even if nobody asks: finds what others have changed.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// First and longest pause after a pass that failed.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// First and longest pause between two looks for a namespace that the engine is about to make.
const SANDBOX_POLL_MIN: Duration = Duration::from_millis(20);
const SANDBOX_POLL_MAX: Duration = Duration::from_millis(500);

/// What the session has told last.
#[derive(Clone, Debug)]
pub struct Told {
    pub node_id: NodeId,
    pub generation: u64,
    pub view: Arc<NodeView>,
    /// False for a view from disk: it may add, it must not remove.
    pub complete: bool,
}

/// What others ask of the loop.
#[derive(Debug)]
pub enum Command {
    /// Wire an endpoint; answered once its packets would pass.
    Join { endpoint: String, sandbox: PathBuf, reply: oneshot::Sender<Result<(), CallError>> },
    /// Unwire an endpoint; answered once its device is gone.
    Leave { endpoint: String, reply: oneshot::Sender<()> },
    /// Say what a pass would do now; nothing outside a swarm.
    Pending { reply: oneshot::Sender<Result<Vec<String>, String>> },
    /// Take everything down; answered with what could not be removed.
    RemoveAll { reply: oneshot::Sender<Result<(), String>> },
}

/// The channels of the loop.
#[derive(Debug)]
pub struct Channels {
    pub told: watch::Receiver<Option<Told>>,
    pub commands: mpsc::Receiver<Command>,
}

/// Runs until told to stop; the kernel's state stays as it is.
pub async fn run(mut passes: Passes, mut channels: Channels, stop: CancellationToken) {
    let mut retry = RETRY_MIN;
    let mut pause = Duration::ZERO;
    let mut last_pass = Instant::now();
    loop {
        let woken = tokio::select! {
            () = stop.cancelled() => return,
            command = channels.commands.recv() => Woken::Command(command),
            changed = channels.told.changed() => Woken::Told(changed.is_ok()),
            () = tokio::time::sleep(pause) => Woken::Timer,
        };
        let mut told = channels.told.borrow_and_update().clone();
        let follows = matches!(woken, Woken::Told(_));
        match woken {
            Woken::Command(None) | Woken::Told(false) => return,
            Woken::Command(Some(command)) => {
                handle(&mut passes, &mut told, command).await;
            }
            Woken::Timer if passes.awaits_sandboxes() && last_pass.elapsed() < LOOK_EVERY => {
                pause = (pause * 5 / 4).min(SANDBOX_POLL_MAX);
                continue;
            }
            Woken::Told(true) | Woken::Timer => {}
        }
        let Some(mut told) = told else {
            pause = LOOK_EVERY;
            continue;
        };
        let outcome =
            if follows { passes.follow(&mut told).await } else { passes.pass(&mut told).await };
        last_pass = Instant::now();
        pause = next_pause(&outcome, &mut retry);
    }
}

enum Woken {
    Command(Option<Command>),
    Told(bool),
    Timer,
}

async fn handle(passes: &mut Passes, told: &mut Option<Told>, command: Command) {
    // A caller that has given up does not wait for the answer; the work is done all the same.
    match command {
        Command::Join { endpoint, sandbox, reply } => {
            let _ = reply.send(passes.join(told, &endpoint, sandbox).await);
        }
        Command::Leave { endpoint, reply } => {
            passes.leave(told, &endpoint).await;
            let _ = reply.send(());
        }
        Command::Pending { reply } => {
            let pending = match told {
                Some(told) => passes.pending(told).await,
                None => Ok(Vec::new()),
            };
            let _ = reply.send(pending);
        }
        Command::RemoveAll { reply } => {
            let _ = reply.send(passes.remove_all().await);
        }
    }
}

fn next_pause(outcome: &Outcome, retry: &mut Duration) -> Duration {
    if outcome.failed.is_some() {
        let pause = *retry;
        *retry = (*retry * 2).min(RETRY_MAX);
        return pause;
    }
    *retry = RETRY_MIN;
    if outcome.waits_for_sandbox { SANDBOX_POLL_MIN } else { LOOK_EVERY }
}
