//! Pure: services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use swarmnet_model::service::Document;
use swarmnet_model::{
    NodeState, Service, ServiceMode, ServiceSpec, Tables, Task, TaskState, UpdateStatus,
};

use crate::convert::endpoint::{self, EndpointBody};
use crate::convert::service_document::insert_defaults;
use crate::convert::task_template::{NetworkBody, TemplateBody, task_spec};
use crate::convert::update::{UpdateBody, update_config};
use crate::error::ApiError;
use crate::json::{typed, wire};

wire! {
    ServiceBody {
        "Name" => name: String,
        "Labels" => labels: BTreeMap<String, String>,
        "TaskTemplate" => task: TemplateBody,
        "Mode" => mode: ModeBody,
        "UpdateConfig" => update: Option<UpdateBody>,
        "RollbackConfig" => rollback: Option<UpdateBody>,
        // Their old place; moved below API 1.44, without effect from then on.
        "Networks" => networks: Vec<NetworkBody>,
        "EndpointSpec" => endpoint: EndpointBody,
    }
}

wire! {
    ModeBody {
        "Replicated" => replicated: Option<Replicated>,
        "Global" => global: Option<Value>,
        "ReplicatedJob" => replicated_job: Option<ReplicatedJob>,
        "GlobalJob" => global_job: Option<Value>,
    }
}

wire! { Replicated { "Replicas" => replicas: Option<u64>, } }

wire! {
    ReplicatedJob {
        "MaxConcurrent" => max_concurrent: Option<u64>,
        "TotalCompletions" => total_completions: Option<u64>,
    }
}

/// Reads a completed document whose network targets are ids.
///
/// # Errors
/// 400 with Docker's texts, 501 for what this version cannot do.
pub(crate) fn spec(document: &Value) -> Result<ServiceSpec, ApiError> {
    let body: ServiceBody = typed(document)?;
    Ok(ServiceSpec {
        mode: mode(&body.mode)?,
        update: body.update.map(update_config).transpose()?,
        rollback: body.rollback.map(update_config).transpose()?,
        endpoint: endpoint::spec(body.endpoint)?,
        task: task_spec(body.task)?,
        name: body.name,
        labels: body.labels,
        document: Document(document.to_string()),
    })
}

fn mode(body: &ModeBody) -> Result<ServiceMode, ApiError> {
    let kinds = [
        body.replicated.is_some(),
        body.global.is_some(),
        body.replicated_job.is_some(),
        body.global_job.is_some(),
    ];
    if kinds.iter().filter(|present| **present).count() > 1 {
        return Err(ApiError::bad_request("must specify only one service mode"));
    }
    if body.global.is_some() {
        return Ok(ServiceMode::Global);
    }
    if body.global_job.is_some() {
        return Ok(ServiceMode::GlobalJob);
    }
    if let Some(job) = &body.replicated_job {
        let max_concurrent = job.max_concurrent.unwrap_or(1);
        let total_completions = job.total_completions.unwrap_or(max_concurrent);
        return Ok(ServiceMode::ReplicatedJob { max_concurrent, total_completions });
    }
    let replicas = body.replicated.as_ref().and_then(|replicated| replicated.replicas);
    Ok(ServiceMode::Replicated { replicas: replicas.unwrap_or(1) })
}

/// Renders a service.
pub(crate) fn service(service: &Service, with_defaults: bool) -> Value {
    let mut value = json!({
        "ID": service.id,
        "Version": {"Index": service.version.0},
        "CreatedAt": service.created_at.to_string(),
        "UpdatedAt": service.updated_at.to_string(),
        "Spec": render_spec(&service.spec, with_defaults),
    });
    if let Some(previous) = &service.previous_spec {
        // Docker inserts them into the present spec only.
        value["PreviousSpec"] = render_spec(previous, false);
    }
    value["Endpoint"] = endpoint::endpoint(service.endpoint.as_ref());
    if let Some(status) = &service.update_status {
        value["UpdateStatus"] = update_status(status);
    }
    if let Some(job) = &service.job {
        value["JobStatus"] = json!({
            "JobIteration": iteration(job.iteration),
            "LastExecution": job.last_execution.to_string(),
        });
    }
    value
}

/// The first execution of a job has no number.
pub(crate) fn iteration(index: u64) -> Value {
    if index == 0 { json!({}) } else { json!({"Index": index}) }
}

fn render_spec(spec: &ServiceSpec, with_defaults: bool) -> Value {
    let parsed = serde_json::from_str(&spec.document.0).ok().filter(Value::is_object);
    let mut document = parsed.unwrap_or_else(|| bare_spec(spec));
    if with_defaults {
        insert_defaults(&mut document);
    }
    document
}

/// What can be shown of a spec whose document cannot be read.
fn bare_spec(spec: &ServiceSpec) -> Value {
    let mode = match spec.mode {
        ServiceMode::Replicated { replicas } => json!({"Replicated": {"Replicas": replicas}}),
        ServiceMode::Global => json!({"Global": {}}),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => json!({
            "ReplicatedJob":
                {"MaxConcurrent": max_concurrent, "TotalCompletions": total_completions},
        }),
        ServiceMode::GlobalJob => json!({"GlobalJob": {}}),
    };
    json!({
        "Name": spec.name,
        "Labels": spec.labels,
        "TaskTemplate": {
            "ContainerSpec": {"Image": spec.task.container.image, "Isolation": "default"},
            "ForceUpdate": spec.task.force_update,
            "Runtime": "container",
        },
        "Mode": mode,
    })
}

fn update_status(status: &UpdateStatus) -> Value {
    let mut value = json!({
        "State": status.state.as_str(),
        "StartedAt": status.started_at.to_string(),
    });
    if let Some(completed) = status.completed_at {
        value["CompletedAt"] = json!(completed.to_string());
    }
    value["Message"] = json!(status.message);
    value
}

/// Counts for `service ls`: what runs and is wished to run on a node that is there; of a job, what
/// belongs to its present execution.
pub(crate) fn status(service: &Service, tables: &Tables) -> Value {
    let iteration = service.job.map(|job| job.iteration);
    let is_job = service.spec.mode.is_job();
    let mut running = 0_u64;
    let (mut wished, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for task in tables.tasks_of(&service.id).filter(|task| task.job_iteration == iteration) {
        let place =
            if service.spec.mode.is_per_node() { (0, &task.node_id) } else { (task.slot, &None) };
        if is_serving(task, tables) {
            running += 1;
        }
        if !task.desired_state.is_terminal() || is_job && has_failed(task) {
            wished.insert(place);
        }
        if is_job && task.status.state == TaskState::Complete {
            completed.insert(place);
        }
    }
    // Of a global job the CLI shows wished and completed ones as one sum.
    let wished = u64::try_from(wished.difference(&completed).count()).unwrap_or(u64::MAX);
    let desired = match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::ReplicatedJob { max_concurrent, .. } => max_concurrent,
        ServiceMode::Global | ServiceMode::GlobalJob => wished,
    };
    json!({"RunningTasks": running, "DesiredTasks": desired, "CompletedTasks": completed.len()})
}

/// A place of a job that has failed for good is still one to complete.
fn has_failed(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Failed | TaskState::Rejected)
        && !task.status.is_enforced()
}

fn is_serving(task: &Task, tables: &Tables) -> bool {
    let node = task.node_id.as_ref().and_then(|id| tables.nodes.get(id));
    task.status.state == TaskState::Running
        && !task.desired_state.is_terminal()
        && node.is_some_and(|node| node.status.state == NodeState::Ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(document: Value) -> String {
        spec(&document).unwrap_err().message().to_owned()
    }

    #[test]
    fn unknown_words_are_refused_in_dockers_texts() {
        let template = |template: Value| json!({"TaskTemplate": template});
        let container = |spec: Value| json!({"TaskTemplate": {"ContainerSpec": spec}});
        let endpoint = |spec: Value| json!({"EndpointSpec": spec});
        let port = |spec: Value| json!({"EndpointSpec": {"Ports": [spec]}});
        let update = |spec: Value| json!({"UpdateConfig": spec});
        for (document, text) in [
            (
                json!({"Mode": {"Global": {}, "Replicated": {}}}),
                "must specify only one service mode",
            ),
            (endpoint(json!({"Mode": "x"})), "invalid resolution mode: \"x\""),
            (port(json!({"Protocol": "icmp"})), "invalid protocol: \"icmp\""),
            (port(json!({"PublishMode": "x"})), "invalid publish mode: \"x\""),
            (port(json!({"TargetPort": 65536})), "invalid JSON: EndpointSpec.Ports[0].TargetPort"),
            (update(json!({"FailureAction": "x"})), "unrecognized update failure action x"),
            (update(json!({"Order": "x"})), "unrecognized update order x"),
            (update(json!({"Delay": -1})), "TaskSpec: update-delay cannot be negative"),
            (update(json!({"MaxFailureRatio": 2})), "update-maxfailureratio cannot be less than 0"),
            (template(json!({"Runtime": "x"})), "unsupported runtime"),
            (template(json!({"Runtime": "attachment"})), "mismatched Runtime and *Spec fields"),
            (
                template(json!({"RestartPolicy": {"Condition": "x"}})),
                "invalid RestartCondition: \"x\"",
            ),
            (
                container(json!({"Healthcheck": {"Interval": 5}})),
                "ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
            ),
            (container(json!({"Secrets": [{}]})), "secrets are not supported"),
            (container(json!({"Configs": [{}]})), "configs are not supported"),
            (
                container(json!({"Privileges": {"Seccomp": {"Mode": "x"}}})),
                "invalid Privileges.Seccomp.Mode: \"x\"",
            ),
        ] {
            let message = refused(document.clone());
            assert!(message.contains(text), "{document}: {message}");
        }
    }

    #[test]
    fn a_spec_without_documents_text_still_shows_its_core() {
        let mut bare = spec(&json!({"Name": "x", "Mode": {"Global": {}}})).unwrap();
        bare.document = Document("broken".to_owned());
        assert_eq!(render_spec(&bare, false)["Mode"], json!({"Global": {}}));
    }
}
