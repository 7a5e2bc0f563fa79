//! Pure: a tree and what is known → text.

use std::collections::BTreeMap;

use super::parse::{Line, Node, Operand, Pipe};
use super::{Facts, TemplateFault as Fault};
use crate::limits::TEMPLATE_OUTPUT_MAX;

/// What an operand stands for.
#[derive(Clone, Debug)]
enum Value<'a> {
    Text(String),
    Number(i64),
    Truth(bool),
    Labels(&'a BTreeMap<String, String>),
    Group(Group),
}

#[derive(Clone, Copy, Debug)]
enum Group {
    All,
    Service,
    Node,
    Platform,
    Task,
}

pub(super) struct Run<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) text: String,
}

type Found<'a> = Result<Value<'a>, Fault>;

impl<'a> Run<'a> {
    /// Writes the whole text.
    pub(super) fn whole(&mut self, nodes: &[Node]) -> Result<(), (Line, Fault)> {
        self.nodes(nodes, &Value::Group(Group::All))
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value<'a>) -> Result<(), (Line, Fault)> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text).map_err(|fault| (1, fault))?,
                Node::Print(line, pipe) => {
                    let shown = self.pipe(pipe, dot).and_then(|value| show(&value));
                    let written = shown.and_then(|text| self.write(&text));
                    written.map_err(|fault| (*line, fault))?;
                }
                Node::If { line, pipe, rebind, then, other } => {
                    let value = self.pipe(pipe, dot).map_err(|fault| (*line, fault))?;
                    match (is_true(&value), rebind) {
                        (true, true) => self.nodes(then, &value)?,
                        (true, false) => self.nodes(then, dot)?,
                        (false, _) => self.nodes(other, dot)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Fault> {
        if self.text.len() + text.len() > TEMPLATE_OUTPUT_MAX {
            return Err(Fault::TooLong);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value<'a>) -> Found<'a> {
        let mut last = None;
        for command in pipe {
            last = Some(self.command(command, dot, last)?);
        }
        last.ok_or(Fault::MissingValue)
    }

    fn command(
        &self,
        operands: &[Operand],
        dot: &Value<'a>,
        piped: Option<Value<'a>>,
    ) -> Found<'a> {
        let (first, rest) = operands.split_first().ok_or(Fault::MissingValue)?;
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(Fault::NotAFunction);
            }
            return self.operand(first, dot);
        };
        let arguments = rest.iter().map(|operand| self.operand(operand, dot));
        let arguments = arguments.chain(piped.map(Ok)).collect::<Result<Vec<_>, _>>()?;
        call(name, &arguments)
    }

    fn operand(&self, operand: &Operand, dot: &Value<'a>) -> Found<'a> {
        match operand {
            Operand::Field(fields) => self.fields(dot.clone(), fields),
            Operand::Root(fields) => self.fields(Value::Group(Group::All), fields),
            Operand::Text(text) => Ok(Value::Text(text.clone())),
            Operand::Number(number) => Ok(Value::Number(*number)),
            Operand::Truth(truth) => Ok(Value::Truth(*truth)),
            Operand::Function(name) => call(name, &[]),
            Operand::Pipe(pipe, fields) => self.fields(self.pipe(pipe, dot)?, fields),
        }
    }

    fn fields(&self, from: Value<'a>, fields: &[String]) -> Found<'a> {
        fields.iter().try_fold(from, |value, field| self.field(&value, field))
    }

    fn field(&self, value: &Value<'a>, field: &str) -> Found<'a> {
        let text = |text: &str| Ok(Value::Text(text.to_owned()));
        let facts = self.facts;
        let (group, known) = match value {
            Value::Labels(labels) => return entry(labels, field),
            Value::Group(group) => (group, group.fields()),
            Value::Text(_) | Value::Number(_) | Value::Truth(_) => {
                return Err(Fault::NoField { field: field.to_owned(), known: "none" });
            }
        };
        match (group, field) {
            (Group::All, "Service") => Ok(Value::Group(Group::Service)),
            (Group::All, "Node") => Ok(Value::Group(Group::Node)),
            (Group::All, "Task") => Ok(Value::Group(Group::Task)),
            (Group::Service, "ID") => text(facts.service_id),
            (Group::Service, "Name") => text(facts.service_name),
            (Group::Service, "Labels") => Ok(Value::Labels(facts.service_labels)),
            (Group::Node, "ID") => text(facts.node_id),
            (Group::Node, "Hostname") => text(facts.node_hostname),
            (Group::Node, "Platform") => Ok(Value::Group(Group::Platform)),
            (Group::Platform, "OS") => text(facts.node_os),
            (Group::Platform, "Architecture") => text(facts.node_architecture),
            (Group::Task, "ID") => text(facts.task_id),
            (Group::Task, "Name") => text(&facts.task_name),
            (Group::Task, "Slot") => text(&facts.task_slot),
            _ => Err(Fault::NoField { field: field.to_owned(), known }),
        }
    }
}

impl Group {
    fn fields(self) -> &'static str {
        match self {
            Self::All => "Service, Node, Task",
            Self::Service => "ID, Name, Labels",
            Self::Node => "ID, Hostname, Platform",
            Self::Platform => "OS, Architecture",
            Self::Task => "ID, Name, Slot",
        }
    }
}

fn entry<'a>(labels: &'a BTreeMap<String, String>, key: &str) -> Found<'a> {
    let value = labels.get(key).cloned().map(Value::Text);
    value.ok_or_else(|| Fault::MissingKey(key.to_owned()))
}

fn is_true(value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => !text.is_empty(),
        Value::Number(number) => *number != 0,
        Value::Truth(truth) => *truth,
        Value::Labels(labels) => !labels.is_empty(),
        Value::Group(_) => true,
    }
}

fn show(value: &Value<'_>) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Truth(truth) => Ok(truth.to_string()),
        Value::Labels(labels) => {
            let entries: Vec<_> = labels.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            Ok(format!("map[{}]", entries.join(" ")))
        }
        Value::Group(group) => Err(Fault::NotPrintable { known: group.fields() }),
    }
}

fn call<'a>(name: &str, arguments: &[Value<'a>]) -> Found<'a> {
    let wrong = || Fault::Arguments(name.to_owned());
    match (name, arguments) {
        ("join", [separator, parts @ ..]) => {
            let parts = parts.iter().map(show).collect::<Result<Vec<_>, _>>()?;
            bounded(parts.join(&show(separator)?))
        }
        ("index", [Value::Labels(labels), Value::Text(key)]) => entry(labels, key),
        ("len", [Value::Text(text)]) => Ok(length(text.len())),
        ("len", [Value::Labels(labels)]) => Ok(length(labels.len())),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let equal = others.iter().map(|other| equal(first, other));
            let equal = equal.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            Ok(Value::Truth(equal.contains(&true)))
        }
        ("ne", [a, b]) => equal(a, b).map(|equal| Value::Truth(!equal)).ok_or_else(wrong),
        ("not", [value]) => Ok(Value::Truth(!is_true(value))),
        ("and", [.., last]) => {
            let no = arguments.iter().find(|value| !is_true(value));
            Ok(no.unwrap_or(last).clone())
        }
        ("or", [.., last]) => Ok(arguments.iter().find(|v| is_true(v)).unwrap_or(last).clone()),
        ("print" | "println", parts) => {
            let parts = parts.iter().map(show).collect::<Result<Vec<_>, _>>()?;
            let line = name == "println";
            bounded(parts.join(if line { " " } else { "" }) + if line { "\n" } else { "" })
        }
        ("printf", [Value::Text(format), values @ ..]) => print_formatted(format, values),
        _ => Err(wrong()),
    }
}

fn length(of: usize) -> Value<'static> {
    Value::Number(i64::try_from(of).unwrap_or(i64::MAX))
}

fn bounded(text: String) -> Result<Value<'static>, Fault> {
    if text.len() > TEMPLATE_OUTPUT_MAX { Err(Fault::TooLong) } else { Ok(Value::Text(text)) }
}

/// `None`: they cannot be compared.
fn equal(a: &Value<'_>, b: &Value<'_>) -> Option<bool> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Some(a == b),
        (Value::Number(a), Value::Number(b)) => Some(a == b),
        (Value::Truth(a), Value::Truth(b)) => Some(a == b),
        _ => None,
    }
}

/// Verbs without width and precision: a width could ask for any size.
fn print_formatted(format: &str, values: &[Value<'_>]) -> Found<'static> {
    let wrong = || Fault::Arguments("printf".to_owned());
    let mut values = values.iter();
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => text.push('%'),
            Some('s' | 'v') => text += &show(values.next().ok_or_else(wrong)?)?,
            Some('q') => text += &format!("{:?}", show(values.next().ok_or_else(wrong)?)?),
            Some('d') => match values.next() {
                Some(Value::Number(number)) => text += &number.to_string(),
                _ => return Err(wrong()),
            },
            other => {
                let verb = other.map(String::from).unwrap_or_default();
                return Err(Fault::NotSupported(format!("printf's \"%{verb}\"")));
            }
        }
    }
    if values.next().is_some() { Err(wrong()) } else { bounded(text) }
}
