//! Pure: who speaks of which names, so that a change of one service costs as much among ten thousand
//! as among ten: only what it spoke of, or speaks of now, is built anew.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::view::{Backend, DiffItem};
use swarmnet_model::{Item, ItemKey, NetworkId, NodeView, ServiceId, TaskId};

use super::names::{Key, Names};
use crate::inputs::{backends, service, services};

/// Beyond so many services and backends, building all names anew costs less than following.
const FOLLOWED_MAX: usize = 1_000;

/// A service or a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Service(ServiceId),
    Backend(TaskId),
}

/// What of each network is spoken of.
type Keys = BTreeMap<NetworkId, BTreeSet<Key>>;

/// The sources of all names of a view.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    by_key: BTreeMap<NetworkId, BTreeMap<Key, BTreeSet<Source>>>,
    /// Backends of each service: what they speak of depends on it.
    members: BTreeMap<ServiceId, BTreeSet<TaskId>>,
}

/// What differs between two views.
#[derive(Default)]
struct Change {
    services: BTreeSet<ServiceId>,
    /// With the services they belonged and belong to.
    backends: BTreeMap<TaskId, [Option<ServiceId>; 2]>,
    networks: bool,
}

impl Sources {
    /// Collects the sources of a view; takes about as long as building its names.
    pub fn of(view: &NodeView) -> Self {
        let mut sources = Self::default();
        for service in services(view) {
            sources.note(view, &Source::Service(service.id.clone()));
        }
        for backend in backends(view) {
            if let Some(service) = &backend.service_id {
                let members = sources.members.entry(service.clone()).or_default();
                members.insert(backend.task_id.clone());
            }
            sources.note(view, &Source::Backend(backend.task_id.clone()));
        }
        sources
    }

    /// Follows from the view these are the sources of, whose names are given, to the next, and
    /// returns its names; `None` if everything has to be built anew.
    pub fn follow(&mut self, names: &Names, before: &NodeView, after: &NodeView) -> Option<Names> {
        let change = Change::between(before, after);
        let concerned = self.concerned(&change);
        if change.networks || concerned.len() > FOLLOWED_MAX {
            return None;
        }
        let mut touched = Keys::new();
        for source in concerned {
            let old = self.forget(before, &source);
            let new = self.note(after, &source);
            add(&mut touched, old);
            add(&mut touched, new);
        }
        for (task, services) in change.backends {
            self.move_member(task, services);
        }
        self.add_dependent(after, &mut touched);
        Some(self.redraw(names, after, &touched))
    }

    /// Returns everything that may speak of something else now.
    fn concerned(&self, change: &Change) -> BTreeSet<Source> {
        let members = change.services.iter().filter_map(|service| self.members.get(service));
        let backends = members.flatten().chain(change.backends.keys());
        let services = change.services.iter().cloned().map(Source::Service);
        services.chain(backends.cloned().map(Source::Backend)).collect()
    }

    fn note(&mut self, view: &NodeView, source: &Source) -> Keys {
        let keys = spoken_of(view, source);
        for (network, keys) in &keys {
            let by_key = self.by_key.entry(network.clone()).or_default();
            for key in keys {
                by_key.entry(key.clone()).or_default().insert(source.clone());
            }
        }
        keys
    }

    fn forget(&mut self, view: &NodeView, source: &Source) -> Keys {
        let keys = spoken_of(view, source);
        for (network, keys) in &keys {
            let Some(by_key) = self.by_key.get_mut(network) else { continue };
            for key in keys {
                let Some(sources) = by_key.get_mut(key) else { continue };
                sources.remove(source);
                if sources.is_empty() {
                    by_key.remove(key);
                }
            }
            if by_key.is_empty() {
                self.by_key.remove(network);
            }
        }
        keys
    }

    fn move_member(&mut self, task: TaskId, [old, new]: [Option<ServiceId>; 2]) {
        if let Some(old) = old
            && let Some(members) = self.members.get_mut(&old)
        {
            members.remove(&task);
            if members.is_empty() {
                self.members.remove(&old);
            }
        }
        if let Some(new) = new {
            self.members.entry(new).or_default().insert(task);
        }
    }

    /// The names of a service's ports have the addresses of its name, whoever brings those.
    fn add_dependent(&self, view: &NodeView, touched: &mut Keys) {
        let services: BTreeSet<Source> = touched
            .iter()
            .flat_map(|(network, keys)| self.sources(network, keys))
            .filter(|source| matches!(source, Source::Service(_)))
            .collect();
        services.iter().for_each(|service| add(touched, spoken_of(view, service)));
    }

    fn sources(&self, network: &NetworkId, keys: &BTreeSet<Key>) -> BTreeSet<Source> {
        let by_key = self.by_key.get(network);
        keys.iter().filter_map(|key| by_key?.get(key)).flatten().cloned().collect()
    }

    fn redraw(&self, names: &Names, view: &NodeView, touched: &Keys) -> Names {
        let mut all = names.clone();
        for (id, keys) in touched {
            let drawn = draw(view, &self.sources(id, keys));
            if let (Some(before), Some(drawn)) = (names.network(id), drawn.network(id)) {
                let mut network = (**before).clone();
                network.take(drawn, keys);
                all.set(id.clone(), network);
            }
        }
        all
    }
}

impl Change {
    fn between(before: &NodeView, after: &NodeView) -> Self {
        let mut change = Self::default();
        for item in before.diff(after) {
            match item {
                DiffItem::Add(key, new) => change.note(key, None, Some(new)),
                DiffItem::Update { old: (key, old), new: (_, new) } => {
                    change.note(key, Some(old), Some(new));
                }
                DiffItem::Remove(key, old) => change.note(key, Some(old), None),
            }
        }
        change
    }

    fn note(&mut self, key: &ItemKey, old: Option<&Item>, new: Option<&Item>) {
        let service = |item| backend(item).and_then(|backend| backend.service_id.clone());
        match key {
            ItemKey::Network(_) => self.networks = true,
            ItemKey::Service(id) => drop(self.services.insert(id.clone())),
            ItemKey::Backend(id) => {
                self.backends.insert(id.clone(), [service(old), service(new)]);
            }
            ItemKey::Settings | ItemKey::Peer(_) | ItemKey::Task(_) => {}
        }
    }
}

/// Returns what a source would speak of if it were alone.
fn spoken_of(view: &NodeView, source: &Source) -> Keys {
    let drawn = draw(view, &[source.clone()].into());
    let networks = drawn.networks().map(|(id, network)| (id.clone(), network.keys().collect()));
    networks.filter(|(_, keys): &(_, BTreeSet<Key>)| !keys.is_empty()).collect()
}

fn draw(view: &NodeView, sources: &BTreeSet<Source>) -> Names {
    let services = sources.iter().filter_map(|source| match source {
        Source::Service(id) => service(view, id),
        Source::Backend(_) => None,
    });
    let services: Vec<_> = services.collect();
    let backends = sources.iter().filter_map(|source| match source {
        Source::Backend(id) => backend(view.get(&ItemKey::Backend(id.clone()))),
        Source::Service(_) => None,
    });
    Names::of_some(view, &services, backends)
}

fn backend(item: Option<&Item>) -> Option<&Backend> {
    if let Some(Item::Backend(backend)) = item { Some(backend) } else { None }
}

fn add(keys: &mut Keys, more: Keys) {
    for (network, more) in more {
        keys.entry(network).or_default().extend(more);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dns::fixture::World;

    const NETWORKS: &str = "network net 10.0.1.0/24\nnetwork other 10.0.2.0/24\n";

    /// Lines of which each may or may not be there; names collide across services, tasks and aliases.
    const LINES: [&str; 16] = [
        "service web vip net=10.0.1.2 port:http:80",
        "service web vip net=10.0.1.3,api other=10.0.2.2 port:http:81 port:admin:82",
        "service api dnsrr net=-,web port:grpc:50",
        "service web.1 vip net=10.0.1.4",
        "service api vip other=10.0.2.4,web",
        "task web.1 active net=10.0.1.10,api",
        "task web.1 draining net=10.0.1.10 other=10.0.2.10",
        "task web.2 placed net=10.0.1.11",
        "task web.2 active net=10.0.1.11,short other=10.0.2.11",
        "task web.3 down net=10.0.1.12",
        "task api.1 active net=10.0.1.20,web other=10.0.2.20",
        "task api.1 placed net=10.0.1.21",
        "task api.2 active other=10.0.2.22,short",
        "plain web active net=10.0.1.30,short",
        "plain lone active net=10.0.1.31,api other=10.0.2.31",
        "task web.1.1 active net=10.0.1.40",
    ];

    fn view(lines: u16) -> NodeView {
        let here = LINES.iter().enumerate().filter(|(bit, _)| lines & (1 << bit) != 0);
        let lines: Vec<_> = here.map(|(_, line)| *line).collect();
        World::of(&format!("{NETWORKS}{}", lines.join("\n"))).view
    }

    proptest! {
        #[test]
        fn names_that_follow_are_those_that_are_built(steps in prop::collection::vec(any::<u16>(), 2..8)) {
            let mut before = view(steps[0]);
            let (mut names, mut sources) = (Names::build(&before), Sources::of(&before));
            for step in &steps[1..] {
                let after = view(*step);
                names = sources.follow(&names, &before, &after).unwrap();
                prop_assert_eq!(&names, &Names::build(&after));
                prop_assert_eq!(&sources, &Sources::of(&after));
                before = after;
            }
        }
    }

    #[test]
    fn another_network_needs_all_names_anew() {
        let (before, after) = (NodeView::new(), view(1));
        assert_eq!(Sources::default().follow(&Names::default(), &before, &after), None);
    }
}
