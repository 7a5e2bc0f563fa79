//! Pure: writes of networks.

use std::sync::Arc;

use swarmnet_model::{Network, NetworkId};

use super::{Object, Writer, conflict, exists, in_use, missing};
use crate::store::Refused;

impl Writer {
    /// Besides the name, guards what was chosen from a snapshot that may have been stale: the VNI,
    /// and a subnet that the allocator picked. A subnet the user named may overlap others.
    pub(super) fn create_network(&mut self, network: &Network) -> Result<(), Refused> {
        let chosen = network.spec.ipam.iter().all(|config| config.subnet.is_none());
        let subnet = network.subnet.subnet;
        for other in self.tables.networks.values() {
            if other.id == network.id || other.spec.name == network.spec.name {
                return Err(exists("network", &network.spec.name));
            }
            if other.vni == network.vni {
                return Err(conflict("VNI", network.vni));
            }
            if chosen && other.subnet.subnet.overlaps(subnet) {
                return Err(conflict("subnet", subnet));
            }
        }
        let mut network = network.clone();
        network.created_at = self.now;
        network.stamp(self.version, self.now);
        self.tables.networks.insert(network.id.clone(), Arc::new(network));
        Ok(())
    }

    pub(super) fn remove_network(&mut self, id: &NetworkId) -> Result<(), Refused> {
        if !self.tables.networks.contains_key(id) {
            return Err(missing("network", id));
        }
        if let Some(user) = self.user_of_network(id) {
            return Err(in_use("network", id, user));
        }
        self.tables.networks.remove(id);
        Ok(())
    }

    /// A task that ended or is wished to end does not count: Docker removes a stack's networks right
    /// after its services.
    fn user_of_network(&self, id: &NetworkId) -> Option<String> {
        let service = self
            .tables
            .services
            .values()
            .filter(|service| !service.pending_delete)
            .find(|service| service.spec.task.networks.iter().any(|n| n.network_id == *id));
        if let Some(service) = service {
            return Some(format!("service {}", service.id));
        }
        let task =
            self.tables.tasks.values().find(|task| {
                task.is_live() && task.spec.networks.iter().any(|n| n.network_id == *id)
            });
        task.map(|task| format!("task {}", task.id))
    }
}
