//! Pure: what a node is told: its own tasks, and of services and peers what its data plane needs.
//!
//! A view is a set of keyed items. The managers compute it from a snapshot, the dispatcher sends it
//! once whole and then as differences, each with a generation; the agent keeps it and derives the
//! desired state of every subsystem from it. One stream and one generation for everything, so that
//! "generation G is applied" means one thing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub use imbl::OrdMap;
pub use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::endpoint::{Attachment, EndpointMode, PublishedPort, Vip};
use crate::id::{ClusterId, NetworkId, NodeId, ServiceId, TaskId};
use crate::network::Subnet;
use crate::secret_text::SecretText;
use crate::task::Task;
use crate::vni::Vni;

/// Name of an item in a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ItemKey {
    Settings,
    Peer(NodeId),
    Network(NetworkId),
    Service(ServiceId),
    Backend(TaskId),
    Task(TaskId),
}

/// One item of a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item {
    Settings(Settings),
    Peer(Peer),
    Network(NetworkItem),
    Service(ServiceItem),
    Backend(Backend),
    Task(Box<AssignedTask>),
}

/// Everything a node has been told, by key.
///
/// Cloning is O(1), and two views where one came from the other are compared in the time of what
/// differs: a view can hold a hundred thousand items of which one changes.
pub type NodeView = OrdMap<ItemKey, Item>;

/// Cluster-wide settings a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub cluster_id: ClusterId,
    pub data_path_port: u16,
    /// The network that stands for the routing mesh: every node lists it, no task is on it.
    #[serde(default)]
    pub ingress: Option<NetworkItem>,
}

/// A node of the cluster as a VTEP; the node itself is included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub node_id: NodeId,
    pub hostname: String,
    pub addr: Ipv4Addr,
}

/// A network this node has a task on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkItem {
    pub id: NetworkId,
    pub name: String,
    pub vni: Vni,
    pub subnet: Subnet,
    pub internal: bool,
    pub attachable: bool,
    /// `com.docker.network.driver.mtu`, when the user set it.
    pub mtu: Option<u16>,
    #[serde(default)]
    pub shown: NetworkShown,
}

/// What of a network only lists and inspections need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShown {
    /// As [`crate::Network::pending_delete`]: its name may be another network's by now.
    #[serde(default)]
    pub removed: bool,
    pub created_at: Timestamp,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// As [`crate::IpamConfig::auxiliary`].
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}

/// A service that shares a network with this node, or publishes ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceItem {
    pub id: ServiceId,
    pub name: String,
    pub mode: EndpointMode,
    /// Only of networks this node has.
    pub vips: Vec<Vip>,
    /// Only networks this node has; names answer there also while no task runs.
    #[serde(default)]
    pub networks: Vec<ServiceNetwork>,
    /// Only ingress ports.
    pub ports: Vec<PublishedPort>,
}

/// A network the tasks of a service are to be on, and the service's further names there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNetwork {
    pub network_id: NetworkId,
    pub aliases: Vec<String>,
}

/// Whether traffic may go to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BackendState {
    /// Its addresses are known (the guards believe them), it serves nothing yet.
    Placed,
    /// Running and healthy: new flows go there.
    Active,
    /// No new flows; open ones finish.
    Draining,
    /// Its node is lost. Running TCP goes on, in case only the managers cannot reach the node;
    /// everything else goes elsewhere.
    Down,
}

/// Where a task of a known service, or a plain container on a swarm network, is, and whether it
/// serves. A task's: from `Assigned` until the task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Of a plain container: the id of its attachment.
    pub task_id: TaskId,
    /// Of a plain container: the container's name, empty until it is known.
    pub task_name: String,
    /// `None`: a plain container; `Active` while it runs.
    pub service_id: Option<ServiceId>,
    pub node_id: NodeId,
    pub state: BackendState,
    /// Only of networks this node has.
    pub attachments: Vec<Attachment>,
    /// Node-local address on the task's node; the mesh delivers there.
    pub gateway: Option<Ipv4Addr>,
}

/// A task this node must run or stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssignedTask {
    /// The managers' own object: they keep one for the tables and all views.
    pub task: Arc<Task>,
    /// True once every node has withdrawn the backend (or the bound passed): the stop signal may go.
    pub withdrawn: bool,
    /// With which its image is fetched; a node keeps it in memory only.
    #[serde(default)]
    pub registry_auth: Option<SecretText>,
}

/// A new view, or the difference to the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewUpdate {
    /// Grows with each update of a session; an update that is not newer is ignored.
    pub generation: u64,
    /// True: `put` is the whole view. False: it changes generation `generation - 1`.
    pub full: bool,
    pub put: Vec<(ItemKey, Item)>,
    pub removed: Vec<ItemKey>,
}

/// Returns the difference that turns `old` into `new`; `None` if they are equal.
pub fn difference(old: &NodeView, new: &NodeView, generation: u64) -> Option<ViewUpdate> {
    let mut update = ViewUpdate { generation, full: false, put: Vec::new(), removed: Vec::new() };
    for change in old.diff(new) {
        match change {
            DiffItem::Add(key, item) | DiffItem::Update { new: (key, item), .. } => {
                update.put.push((key.clone(), item.clone()));
            }
            DiffItem::Remove(key, _) => update.removed.push(key.clone()),
        }
    }
    let changed = !update.put.is_empty() || !update.removed.is_empty();
    changed.then_some(update)
}

/// Applies an update to a view; the caller has checked the generation.
pub fn apply(view: &mut NodeView, update: ViewUpdate) {
    if update.full {
        view.clear();
    }
    for key in &update.removed {
        view.remove(key);
    }
    view.extend(update.put);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str, last: u8) -> (ItemKey, Item) {
        let node_id = NodeId::from_text(id);
        let item = Peer {
            node_id: node_id.clone(),
            hostname: id.to_owned(),
            addr: Ipv4Addr::new(10, 20, 20, last),
        };
        (ItemKey::Peer(node_id), Item::Peer(item))
    }

    #[test]
    fn a_difference_turns_one_view_into_the_other() {
        let old: NodeView = [peer("a", 1), peer("b", 2)].into_iter().collect();
        let new: NodeView = [peer("b", 3), peer("c", 4)].into_iter().collect();
        let update = difference(&old, &new, 7).unwrap();
        assert_eq!((update.put.len(), update.removed.len()), (2, 1));
        let mut view = old.clone();
        apply(&mut view, update);
        assert_eq!(view, new);
        assert_eq!(difference(&new, &new, 8), None);
    }
}
