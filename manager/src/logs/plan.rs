//! Pure: which nodes a reader's manager asks for lines, which are away, when everything has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarmnet_model::{LogSelector, NodeId, NodeState, Tables, TaskId, TaskState};
use tokio::time::Instant;

/// A node that is asked begins to send within this, or it counts as away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between questions to a node that does not begin: its session may just be opening.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Pause between questions to a node that is away while the reader follows.
const AWAY_PAUSE: Duration = Duration::from_secs(5);

/// How far one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeLog {
    /// Has to begin, or to begin again.
    Awaited {
        since: Instant,
        ask_at: Instant,
    },
    Sending,
    /// Has sent everything.
    Complete,
    Away {
        ask_at: Instant,
    },
}

/// What a node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeEvent {
    Began,
    Completed,
    BrokeOff,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ask: BTreeSet<NodeId>,
    /// Nodes whose lines are missing, each with one of its tasks.
    pub(super) missing: Vec<(NodeId, TaskId)>,
    pub(super) finished: bool,
    /// When to look again at the latest.
    pub(super) wake_at: Option<Instant>,
}

/// What a reader has got of each node.
#[derive(Debug, Default)]
pub(super) struct Progress {
    nodes: BTreeMap<NodeId, NodeLog>,
    /// Nodes of which the reader knows that they are away.
    told: BTreeSet<NodeId>,
}

impl Progress {
    /// Notes what a node did.
    pub(super) fn note(&mut self, node: &NodeId, event: NodeEvent, follow: bool, now: Instant) {
        let state = match event {
            NodeEvent::Began => {
                self.told.remove(node);
                NodeLog::Sending
            }
            NodeEvent::Completed if !follow => NodeLog::Complete,
            NodeEvent::Completed | NodeEvent::BrokeOff => {
                NodeLog::Awaited { since: now, ask_at: now + ASK_PAUSE }
            }
        };
        self.nodes.insert(node.clone(), state);
    }

    /// Returns what to do for one snapshot. What it asks for is taken as asked.
    pub(super) fn plan(
        &mut self,
        tables: &Tables,
        selector: &LogSelector,
        follow: bool,
        now: Instant,
    ) -> Plan {
        let mut plan = Plan::default();
        let concerned = nodes_of(tables, selector);
        for (node, task) in &concerned {
            let next = next(self.nodes.get(node).copied(), is_up(tables, node), now);
            let state = match next {
                Some(NodeLog::Awaited { since, ask_at }) if ask_at <= now => {
                    plan.ask.insert(node.clone());
                    NodeLog::Awaited { since, ask_at: now + ASK_PAUSE }
                }
                Some(state) => state,
                None => continue,
            };
            if matches!(state, NodeLog::Away { .. }) && self.told.insert(node.clone()) {
                plan.missing.push((node.clone(), task.clone()));
            }
            self.nodes.insert(node.clone(), state);
        }
        let over = |node: &NodeId| match self.nodes.get(node) {
            Some(NodeLog::Complete | NodeLog::Away { .. }) => true,
            Some(NodeLog::Awaited { .. } | NodeLog::Sending) | None => false,
        };
        plan.finished = if follow { selector.is_gone(tables) } else { concerned.keys().all(over) };
        // A node that has none of the tasks any more is not looked at, and must not wake anybody.
        let states = concerned.keys().filter_map(|node| self.nodes.get(node));
        plan.wake_at = states.filter_map(|state| state.wake_at(follow)).min();
        plan
    }
}

impl NodeLog {
    fn wake_at(self, follow: bool) -> Option<Instant> {
        match self {
            Self::Awaited { since, ask_at } => Some(ask_at.min(since + PATIENCE)),
            Self::Away { ask_at } if follow => Some(ask_at),
            Self::Away { .. } | Self::Sending | Self::Complete => None,
        }
    }
}

/// Where a node's state goes by the time; `None`: it stays.
fn next(state: Option<NodeLog>, up: bool, now: Instant) -> Option<NodeLog> {
    let away = Some(NodeLog::Away { ask_at: now + AWAY_PAUSE });
    match state {
        None if up => Some(NodeLog::Awaited { since: now, ask_at: now }),
        None => away,
        Some(NodeLog::Awaited { since, .. }) if since + PATIENCE <= now => away,
        Some(awaited @ NodeLog::Awaited { .. }) if up => Some(awaited),
        Some(NodeLog::Awaited { .. }) => away,
        Some(NodeLog::Away { ask_at }) if ask_at <= now && up => {
            Some(NodeLog::Awaited { since: now, ask_at: now })
        }
        Some(NodeLog::Away { ask_at }) if ask_at <= now => away,
        Some(NodeLog::Away { .. } | NodeLog::Sending | NodeLog::Complete) => None,
    }
}

fn is_up(tables: &Tables, node: &NodeId) -> bool {
    tables.nodes.get(node).is_some_and(|node| node.status.state != NodeState::Down)
}

/// Returns the nodes that have, or had, a container of the logs' tasks; with the newest task each.
fn nodes_of(tables: &Tables, selector: &LogSelector) -> BTreeMap<NodeId, TaskId> {
    let mut nodes: BTreeMap<NodeId, (_, TaskId)> = BTreeMap::new();
    for task in selector.tasks(tables) {
        if task.status.state < TaskState::Assigned {
            continue;
        }
        let Some(node) = &task.node_id else { continue };
        let newest = nodes.get(node).is_none_or(|(at, _)| *at <= task.created_at);
        if newest {
            nodes.insert(node.clone(), (task.created_at, task.id.clone()));
        }
    }
    nodes.into_iter().map(|(node, (_, task))| (node, task)).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
