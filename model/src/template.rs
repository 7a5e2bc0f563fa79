//! Pure: placeholders in env, hostname and mounts: `{{.Task.Name}}` and friends.
//!
//! A field access or `{{index .Service.Labels "key"}}`; other forms of Go's template language are
//! refused by name.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::task::Task;

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct TemplateContext<'a> {
    pub task: &'a Task,
    pub node_id: &'a NodeId,
    pub node_hostname: &'a str,
    /// As the engine says them (`linux`, `x86_64`).
    pub node_os: &'a str,
    pub node_architecture: &'a str,
}

/// Text that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("template: expansion:1: unclosed action")]
    Unclosed,
    #[error("template: expansion:1: {expression} is not supported")]
    Unsupported { expression: String },
    #[error("template: expansion:1: map has no entry for key \"{key}\"")]
    MissingKey { key: String },
}

/// Replaces every placeholder of `text`.
///
/// # Errors
/// `TemplateError` names the first placeholder that cannot be replaced.
pub fn expand(text: &str, context: &TemplateContext<'_>) -> Result<String, TemplateError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let (expression, after) = from.split_once("}}").ok_or(TemplateError::Unclosed)?;
        expanded.push_str(before);
        expanded.push_str(&value(expression.trim(), context)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value(expression: &str, context: &TemplateContext<'_>) -> Result<String, TemplateError> {
    let task = context.task;
    if let Some(argument) = expression.strip_prefix("index .Service.Labels ") {
        return label(expression, argument.trim(), &task.service_labels);
    }
    if let Some(key) = expression.strip_prefix(".Service.Labels.") {
        return entry(key, &task.service_labels);
    }
    Ok(match expression {
        ".Service.ID" => task.service_id.to_string(),
        ".Service.Name" => task.service_name.clone(),
        ".Node.ID" => context.node_id.to_string(),
        ".Node.Hostname" => context.node_hostname.to_owned(),
        ".Node.Platform.OS" => context.node_os.to_owned(),
        ".Node.Platform.Architecture" => context.node_architecture.to_owned(),
        ".Task.ID" => task.id.to_string(),
        ".Task.Name" => task.container_name(),
        ".Task.Slot" if task.slot == 0 => context.node_id.to_string(),
        ".Task.Slot" => task.slot.to_string(),
        _ => return Err(TemplateError::Unsupported { expression: expression.to_owned() }),
    })
}

/// `argument` is the quoted key of an `index` call.
fn label(
    expression: &str,
    argument: &str,
    labels: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let key = argument.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match key.filter(|key| !key.contains('"')) {
        Some(key) => entry(key, labels),
        None => Err(TemplateError::Unsupported { expression: expression.to_owned() }),
    }
}

fn entry(key: &str, labels: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    labels.get(key).cloned().ok_or_else(|| TemplateError::MissingKey { key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::endpoint::EndpointSpec;
    use crate::id::{ServiceId, TaskId};
    use crate::service::Document;
    use crate::state::{DesiredState, TaskState};
    use crate::task::{TaskSpec, TaskStatus};
    use crate::version::Version;

    fn task() -> Task {
        Task {
            id: TaskId::from_text("t1"),
            version: Version::default(),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            service_id: ServiceId::from_text("s1"),
            service_name: "web".to_owned(),
            service_labels: [("tier".to_owned(), "front".to_owned())].into(),
            slot: 2,
            job_iteration: None,
            node_id: Some(NodeId::from_text("n1")),
            spec: TaskSpec::default(),
            endpoint_spec: EndpointSpec::default(),
            document: Document::default(),
            desired_state: DesiredState::Running,
            status: TaskStatus::new(Timestamp::UNSET, TaskState::New, "created"),
            attachments: Vec::new(),
            assigned_generic: Vec::new(),
        }
    }

    fn expanded(text: &str) -> Result<String, TemplateError> {
        let (task, node_id) = (task(), NodeId::from_text("n1"));
        let context = TemplateContext {
            task: &task,
            node_id: &node_id,
            node_hostname: "node01",
            node_os: "linux",
            node_architecture: "x86_64",
        };
        expand(text, &context)
    }

    #[test]
    fn placeholders_are_replaced_and_other_text_stays() {
        let cases = [
            ("plain } {", "plain } {"),
            ("A={{.Task.Name}}", "A=web.2.t1"),
            ("{{ .Service.Name }}-{{.Task.Slot}}@{{.Node.Hostname}}", "web-2@node01"),
            ("{{index .Service.Labels \"tier\"}}/{{.Service.Labels.tier}}", "front/front"),
            ("{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}", "linux/x86_64"),
        ];
        for (text, want) in cases {
            assert_eq!(expanded(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        assert_eq!(expanded("{{.Task.ID").unwrap_err(), TemplateError::Unclosed);
        let missing = expanded("{{index .Service.Labels \"x\"}}").unwrap_err();
        assert_eq!(missing, TemplateError::MissingKey { key: "x".to_owned() });
        let unsupported = expanded("{{printf \"%s\" .Task.ID}}").unwrap_err();
        assert!(unsupported.to_string().contains("printf"), "{unsupported}");
    }
}
