//! Pure: the order in which fit nodes get a service's tasks: a tree of the labels to spread over,
//! and in each of its leaves the nodes, least loaded first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use swarmnet_model::constraint::label_of;
use swarmnet_model::{Task, Timestamp};

use super::nodes::Load;

/// From this many recent failures on, a node is a service's last choice.
const FAULTY_FROM: usize = 5;

/// Failures if there are many, tasks of the service, all tasks, and the node's place among the nodes.
pub(super) type Rank = (usize, usize, usize, usize);

/// A node beside the others.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Where it is among all nodes, by id.
    pub(super) index: usize,
    pub(super) load: &'a Load,
    pub(super) fit: bool,
}

/// Nodes that share the values of the labels so far.
pub(super) enum Branch {
    Leaf(BinaryHeap<Reverse<Rank>>),
    /// One child for each value of the next label, ordered by how many tasks of the service it has.
    Inner {
        children: Vec<Self>,
        order: BinaryHeap<Reverse<(usize, usize)>>,
    },
}

impl Branch {
    /// Builds the tree for tasks like `task`. Nodes that are not fit count with what they carry.
    pub(super) fn of(
        nodes: &[Candidate<'_>],
        spread: &[String],
        task: &Task,
        now: Timestamp,
    ) -> Self {
        let Some((label, rest)) = spread.split_first() else {
            let fit = nodes.iter().filter(|candidate| candidate.fit);
            return Self::Leaf(fit.map(|c| Reverse(rank(c.index, c.load, task, now))).collect());
        };
        let mut by_value: BTreeMap<&str, Vec<Candidate<'_>>> = BTreeMap::new();
        for candidate in nodes {
            let value = candidate.load.node.as_ref().map_or("", |node| label_of(node, label));
            by_value.entry(value).or_default().push(*candidate);
        }
        let tasks = |nodes: &[Candidate<'_>]| -> usize {
            nodes.iter().map(|candidate| candidate.load.tasks_of(&task.service_id)).sum()
        };
        let values = by_value.values().enumerate();
        let order = values.map(|(child, nodes)| Reverse((tasks(nodes), child))).collect();
        let children = by_value.values().map(|nodes| Self::of(nodes, rest, task, now)).collect();
        Self::Inner { children, order }
    }

    /// Gives one task to the best node; false if there is none left.
    ///
    /// `place` puts it there and returns the node's new rank, or `None` if it is not fit any more.
    pub(super) fn take(&mut self, place: &mut dyn FnMut(usize) -> Option<Rank>) -> bool {
        match self {
            Self::Leaf(nodes) => {
                let Some(Reverse((.., index))) = nodes.pop() else { return false };
                nodes.extend(place(index).map(Reverse));
                true
            }
            Self::Inner { children, order } => {
                while let Some(Reverse((tasks, child))) = order.pop() {
                    if children[child].take(place) {
                        order.push(Reverse((tasks + 1, child)));
                        return true;
                    }
                }
                false
            }
        }
    }
}

pub(super) fn rank(index: usize, load: &Load, task: &Task, now: Timestamp) -> Rank {
    let failures = load.failures_of(&task.service_id, now);
    let faulty = if failures >= FAULTY_FROM { failures } else { 0 };
    (faulty, load.tasks_of(&task.service_id), load.tasks, index)
}
