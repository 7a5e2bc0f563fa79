//! The zone in use: swapped whole, read without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use swarmnet_model::NodeView;

use super::zone::{Names, Zone};
use crate::plugin::journal::Journal;

/// The zone, and the view its names are of.
#[derive(Debug, Default)]
pub struct Table {
    zone: ArcSwap<Zone>,
    view: Mutex<Arc<NodeView>>,
}

impl Table {
    /// The managers said something new. Building names takes a while: 0.1 s for 100,000 tasks. One
    /// caller at a time; attachments may change meanwhile, so `journal` is asked afterwards.
    pub fn view_changed(&self, view: &Arc<NodeView>, journal: impl FnOnce() -> Journal) {
        let names = Arc::new(Names::build(view));
        let mut known = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::clone(view);
        self.zone.store(Arc::new(Zone::with_names(names, view, &journal())));
    }

    /// A task was attached or left: before the engine hears of it, so that the first query of a
    /// container finds its asker. Names stay as they are.
    pub fn journal_changed(&self, journal: impl FnOnce() -> Journal) {
        let known = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let names = Arc::clone(self.zone.load().names());
        self.zone.store(Arc::new(Zone::with_names(names, &known, &journal())));
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
