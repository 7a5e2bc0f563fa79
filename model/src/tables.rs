//! Pure: the whole cluster state as one value that is cheap to clone.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::attached::AttachedContainer;
use crate::cluster::Cluster;
use crate::id::{NetworkId, NodeId, ServiceId, TaskId};
use crate::network::Network;
use crate::node::Node;
use crate::service::Service;
use crate::task::Task;
use crate::version::Version;

/// Every object of the cluster at one moment.
///
/// Cloning is O(1) (persistent maps), so each reader and planner works on its own snapshot.
/// Maps are ordered by id; every writer is `manager::store::apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// Index of the last entry applied.
    pub version: Version,
    /// `None` before the cluster's first entry.
    pub cluster: Option<Arc<Cluster>>,
    pub nodes: OrdMap<NodeId, Arc<Node>>,
    pub networks: OrdMap<NetworkId, Arc<Network>>,
    pub services: OrdMap<ServiceId, Arc<Service>>,
    pub tasks: OrdMap<TaskId, Arc<Task>>,
    /// Plain containers on swarm networks. Absent in snapshots of older versions.
    #[serde(default)]
    pub attached: OrdMap<TaskId, Arc<AttachedContainer>>,
}

/// Something that keeps a network from being removed.
#[derive(Clone, Copy, Debug)]
pub enum NetworkUser<'a> {
    Service(&'a Service),
    Task(&'a Task),
    Attached(&'a AttachedContainer),
}

impl NetworkUser<'_> {
    /// Returns the name users know it by.
    pub fn name(&self) -> String {
        match self {
            Self::Service(service) => service.spec.name.clone(),
            Self::Task(task) => task.name(),
            Self::Attached(container) => container.name.clone(),
        }
    }
}

impl fmt::Display for NetworkUser<'_> {
    /// `service <id>` or `task <id>`; to Docker's users an attachment is a task.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service {}", service.id),
            Self::Task(task) => write!(f, "task {}", task.id),
            Self::Attached(container) => write!(f, "task {}", container.id),
        }
    }
}

impl Tables {
    /// Returns the tasks of one service, by task id.
    pub fn tasks_of<'a>(&'a self, service: &'a ServiceId) -> impl Iterator<Item = &'a Arc<Task>> {
        self.tasks.values().filter(move |task| task.service_id == *service)
    }

    /// Returns the tasks placed on one node, by task id.
    pub fn tasks_on<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a Arc<Task>> {
        self.tasks.values().filter(move |task| task.node_id.as_ref() == Some(node))
    }

    /// Returns the networks that are not being removed, by id.
    pub fn kept_networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values().filter(|network| !network.pending_delete)
    }

    /// Returns a network unless it is being removed.
    pub fn kept_network(&self, id: &NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(id).filter(|network| !network.pending_delete)
    }

    /// Returns what keeps a network from being removed: services that stay, then other tasks that
    /// still take part. Docker removes a stack's networks right after its services, whose tasks are
    /// stopping by then.
    pub fn users_of_network<'a>(
        &'a self,
        id: &'a NetworkId,
    ) -> impl Iterator<Item = NetworkUser<'a>> {
        let wants = move |service: &&Arc<Service>| {
            !service.pending_delete
                && service.spec.task.networks.iter().any(|n| n.network_id == *id)
        };
        let other = move |task: &&Arc<Task>| {
            task.is_live()
                && task.spec.networks.iter().any(|n| n.network_id == *id)
                && !self.services.get(&task.service_id).is_some_and(|service| wants(&service))
        };
        let services = self.services.values().filter(wants).map(|s| NetworkUser::Service(s));
        let tasks = self.tasks.values().filter(other).map(|task| NetworkUser::Task(task));
        let on_it = move |container: &&Arc<AttachedContainer>| {
            container.attachments.iter().any(|held| held.network_id == *id)
        };
        let attached = self.attached.values().filter(on_it).map(|c| NetworkUser::Attached(c));
        services.chain(tasks).chain(attached)
    }

    /// True if a task that has not ended has an address on the network.
    pub fn is_network_held(&self, id: &NetworkId) -> bool {
        let mut there = self.tasks.values().filter(|task| !task.status.state.is_terminal());
        there.any(|task| task.attachments.iter().any(|held| held.network_id == *id))
    }

    /// Returns the plain containers of one node that are on swarm networks, by id.
    pub fn attached_on<'a>(
        &'a self,
        node: &'a NodeId,
    ) -> impl Iterator<Item = &'a Arc<AttachedContainer>> {
        self.attached.values().filter(move |container| container.node_id == *node)
    }

    /// Returns the network that stands for the routing mesh.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.kept_networks().find(|network| network.spec.ingress)
    }
}
