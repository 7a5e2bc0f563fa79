//! Pure: the networks that every engine has of its own, as far as services may use them.

use serde::{Deserialize, Serialize};

use crate::id::NetworkId;

/// One of the engine's own networks. The swarm neither makes it nor gives addresses on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PredefinedNetwork {
    /// Tasks get an address of the node's own and a way out.
    Bridge,
    /// Tasks are in the node's network namespace and listen on its addresses.
    Host,
}

impl PredefinedNetwork {
    pub const ALL: [Self; 2] = [Self::Bridge, Self::Host];

    /// Returns the name, which is also that of its driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }

    /// Returns the id by which specs name it: clients put ids in place of names. The same in every
    /// swarm.
    pub fn id(self) -> NetworkId {
        NetworkId::from_text(match self {
            Self::Bridge => "predefinedbridge000000000",
            Self::Host => "predefinedhost00000000000",
        })
    }

    /// Returns the network of this id or name.
    pub fn by_reference(reference: &str) -> Option<Self> {
        let is_meant = |of: &Self| of.name() == reference || of.id().as_str() == reference;
        Self::ALL.into_iter().find(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predefined_network_is_known_by_name_and_by_an_id_as_long_as_any_other() {
        for network in PredefinedNetwork::ALL {
            let id = network.id();
            assert_eq!(id.as_str().len(), 25);
            assert_eq!(PredefinedNetwork::by_reference(id.as_str()), Some(network));
            assert_eq!(PredefinedNetwork::by_reference(network.name()), Some(network));
        }
        assert_eq!(PredefinedNetwork::by_reference("none"), None);
    }
}
