//! Pure: which engine networks no task of this node needs any more.

use std::collections::BTreeSet;

use crate::engine::EngineNetwork;

/// Returns the networks of ours that may be removed.
pub(super) fn unused<'a>(
    networks: &'a [EngineNetwork],
    needed: &BTreeSet<String>,
) -> Vec<&'a EngineNetwork> {
    networks.iter().filter(|network| !needed.contains(&network.name)).collect()
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
        let names = |needed: &[&str]| -> Vec<String> {
            let needed = needed.iter().map(|name| (*name).to_owned()).collect();
            unused(&networks, &needed).into_iter().map(|network| network.name.clone()).collect()
        };
        assert_eq!(names(&["b"]), ["a"]);
        assert_eq!(names(&["a", "b", "c"]), Vec::<String>::new());
        assert_eq!(names(&[]), ["a", "b"]);
    }
}
