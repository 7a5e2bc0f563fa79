//! Changes and ids as test texts show them.

use swarmnet_model::{GenericResource, PublishedPort, TaskId};

use crate::store::Change;

/// Generated ids lose their leading zeros.
pub(super) fn short(id: &TaskId) -> String {
    let digits = id.as_str().trim_start_matches('0');
    if digits.len() == id.as_str().len() { digits.to_owned() } else { format!("#{digits}") }
}

/// One line per change.
pub(crate) fn show(changes: &[Change]) -> String {
    changes.iter().map(|change| show_one(change) + "\n").collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no shorter form")]
fn show_one(change: &Change) -> String {
    match change {
        Change::CreateTask(task) => {
            let node = task.node_id.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            let (name, image) = (task.name(), &task.spec.container.image);
            let wish = task.desired_state.as_str();
            format!("create {name} {} {wish} {image}{node}", short(&task.id))
        }
        Change::AllocateTask { id, attachments } => {
            let addresses: Vec<_> =
                attachments.iter().map(|a| format!(" {}={}", a.network_id, a.address)).collect();
            format!("allocate {}{}", short(id), addresses.concat())
        }
        Change::AssignTask { id, node_id, message, generic, ports } => {
            let held = |resource: &GenericResource| match resource {
                GenericResource::Discrete { kind, value } => format!(" {kind}={value}"),
                GenericResource::Named { kind, value } => format!(" {kind}={value}"),
            };
            let given: String = generic.iter().map(held).collect();
            let chosen = |port: &PublishedPort| {
                format!(" {}:{}/{}", port.published_port, port.target_port, port.protocol)
            };
            let ports: String = ports.iter().map(chosen).collect();
            format!("assign {} to {node_id}: {message}{given}{ports}", short(id))
        }
        Change::RejectTask { id } => format!("reject {}", short(id)),
        Change::ExplainTask { id, message, err } => {
            format!("explain {}: {message}: {}", short(id), err.as_deref().unwrap_or("-"))
        }
        Change::SetDesiredState { id, desired } => {
            format!("wish {} {}", short(id), desired.as_str())
        }
        Change::EndTask { id, status } => {
            format!("end {} {}: {}", short(id), status.state.as_str(), status.message)
        }
        Change::RemoveTask { id } => format!("remove task {}", short(id)),
        Change::RemoveNetwork { id } => format!("remove network {id}"),
        Change::RemoveService { id } => format!("remove service {id}"),
        Change::SetServiceEndpoint { id, endpoint, .. } => {
            let vips = endpoint.vips.iter().map(|v| format!(" vip {}={}", v.network_id, v.address));
            let ports = endpoint
                .ports
                .iter()
                .map(|p| format!(" port {}->{}/{}", p.published_port, p.target_port, p.protocol));
            format!("endpoint {id}{}", vips.chain(ports).collect::<String>())
        }
        Change::SetUpdateStatus { id, status, .. } => {
            let text = status.as_ref().map_or_else(
                || "none".to_owned(),
                |s| format!("{}: {}", s.state.as_str(), s.message),
            );
            format!("update {id} {text}")
        }
        Change::UpdateService { service, .. } => {
            let status = service.update_status.as_ref().map_or("-", |s| s.message.as_str());
            format!("service {} image {}: {status}", service.id, service.spec.task.container.image)
        }
        other => format!("{other:?}"),
    }
}

/// The full form of a generated id shown as `#1`; other ids are as they are.
pub(crate) fn long(id: &str) -> TaskId {
    let digits = id.strip_prefix('#');
    TaskId::from_text(digits.map_or_else(|| id.to_owned(), |digits| format!("{digits:0>25}")))
}
