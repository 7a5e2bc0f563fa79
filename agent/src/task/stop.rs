//! Pure: ending a task: withdrawn everywhere first, then the stop signal.

use std::time::Duration;

use swarmnet_model::TaskState;
use swarmnet_model::limits::WITHDRAW_LOCAL_BOUND;

use super::step::{Action, Situation, Step, Wish, advance, is_running};

/// One step of a task that should end but stay visible as history.
pub(super) fn stop(situation: &Situation<'_>) -> Step {
    match stop_running(situation) {
        Some(action) => Step::only(action),
        None => Step::to(advance(situation, TaskState::Shutdown, "shutdown")),
    }
}

/// One step of a task that is no longer assigned: its container goes too.
pub(super) fn vanish(situation: &Situation<'_>) -> Action {
    if let Some(action) = stop_running(situation) {
        return action;
    }
    match situation.container {
        Some(container) => Action::Remove { container: container.id.clone() },
        None if situation.released => Action::Forget,
        None => Action::Release,
    }
}

/// Returns how to bring a running container down, or `None` if none runs.
fn stop_running(situation: &Situation<'_>) -> Option<Action> {
    let container = situation.container.filter(|container| is_running(container))?;
    Some(match withdrawal_left(situation) {
        Some(at_most) => Action::AwaitWithdrawal { at_most },
        None => Action::Stop { container: container.id.clone() },
    })
}

/// Returns how long to wait for the withdrawal, or `None` if the signal may go.
///
/// Only a task that reported `Running` can be a backend. A manager that is away cannot tell that the
/// withdrawal is known everywhere, so the wait is bounded.
fn withdrawal_left(situation: &Situation<'_>) -> Option<Duration> {
    let withdrawn = match situation.wish {
        Wish::Stop { withdrawn } => withdrawn,
        Wish::Prepare | Wish::Run | Wish::Vanish => false,
    };
    let left = WITHDRAW_LOCAL_BOUND.checked_sub(situation.waited).filter(|left| !left.is_zero());
    left.filter(|_| situation.status.state == TaskState::Running && !withdrawn)
}
