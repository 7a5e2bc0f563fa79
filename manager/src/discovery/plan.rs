//! Pure: snapshot → the view of each node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarmnet_model::view::{
    AssignedTask, Backend, BackendState, NetworkItem, NetworkShown, Peer, ServiceItem,
    ServiceNetwork, Settings,
};
use swarmnet_model::{
    AttachedContainer, Attachment, Item, ItemKey, Network, NetworkId, Node, NodeId, NodeState,
    NodeView, PublishMode, Service, ServiceId, Tables, Task, TaskId, TaskState, Timestamp,
};

/// Driver option that sets the MTU of a network.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// Characters of a container's id by which users and the engine call it.
const SHORT_ID: usize = 12;

/// Views of all nodes of one snapshot; shared parts are computed once.
pub struct NodeViews<'a> {
    tables: &'a Tables,
    by_node: BTreeMap<&'a NodeId, Vec<&'a Arc<Task>>>,
    by_service: BTreeMap<&'a ServiceId, Vec<&'a Arc<Task>>>,
}

impl<'a> NodeViews<'a> {
    /// Indexes a snapshot.
    pub fn new(tables: &'a Tables) -> Self {
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut by_service: BTreeMap<_, Vec<_>> = BTreeMap::new();
        // A global task names its node before it has its addresses: the node must not begin with it.
        let assigned = |task: &&Arc<Task>| task.status.state >= TaskState::Assigned;
        for task in tables.tasks.values().filter(assigned) {
            if let Some(node) = &task.node_id {
                by_node.entry(node).or_default().push(task);
                by_service.entry(&task.service_id).or_default().push(task);
            }
        }
        Self { tables, by_node, by_service }
    }

    /// Returns everything `node` must know.
    ///
    /// Shape: every key names its item; attachments and VIPs are limited to networks of the node.
    /// `withdrawn` holds the tasks whose stop signal may be sent.
    pub fn of(&self, node: &NodeId, withdrawn: &BTreeSet<TaskId>) -> NodeView {
        let networks = self.networks_of(node);
        let mut view = NodeView::new();
        view.extend(self.settings());
        view.extend(self.peers());
        view.extend(networks.iter().filter_map(|id| self.network(id)));
        for service in self.tables.services.values().filter(|s| !s.pending_delete) {
            view.extend(service_item(service, &networks));
        }
        for (service, tasks) in &self.by_service {
            let published = self.publishes(service);
            view.extend(tasks.iter().filter_map(|task| self.backend(task, &networks, published)));
        }
        let attached = self.tables.attached.values();
        view.extend(attached.filter_map(|container| self.plain(container, &networks)));
        for task in self.by_node.get(node).into_iter().flatten() {
            view.insert(ItemKey::Task(task.id.clone()), assigned(task, withdrawn));
        }
        view
    }

    fn settings(&self) -> Option<(ItemKey, Item)> {
        let cluster = self.tables.cluster.as_ref()?;
        let settings = Settings {
            cluster_id: cluster.id.clone(),
            data_path_port: cluster.data_path_port,
            ingress: self.tables.ingress_network().map(|network| network_item(network)),
        };
        Some((ItemKey::Settings, Item::Settings(settings)))
    }

    /// One peer per address: a host that left and joined again is listed twice until its old entry
    /// is removed, and the address belongs to the node that uses it now.
    fn peers(&self) -> impl Iterator<Item = (ItemKey, Item)> {
        let mut by_addr: BTreeMap<_, &Arc<Node>> = BTreeMap::new();
        for node in self.tables.nodes.values().filter(|n| !n.status.addr.is_unspecified()) {
            let holder = by_addr.entry(node.status.addr).or_insert(node);
            if claim(node) > claim(holder) {
                *holder = node;
            }
        }
        by_addr.into_values().map(|node| {
            let peer = Peer {
                node_id: node.id.clone(),
                hostname: node.hostname().to_owned(),
                addr: node.status.addr,
            };
            (ItemKey::Peer(node.id.clone()), Item::Peer(peer))
        })
    }

    /// Networks of tasks that are on the node and not over (their containers may still be there),
    /// and of the node's plain containers.
    fn networks_of(&self, node: &NodeId) -> BTreeSet<&'a NetworkId> {
        let attached = self.tables.attached.values().filter(|c| c.node_id == *node);
        let of_attached = attached.flat_map(|c| c.attachments.iter().map(|a| &a.network_id));
        self.by_node
            .get(node)
            .into_iter()
            .flatten()
            .filter(|task| !task.status.state.is_terminal())
            .flat_map(|task| task.attachments.iter().map(|a| &a.network_id))
            .chain(of_attached)
            .collect()
    }

    fn network(&self, id: &NetworkId) -> Option<(ItemKey, Item)> {
        let network = self.tables.networks.get(id)?;
        Some((ItemKey::Network(id.clone()), Item::Network(network_item(network))))
    }

    fn publishes(&self, service: &ServiceId) -> bool {
        let endpoint = self.tables.services.get(service).and_then(|s| s.endpoint.as_ref());
        endpoint.is_some_and(|e| e.ports.iter().any(|p| p.mode == PublishMode::Ingress))
    }

    fn backend(
        &self,
        task: &Task,
        networks: &BTreeSet<&NetworkId>,
        published: bool,
    ) -> Option<(ItemKey, Item)> {
        if task.status.state.is_terminal() {
            return None;
        }
        let attachments: Vec<_> =
            task.attachments.iter().filter(|a| networks.contains(&a.network_id)).cloned().collect();
        if attachments.is_empty() && !published {
            return None;
        }
        let backend = Backend {
            task_id: task.id.clone(),
            task_name: task.name(),
            service_id: Some(task.service_id.clone()),
            node_id: task.node_id.clone()?,
            state: self.backend_state(task),
            attachments,
            gateway: task.status.gateway,
        };
        Some((ItemKey::Backend(task.id.clone()), Item::Backend(backend)))
    }

    /// A container that runs is known by its short id as well, as on any network of an engine.
    fn plain(
        &self,
        container: &AttachedContainer,
        networks: &BTreeSet<&NetworkId>,
    ) -> Option<(ItemKey, Item)> {
        let known = container.attachments.iter().filter(|a| networks.contains(&a.network_id));
        let short_id = container.container_id.get(..SHORT_ID).map(str::to_owned);
        let named = |attachment: &Attachment| {
            let mut attachment = attachment.clone();
            attachment.aliases.extend(short_id.clone());
            attachment
        };
        let attachments: Vec<_> = known.map(named).collect();
        if attachments.is_empty() {
            return None;
        }
        let node = self.tables.nodes.get(&container.node_id);
        let node_down = node.is_none_or(|node| node.status.state == NodeState::Down);
        let state = match (node_down, container.running) {
            (true, _) => BackendState::Down,
            (false, true) => BackendState::Active,
            (false, false) => BackendState::Placed,
        };
        let backend = Backend {
            task_id: container.id.clone(),
            task_name: container.name.clone(),
            service_id: None,
            node_id: container.node_id.clone(),
            state,
            attachments,
            gateway: None,
        };
        Some((ItemKey::Backend(container.id.clone()), Item::Backend(backend)))
    }

    fn backend_state(&self, task: &Task) -> BackendState {
        let node = task.node_id.as_ref().and_then(|id| self.tables.nodes.get(id));
        let node_down = node.is_none_or(|node| node.status.state == NodeState::Down);
        match (task.status.state, node_down, task.desired_state.is_terminal()) {
            (TaskState::Running, true, _) => BackendState::Down,
            (TaskState::Running, false, true) => BackendState::Draining,
            (TaskState::Running, false, false) => BackendState::Active,
            _ => BackendState::Placed,
        }
    }
}

/// How good a node's claim to its address is: not down, then the youngest.
fn claim(node: &Node) -> (bool, Timestamp, &NodeId) {
    (node.status.state != NodeState::Down, node.created_at, &node.id)
}

fn network_item(network: &Network) -> NetworkItem {
    NetworkItem {
        id: network.id.clone(),
        name: network.spec.name.clone(),
        vni: network.vni,
        subnet: network.subnet.clone(),
        internal: network.spec.internal,
        attachable: network.spec.attachable,
        mtu: network.spec.options.get(MTU_OPTION).and_then(|text| text.parse().ok()),
        shown: NetworkShown {
            removed: network.pending_delete,
            created_at: network.created_at,
            labels: network.spec.labels.clone(),
            options: network.spec.options.clone(),
            auxiliary: network.auxiliary().map(|(name, addr)| (name.clone(), *addr)).collect(),
        },
    }
}

fn service_item(service: &Service, networks: &BTreeSet<&NetworkId>) -> Option<(ItemKey, Item)> {
    let endpoint = service.endpoint.as_ref()?;
    let wanted = service.spec.task.networks.iter().filter(|n| networks.contains(&n.network_id));
    let item = ServiceItem {
        id: service.id.clone(),
        name: service.spec.name.clone(),
        mode: endpoint.spec.mode,
        vips: endpoint.vips.iter().filter(|v| networks.contains(&v.network_id)).cloned().collect(),
        networks: wanted
            .map(|n| ServiceNetwork {
                network_id: n.network_id.clone(),
                aliases: n.aliases.clone(),
            })
            .collect(),
        ports: endpoint.ports.iter().filter(|p| p.mode == PublishMode::Ingress).cloned().collect(),
    };
    let known = !item.ports.is_empty() || !item.vips.is_empty() || !item.networks.is_empty();
    known.then(|| (ItemKey::Service(service.id.clone()), Item::Service(item)))
}

fn assigned(task: &Task, withdrawn: &BTreeSet<TaskId>) -> Item {
    let withdrawn = withdrawn.contains(&task.id);
    Item::Task(Box::new(AssignedTask { task: task.clone(), withdrawn }))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
