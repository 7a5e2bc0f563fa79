//! Pure: names of the networks, and who of this node may ask for which: what queries are answered from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use swarmnet_model::{NodeView, TaskId};

use super::name::Name;
use super::names::{Entry, Names, Network};
use crate::inputs::assigned;
use crate::plugin::journal::{Endpoint, Journal, NetworkKind};

/// Upstreams of one asker; as many as resolv.conf may name.
pub const UPSTREAMS_MAX: usize = 3;

/// Everything queries are answered from.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: Arc<Names>,
    askers: BTreeMap<u32, Arc<Asker>>,
}

/// Who asks: one task of this node, by any of its attachments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub task: TaskId,
    /// In the order in which they are asked: by name, as Docker does.
    networks: Vec<Arc<Network>>,
    pub upstreams: Upstreams,
}

/// Who is asked for what is not in the zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upstreams {
    /// Nobody: every network of the task is internal.
    Nobody,
    /// Those of the host.
    Host,
    /// Those the user named for the task, asked from inside its sandbox.
    Own { servers: Arc<[IpAddr]>, sandbox: Option<PathBuf> },
}

impl Zone {
    /// Builds the zone of a node.
    pub fn build(view: &NodeView, journal: &Journal) -> Self {
        Self::with_names(Arc::new(Names::build(view)), view, journal)
    }

    /// Builds the zone from names that are known already, of the same view.
    pub fn with_names(names: Arc<Names>, view: &NodeView, journal: &Journal) -> Self {
        let askers = journal.joined().map(|(_, endpoint)| {
            (endpoint.lidx, Arc::new(asker(&names, view, journal, &endpoint.task)))
        });
        Self { askers: askers.collect(), names }
    }

    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Returns who asks by the attachment with this index.
    pub fn asker(&self, lidx: u32) -> Option<&Arc<Asker>> {
        self.askers.get(&lidx)
    }

    /// Returns an asker of a task, whichever attachment it is.
    pub fn asker_of(&self, task: &TaskId) -> Option<&Arc<Asker>> {
        self.askers.values().find(|asker| asker.task == *task)
    }

    /// True if the address belongs to an overlay of this node, visible to the asker or not.
    pub fn owns(&self, addr: Ipv4Addr) -> bool {
        self.names.own(addr)
    }
}

impl Asker {
    /// Returns what the first network that knows `name` says.
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let mut networks = self.networks.iter();
        networks
            .find_map(|network| network.find(name))
            .or_else(|| self.networks.iter().find_map(|network| network.find_below(name)))
    }

    /// Returns the name of an address that the asker sees.
    pub fn name_of(&self, addr: Ipv4Addr) -> Option<&Name> {
        self.networks.iter().find_map(|network| network.name_of(addr))
    }
}

fn asker(names: &Names, view: &NodeView, journal: &Journal, task: &TaskId) -> Asker {
    let own: Vec<&Endpoint> =
        journal.joined().map(|(_, e)| e).filter(|endpoint| endpoint.task == *task).collect();
    let mut networks: Vec<_> = own
        .iter()
        .filter_map(|endpoint| match &endpoint.network {
            NetworkKind::Overlay(id) => names.network(id).cloned(),
            NetworkKind::Gateway => None,
        })
        .collect();
    networks.sort_by(|a, b| a.name().cmp(&b.name()));
    let internal = own.iter().all(|endpoint| endpoint.is_gateway() || endpoint.internal)
        && own.iter().any(|endpoint| !endpoint.is_gateway());
    let upstreams = match (internal, own_servers(view, task, &own)) {
        (true, _) => Upstreams::Nobody,
        (false, servers) if servers.is_empty() => Upstreams::Host,
        (false, servers) => Upstreams::Own {
            servers: servers.into(),
            sandbox: own.iter().find_map(|endpoint| endpoint.sandbox.clone()),
        },
    };
    Asker { task: task.clone(), networks, upstreams }
}

/// Returns what the spec of a task names, or the user of a plain container.
fn own_servers(view: &NodeView, task: &TaskId, own: &[&Endpoint]) -> Vec<IpAddr> {
    let spec = assigned(view, task).map(|assigned| &assigned.task.spec.container);
    let named = spec.into_iter().flat_map(|spec| &spec.dns.nameservers);
    let of_task = named.filter_map(|text| text.parse().ok());
    let of_container = own.iter().map(|endpoint| &endpoint.upstreams).find(|all| !all.is_empty());
    of_task.chain(of_container.into_iter().flatten().copied()).take(UPSTREAMS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::fixture::World;

    #[test]
    fn the_servers_that_the_user_of_a_plain_container_has_named_are_its_upstreams() {
        let mut world = World::of("network front 10.0.1.0/24\nasker 1 a front");
        let of_a = |world: &World| {
            let zone = Zone::build(&world.view, &world.journal);
            zone.asker(1).unwrap().upstreams.clone()
        };
        assert_eq!(of_a(&world), Upstreams::Host);
        for endpoint in world.journal.endpoints.values_mut() {
            endpoint.upstreams = vec![[192, 0, 2, 1].into()];
        }
        let Upstreams::Own { servers, sandbox } = of_a(&world) else { panic!() };
        assert_eq!(*servers, [IpAddr::from([192, 0, 2, 1])]);
        assert!(sandbox.is_some(), "asked from where the container stands");
    }
}
