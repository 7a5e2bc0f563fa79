//! Pure: the whole cluster state as one value that is cheap to clone.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

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

    /// Returns the network that stands for the routing mesh.
    pub fn ingress_network(&self) -> Option<&Arc<Network>> {
        self.networks.values().find(|network| network.spec.ingress)
    }
}
