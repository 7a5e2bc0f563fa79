//! Pure: the only writer of the tables: tables + entry → tables.
//!
//! Deterministic: every manager applies the same entries and gets equal tables. Times come from the
//! entry, versions from its index. A write that changes nothing leaves the object's version alone.

mod attached;
mod cluster;
mod network;
mod node;
mod service;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::OrdMap;
use swarmnet_model::{
    AttachedContainer, Cluster, Network, Node, Service, Tables, Task, Timestamp, Version,
};

use super::{Change, Refused, Transaction};

/// Applies one entry. A refused transaction gives the tables unchanged, version included.
pub fn apply(
    tables: &Tables,
    index: u64,
    transaction: &Transaction,
) -> (Tables, Result<(), Refused>) {
    let mut writer =
        Writer { tables: tables.clone(), version: Version(index), now: transaction.now };
    for change in transaction.changes.iter() {
        if let Err(refused) = writer.write(change) {
            return (tables.clone(), Err(refused));
        }
    }
    writer.tables.version = Version(index);
    (writer.tables, Ok(()))
}

/// The tables while one entry is applied.
struct Writer {
    tables: Tables,
    version: Version,
    now: Timestamp,
}

impl Writer {
    fn write(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::PutCluster { cluster, expected } => {
                return self.put_cluster(cluster, *expected);
            }
            Change::CreateNode(node) => return self.create_node(node),
            Change::UpdateNode { node, expected } => return self.update_node(node, *expected),
            Change::SetNodeRole { id, role } => self.set_node_role(id, *role),
            Change::SetManager { id, member } => return self.set_manager(id, member.as_ref()),
            Change::RemoveNode { id } => return self.remove_node(id),
            Change::DescribeNode { id, description } => self.describe_node(id, description),
            Change::SetNodeStatus { id, status } => self.set_node_status(id, status),
            Change::CreateNetwork(network) => return self.create_network(network),
            Change::RemoveNetwork { id } => return self.remove_network(id),
            Change::CreateService(service) => return self.create_service(service),
            Change::UpdateService { service, expected } => {
                return self.update_service(service, *expected);
            }
            Change::MarkServiceRemoved { id } => return self.mark_service_removed(id),
            Change::RemoveService { id } => return self.remove_service(id),
            Change::SetServiceEndpoint { id, spec_version, endpoint } => {
                self.set_service_endpoint(id, *spec_version, endpoint);
            }
            Change::SetUpdateStatus { id, spec_version, status } => {
                self.set_update_status(id, *spec_version, status.as_ref());
            }
            Change::CreateTask(task) => return self.create_task(task),
            Change::AllocateTask { id, attachments } => self.allocate_task(id, attachments),
            Change::AssignTask { id, node_id, message, generic, ports } => {
                self.assign_task(id, node_id, message, (generic, ports));
            }
            Change::RejectTask { id } => self.reject_task(id),
            Change::ExplainTask { id, message, err } => self.explain_task(id, message, err),
            Change::SetDesiredState { id, desired } => self.set_desired_state(id, *desired),
            Change::ReportTask { id, node_id, status } => self.report_task(id, node_id, status),
            Change::EndTask { id, status } => self.end_task(id, status),
            Change::RemoveTask { id } => {
                self.tables.tasks.remove(id);
            }
            Change::PutAttached { container, expected } => {
                return self.put_attached(container, *expected);
            }
            Change::RemoveAttached { id } => {
                self.tables.attached.remove(id);
            }
        }
        Ok(())
    }
}

/// An object that carries the version and time of its last write.
trait Object: Clone + PartialEq {
    fn stamp(&mut self, version: Version, now: Timestamp);
}

macro_rules! objects {
    ($($object:ty),+) => {$(
        impl Object for $object {
            fn stamp(&mut self, version: Version, now: Timestamp) {
                self.version = version;
                self.updated_at = now;
            }
        }
    )+};
}

objects!(AttachedContainer, Cluster, Node, Network, Service, Task);

/// Writes `changed` over `map[id]` with a new version; an equal object keeps its version.
fn replace<K: Ord + Clone, O: Object>(
    map: &mut OrdMap<K, Arc<O>>,
    id: &K,
    mut changed: O,
    (version, now): (Version, Timestamp),
) {
    if map.get(id).is_some_and(|present| **present == changed) {
        return;
    }
    changed.stamp(version, now);
    map.insert(id.clone(), Arc::new(changed));
}

fn missing(kind: &str, id: impl ToString) -> Refused {
    Refused::Missing { kind: kind.to_owned(), id: id.to_string() }
}

fn exists(kind: &str, id: impl ToString) -> Refused {
    Refused::Exists { kind: kind.to_owned(), id: id.to_string() }
}

fn conflict(kind: &str, id: impl ToString) -> Refused {
    Refused::Conflict { kind: kind.to_owned(), id: id.to_string() }
}

fn in_use(kind: &str, id: impl ToString, user: String) -> Refused {
    Refused::InUse { kind: kind.to_owned(), id: id.to_string(), user }
}
