//! Pure: writes of nodes.

use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::node::ManagerMember;
use swarmnet_model::{
    Node, NodeDescription, NodeId, NodeStatus, Role, TaskState, TaskStatus, Timestamp, Version,
};

use super::{Object, Writer, conflict, exists, missing, replace};
use crate::store::Refused;

/// A removed node is refused until its certificate has expired, and this much longer (Swarm's rule:
/// clocks of nodes differ).
const REMOVED_NODE_MARGIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Docker's words.
const ORPHANED: &str = "Task belonged to a node that has been deleted";

impl Writer {
    pub(super) fn create_node(&mut self, node: &Node) -> Result<(), Refused> {
        if self.tables.nodes.contains_key(&node.id) {
            return Err(exists("node", &node.id));
        }
        let mut node = node.clone();
        node.created_at = self.now;
        node.spec_version = self.version;
        node.stamp(self.version, self.now);
        self.tables.nodes.insert(node.id.clone(), Arc::new(node));
        Ok(())
    }

    pub(super) fn update_node(&mut self, node: &Node, expected: Version) -> Result<(), Refused> {
        let present = self.tables.nodes.get(&node.id).ok_or_else(|| missing("node", &node.id))?;
        if present.spec_version != expected {
            return Err(conflict("node", &node.id));
        }
        let mut changed = Node::clone(present);
        if changed.spec != node.spec {
            changed.spec = node.spec.clone();
            changed.spec_version = self.version;
        }
        self.put_node(changed);
        Ok(())
    }

    pub(super) fn set_node_role(&mut self, id: &NodeId, role: Role) {
        let Some(present) = self.tables.nodes.get(id) else {
            return;
        };
        let mut changed = Node::clone(present);
        changed.role = role;
        self.put_node(changed);
    }

    pub(super) fn set_manager(
        &mut self,
        id: &NodeId,
        member: Option<&ManagerMember>,
    ) -> Result<(), Refused> {
        let present = self.tables.nodes.get(id).ok_or_else(|| missing("node", id))?;
        if (present.spec.role == Role::Manager) != member.is_some() {
            return Err(conflict("node", id));
        }
        let mut changed = Node::clone(present);
        changed.manager = member.cloned();
        self.put_node(changed);
        Ok(())
    }

    pub(super) fn remove_node(&mut self, id: &NodeId) -> Result<(), Refused> {
        if self.tables.nodes.remove(id).is_none() {
            return Err(missing("node", id));
        }
        self.block_certificate(id);
        let unfinished: Vec<_> = self
            .tables
            .tasks_on(id)
            .filter(|task| !task.status.state.is_terminal())
            .map(|task| task.id.clone())
            .collect();
        let orphaned = TaskStatus::new(self.now, TaskState::Orphaned, ORPHANED);
        for task in &unfinished {
            self.end_task(task, &orphaned);
        }
        let attached: Vec<_> = self.tables.attached_on(id).map(|c| c.id.clone()).collect();
        for container in &attached {
            self.tables.attached.remove(container);
        }
        Ok(())
    }

    fn block_certificate(&mut self, id: &NodeId) {
        let Some(cluster) = &self.tables.cluster else {
            return;
        };
        let mut cluster = (**cluster).clone();
        let until = self.now.plus(cluster.spec.node_cert_expiry).plus(REMOVED_NODE_MARGIN);
        let now = self.now;
        cluster.removed_nodes.retain(|_, until: &mut Timestamp| *until > now);
        cluster.removed_nodes.insert(id.clone(), until);
        cluster.stamp(self.version, self.now);
        self.tables.cluster = Some(Arc::new(cluster));
    }

    pub(super) fn describe_node(&mut self, id: &NodeId, description: &NodeDescription) {
        let Some(present) = self.tables.nodes.get(id) else {
            return;
        };
        let mut changed = Node::clone(present);
        changed.description = Some(description.clone());
        self.put_node(changed);
    }

    pub(super) fn set_node_status(&mut self, id: &NodeId, status: &NodeStatus) {
        let Some(present) = self.tables.nodes.get(id) else {
            return;
        };
        let mut changed = Node::clone(present);
        changed.status = status.clone();
        self.put_node(changed);
    }

    fn put_node(&mut self, node: Node) {
        let id = node.id.clone();
        replace(&mut self.tables.nodes, &id, node, (self.version, self.now));
    }
}
