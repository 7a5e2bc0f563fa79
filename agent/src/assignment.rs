//! Pure: full and incremental views with generations → what this node has been told.

use std::sync::Arc;

use swarmnet_model::view::{self, NodeView, ViewUpdate};

/// The node's view as its sessions have built it up.
#[derive(Clone, Debug, Default)]
pub struct Assignment {
    view: Arc<NodeView>,
    /// Of the present session; `None` until its full view has come.
    generation: Option<u64>,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The view is a newer one.
    Taken { full: bool },
    /// Not newer than what is known.
    Ignored,
    /// An update between is missing: only a new session can tell the whole again.
    Gap,
}

impl Assignment {
    /// Begins with the view from disk: something to work on, nothing to remove by.
    pub fn stored(view: NodeView) -> Self {
        Self { view: Arc::new(view), generation: None }
    }

    /// A session has begun: its generations have nothing to do with those before.
    pub fn session_begins(&mut self) {
        self.generation = None;
    }

    /// Takes an update.
    pub fn take(&mut self, update: ViewUpdate) -> Outcome {
        let (generation, full) = (update.generation, update.full);
        match self.generation {
            Some(known) if generation <= known => return Outcome::Ignored,
            _ if full => {}
            Some(known) if generation == known + 1 => {}
            _ => return Outcome::Gap,
        }
        view::apply(Arc::make_mut(&mut self.view), update);
        self.generation = Some(generation);
        Outcome::Taken { full }
    }

    pub fn view(&self) -> Arc<NodeView> {
        Arc::clone(&self.view)
    }

    /// Returns the generation of the present session.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }
}

/// Generations on their way to the kernel that are remembered.
const UNAPPLIED_MAX: usize = 1_024;

/// Translates the data plane's generations, which grow over sessions, into the present session's.
#[derive(Clone, Debug, Default)]
pub struct GenerationMap {
    /// (of the process, of the session), growing; only of the present session.
    handed_over: Vec<(u64, u64)>,
}

impl GenerationMap {
    pub fn session_begins(&mut self) {
        self.handed_over.clear();
    }

    /// The view of session generation `session` was handed over as `process`.
    pub fn handed_over(&mut self, process: u64, session: u64) {
        self.handed_over.push((process, session));
        // A data plane this far behind has lost the early ones anyway: the later ones contain them.
        if self.handed_over.len() > UNAPPLIED_MAX {
            self.handed_over.remove(0);
        }
    }

    /// Returns the session's generation that is applied once `process` is; 0 if none is.
    ///
    /// Drops what lies before it, so that the map holds what is under way only.
    pub fn applied(&mut self, process: u64) -> u64 {
        let done = self.handed_over.partition_point(|(known, _)| *known <= process);
        let Some(last) = done.checked_sub(1) else { return 0 };
        self.handed_over.drain(..last);
        self.handed_over[0].1
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use swarmnet_model::view::{Item, ItemKey, Peer};
    use swarmnet_model::{NodeId, ViewUpdate};

    use super::*;

    fn update(text: &str) -> ViewUpdate {
        let words: Vec<_> = text.split_whitespace().collect();
        let key = |id: &str| ItemKey::Peer(NodeId::from_text(id));
        let item = |id: &str| {
            Item::Peer(Peer {
                node_id: NodeId::from_text(id),
                hostname: id.to_owned(),
                addr: [10, 20, 20, 1].into(),
            })
        };
        let signed = |sign: char| words.iter().filter_map(move |word| word.strip_prefix(sign));
        ViewUpdate {
            generation: words[0].parse().unwrap(),
            full: words[1] == "full",
            put: signed('+').map(|id| (key(id), item(id))).collect(),
            removed: signed('-').map(key).collect(),
        }
    }

    #[test]
    fn updates_are_taken_in_order_and_never_backwards() {
        let mut assignment = Assignment::default();
        let mut text = String::new();
        for line in [
            "2 increment +a",
            "5 full +a +b",
            "6 increment +c -a",
            "6 increment +x",
            "5 full +x",
            "8 increment +x",
            "9 full +d",
            "session",
            "10 increment +x",
            "1 full +e",
            "2 increment +f",
        ] {
            let outcome = match line {
                "session" => {
                    assignment.session_begins();
                    String::new()
                }
                line => format!("{:?}", assignment.take(update(line))),
            };
            let view = assignment.view();
            let keys: Vec<_> = view.keys().map(|key| format!("{key:?}")).collect();
            text += &format!("{line}: {outcome} {}\n", keys.join(" "));
        }
        expect![[r#"
            2 increment +a: Gap 
            5 full +a +b: Taken { full: true } Peer(a) Peer(b)
            6 increment +c -a: Taken { full: false } Peer(b) Peer(c)
            6 increment +x: Ignored Peer(b) Peer(c)
            5 full +x: Ignored Peer(b) Peer(c)
            8 increment +x: Gap Peer(b) Peer(c)
            9 full +d: Taken { full: true } Peer(d)
            session:  Peer(d)
            10 increment +x: Gap Peer(d)
            1 full +e: Taken { full: true } Peer(e)
            2 increment +f: Taken { full: false } Peer(e) Peer(f)
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn an_applied_generation_is_told_in_the_sessions_own_numbers() {
        let mut map = GenerationMap::default();
        assert_eq!(map.applied(9), 0);
        for (process, session) in [(10, 1), (11, 2), (12, 5)] {
            map.handed_over(process, session);
        }
        assert_eq!([map.applied(9), map.applied(11), map.applied(11)], [0, 2, 2]);
        assert_eq!(map.applied(40), 5);
        map.session_begins();
        assert_eq!(map.applied(40), 0);
    }
}
