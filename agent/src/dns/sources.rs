//! Pure: the names of a view → those of the next, in the time of what differs: every name knows who
//! speaks of it, and only what somebody spoke of, or speaks of now, is built anew.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::view::{Backend, DiffItem};
use swarmnet_model::{Item, ItemKey, NetworkId, NodeView, ServiceId, TaskId};

use super::name::Name;
use super::names::{Key, Names};
use crate::inputs::service;

/// Beyond so many services and backends, building all names anew costs less than following.
const FOLLOWED_MAX: usize = 1_000;

/// A service or a backend: what speaks of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Service(ServiceId),
    Backend(TaskId),
}

/// What of each network is spoken of.
type Keys = BTreeMap<NetworkId, BTreeSet<Key>>;

/// What differs between two views.
#[derive(Default)]
struct Change {
    services: BTreeSet<ServiceId>,
    backends: BTreeSet<TaskId>,
    networks: bool,
}

/// The names in use, and what differs from them.
struct Step<'a> {
    names: &'a Names,
    /// Everything that may speak of something else now.
    concerned: BTreeSet<Source>,
    /// What it speaks of now, as if it were alone.
    now: Names,
}

/// Returns the names of `after` from those of `before`; `None` if everything has to be built anew.
pub fn follow(names: &Names, before: &NodeView, after: &NodeView) -> Option<Names> {
    if before.diff(after).take(FOLLOWED_MAX + 1).count() > FOLLOWED_MAX {
        return None;
    }
    let change = Change::between(before, after);
    let concerned = concerned(names, before, &change);
    if change.networks || concerned.len() > FOLLOWED_MAX {
        return None;
    }
    let mut touched = keys(&draw(before, &concerned));
    let step = Step { names, now: draw(after, &concerned), concerned };
    add(&mut touched, keys(&step.now));
    let dependent = step.dependent(after, &touched);
    add(&mut touched, dependent);
    Some(step.redraw(after, &touched))
}

/// What a backend speaks of depends on its service.
fn concerned(names: &Names, before: &NodeView, change: &Change) -> BTreeSet<Source> {
    let mut found: BTreeSet<_> = change.backends.iter().cloned().map(Source::Backend).collect();
    for id in &change.services {
        found.insert(Source::Service(id.clone()));
        let orphans = names.orphans.iter().filter(|(_, service)| *service == id);
        found.extend(orphans.map(|(task, _)| Source::Backend(task.clone())));
        // Each of its backends speaks of its name, wherever it is attached.
        let name = service(before, id).and_then(|service| Name::from_text(&service.name));
        let Some(key) = name.map(Key::Name) else { continue };
        let speakers = names.networks().flat_map(|(_, network)| network.sources(&key));
        found.extend(speakers.filter(|source| matches!(source, Source::Backend(_))).cloned());
    }
    found
}

impl Step<'_> {
    /// The names of a service's ports have the addresses of its name, whoever brings those.
    fn dependent(&self, view: &NodeView, touched: &Keys) -> Keys {
        let speakers = touched.iter().flat_map(|(network, keys)| self.speakers(network, keys));
        keys(&draw(view, &speakers.filter(|it| matches!(it, Source::Service(_))).collect()))
    }

    /// Returns who speaks of some keys now.
    fn speakers(&self, network: &NetworkId, keys: &BTreeSet<Key>) -> BTreeSet<Source> {
        let of = |names: &Names| {
            let network = names.network(network).cloned();
            let sources = |key| network.as_ref().map_or(&[][..], |network| network.sources(key));
            keys.iter().flat_map(|key| sources(key).to_vec()).collect::<BTreeSet<_>>()
        };
        let mut speakers = of(self.names);
        speakers.retain(|source| !self.concerned.contains(source));
        speakers.extend(of(&self.now));
        speakers
    }

    fn redraw(self, view: &NodeView, touched: &Keys) -> Names {
        let mut all = self.names.clone();
        for (id, keys) in touched {
            let drawn = draw(view, &self.speakers(id, keys));
            if let (Some(before), Some(drawn)) = (self.names.network(id), drawn.network(id)) {
                let mut network = (**before).clone();
                network.take(drawn, keys);
                all.set(id.clone(), network);
            }
        }
        all.orphans.retain(|task, _| !self.concerned.contains(&Source::Backend(task.clone())));
        all.orphans.extend(self.now.orphans);
        all
    }
}

impl Change {
    fn between(before: &NodeView, after: &NodeView) -> Self {
        let mut change = Self::default();
        for item in before.diff(after) {
            let (DiffItem::Add(key, _)
            | DiffItem::Update { new: (key, _), .. }
            | DiffItem::Remove(key, _)) = item;
            change.note(key);
        }
        change
    }

    fn note(&mut self, key: &ItemKey) {
        match key {
            ItemKey::Network(_) => self.networks = true,
            ItemKey::Service(id) => drop(self.services.insert(id.clone())),
            ItemKey::Backend(id) => drop(self.backends.insert(id.clone())),
            ItemKey::Settings | ItemKey::Peer(_) | ItemKey::Task(_) => {}
        }
    }
}

fn keys(names: &Names) -> Keys {
    let networks = names.networks().map(|(id, network)| (id.clone(), network.keys().collect()));
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
            let mut names = Names::build(&before);
            for step in &steps[1..] {
                let after = view(*step);
                names = follow(&names, &before, &after).unwrap();
                prop_assert_eq!(&names, &Names::build(&after));
                before = after;
            }
        }
    }

    #[test]
    fn another_network_needs_all_names_anew() {
        let (before, after) = (NodeView::new(), view(1));
        assert_eq!(follow(&Names::default(), &before, &after), None);
    }
}
