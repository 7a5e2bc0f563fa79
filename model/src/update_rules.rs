//! Pure: what an update does beyond its config: when start-first is not possible, and how long a
//! task may take until it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::constraint::Constraint;
use crate::defaults::UPDATE_DEADLINE;
use crate::moment;
use crate::node::{Availability, Node, NodeState};
use crate::service::{ServiceMode, ServiceSpec};
use crate::tables::Tables;
use crate::{Protocol, UpdateConfig, UpdateOrder};

/// Label of a service, or of the swarm for all services: the time in which each task of an update
/// must run (`2m`); `0` waits for ever.
pub const DEADLINE_LABEL: &str = "swarmnet.update.deadline";

/// Why a service that wants its new tasks started first has the old ones stopped first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopsFirst {
    /// Two tasks cannot hold one port of a node.
    HostPort { port: u16, protocol: Protocol },
    /// The nodes have no room for one more task.
    MaxReplicas { per_node: u64 },
}

impl fmt::Display for StopsFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stop-first instead of start-first: ")?;
        match self {
            Self::HostPort { port, protocol } => {
                write!(f, "two tasks cannot share host port {port}/{}", protocol.as_str())
            }
            Self::MaxReplicas { per_node } => {
                write!(f, "every node has its {per_node} replicas, there is no room for one more")
            }
        }
    }
}

/// Returns why start-first is not possible; `None` if it is, or is not asked for.
pub fn stops_first(
    spec: &ServiceSpec,
    config: &UpdateConfig,
    tables: &Tables,
) -> Option<StopsFirst> {
    if config.order != UpdateOrder::StartFirst {
        return None;
    }
    if let Some(port) = spec.endpoint.host_ports().next() {
        return Some(StopsFirst::HostPort { port: port.published_port, protocol: port.protocol });
    }
    let per_node = spec.task.placement.max_replicas;
    let ServiceMode::Replicated { replicas } = spec.mode else { return None };
    let full = per_node > 0 && replicas >= per_node.saturating_mul(nodes(spec, tables));
    full.then_some(StopsFirst::MaxReplicas { per_node })
}

fn nodes(spec: &ServiceSpec, tables: &Tables) -> u64 {
    let constraints = Constraint::parse_all(&spec.task.placement.constraints).unwrap_or_default();
    let takes = |node: &&std::sync::Arc<Node>| {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && constraints.iter().all(|constraint| constraint.matches(node))
    };
    u64::try_from(tables.nodes.values().filter(takes).count()).unwrap_or(u64::MAX)
}

/// A deadline label that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {DEADLINE_LABEL}: {text:?} is neither 0 nor a duration such as 90s or 2m")]
pub struct BadDeadline {
    text: String,
}

/// Reads the label: `None` without it, zero for "never".
///
/// # Errors
/// `BadDeadline`.
pub fn deadline_in(labels: &BTreeMap<String, String>) -> Result<Option<Duration>, BadDeadline> {
    match labels.get(DEADLINE_LABEL).map(String::as_str) {
        None => Ok(None),
        Some("0") => Ok(Some(Duration::ZERO)),
        Some(text) => {
            moment::duration(text).map(Some).ok_or_else(|| BadDeadline { text: text.to_owned() })
        }
    }
}

/// Returns the time in which a task of the service's update must run; `None`: it may take for ever.
pub fn deadline(spec: &ServiceSpec, tables: &Tables) -> Option<Duration> {
    // Labels were checked when they were accepted; older ones count as absent.
    let of = |labels| deadline_in(labels).ok().flatten();
    let of_swarm = || of(&tables.cluster.as_ref()?.spec.labels);
    let deadline = of(&spec.labels).or_else(of_swarm).unwrap_or(UPDATE_DEADLINE);
    (!deadline.is_zero()).then_some(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_duration_or_zero() {
        let read = |text: &str| {
            deadline_in(&BTreeMap::from([(DEADLINE_LABEL.to_owned(), text.to_owned())]))
        };
        assert_eq!(read("2m"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(read("0"), Ok(Some(Duration::ZERO)));
        assert_eq!(deadline_in(&BTreeMap::new()), Ok(None));
        assert_eq!(
            read("soon").unwrap_err().to_string(),
            "label swarmnet.update.deadline: \"soon\" is neither 0 nor a duration such as 90s or 2m"
        );
    }
}
