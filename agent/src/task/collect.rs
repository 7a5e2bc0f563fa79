//! Pure: which engine networks no task of this node needs any more.

use std::collections::BTreeSet;

use super::networks::GATEWAY_LABEL_VALUE;
use crate::engine::EngineNetwork;

/// Which networks are to stay.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Names of the networks of this node's tasks and plain containers.
    pub(super) by_tasks: BTreeSet<String>,
    /// The gateway network stays without a task too. The next task needs it again, and making it
    /// costs the engine several runs of iptables.
    pub(super) gateway: bool,
}

/// Returns the networks of ours that may be removed.
pub(super) fn unused<'a>(networks: &'a [EngineNetwork], needed: &Needed) -> Vec<&'a EngineNetwork> {
    let stays = |network: &EngineNetwork| {
        needed.by_tasks.contains(&network.name)
            || (needed.gateway && network.label == GATEWAY_LABEL_VALUE)
    };
    networks.iter().filter(|network| !stays(network)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_without_a_task_are_removed() {
        let network = |name: &str| EngineNetwork {
            id: format!("id-{name}"),
            name: name.to_owned(),
            driver: "swarmnet".to_owned(),
            label: name.to_owned(),
        };
        let networks = [network("a"), network("b")];
        let names = |names: &[&str]| -> Vec<String> {
            let by_tasks = names.iter().map(|name| (*name).to_owned()).collect();
            let needed = Needed { by_tasks, gateway: false };
            unused(&networks, &needed).into_iter().map(|network| network.name.clone()).collect()
        };
        assert_eq!(names(&["b"]), ["a"]);
        assert_eq!(names(&["a", "b", "c"]), Vec::<String>::new());
        assert_eq!(names(&[]), ["a", "b"]);
    }

    #[test]
    fn the_gateway_network_stays_as_long_as_it_is_needed() {
        let networks = [EngineNetwork {
            id: "g".to_owned(),
            name: "swarmnet_gateway".to_owned(),
            driver: "swarmnet".to_owned(),
            label: GATEWAY_LABEL_VALUE.to_owned(),
        }];
        let gone = |gateway| unused(&networks, &Needed { gateway, ..Needed::default() }).len();
        assert_eq!((gone(true), gone(false)), (0, 1));
    }
}
