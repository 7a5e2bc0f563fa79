//! Pure: snapshot → the items of a node's view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarmnet_model::view::{
    AssignedTask, Backend, BackendState, NetworkItem, NetworkShown, Peer, ServiceItem,
    ServiceNetwork, Settings,
};
use swarmnet_model::{
    AttachedContainer, Attachment, Item, ItemKey, Network, NetworkId, Node, NodeId, NodeState,
    PublishMode, Service, Tables, Task, TaskState, Timestamp,
};

/// Driver option that sets the MTU of a network.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// Characters of a container's id by which users and the engine call it.
const SHORT_ID: usize = 12;

/// Returns what a node with these networks is told under a key; its own tasks and peers excepted.
pub(super) fn item(tables: &Tables, networks: &BTreeSet<NetworkId>, key: &ItemKey) -> Option<Item> {
    match key {
        ItemKey::Settings => settings(tables),
        ItemKey::Network(id) => {
            let network = tables.networks.get(id).filter(|_| networks.contains(id))?;
            Some(Item::Network(network_item(network)))
        }
        ItemKey::Service(id) => {
            let service = tables.services.get(id).filter(|s| !s.pending_delete)?;
            service_item(service, networks)
        }
        ItemKey::Backend(id) => match tables.tasks.get(id) {
            Some(task) => backend(tables, task, networks),
            None => plain(tables, tables.attached.get(id)?, networks),
        },
        ItemKey::Peer(_) | ItemKey::Task(_) => None,
    }
}

fn settings(tables: &Tables) -> Option<Item> {
    let cluster = tables.cluster.as_ref()?;
    let settings = Settings {
        cluster_id: cluster.id.clone(),
        data_path_port: cluster.data_path_port,
        ingress: tables.ingress_network().map(|network| network_item(network)),
    };
    Some(Item::Settings(settings))
}

/// One peer per address: a host that left and joined again is listed twice until its old entry
/// is removed, and the address belongs to the node that uses it now.
pub(super) fn peers(tables: &Tables) -> impl Iterator<Item = (ItemKey, Item)> {
    let mut by_addr: BTreeMap<_, &Arc<Node>> = BTreeMap::new();
    for node in tables.nodes.values().filter(|n| !n.status.addr.is_unspecified()) {
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

/// Networks of tasks that are on a node and not over (their containers may still be there), and of
/// the node's plain containers.
pub(super) fn networks_of<'a>(
    tasks: impl Iterator<Item = &'a Arc<Task>>,
    attached: impl Iterator<Item = &'a Arc<AttachedContainer>>,
) -> BTreeSet<NetworkId> {
    let alive = tasks.filter(|task| !task.status.state.is_terminal());
    let of_tasks = alive.flat_map(|task| task.attachments.iter());
    let of_attached = attached.flat_map(|container| container.attachments.iter());
    of_tasks.chain(of_attached).map(|attachment| attachment.network_id.clone()).collect()
}

/// True if every node serves a port of the service.
pub(super) fn publishes(service: &Service) -> bool {
    let endpoint = service.endpoint.as_ref();
    endpoint.is_some_and(|e| e.ports.iter().any(|p| p.mode == PublishMode::Ingress))
}

fn backend(tables: &Tables, task: &Task, networks: &BTreeSet<NetworkId>) -> Option<Item> {
    // A global task names its node before it has its addresses.
    if task.status.state.is_terminal() || task.status.state < TaskState::Assigned {
        return None;
    }
    let attachments: Vec<_> =
        task.attachments.iter().filter(|a| networks.contains(&a.network_id)).cloned().collect();
    let published = || tables.services.get(&task.service_id).is_some_and(|s| publishes(s));
    if attachments.is_empty() && !published() {
        return None;
    }
    Some(Item::Backend(Backend {
        task_id: task.id.clone(),
        task_name: task.name(),
        service_id: Some(task.service_id.clone()),
        node_id: task.node_id.clone()?,
        state: backend_state(tables, task),
        attachments,
        gateway: task.status.gateway,
    }))
}

/// A container that runs is known by its short id as well, as on any network of an engine.
fn plain(
    tables: &Tables,
    container: &AttachedContainer,
    networks: &BTreeSet<NetworkId>,
) -> Option<Item> {
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
    let node = tables.nodes.get(&container.node_id);
    let node_down = node.is_none_or(|node| node.status.state == NodeState::Down);
    let state = match (node_down, container.running) {
        (true, _) => BackendState::Down,
        (false, true) => BackendState::Active,
        (false, false) => BackendState::Placed,
    };
    Some(Item::Backend(Backend {
        task_id: container.id.clone(),
        task_name: container.name.clone(),
        service_id: None,
        node_id: container.node_id.clone(),
        state,
        attachments,
        gateway: None,
    }))
}

fn backend_state(tables: &Tables, task: &Task) -> BackendState {
    let node = task.node_id.as_ref().and_then(|id| tables.nodes.get(id));
    let node_down = node.is_none_or(|node| node.status.state == NodeState::Down);
    match (task.status.state, node_down, task.desired_state.is_terminal()) {
        (TaskState::Running, true, _) => BackendState::Down,
        (TaskState::Running, false, true) => BackendState::Draining,
        (TaskState::Running, false, false) => BackendState::Active,
        _ => BackendState::Placed,
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

fn service_item(service: &Service, networks: &BTreeSet<NetworkId>) -> Option<Item> {
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
    known.then_some(Item::Service(item))
}

/// Returns a task of the node's own.
pub(super) fn assigned(tables: &Tables, task: &Arc<Task>, withdrawn: bool) -> Item {
    let service = tables.services.get(&task.service_id);
    let registry_auth = service.and_then(|service| service.registry.current.clone());
    Item::Task(Box::new(AssignedTask { task: Arc::clone(task), withdrawn, registry_auth }))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
