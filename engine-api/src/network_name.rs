//! Pure: how the engine's networks that stand for overlays are told from the user's own.

use crate::control_plane::{LocalNetwork, LocalNetworks};

/// Driver of the engine networks that stand for overlays; never shown.
pub(crate) const PLUGIN_DRIVER: &str = "swarmnet";
/// Label of those networks, set by the agent; a prune spares what carries it.
pub(crate) const PLUGIN_LABEL: &str = "swarmnet.network";
/// Networks every engine has; no other network may take their names.
pub(crate) const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

impl LocalNetworks {
    /// Returns the overlay that an engine network (id or name) stands for.
    pub(crate) fn by_engine(&self, id_or_name: &str) -> Option<&LocalNetwork> {
        let same = |n: &&LocalNetwork| n.engine_id == id_or_name || n.engine_name == id_or_name;
        self.networks.iter().find(same)
    }

    /// Returns the overlay a user means by name, id, or id of the engine's network.
    pub(crate) fn by_reference(&self, reference: &str) -> Option<&LocalNetwork> {
        let same = |n: &&LocalNetwork| {
            n.name == reference || n.id.as_str() == reference || n.engine_id == reference
        };
        self.networks.iter().find(same)
    }

    /// True if the engine's network of that name is for gateways only.
    pub(crate) fn is_gateway(&self, engine_name: &str) -> bool {
        !self.gateway_engine_name.is_empty() && self.gateway_engine_name == engine_name
    }
}
