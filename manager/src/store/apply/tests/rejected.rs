//! Tasks that may not stay on their node.

use swarmnet_model::{DesiredState, NodeId, Tables, TaskId, TaskState};

use super::{running, status, step};
use crate::store::Change;

#[test]
fn a_rejected_task_stops_like_any_other_and_keeps_the_reason() {
    let (t, n) = (TaskId::from_text("t1"), NodeId::from_text("n1"));
    let report =
        |state| Change::ReportTask { id: t.clone(), node_id: n.clone(), status: status(state) };
    let told = |tables: &Tables| {
        let task = &tables.tasks[&t];
        (task.desired_state, task.status.state, task.status.err.clone().unwrap_or_default())
    };
    let reason = "assigned node no longer meets constraints".to_owned();
    let rejected = step(&running(), 8, vec![Change::RejectTask { id: t.clone() }]).unwrap();
    assert_eq!(told(&rejected), (DesiredState::Shutdown, TaskState::Running, reason.clone()));
    let late = step(&rejected, 9, vec![report(TaskState::Running)]).unwrap();
    assert_eq!(told(&late), told(&rejected));
    let ended = step(&late, 10, vec![report(TaskState::Shutdown)]).unwrap();
    assert_eq!(told(&ended), (DesiredState::Shutdown, TaskState::Rejected, reason));
    assert_eq!(ended.tasks[&t].status.message, "task rejected by constraint enforcer");
    let again = step(&ended, 11, vec![Change::RejectTask { id: t.clone() }]).unwrap();
    assert_eq!(again.tasks, ended.tasks);
}
