//! Pure: the views of all nodes, kept up from snapshot to snapshot.
//!
//! A view has two parts. What is said of settings, peers, networks, services and backends depends on
//! the node's networks only: nodes with the same networks share it. The node's own tasks are its own.
//! A newer snapshot costs what differs in it, once per set of networks and not per node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use swarmnet_model::{
    Item, ItemKey, NetworkId, Node, NodeId, NodeState, NodeView, Service, ServiceId, Tables, Task,
    TaskId, TaskState,
};

use super::plan;

/// Networks of a node.
type Networks = BTreeSet<NetworkId>;

/// Views of all nodes.
#[derive(Clone, Debug)]
pub struct Views {
    tables: Arc<Tables>,
    /// Tasks that have been assigned, by node and by service.
    by_node: BTreeMap<NodeId, BTreeSet<TaskId>>,
    by_service: BTreeMap<ServiceId, BTreeSet<TaskId>>,
    /// Plain containers by node.
    attached: BTreeMap<NodeId, BTreeSet<TaskId>>,
    /// Tasks that are to stop and have not.
    stopping: BTreeSet<TaskId>,
    withdrawn: BTreeSet<TaskId>,
    shared: BTreeMap<Networks, NodeView>,
    own: BTreeMap<NodeId, Own>,
}

/// What is said to one node alone.
#[derive(Clone, Debug, Default)]
struct Own {
    networks: Networks,
    tasks: NodeView,
}

/// What one node must know, in two parts without a common key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    pub shared: NodeView,
    pub own: NodeView,
}

impl Parts {
    /// True if this is the very same view: found out in no time, and true for most nodes.
    pub fn is_same(&self, other: &Self) -> bool {
        self.shared.ptr_eq(&other.shared) && self.own.ptr_eq(&other.own)
    }
}

/// What a newer snapshot concerns.
#[derive(Default)]
struct Dirty {
    items: BTreeSet<ItemKey>,
    peers: bool,
    /// Nodes whose tasks have changed, with these.
    nodes: BTreeMap<NodeId, BTreeSet<TaskId>>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            tables: Arc::default(),
            by_node: BTreeMap::new(),
            by_service: BTreeMap::new(),
            attached: BTreeMap::new(),
            stopping: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            shared: [(Networks::new(), NodeView::new())].into(),
            own: BTreeMap::new(),
        }
    }
}

impl Views {
    /// Takes a newer snapshot.
    pub fn follow(&mut self, tables: &Arc<Tables>) {
        if Arc::ptr_eq(&self.tables, tables) {
            return;
        }
        let old = std::mem::replace(&mut self.tables, Arc::clone(tables));
        let mut dirty = Dirty::default();
        self.note_tasks(&old, &mut dirty);
        self.note_attached(&old, &mut dirty);
        self.note_services(&old, &mut dirty);
        self.note_nodes(&old, &mut dirty);
        self.note_networks(&old, &mut dirty);
        for (networks, view) in &mut self.shared {
            refresh(tables, networks, view, &dirty);
        }
        for (node, tasks) in &dirty.nodes {
            self.refresh_own(node, tasks);
        }
        self.share();
    }

    /// Takes the tasks whose stop signal may be sent.
    pub fn withdraw(&mut self, withdrawn: &BTreeSet<TaskId>) {
        let changed: Vec<_> = self.withdrawn.symmetric_difference(withdrawn).cloned().collect();
        if changed.is_empty() {
            return;
        }
        self.withdrawn.clone_from(withdrawn);
        let mut by_node: BTreeMap<NodeId, BTreeSet<TaskId>> = BTreeMap::new();
        for task in changed {
            let node = self.tables.tasks.get(&task).and_then(|task| task.node_id.clone());
            if let Some(node) = node {
                by_node.entry(node).or_default().insert(task);
            }
        }
        for (node, tasks) in by_node {
            self.refresh_own(&node, &tasks);
        }
    }

    /// Returns everything `node` must know.
    ///
    /// Shape: every key names its item; attachments and VIPs are limited to networks of the node.
    pub fn of(&self, node: &NodeId) -> Parts {
        let none = Networks::new();
        let own = self.own.get(node);
        let networks = own.map_or(&none, |own| &own.networks);
        Parts {
            shared: self.shared.get(networks).cloned().unwrap_or_default(),
            own: own.map(|own| own.tasks.clone()).unwrap_or_default(),
        }
    }

    /// Returns the tasks that are to stop and have not, of the last snapshot.
    pub fn stopping(&self) -> &BTreeSet<TaskId> {
        &self.stopping
    }

    fn note_tasks(&mut self, old: &Tables, dirty: &mut Dirty) {
        let tables = Arc::clone(&self.tables);
        for (old, new) in old.tasks.diff(&tables.tasks).map(pair) {
            let id = old.or(new).map(|task| task.id.clone());
            let id = id.expect("a difference has at least one side");
            for task in old.into_iter().filter(|task| is_assigned(task)) {
                let Some(node) = &task.node_id else { continue };
                remove(&mut self.by_node, node, &id);
                remove(&mut self.by_service, &task.service_id, &id);
                dirty.nodes.entry(node.clone()).or_default().insert(id.clone());
            }
            for task in new.into_iter().filter(|task| is_assigned(task)) {
                let Some(node) = &task.node_id else { continue };
                self.by_node.entry(node.clone()).or_default().insert(id.clone());
                self.by_service.entry(task.service_id.clone()).or_default().insert(id.clone());
                dirty.nodes.entry(node.clone()).or_default().insert(id.clone());
            }
            if new.is_some_and(|task| is_stopping(task)) {
                self.stopping.insert(id.clone());
            } else {
                self.stopping.remove(&id);
            }
            dirty.items.insert(ItemKey::Backend(id));
        }
    }

    fn note_attached(&mut self, old: &Tables, dirty: &mut Dirty) {
        let tables = Arc::clone(&self.tables);
        for (old, new) in old.attached.diff(&tables.attached).map(pair) {
            if let Some(container) = old {
                remove(&mut self.attached, &container.node_id, &container.id);
            }
            if let Some(container) = new {
                let on_node = self.attached.entry(container.node_id.clone()).or_default();
                on_node.insert(container.id.clone());
            }
            for container in [old, new].into_iter().flatten() {
                dirty.nodes.entry(container.node_id.clone()).or_default();
                dirty.items.insert(ItemKey::Backend(container.id.clone()));
            }
        }
    }

    fn note_services(&self, old: &Tables, dirty: &mut Dirty) {
        for (old, new) in old.services.diff(&self.tables.services).map(pair) {
            let Some(id) = old.or(new).map(|service| service.id.clone()) else { continue };
            let publishes =
                |service: Option<&Arc<Service>>| service.is_some_and(|s| plan::publishes(s));
            if publishes(old) != publishes(new) {
                let tasks = self.by_service.get(&id).into_iter().flatten().cloned();
                dirty.items.extend(tasks.map(ItemKey::Backend));
            }
            let credentials = |service: Option<&Arc<Service>>| {
                service.and_then(|service| service.registry.current.clone())
            };
            if credentials(old) != credentials(new) {
                for task in self.by_service.get(&id).into_iter().flatten() {
                    let node = self.tables.tasks.get(task).and_then(|task| task.node_id.clone());
                    if let Some(node) = node {
                        dirty.nodes.entry(node).or_default().insert(task.clone());
                    }
                }
            }
            dirty.items.insert(ItemKey::Service(id));
        }
    }

    fn note_nodes(&self, old: &Tables, dirty: &mut Dirty) {
        for (old, new) in old.nodes.diff(&self.tables.nodes).map(pair) {
            dirty.peers = true;
            let is_down = |node: &Arc<Node>| node.status.state == NodeState::Down;
            if old.map(is_down) != new.map(is_down) {
                for sets in [&self.by_node, &self.attached] {
                    let tasks = old.or(new).and_then(|node| sets.get(&node.id));
                    dirty.items.extend(tasks.into_iter().flatten().cloned().map(ItemKey::Backend));
                }
            }
        }
    }

    fn note_networks(&self, old: &Tables, dirty: &mut Dirty) {
        for (old, new) in old.networks.diff(&self.tables.networks).map(pair) {
            let id = old.or(new).map(|network| network.id.clone());
            dirty.items.extend(id.map(ItemKey::Network));
            // The ingress network is among the settings.
            dirty.items.insert(ItemKey::Settings);
        }
        if old.cluster != self.tables.cluster {
            dirty.items.insert(ItemKey::Settings);
        }
    }

    fn refresh_own(&mut self, node: &NodeId, tasks: &BTreeSet<TaskId>) {
        let all = self.by_node.get(node);
        let own = self.own.entry(node.clone()).or_default();
        let there = |id: &&TaskId| all.is_some_and(|all| all.contains(*id));
        for id in tasks {
            let key = ItemKey::Task(id.clone());
            let task = Some(id).filter(there).and_then(|id| self.tables.tasks.get(id));
            let item =
                task.map(|task| plan::assigned(&self.tables, task, self.withdrawn.contains(id)));
            put(&mut own.tasks, key, item);
        }
        let all = all.into_iter().flatten().filter_map(|id| self.tables.tasks.get(id));
        let attached = self.attached.get(node).into_iter().flatten();
        let attached = attached.filter_map(|id| self.tables.attached.get(id));
        own.networks = plan::networks_of(all, attached);
        if own.tasks.is_empty() && own.networks.is_empty() {
            self.own.remove(node);
        }
    }

    /// Makes the shared parts that nodes need, and drops what no node needs any more.
    fn share(&mut self) {
        let mut wanted: BTreeSet<&Networks> = self.own.values().map(|own| &own.networks).collect();
        let none = Networks::new();
        wanted.insert(&none);
        self.shared.retain(|networks, _| wanted.contains(networks));
        for networks in wanted {
            if !self.shared.contains_key(networks) {
                self.shared.insert(networks.clone(), self.whole(networks));
            }
        }
    }

    fn whole(&self, networks: &Networks) -> NodeView {
        let mut dirty = Dirty { peers: true, ..Dirty::default() };
        dirty.items.insert(ItemKey::Settings);
        dirty.items.extend(networks.iter().cloned().map(ItemKey::Network));
        dirty.items.extend(self.tables.services.keys().cloned().map(ItemKey::Service));
        let tasks = self.by_service.values().flatten();
        dirty.items.extend(tasks.cloned().map(ItemKey::Backend));
        dirty.items.extend(self.tables.attached.keys().cloned().map(ItemKey::Backend));
        let mut view = NodeView::new();
        refresh(&self.tables, networks, &mut view, &dirty);
        view
    }
}

fn refresh(tables: &Tables, networks: &Networks, view: &mut NodeView, dirty: &Dirty) {
    if dirty.peers {
        let peers: NodeView = plan::peers(tables).collect();
        let from = ItemKey::Peer(NodeId::from_text(""));
        let known = view.range(from..).map(|(key, _)| key);
        let known = known.take_while(|key| matches!(key, ItemKey::Peer(_)));
        let gone: Vec<_> = known.filter(|key| !peers.contains_key(*key)).cloned().collect();
        gone.iter().for_each(|key| put(view, key.clone(), None));
        peers.iter().for_each(|(key, item)| put(view, key.clone(), Some(item.clone())));
    }
    for key in &dirty.items {
        put(view, key.clone(), plan::item(tables, networks, key));
    }
}

/// An item that stays is not written again: unchanged views stay the very same.
fn put(view: &mut NodeView, key: ItemKey, item: Option<Item>) {
    match item {
        Some(item) if view.get(&key) != Some(&item) => {
            view.insert(key, item);
        }
        None if view.contains_key(&key) => {
            view.remove(&key);
        }
        Some(_) | None => {}
    }
}

fn remove<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<TaskId>>, key: &K, task: &TaskId) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(task);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// A global task names its node before it has its addresses: the node must not begin with it.
fn is_assigned(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned
}

fn is_stopping(task: &Task) -> bool {
    task.desired_state.is_terminal()
        && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
}

fn pair<'a, 'b: 'a, K, V>(item: DiffItem<'a, 'b, K, V>) -> (Option<&'a V>, Option<&'a V>) {
    match item {
        DiffItem::Add(_, new) => (None, Some(new)),
        DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
        DiffItem::Remove(_, old) => (Some(old), None),
    }
}
