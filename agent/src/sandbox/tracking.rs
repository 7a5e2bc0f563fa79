//! Keeps connection tracking out of sandboxes: looks into each for the engine's rules that need it.
//!
//! Level-triggered, beside the passes: nothing waits for it, and a sandbox where it does not work
//! is only slower. The engine writes its rules after it has made a sandbox, and again when it is
//! restarted: a sandbox is looked into often at first, then every [`LOOK_EVERY`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::netlink::engine_resolver::untrack;

/// Before the first look into a sandbox, and first pause between two; they double up to
/// [`LOOK_EVERY`]. The engine needs about as long to write its rules; a look before that only takes
/// CPU from containers that start.
const LOOK_FIRST: Duration = Duration::from_millis(250);
/// Pause between two looks in the long run; a look costs a short-lived process.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When to look into a sandbox.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    pause: Duration,
}

/// Looks into all sandboxes in turn until told to stop.
pub async fn run(mut sandboxes: watch::Receiver<BTreeSet<PathBuf>>, stop: CancellationToken) {
    let mut looks: BTreeMap<PathBuf, Look> = BTreeMap::new();
    loop {
        follow(&mut looks, &sandboxes.borrow_and_update(), Instant::now());
        let next = looks.iter().min_by_key(|(_, look)| look.at);
        let next = next.map(|(path, look)| (path.clone(), *look));
        let wait = next.as_ref().map_or(LOOK_EVERY, |(_, look)| look.at - Instant::now());
        let changed = tokio::time::timeout(wait, sandboxes.changed());
        match stop.run_until_cancelled(changed).await {
            None | Some(Ok(Err(_))) => return,
            Some(Ok(Ok(())) | Err(_)) => {}
        }
        if let Some((path, look)) = next.filter(|(_, look)| look.at <= Instant::now()) {
            let done = look_into(&path).await;
            looks.insert(path, look.after(done, Instant::now()));
        }
    }
}

/// New sandboxes are due soon; those that have gone are forgotten.
fn follow(looks: &mut BTreeMap<PathBuf, Look>, there: &BTreeSet<PathBuf>, now: Instant) {
    looks.retain(|path, _| there.contains(path));
    for path in there {
        looks.entry(path.clone()).or_insert(Look { at: now + LOOK_FIRST, pause: LOOK_FIRST });
    }
}

impl Look {
    /// Returns the next one; there is no hurry once the rules have been found.
    fn after(self, done: bool, now: Instant) -> Self {
        let pause = if done { LOOK_EVERY } else { self.pause };
        Self { at: now + pause, pause: (pause * 2).min(LOOK_EVERY) }
    }
}

async fn look_into(path: &Path) -> bool {
    match untrack(path).await {
        Ok(done) => done,
        Err(error) => {
            tracing::debug!(sandbox = %path.display(), %error, "connections stay tracked");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_sandbox_is_looked_into_often_and_then_rarely() {
        let now = Instant::now();
        let path = PathBuf::from("/run/docker/netns/one");
        let mut looks = BTreeMap::new();
        follow(&mut looks, &[path.clone()].into(), now);
        let mut look = looks[&path];
        assert_eq!(look.at, now + LOOK_FIRST);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let next = look.after(false, look.at);
            pauses.push(next.at - look.at);
            look = next;
        }
        assert_eq!(pauses[..2], [LOOK_FIRST, LOOK_FIRST * 2]);
        assert_eq!(pauses[11], LOOK_EVERY);
        assert_eq!(looks[&path].after(true, now).at, now + LOOK_EVERY, "found");
        follow(&mut looks, &BTreeSet::new(), now);
        assert!(looks.is_empty());
    }
}
