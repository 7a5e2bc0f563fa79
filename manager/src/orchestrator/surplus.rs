//! Pure: which slots a service gives up when it is scaled down: the mirror of how tasks are placed.
//!
//! First those that have no node, then those that do not run, then the others; of each the one where
//! the service has most: in the fullest branch of its spread preferences, there on the fullest node,
//! there the highest number.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::constraint::label_of;
use swarmnet_model::{NodeId, Tables};

use super::slot::{Slot, SlotKey};

/// Slots below one value of a label, or on one node.
#[derive(Default)]
struct Branch<'k> {
    slots: usize,
    /// Tasks of every service; known of nodes only.
    tasks: usize,
    children: BTreeMap<&'k str, Self>,
    /// On a node: its slots.
    own: ByKind<BTreeSet<&'k SlotKey>>,
    /// The highest slot here.
    top: ByKind<Option<&'k SlotKey>>,
}

/// One for the slots that do not run, one for those that do.
type ByKind<T> = [T; 2];
const IDLE: usize = 0;
const RUNNING: usize = 1;

/// Returns `count` slots to give up.
pub(super) fn surplus(
    slots: &BTreeMap<SlotKey, Slot<'_>>,
    count: usize,
    spread: &[String],
    tables: &Tables,
) -> Vec<SlotKey> {
    let unplaced = slots.values().rev().filter(|slot| slot.node().is_none());
    let mut given_up: Vec<SlotKey> = unplaced.take(count).map(|slot| slot.key.clone()).collect();
    if given_up.len() == count {
        return given_up;
    }
    let loads = loads(tables);
    let mut root = Branch::default();
    for slot in slots.values() {
        let Some(id) = slot.node() else { continue };
        let node = tables.nodes.get(id);
        let value = |label: &String| node.map_or("", |node| label_of(node, label));
        let path: Vec<&str> = spread.iter().map(value).chain([id.as_str()]).collect();
        let kind = if slot.is_running() { RUNNING } else { IDLE };
        let tasks = loads.get(id).copied().unwrap_or_default();
        root.insert(&path, kind, &slot.key, tasks);
    }
    for kind in [IDLE, RUNNING] {
        while given_up.len() < count
            && let Some(key) = root.take(kind)
        {
            given_up.push(key.clone());
        }
    }
    given_up
}

/// Returns how many tasks each node carries.
fn loads(tables: &Tables) -> BTreeMap<&NodeId, usize> {
    let mut loads = BTreeMap::new();
    for task in tables.tasks.values().filter(|task| task.is_live()) {
        if let Some(node) = &task.node_id {
            *loads.entry(node).or_default() += 1;
        }
    }
    loads
}

impl<'k> Branch<'k> {
    fn insert(&mut self, path: &[&'k str], kind: usize, key: &'k SlotKey, tasks: usize) {
        self.slots += 1;
        self.top[kind] = self.top[kind].max(Some(key));
        match path.split_first() {
            Some((value, rest)) => {
                self.children.entry(value).or_default().insert(rest, kind, key, tasks);
            }
            None => {
                self.own[kind].insert(key);
                self.tasks = tasks;
            }
        }
    }

    fn take(&mut self, kind: usize) -> Option<&'k SlotKey> {
        self.top[kind]?;
        let taken = if self.children.is_empty() {
            let taken = self.own[kind].pop_last();
            self.top[kind] = self.own[kind].last().copied();
            self.tasks = self.tasks.saturating_sub(1);
            taken
        } else {
            let with = self.children.values_mut().filter(|child| child.top[kind].is_some());
            let fullest = with.max_by_key(|child| (child.slots, child.tasks, child.top[kind]));
            let taken = fullest.and_then(|child| child.take(kind));
            self.top[kind] = self.children.values().filter_map(|child| child.top[kind]).max();
            taken
        };
        self.slots -= 1;
        taken
    }
}
