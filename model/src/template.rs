//! Pure: placeholders in env, hostname and mounts: `{{.Task.Name}}` and friends.
//!
//! A part of Go's template language: fields, `index`, `join`, `printf`, pipes, `if`, `with`, `eq`.
//! There are no loops and no definitions, so that every text ends; its size is bounded.

mod check;
mod eval;
mod parse;

use std::collections::BTreeMap;

pub use check::{ExpandError, check};

use crate::id::NodeId;
use crate::task::Task;

/// The task and node that the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct TemplateContext<'a> {
    pub task: &'a Task,
    pub node_id: &'a NodeId,
    pub node_hostname: &'a str,
    /// As the engine says them (`linux`, `x86_64`).
    pub node_os: &'a str,
    pub node_architecture: &'a str,
}

/// What placeholders read.
#[derive(Clone, Debug)]
struct Facts<'a> {
    service_id: &'a str,
    service_name: &'a str,
    service_labels: &'a BTreeMap<String, String>,
    node_id: &'a str,
    node_hostname: &'a str,
    node_os: &'a str,
    node_architecture: &'a str,
    task_id: &'a str,
    task_name: String,
    /// Of a global task: its node.
    task_slot: String,
}

/// Text that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: expansion:{line}: {fault}")]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    pub fault: TemplateFault,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    #[error("unclosed action")]
    Unclosed,
    #[error("unterminated quoted string")]
    UnterminatedText,
    #[error("unexpected EOF")]
    EndOfText,
    #[error("unexpected {0}")]
    Unexpected(String),
    #[error("missing value for command")]
    MissingValue,
    #[error("function \"{0}\" not defined")]
    NoFunction(String),
    #[error("{0} is not supported")]
    NotSupported(String),
    #[error("can't give argument to non-function")]
    NotAFunction,
    #[error("wrong number or types of arguments for {0}")]
    Arguments(String),
    #[error("can't evaluate field {field} (fields: {known})")]
    NoField { field: String, known: &'static str },
    #[error("map has no entry for key \"{0}\"")]
    MissingKey(String),
    #[error("not a text: name one of its fields: {known}")]
    NotPrintable { known: &'static str },
    #[error("nested too deeply")]
    TooDeep,
    #[error("the result is longer than {} bytes", crate::limits::TEMPLATE_OUTPUT_MAX)]
    TooLong,
}

/// Replaces every placeholder of `text`.
///
/// # Errors
/// `TemplateError` says what is wrong in which line.
pub fn expand(text: &str, context: &TemplateContext<'_>) -> Result<String, TemplateError> {
    let task = context.task;
    expand_with(
        text,
        &Facts {
            service_id: task.service_id.as_str(),
            service_name: &task.service_name,
            service_labels: &task.service_labels,
            node_id: context.node_id.as_str(),
            node_hostname: context.node_hostname,
            node_os: context.node_os,
            node_architecture: context.node_architecture,
            task_id: task.id.as_str(),
            task_name: task.container_name(),
            task_slot: match task.slot {
                0 => context.node_id.to_string(),
                slot => slot.to_string(),
            },
        },
    )
}

fn expand_with(text: &str, facts: &Facts<'_>) -> Result<String, TemplateError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let error = |(line, fault)| TemplateError { line, fault };
    let nodes = parse::parse(text).map_err(error)?;
    let mut run = eval::Run { facts, text: String::new() };
    run.whole(&nodes).map_err(error)?;
    Ok(run.text)
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
            chosen_ports: Vec::new(),
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
    fn the_language_is_gos_without_loops() {
        let cases = [
            (r#"{{join "," .Service.Name .Task.Slot}}"#, "web,2"),
            (r#"{{index .Service.Labels "tier" | printf "%s-%s" "x"}}"#, "x-front"),
            (r#"{{if eq .Task.Slot "2"}}two{{else}}other{{end}}"#, "two"),
            (r#"{{if eq .Task.Slot "1"}}one{{else if eq .Task.Slot "2" "3"}}more{{end}}"#, "more"),
            (r#"{{with .Service}}{{.Name}}@{{$.Node.Hostname}}{{end}}"#, "web@node01"),
            (r#"{{with ""}}a{{else}}b{{end}}"#, "b"),
            (r#"a {{- /* nothing */ -}} b"#, "ab"),
            (r#"{{(index .Service.Labels "tier") | printf "%q"}}"#, "\"front\""),
            (r#"{{printf `%d%%` 5}}{{print "}}" true}}"#, "5%}}true"),
            (r#"{{if and (not false) (or "" .Task.ID) (ne 1 2)}}{{len "abc"}}{{end}}"#, "3"),
            (r#"{{(print .Service.Name)}}{{.Service.Labels}}"#, "webmap[tier:front]"),
        ];
        for (text, want) in cases {
            assert_eq!(expanded(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        for (text, want) in [
            ("{{.Task.ID", "template: expansion:1: unclosed action"),
            (
                "a\n{{.Task.Nope}}",
                "template: expansion:2: can't evaluate field Nope (fields: ID, Na",
            ),
            (
                "{{index .Service.Labels \"x\"}}",
                "template: expansion:1: map has no entry for key \"x",
            ),
            ("{{.Service.Labels.x}}", "template: expansion:1: map has no entry for key \"x\""),
            ("{{nope 1}}", "template: expansion:1: function \"nope\" not defined"),
            ("{{if .Task.ID}}x", "template: expansion:1: unexpected EOF"),
            ("x{{end}}", "template: expansion:1: unexpected {{end}}"),
            ("{{if 1}}a{{else}}b{{else}}c{{end}}", "template: expansion:1: unexpected {{else}}"),
            (
                "{{range .Service.Labels}}{{end}}",
                "template: expansion:1: {{range}} is not supported",
            ),
            ("{{template \"expansion\"}}", "template: expansion:1: {{template}} is not supported"),
            ("{{define \"a\"}}{{end}}", "template: expansion:1: {{define}} is not supported"),
            ("{{$x := 1}}", "template: expansion:1: a variable is not supported"),
            ("{{}}", "template: expansion:1: missing value for command"),
            ("{{.Task.ID | }}", "template: expansion:1: missing value for command"),
            ("{{.Task.ID 1}}", "template: expansion:1: can't give argument to non-function"),
            (
                "{{.Task}}",
                "template: expansion:1: not a text: name one of its fields: ID, Name, Sl",
            ),
            (
                "{{eq .Task.Slot 2}}",
                "template: expansion:1: wrong number or types of arguments for",
            ),
            (
                "{{printf \"%999999999s\" 1}}",
                "template: expansion:1: printf's \"%9\" is not supporte",
            ),
            ("{{(print 1}}", "template: expansion:1: unexpected unclosed left paren"),
            ("{{print 1)}}", "template: expansion:1: unexpected right paren"),
            ("{{\"a}}", "template: expansion:1: unclosed action"),
            ("{{&}}", "template: expansion:1: unexpected '&' in operand"),
        ] {
            let message = expanded(text).unwrap_err().to_string();
            assert!(message.starts_with(want), "{text}: {message}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = |n: usize| format!("{}x{}", "{{if 1}}".repeat(n), "{{end}}".repeat(n));
        assert_eq!(expanded(&deep(30)).as_deref(), Ok("x"));
        assert_eq!(expanded(&deep(100_000)).unwrap_err().fault, TemplateFault::TooDeep);
        let deep = |n: usize| format!("{{{{{}1{}}}}}", "(".repeat(n), ")".repeat(n));
        assert_eq!(expanded(&deep(30)).as_deref(), Ok("1"));
        assert_eq!(expanded(&deep(100_000)).unwrap_err().fault, TemplateFault::TooDeep);
        let chain = format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(100_000));
        assert_eq!(expanded(&chain).unwrap_err().fault, TemplateFault::TooDeep);
        let long = "{{print \"0123456789\"}}".repeat(10_000);
        assert_eq!(expanded(&long).unwrap_err().fault, TemplateFault::TooLong);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in r#"(\{\{|\}\}|if|end|else|with|eq|print|index|join|[.|()$"`\\ 0-9-]|é|\.Task\.ID){0,24}"#
        ) {
            let _outcome = expanded(&text);
        }
    }
}
