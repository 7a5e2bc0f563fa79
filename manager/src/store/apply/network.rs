//! Pure: writes of networks.

use std::sync::Arc;

use swarmnet_model::{Network, NetworkId};

use super::{Object, Writer, conflict, exists, in_use, missing, replace};
use crate::store::Refused;

impl Writer {
    /// Besides the name, guards what was chosen from a snapshot that may have been stale: the VNI,
    /// and the subnet. A subnet that the user named may overlap that of a network whose last tasks
    /// stop: a stack with such a subnet is removed and deployed again.
    pub(super) fn create_network(&mut self, network: &Network) -> Result<(), Refused> {
        let chosen = network.spec.ipam.iter().all(|config| config.subnet.is_none());
        let subnet = network.subnet.subnet;
        for other in self.tables.networks.values() {
            let kept = !other.pending_delete;
            if other.id == network.id || (kept && other.spec.name == network.spec.name) {
                return Err(exists("network", &network.spec.name));
            }
            if other.vni == network.vni {
                return Err(conflict("VNI", network.vni));
            }
            if (chosen || kept) && other.subnet.subnet.overlaps(subnet) {
                return Err(conflict("subnet", subnet));
            }
        }
        let mut network = network.clone();
        network.created_at = self.now;
        network.stamp(self.version, self.now);
        self.tables.networks.insert(network.id.clone(), Arc::new(network));
        Ok(())
    }

    /// Leaves it in the tables, marked, while tasks on it still stop.
    pub(super) fn remove_network(&mut self, id: &NetworkId) -> Result<(), Refused> {
        let present = self.tables.networks.get(id).ok_or_else(|| missing("network", id))?;
        if let Some(user) = self.tables.users_of_network(id).next() {
            return Err(in_use("network", id, user.to_string()));
        }
        if self.tables.is_network_held(id) {
            let marked = Network { pending_delete: true, ..Network::clone(present) };
            replace(&mut self.tables.networks, id, marked, (self.version, self.now));
        } else {
            self.tables.networks.remove(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{Attachment, ServiceId, Tables, TaskId, TaskState, TaskStatus, Timestamp};

    use super::*;
    use crate::store::Change;
    use crate::store::apply::tests::{network, on, service, step, tables, task};

    #[test]
    fn a_network_in_use_stays() {
        let mut user = service("s1", "web");
        user.spec.task.networks = vec![on("net")];
        let orphan =
            step(&Tables::default(), 1, vec![Change::CreateService(Box::new(user.clone()))]);
        assert_eq!(orphan, Err(Refused::Missing { kind: "network".into(), id: "net".into() }));

        let mut attached = task("t1", "s1");
        attached.spec.networks = vec![on("net")];
        let before = tables([
            Change::CreateNetwork(Box::new(network("net", 4097, "10.0.1.0/24"))),
            Change::CreateService(Box::new(user)),
            Change::CreateTask(Box::new(attached)),
        ]);
        let remove = || vec![Change::RemoveNetwork { id: NetworkId::from_text("net") }];
        let refused = step(&before, 4, remove()).unwrap_err();
        assert_eq!(refused.to_string(), "network net is in use by service s1");
        let mark = vec![Change::MarkServiceRemoved { id: ServiceId::from_text("s1") }];
        let marked = step(&before, 4, mark).unwrap();
        assert!(step(&marked, 5, remove()).unwrap().networks.is_empty(), "no task held an address");
    }

    #[test]
    fn a_removed_network_is_kept_out_of_sight_until_its_last_task_has_ended() {
        let mut user = service("s1", "web");
        user.spec.task.networks = vec![on("net")];
        let mut attached = task("t1", "s1");
        attached.spec.networks = vec![on("net")];
        let address = "10.0.1.3/24".parse().unwrap();
        let network_id = NetworkId::from_text("net");
        let attachment = Attachment { network_id: network_id.clone(), address, aliases: vec![] };
        let before = tables([
            Change::CreateNetwork(Box::new(network("net", 4097, "10.0.1.0/24"))),
            Change::CreateService(Box::new(user)),
            Change::CreateTask(Box::new(attached)),
            Change::AllocateTask { id: TaskId::from_text("t1"), attachments: vec![attachment] },
            Change::MarkServiceRemoved { id: ServiceId::from_text("s1") },
        ]);
        let remove = || vec![Change::RemoveNetwork { id: network_id.clone() }];
        let marked = step(&before, 6, remove()).unwrap();
        assert!(marked.networks[&network_id].pending_delete);
        assert!(
            marked.kept_networks().next().is_none() && marked.kept_network(&network_id).is_none()
        );
        assert_eq!(step(&marked, 7, remove()).unwrap().networks, marked.networks, "still held");
        let ended = TaskStatus::new(Timestamp(8), TaskState::Shutdown, "shutdown");
        let end = Change::EndTask { id: TaskId::from_text("t1"), status: Box::new(ended) };
        let after = step(&marked, 7, vec![end]).unwrap();
        assert!(step(&after, 8, remove()).unwrap().networks.is_empty());
    }

    #[test]
    fn a_vni_or_a_chosen_subnet_is_not_given_twice() {
        let before = tables([Change::CreateNetwork(Box::new(network("a", 4097, "10.0.1.0/24")))]);
        let create =
            |network: Network| step(&before, 2, vec![Change::CreateNetwork(Box::new(network))]);
        assert!(matches!(create(network("b", 4097, "10.0.2.0/24")), Err(Refused::Conflict { .. })));
        assert!(matches!(create(network("b", 4098, "10.0.0.0/16")), Err(Refused::Conflict { .. })));
        let mut named = network("b", 4098, "10.0.1.0/24");
        named.spec.ipam = vec![swarmnet_model::IpamConfig {
            subnet: Some(named.subnet.subnet),
            ..Default::default()
        }];
        assert!(matches!(create(named.clone()), Err(Refused::Conflict { .. })), "two calls raced");
        let mut removed = before.networks[&NetworkId::from_text("a")].as_ref().clone();
        removed.pending_delete = true;
        let mut going = before.clone();
        going.networks.insert(removed.id.clone(), Arc::new(removed));
        let create =
            |network: Network| step(&going, 2, vec![Change::CreateNetwork(Box::new(network))]);
        assert!(create(named).is_ok(), "a stack is removed and deployed at once");
        assert!(matches!(create(network("b", 4098, "10.0.1.0/24")), Err(Refused::Conflict { .. })));
    }
}
