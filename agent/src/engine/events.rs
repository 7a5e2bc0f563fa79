//! Pure: which engine events concern a task.

use bollard::models::EventMessage;
use swarmnet_model::TaskId;

/// Label that names the task of a container.
pub const TASK_ID_LABEL: &str = "com.docker.swarm.task.id";
/// Label that names the node a task's container was made for.
pub const NODE_ID_LABEL: &str = "com.docker.swarm.node.id";

/// Something happened to a task's container: look at it again.
///
/// What happened does not matter: the runner looks at the container, so that a lost or doubled event
/// cannot mislead it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    pub task_id: TaskId,
}

/// Returns the task whose container changed its state, or `None` if the event is of no concern.
pub fn task_event(message: &EventMessage) -> Option<EngineEvent> {
    let action = message.action.as_deref()?;
    let concerns = matches!(action, "create" | "start" | "die" | "destroy" | "oom" | "stop")
        || action.starts_with("health_status");
    let attributes = message.actor.as_ref()?.attributes.as_ref()?;
    let task_id = attributes.get(TASK_ID_LABEL).filter(|_| concerns)?;
    Some(EngineEvent { task_id: TaskId::from_text(task_id) })
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
    fn only_changes_of_task_containers_wake_a_task() {
        let event = EngineEvent { task_id: TaskId::from_text("t1") };
        for action in ["die", "start", "health_status: unhealthy", "destroy"] {
            assert_eq!(
                task_event(&message(action, TASK_ID_LABEL)),
                Some(event.clone()),
                "{action}"
            );
        }
        assert_eq!(task_event(&message("exec_start: sh", TASK_ID_LABEL)), None);
        assert_eq!(task_event(&message("die", "other")), None);
    }
}
