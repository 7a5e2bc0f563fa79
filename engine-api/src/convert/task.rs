//! Pure: tasks.

use serde_json::{Value, json};
use swarmnet_model::{
    AttachedContainer, Attachment, DesiredState, Tables, Task, TaskState, TaskStatus,
};

use crate::convert::endpoint;
use crate::convert::network::attached_network;
use crate::convert::predefined::attached;
use crate::convert::resources::render_generic;
use crate::convert::service::iteration;
use crate::convert::service_document::task_view;

/// Renders a task.
pub(crate) fn task(task: &Task, tables: &Tables) -> Value {
    let mut value = json!({
        "ID": task.id,
        "Version": {"Index": task.version.0},
        "CreatedAt": task.created_at.to_string(),
        "UpdatedAt": task.updated_at.to_string(),
        "Labels": {},
        "Spec": spec(task),
        "ServiceID": task.service_id,
    });
    if task.slot != 0 {
        value["Slot"] = json!(task.slot);
    }
    if let Some(node) = &task.node_id {
        value["NodeID"] = json!(node);
    }
    value["Status"] = status(&task.status);
    value["DesiredState"] = json!(task.desired_state.as_str());
    if let Some(index) = task.job_iteration {
        value["JobIteration"] = iteration(index);
    }
    let predefined = task.spec.predefined.into_iter().map(|of| json!({"Network": attached(of)}));
    let attachments = task.attachments.iter().map(|of| attachment(of, tables));
    let attachments: Vec<Value> = predefined.chain(attachments).collect();
    if !attachments.is_empty() {
        value["NetworksAttachments"] = json!(attachments);
    }
    if !task.assigned_generic.is_empty() {
        value["GenericResources"] = render_generic(&task.assigned_generic);
    }
    value
}

/// Renders a plain container on swarm networks; Docker has such a task for each of its networks.
pub(crate) fn plain_container(container: &AttachedContainer, tables: &Tables) -> Value {
    let networks = container.attachments.iter().map(|of| match of.aliases.as_slice() {
        [] => json!({"Target": of.network_id}),
        aliases => json!({"Target": of.network_id, "Aliases": aliases}),
    });
    let attachments = container.attachments.iter().map(|of| attachment(of, tables));
    let (state, message) = match container.running {
        true => (TaskState::Running, "started"),
        false => (TaskState::Ready, "prepared"),
    };
    json!({
        "ID": container.id,
        "Version": {"Index": container.version.0},
        "CreatedAt": container.created_at.to_string(),
        "UpdatedAt": container.updated_at.to_string(),
        "Labels": {},
        "Spec": {
            "NetworkAttachmentSpec": {"ContainerID": container.container_id},
            "Networks": networks.collect::<Vec<_>>(),
            "ForceUpdate": 0,
            "Runtime": "attachment",
        },
        "NodeID": container.node_id,
        "Status": status(&TaskStatus::new(container.updated_at, state, message)),
        "DesiredState": DesiredState::Running.as_str(),
        "NetworksAttachments": attachments.collect::<Vec<_>>(),
    })
}

fn spec(task: &Task) -> Value {
    let view = task_view(&task.document.0);
    if view.as_object().is_some_and(|members| !members.is_empty()) {
        return view;
    }
    let image = &task.spec.container.image;
    json!({"ContainerSpec": {"Image": image}, "ForceUpdate": task.spec.force_update})
}

fn status(status: &TaskStatus) -> Value {
    let mut value = json!({
        "Timestamp": status.timestamp.to_string(),
        "State": status.state.as_str(),
        "Message": status.message,
    });
    if let Some(error) = &status.err {
        value["Err"] = json!(error);
    }
    if let Some(container) = &status.container {
        value["ContainerStatus"] = json!({
            "ContainerID": container.container_id,
            "PID": container.pid,
            "ExitCode": container.exit_code,
        });
    }
    value["PortStatus"] = json!({});
    if !status.ports.is_empty() {
        value["PortStatus"]["Ports"] = endpoint::ports(&status.ports);
    }
    value
}

fn attachment(of: &Attachment, tables: &Tables) -> Value {
    let network = match tables.networks.get(&of.network_id) {
        Some(network) => attached_network(network),
        None => json!({"ID": of.network_id}),
    };
    json!({"Network": network, "Addresses": [of.address.to_string()]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmnet_model::{TaskState, Timestamp};

    #[test]
    fn every_state_is_shown_by_dockers_word_in_dockers_order() {
        let shown = TaskState::ALL.map(|state| status(&TaskStatus::new(Timestamp(0), state, "")));
        let words: Vec<&str> = shown.iter().filter_map(|status| status["State"].as_str()).collect();
        let expected = "new pending assigned accepted preparing ready starting running complete \
                        shutdown failed rejected remove orphaned";
        assert_eq!(words, expected.split(' ').collect::<Vec<_>>());
        assert!(TaskState::ALL.is_sorted(), "a task only moves on");
    }
}
