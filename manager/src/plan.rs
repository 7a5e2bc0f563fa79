//! Pure: what a leader's loop wants: changes to propose, and when to look again.

use swarmnet_model::Timestamp;

use crate::store::Change;

/// The outcome of one planning pass over a snapshot.
///
/// The law of every planner: when `changes` have been applied, planning again gives no changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Proposed in this order, in entries of at most `CHANGES_PER_TRANSACTION`; an object's
    /// creation comes before what refers to it.
    pub changes: Vec<Change>,
    /// The next time at which the plan may differ although the tables do not (a restart delay that
    /// ends); `None` waits for a change of the tables.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Wakes at `at`, or earlier if something else asked for it.
    pub fn wake_by(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
