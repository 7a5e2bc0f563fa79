//! Pure: writes of plain containers on swarm networks.

use std::net::Ipv4Addr;
use std::sync::Arc;

use swarmnet_model::{AttachedContainer, Attachment, NetworkId, Version};

use super::{Object, Writer, conflict, exists, missing, replace};
use crate::store::Refused;

impl Writer {
    /// The addresses were chosen from a snapshot that may have been stale: two allocations can be
    /// under way, this one and the loop's for tasks and services.
    pub(super) fn put_attached(
        &mut self,
        container: &AttachedContainer,
        expected: Option<Version>,
    ) -> Result<(), Refused> {
        let present = self.tables.attached.get(&container.id).cloned();
        match (&present, expected) {
            (Some(_), None) => return Err(exists("attachment", &container.id)),
            (None, Some(_)) => return Err(missing("attachment", &container.id)),
            (Some(present), Some(expected)) => {
                if present.version != expected || present.node_id != container.node_id {
                    return Err(conflict("attachment", &container.id));
                }
            }
            (None, None) => {}
        }
        if !self.tables.nodes.contains_key(&container.node_id) {
            return Err(missing("node", &container.node_id));
        }
        let held = present.as_ref().map_or(&[][..], |present| &present.attachments);
        for new in container.attachments.iter().filter(|a| !held.contains(a)) {
            self.check_free(new)?;
        }
        let mut changed = container.clone();
        let Some(present) = present else {
            changed.created_at = self.now;
            changed.stamp(self.version, self.now);
            self.tables.attached.insert(changed.id.clone(), Arc::new(changed));
            return Ok(());
        };
        (changed.version, changed.created_at) = (present.version, present.created_at);
        changed.updated_at = present.updated_at;
        let id = changed.id.clone();
        replace(&mut self.tables.attached, &id, changed, (self.version, self.now));
        Ok(())
    }

    fn check_free(&self, new: &Attachment) -> Result<(), Refused> {
        let (network, address) = (&new.network_id, new.address.ip());
        if self.tables.kept_network(network).is_none() {
            return Err(missing("network", network));
        }
        let same = |a: &Attachment| a.network_id == *network && a.address.ip() == address;
        let tasks = self.tables.tasks.values().filter(|task| !task.status.state.is_terminal());
        let by_task = tasks.flat_map(|task| &task.attachments).any(same);
        let services = self.tables.services.values().filter(|service| !service.pending_delete);
        let vips = services.filter_map(|service| service.endpoint.as_ref()).flat_map(|e| &e.vips);
        let by_vip =
            vips.into_iter().any(|v| v.network_id == *network && v.address.ip() == address);
        if by_task || by_vip || self.attached_has(network, address) {
            return Err(conflict("address", address));
        }
        Ok(())
    }

    /// True if a plain container holds the address.
    pub(super) fn attached_has(&self, network: &NetworkId, address: Ipv4Addr) -> bool {
        let mut held = self.tables.attached.values().flat_map(|container| &container.attachments);
        held.any(|a| a.network_id == *network && a.address.ip() == address)
    }
}
