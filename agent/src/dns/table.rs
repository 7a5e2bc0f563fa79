//! The zone in use: swapped whole, read without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use swarmnet_model::view::DiffItem;
use swarmnet_model::{ItemKey, NodeView};
use tokio::sync::watch;

use super::names::Names;
use super::sources::follow;
use super::zone::Zone;
use crate::plugin::journal::Journal;

/// The zone, and the view its names are of.
#[derive(Debug, Default)]
pub struct Table {
    zone: ArcSwap<Zone>,
    view: Mutex<Arc<NodeView>>,
    /// True once a node's view has been told, be it the stored one.
    fed: watch::Sender<bool>,
}

impl Table {
    /// The managers said something new. Building all names takes a while: 0.1 s for 100,000 tasks. One
    /// caller at a time; attachments may change meanwhile, so `journal` is asked afterwards.
    pub fn view_changed(&self, view: &Arc<NodeView>, journal: impl FnOnce() -> Arc<Journal>) {
        let before = Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner));
        let names = if names_differ(&before, view) {
            let followed = follow(self.zone.load().names(), &before, view);
            Arc::new(followed.unwrap_or_else(|| Names::build(view)))
        } else {
            Arc::clone(self.zone.load().names())
        };
        let mut known = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::clone(view);
        self.zone.store(Arc::new(Zone::with_names(names, view, &journal())));
    }

    /// A task was attached or left: before the engine hears of it, so that the first query of a
    /// container finds its asker. Names stay as they are.
    pub fn journal_changed(&self, journal: impl FnOnce() -> Arc<Journal>) {
        let known = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let names = Arc::clone(self.zone.load().names());
        self.zone.store(Arc::new(Zone::with_names(names, &known, &journal())));
    }

    /// Says that the names are those of a view, not of a node that has been told nothing yet.
    pub fn mark_fed(&self) {
        self.fed.send_replace(true);
    }

    /// Returns whether the names are those of a view; before, no query has its right answer.
    pub fn fed(&self) -> watch::Receiver<bool> {
        self.fed.subscribe()
    }

    /// Returns the zone to answer from.
    pub fn load(&self) -> Guard<Arc<Zone>> {
        self.zone.load()
    }

    /// Returns the zone to hold on to while somebody else is waited for.
    pub fn load_full(&self) -> Arc<Zone> {
        self.zone.load_full()
    }
}

/// True if something that names are made of has changed: not when a task of this node gets on.
fn names_differ(before: &NodeView, after: &NodeView) -> bool {
    let named = |key: &ItemKey| {
        matches!(key, ItemKey::Network(_) | ItemKey::Service(_) | ItemKey::Backend(_))
    };
    before.diff(after).any(|item| {
        let (DiffItem::Add(key, _)
        | DiffItem::Update { new: (key, _), .. }
        | DiffItem::Remove(key, _)) = item;
        named(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::fixture::World;

    #[test]
    fn names_are_built_anew_only_when_they_may_differ() {
        let text = "network net 10.0.1.0/24\nservice web vip net=10.0.1.2\nasker 1 t net\n";
        let table = Table::default();
        let tell = |text: &str| {
            let world = World::of(text);
            table.view_changed(&Arc::new(world.view), || world.journal.into());
            Arc::clone(table.load().names())
        };
        let first = tell(text);
        assert!(Arc::ptr_eq(&first, &tell(&format!("{text}asker 2 u net"))), "a task more");
        assert!(table.load().asker(102).is_some(), "which asks");
        for more in ["task web.1 active net=10.0.1.5", "network other 10.0.2.0/24"] {
            let before = Arc::clone(table.load().names());
            let text = format!("{text}{more}");
            assert_ne!(tell(&text), before, "{more}");
            assert_eq!(**table.load().names(), Names::build(&World::of(&text).view));
        }
        assert_eq!(tell(text), first, "and back");
    }
}
