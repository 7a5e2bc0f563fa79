//! Pure: writes of the cluster object.

use std::sync::Arc;

use swarmnet_model::{Cluster, Version};

use super::{Object, Writer, conflict, exists, missing};
use crate::store::Refused;

impl Writer {
    pub(super) fn put_cluster(
        &mut self,
        cluster: &Cluster,
        expected: Option<Version>,
    ) -> Result<(), Refused> {
        let mut cluster = cluster.clone();
        match (self.tables.cluster.as_deref(), expected) {
            (None, None) => cluster.created_at = self.now,
            (Some(present), None) => return Err(exists("cluster", &present.id)),
            (None, Some(_)) => return Err(missing("cluster", &cluster.id)),
            (Some(present), Some(expected)) => {
                if present.version != expected || present.id != cluster.id {
                    return Err(conflict("cluster", &present.id));
                }
                cluster.created_at = present.created_at;
                // Raft ids are never reused, whatever the caller computed.
                cluster.next_raft_id = cluster.next_raft_id.max(present.next_raft_id);
            }
        }
        cluster.stamp(self.version, self.now);
        self.tables.cluster = Some(Arc::new(cluster));
        Ok(())
    }
}
