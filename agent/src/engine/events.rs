//! Pure: which engine events concern a task, or a plain container.

use bollard::models::{EventMessage, EventMessageTypeEnum};
use swarmnet_model::TaskId;

/// Label that names the task of a container.
pub const TASK_ID_LABEL: &str = "com.docker.swarm.task.id";
/// Label that names the node a task's container was made for.
pub const NODE_ID_LABEL: &str = "com.docker.swarm.node.id";

/// Something happened to a container: look at it again.
///
/// What happened does not matter: whoever is concerned looks at the container, so that a lost or
/// doubled event cannot mislead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// To a task's.
    Task(TaskId),
    /// To another container, or to its place on a network.
    Plain,
}

/// Returns whose container changed its state, or `None` if the event is of no concern.
pub fn engine_event(message: &EventMessage) -> Option<EngineEvent> {
    let action = message.action.as_deref()?;
    if message.typ == Some(EventMessageTypeEnum::NETWORK) {
        return matches!(action, "connect" | "disconnect").then_some(EngineEvent::Plain);
    }
    let concerns = matches!(action, "create" | "start" | "die" | "destroy" | "oom" | "stop")
        || action == "rename"
        || action.starts_with("health_status");
    let attributes = message.actor.as_ref()?.attributes.as_ref().filter(|_| concerns)?;
    let task_id = attributes.get(TASK_ID_LABEL);
    Some(task_id.map_or(EngineEvent::Plain, |id| EngineEvent::Task(TaskId::from_text(id))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(action: &str, label: &str) -> EventMessage {
        serde_json::from_value(serde_json::json!({
            "Type": "container", "Action": action,
            "Actor": {"ID": "c1", "Attributes": {label: "t1", "name": "web.1.t1"}},
            "scope": "local", "time": 1, "timeNano": 1
        }))
        .unwrap()
    }

    #[test]
    fn changes_of_containers_wake_whom_they_concern() {
        let event = EngineEvent::Task(TaskId::from_text("t1"));
        for action in ["die", "start", "health_status: unhealthy", "destroy"] {
            assert_eq!(
                engine_event(&message(action, TASK_ID_LABEL)),
                Some(event.clone()),
                "{action}"
            );
        }
        assert_eq!(engine_event(&message("exec_start: sh", TASK_ID_LABEL)), None);
        assert_eq!(engine_event(&message("die", "other")), Some(EngineEvent::Plain));
        let mut left = message("disconnect", "container");
        assert_eq!(engine_event(&left), None);
        left.typ = Some(EventMessageTypeEnum::NETWORK);
        assert_eq!(engine_event(&left), Some(EngineEvent::Plain));
    }
}
