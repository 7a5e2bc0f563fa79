//! Pure: one step of one task: what is wished, what the engine shows → status and next action.
//!
//! ```text
//!   accepted → preparing → ready → starting → running → complete | failed
//!        └───────┴──────────┴─► rejected          └─► shutdown (see `stop`)
//! ```
//!
//! A step looks at the engine's present answer only, so a restart of the daemon changes nothing: a
//! running container is adopted, an ended one ends its task.

use std::net::Ipv4Addr;
use std::time::Duration;

use swarmnet_model::limits::TASK_ERROR_LENGTH_MAX;
use swarmnet_model::view::AssignedTask;
use swarmnet_model::{
    ContainerStatus, DesiredState, PublishedPort, TaskState, TaskStatus, Timestamp,
};

use super::stop;
use crate::engine::{ContainerFacts, ContainerState, Health};

/// Exit code that stands for "gone without telling": what a killed process shows.
const KILLED: i64 = 137;

/// What the managers want of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Get it ready, do not start it.
    Prepare,
    Run,
    /// `withdrawn`: no node sends it new flows.
    Stop {
        withdrawn: bool,
    },
    /// It is no longer assigned: stop and remove it.
    Vanish,
}

impl Wish {
    /// Returns the wish that an assignment, or its absence, expresses.
    pub(super) fn of(assigned: Option<&AssignedTask>) -> Self {
        let Some(assigned) = assigned else { return Self::Vanish };
        match assigned.task.desired_state {
            DesiredState::Ready => Self::Prepare,
            DesiredState::Running | DesiredState::Complete => Self::Run,
            DesiredState::Shutdown | DesiredState::Remove => {
                Self::Stop { withdrawn: assigned.withdrawn }
            }
        }
    }

    /// True if nothing of the task should run.
    pub(super) fn is_end(self) -> bool {
        match self {
            Self::Prepare | Self::Run => false,
            Self::Stop { .. } | Self::Vanish => true,
        }
    }
}

/// What preparing a task brought forth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) gateway: Option<Ipv4Addr>,
}

/// Everything one step looks at.
#[derive(Clone, Debug)]
pub(super) struct Situation<'a> {
    pub(super) wish: Wish,
    pub(super) status: &'a TaskStatus,
    /// `None`: the engine has no container of the task.
    pub(super) container: Option<&'a ContainerFacts>,
    /// `None` until this process has prepared the task.
    pub(super) prepared: Option<&'a Prepared>,
    /// Served by this node for the task while it runs.
    pub(super) host_ports: &'a [PublishedPort],
    /// The container was stopped because its health check failed.
    pub(super) unhealthy: bool,
    /// The data plane has been told that the task is over.
    pub(super) released: bool,
    /// Since the end was wished.
    pub(super) waited: Duration,
    pub(super) now: Timestamp,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, until something changes.
    Rest,
    /// Step again: only the status has changed.
    Again,
    /// Make networks and container, fetch the image.
    Prepare,
    Start {
        container: String,
    },
    /// Stop it although it should run: its health check failed.
    StopUnhealthy {
        container: String,
    },
    /// Step again after this long, or when the withdrawal is known everywhere.
    AwaitWithdrawal {
        at_most: Duration,
    },
    /// Stop signal, grace period, kill.
    Stop {
        container: String,
    },
    /// Tell the data plane that the task's addresses are free.
    Release,
    Remove {
        container: String,
    },
    /// Nothing of the task is left.
    Forget,
}

/// Result of one step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// `None`: as it was.
    pub(super) status: Option<TaskStatus>,
    pub(super) action: Action,
}

impl Step {
    pub(super) fn only(action: Action) -> Self {
        Self { status: None, action }
    }

    pub(super) fn to(status: TaskStatus) -> Self {
        Self { status: Some(status), action: Action::Again }
    }
}

/// Decides the next step of a task.
pub(super) fn step(situation: &Situation<'_>) -> Step {
    match situation.wish {
        Wish::Vanish => Step::only(stop::vanish(situation)),
        Wish::Stop { .. } if !situation.status.state.is_terminal() => stop::stop(situation),
        Wish::Prepare | Wish::Run | Wish::Stop { .. } => run(situation),
    }
}

fn run(situation: &Situation<'_>) -> Step {
    let next = |state, message| Step::to(advance(situation, state, message));
    match situation.status.state {
        TaskState::New | TaskState::Pending | TaskState::Assigned => {
            next(TaskState::Accepted, "accepted")
        }
        TaskState::Accepted => next(TaskState::Preparing, "preparing"),
        TaskState::Preparing => preparing(situation),
        TaskState::Ready => ready(situation),
        TaskState::Starting => starting(situation),
        TaskState::Running => running(situation),
        TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => Step::only(ended(situation)),
    }
}

/// Preparing is repeated by every process: it is idempotent, and it tells the gateway address.
fn preparing(situation: &Situation<'_>) -> Step {
    let Some(prepared) = situation.prepared else { return Step::only(Action::Prepare) };
    let mut status = advance(situation, TaskState::Ready, "prepared");
    status.gateway = prepared.gateway;
    Step::to(status)
}

fn ready(situation: &Situation<'_>) -> Step {
    match (situation.container.map(|container| &container.state), situation.wish) {
        (None | Some(ContainerState::Dead), _) => Step::to(failed(situation, KILLED, "")),
        (Some(ContainerState::Created), Wish::Prepare) => Step::only(Action::Rest),
        (Some(_), _) => Step::to(advance(situation, TaskState::Starting, "starting")),
    }
}

fn starting(situation: &Situation<'_>) -> Step {
    let Some(container) = situation.container else {
        return Step::to(failed(situation, KILLED, ""));
    };
    match &container.state {
        ContainerState::Created => Step::only(Action::Start { container: container.id.clone() }),
        ContainerState::Running { health: Health::Starting, .. } => Step::only(Action::Rest),
        ContainerState::Running { health: Health::Unhealthy, .. } => stop_unhealthy(container),
        ContainerState::Running { health: Health::Unchecked | Health::Healthy, pid } => {
            let mut status = advance(situation, TaskState::Running, "started");
            // They were taken when the container was wired, or it would not have started.
            status.ports = situation.host_ports.to_vec();
            status.container = Some(ContainerStatus {
                container_id: container.id.clone(),
                pid: *pid,
                exit_code: 0,
            });
            Step::to(status)
        }
        ContainerState::Exited { .. } | ContainerState::Dead => exited(situation, container),
    }
}

fn running(situation: &Situation<'_>) -> Step {
    let Some(container) = situation.container else {
        return Step::to(failed(situation, KILLED, ""));
    };
    match &container.state {
        ContainerState::Running { health: Health::Unhealthy, .. } => stop_unhealthy(container),
        ContainerState::Running { .. } => Step::only(Action::Rest),
        ContainerState::Created | ContainerState::Exited { .. } | ContainerState::Dead => {
            exited(situation, container)
        }
    }
}

fn stop_unhealthy(container: &ContainerFacts) -> Step {
    Step::only(Action::StopUnhealthy { container: container.id.clone() })
}

/// The container ended by itself, or because it was unhealthy.
fn exited(situation: &Situation<'_>, container: &ContainerFacts) -> Step {
    let ContainerState::Exited { code, error, health } = &container.state else {
        return Step::to(failed(situation, KILLED, ""));
    };
    let status = if situation.unhealthy || *health == Health::Unhealthy {
        // A clean exit after the stop signal would read like success.
        let code = if *code == 0 { KILLED } else { *code };
        failed(situation, code, "dockerexec: unhealthy container")
    } else if *code == 0 && error.is_empty() {
        let mut status = advance(situation, TaskState::Complete, "finished");
        status.container = container_status(situation, Some(container));
        status
    } else {
        failed(situation, *code, error)
    };
    Step::to(status)
}

/// A task that is over: nothing of it may run, its addresses are given back, its container stays.
fn ended(situation: &Situation<'_>) -> Action {
    match situation.container {
        Some(container) if is_running(container) => {
            Action::Stop { container: container.id.clone() }
        }
        _ if situation.released => Action::Rest,
        _ => Action::Release,
    }
}

pub(super) fn is_running(container: &ContainerFacts) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// Returns the status one state further, without an error.
pub(super) fn advance(situation: &Situation<'_>, state: TaskState, message: &str) -> TaskStatus {
    let over = state.is_terminal();
    TaskStatus {
        timestamp: situation.now,
        state,
        message: message.to_owned(),
        err: None,
        container: container_status(situation, situation.container),
        gateway: situation.status.gateway.filter(|_| !over),
        ports: if over { Vec::new() } else { situation.status.ports.clone() },
    }
}

/// The message stays that of the state the task failed in, as Docker has it.
fn failed(situation: &Situation<'_>, code: i64, cause: &str) -> TaskStatus {
    let text = match cause {
        "" => format!("task: non-zero exit ({code})"),
        cause => format!("task: non-zero exit ({code}): {cause}"),
    };
    let mut status = advance(situation, TaskState::Failed, &situation.status.message);
    status.err = Some(clipped(&text));
    if let Some(container) = &mut status.container {
        container.exit_code = code;
    }
    status
}

/// Returns the status of a task whose preparation or start can never succeed.
pub(super) fn refused(status: &TaskStatus, now: Timestamp, text: &str) -> TaskStatus {
    let (state, err) = if status.state < TaskState::Starting {
        (TaskState::Rejected, text.to_owned())
    } else {
        (TaskState::Failed, format!("starting container failed: {text}"))
    };
    TaskStatus {
        timestamp: now,
        state,
        err: Some(clipped(&err)),
        gateway: None,
        ports: Vec::new(),
        ..status.clone()
    }
}

/// Returns the status with what keeps the task from running, or `None` if there is nothing to say.
///
/// A running task is not kept from anything by an engine that is away for a moment.
pub(super) fn hindered(status: &TaskStatus, now: Timestamp, text: &str) -> Option<TaskStatus> {
    let err = Some(clipped(text));
    if status.state >= TaskState::Running || status.err == err {
        return None;
    }
    let hindered = TaskStatus { err, ..status.clone() };
    // What an agent reports begins with having accepted the task.
    Some(if status.state < TaskState::Accepted {
        let message = "accepted".to_owned();
        TaskStatus { state: TaskState::Accepted, message, timestamp: now, ..hindered }
    } else {
        hindered
    })
}

fn container_status(
    situation: &Situation<'_>,
    container: Option<&ContainerFacts>,
) -> Option<ContainerStatus> {
    let known = situation.status.container.clone();
    let Some(container) = container else { return known };
    let (pid, exit_code) = match &container.state {
        ContainerState::Running { pid, .. } => (*pid, 0),
        ContainerState::Exited { code, .. } => (0, *code),
        ContainerState::Created | ContainerState::Dead => (0, 0),
    };
    Some(ContainerStatus { container_id: container.id.clone(), pid, exit_code })
}

/// Engines can answer with pages.
fn clipped(text: &str) -> String {
    text.trim().chars().take(TASK_ERROR_LENGTH_MAX).collect()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
