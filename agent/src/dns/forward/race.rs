//! Several upstreams for one question: the next one starts when the one before is slow or bad.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use tokio::time::{sleep, timeout_at};

use super::exchange::ask;
use super::{Found, Question};

/// An upstream that takes longer than this gets company.
const STAGGER: Duration = Duration::from_millis(150);
/// Then the client is told that nobody answers, just before its own five seconds are over.
const DEADLINE: Duration = Duration::from_secs(4);
/// An upstream that was overtaken is asked last for this long.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// Overtaken upstreams that are remembered.
const SLOW_MAX: usize = 64;

/// Asks upstreams and remembers which ones are slow.
#[derive(Debug, Default)]
pub(super) struct Racer {
    slow: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl Racer {
    /// Returns the first good answer, else a bad one; `None` if there is none in time.
    pub(super) async fn ask(&self, question: &Question) -> Option<Found> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut bad = None;
        let good = timeout_at(deadline, self.race(question, &mut bad)).await;
        good.ok().flatten().or(bad)
    }

    async fn race(&self, question: &Question, bad: &mut Option<Found>) -> Option<Found> {
        let order = self.in_order(&question.servers);
        let mut waiting = order.iter().copied();
        let mut running = FuturesUnordered::new();
        let mut open = Vec::new();
        loop {
            if let Some(server) = waiting.next() {
                open.push((server, Instant::now()));
                running.push(async move { (server, ask(question, server).await) });
            } else if running.is_empty() {
                return None;
            }
            tokio::select! {
                Some((server, result)) = running.next() => {
                    open.retain(|(other, _)| *other != server);
                    match result {
                        Ok(found) if is_good(&found) => {
                            self.overtaken(&open);
                            return Some(found);
                        }
                        Ok(found) => *bad = Some(found),
                        Err(error) => tracing::debug!(%server, %error, "asking an upstream"),
                    }
                }
                () = sleep(STAGGER), if waiting.len() > 0 => {}
                else => return None,
            }
        }
    }

    /// Those that were slow a moment ago come last.
    fn in_order(&self, servers: &[IpAddr]) -> Vec<IpAddr> {
        let slow = self.lock();
        let is_slow = |addr: &IpAddr| slow.get(addr).is_some_and(|at| at.elapsed() < SLOW_FOR);
        let (last, first): (Vec<_>, Vec<_>) = servers.iter().copied().partition(is_slow);
        first.into_iter().chain(last).collect()
    }

    /// Notes who still has no answer although it had its time.
    fn overtaken(&self, open: &[(IpAddr, Instant)]) {
        let mut slow = self.lock();
        slow.retain(|_, at| at.elapsed() < SLOW_FOR);
        for (server, _) in open.iter().filter(|(_, since)| since.elapsed() >= STAGGER) {
            if slow.len() < SLOW_MAX {
                slow.insert(*server, Instant::now());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another upstream may know better than one that fails or refuses.
fn is_good(found: &Found) -> bool {
    matches!(found.message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}
