//! Pure: placement constraints: `key==value` and `key!=value`, parsed once and matched often.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::node::Node;

/// One parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    equal: bool,
    value: String,
}

/// What of a node an expression looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Architecture,
    /// The label's name keeps its case.
    NodeLabel(String),
    EngineLabel(String),
    /// Accepted, but no node ever matches.
    Unknown(String),
}

/// Why an expression was refused; the texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    #[error("key '{0}' is invalid")]
    Key(String),
    #[error("value '{0}' is invalid")]
    Value(String),
}

const NODE_LABELS: &str = "node.labels.";
const ENGINE_LABELS: &str = "engine.labels.";

impl Constraint {
    /// Parses one expression.
    ///
    /// # Errors
    /// No operator, or a key or value outside Docker's alphabets.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let split = |operator: &str| text.split_once(operator);
        let (key, equal, value) = match (split("=="), split("!=")) {
            (Some((key, value)), _) => (key.trim(), true, value.trim()),
            (None, Some((key, value))) => (key.trim(), false, value.trim()),
            (None, None) => return Err(ConstraintError::NoOperator),
        };
        if !is_key(key) {
            return Err(ConstraintError::Key(key.to_owned()));
        }
        if !is_value(value) {
            return Err(ConstraintError::Value(value.to_owned()));
        }
        Ok(Self { key: Key::parse(key), equal, value: value.to_owned() })
    }

    /// Parses all expressions of a placement.
    ///
    /// # Errors
    /// That of the first bad expression.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Self>, ConstraintError> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }

    /// True if the node fits. A missing label is the empty text.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_ref();
        let found = match &self.key {
            Key::Id => node.id.as_str(),
            Key::Hostname => description.map_or("", |d| &d.hostname),
            Key::Ip => return contains(&self.value, node.status.addr) == Some(self.equal),
            Key::Role => node.role.as_str(),
            Key::Os => description.map_or("", |d| &d.os),
            Key::Architecture => description.map_or("", |d| &d.architecture),
            Key::NodeLabel(name) => label(node.spec.labels.get(name)),
            Key::EngineLabel(name) => label(description.and_then(|d| d.engine_labels.get(name))),
            Key::Unknown(_) => return false,
        };
        let same = if self.key == Key::Architecture {
            let (found, wished) = (architecture(found), architecture(&self.value));
            found.eq_ignore_ascii_case(wished)
        } else {
            found.to_lowercase() == self.value.to_lowercase()
        };
        same == self.equal
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.key {
            Key::Id => "node.id",
            Key::Hostname => "node.hostname",
            Key::Ip => "node.ip",
            Key::Role => "node.role",
            Key::Os => "node.platform.os",
            Key::Architecture => "node.platform.arch",
            Key::NodeLabel(name) => return self.show(f, NODE_LABELS, name),
            Key::EngineLabel(name) => return self.show(f, ENGINE_LABELS, name),
            Key::Unknown(key) => key,
        };
        self.show(f, key, "")
    }
}

impl Constraint {
    fn show(&self, f: &mut fmt::Formatter<'_>, key: &str, label: &str) -> fmt::Result {
        write!(f, "{key}{label}{}{}", if self.equal { "==" } else { "!=" }, self.value)
    }
}

impl Key {
    fn parse(text: &str) -> Self {
        if let Some(name) = after_prefix(text, NODE_LABELS) {
            return Self::NodeLabel(name.to_owned());
        }
        if let Some(name) = after_prefix(text, ENGINE_LABELS) {
            return Self::EngineLabel(name.to_owned());
        }
        match text.to_ascii_lowercase().as_str() {
            "node.id" => Self::Id,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Ip,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Architecture,
            _ => Self::Unknown(text.to_owned()),
        }
    }
}

/// Returns what a node says to a label of a spread preference (`node.labels.dc`); a missing label is
/// the empty text, as is anything that is not a label.
pub fn label_of<'n>(node: &'n Node, descriptor: &str) -> &'n str {
    if let Some(name) = after_prefix(descriptor, NODE_LABELS) {
        return label(node.spec.labels.get(name));
    }
    let name = after_prefix(descriptor, ENGINE_LABELS);
    let description = node.description.as_ref();
    label(name.zip(description).and_then(|(name, d)| d.engine_labels.get(name)))
}

/// Docker's two names of one architecture, made one.
pub fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn after_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, name) = text.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !name.is_empty()).then_some(name)
}

fn label(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// Whether an address or CIDR holds `addr`; `None` if the text is neither.
fn contains(text: &str, addr: Ipv4Addr) -> Option<bool> {
    let network: IpNetwork = text.parse().ok()?;
    Some(network.contains(IpAddr::V4(addr)))
}

/// At least two characters: a letter or `_`, then letters, digits, `-`, `_`, `.`.
fn is_key(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(inner)
}

/// Letters, digits, blanks and `:-_.*()?+[]\^$|/`; no character of an operator to come.
fn is_value(text: &str) -> bool {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || r":-_.*()?+[]\^$|/".contains(c)
    };
    !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::NodeId;
    use crate::node::{NodeDescription, NodeSpec, NodeState, NodeStatus, Role};
    use crate::version::Version;

    fn node() -> Node {
        let labels = [("Rack".to_owned(), "A1".to_owned())].into();
        Node {
            id: NodeId::from_text("abc123"),
            version: Version(1),
            spec_version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            spec: NodeSpec { labels, ..NodeSpec::default() },
            description: Some(NodeDescription {
                hostname: "node01".to_owned(),
                os: "linux".to_owned(),
                architecture: "x86_64".to_owned(),
                engine_labels: [("disk".to_owned(), "ssd".to_owned())].into(),
                ..NodeDescription::default()
            }),
            status: NodeStatus {
                state: NodeState::Ready,
                message: String::new(),
                addr: Ipv4Addr::new(10, 20, 20, 110),
            },
            role: Role::Worker,
            manager: None,
        }
    }

    #[test]
    fn every_key_is_compared_whole_and_without_case() {
        for fits in [
            "node.id==ABC123",
            "NODE.hostname == Node01",
            "node.hostname!=node0",
            "node.role==worker",
            "node.role != manager",
            "node.platform.os==Linux",
            "node.platform.arch==x86_64",
            "node.platform.arch==amd64",
            "node.labels.Rack==a1",
            "Node.Labels.Rack==A1",
            "node.labels.absent!=x",
            "engine.labels.disk==SSD",
            "node.ip==10.20.20.110",
            "node.ip==10.20.20.0/24",
            "node.ip!=10.20.21.0/24",
        ] {
            assert!(Constraint::parse(fits).unwrap().matches(&node()), "{fits}");
        }
    }

    #[test]
    fn what_differs_does_not_match() {
        for unfit in [
            "node.id!=abc123",
            "node.hostname==node",
            "node.role==manager",
            "node.labels.rack==A1",
            "node.labels.Rack!=a1",
            "node.ip==10.20.20.111",
            "node.ip!=10.20.20.0/24",
            "node.ip==nonsense",
            "node.ip!=nonsense",
            "node.colour==red",
            "node.colour!=red",
            "node.labels.==x",
        ] {
            assert!(!Constraint::parse(unfit).unwrap().matches(&node()), "{unfit}");
        }
    }

    #[test]
    fn syntax_errors_are_told_in_dockers_words() {
        for (text, error) in [
            ("node.id", "constraint expected one operator from ==, !="),
            ("node.id=abc", "constraint expected one operator from ==, !="),
            ("", "constraint expected one operator from ==, !="),
            ("1key==x", "key '1key' is invalid"),
            ("==x", "key '' is invalid"),
            ("no de==x", "key 'no de' is invalid"),
            ("node.id==", "value '' is invalid"),
            ("node.id==a>b", "value 'a>b' is invalid"),
            ("node.id==a==b", "value 'a==b' is invalid"),
        ] {
            assert_eq!(Constraint::parse(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn a_parsed_expression_prints_as_it_was_meant() {
        for text in ["node.labels.Rack==A1", "engine.labels.x!=1", "node.ip==10.0.0.0/8", "x.y==z"]
        {
            assert_eq!(Constraint::parse(text).unwrap().to_string(), text);
        }
    }
}
