//! What the UDP thread and the TCP tasks share.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use swarmnet_proto::gate::{Gate, Place};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::answer::empty;
use super::counters::Counters;
use super::forward::{Forwarder, random_id};
use super::message::{Query, Rcode};
use super::table::Table;
use super::zone::{Asker, Zone};

/// Questions that wait for an upstream; each holds a task and a few hundred bytes.
const FORWARDS_MAX: usize = 1_024;
/// … of one attachment: more than any program asks at once, a sixteenth of all.
const FORWARDS_EACH_MAX: usize = 64;

/// The answering side of a resolver.
pub(super) struct Server {
    pub(super) table: Arc<Table>,
    pub(super) forwarder: Forwarder,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Stand-in source addresses: an attachment's index is behind the prefix.
    askers: Ipv4Network,
    forwards: Arc<Gate<u32>>,
    runtime: Handle,
}

impl Server {
    pub(super) fn new(table: Arc<Table>, settings: Settings, runtime: Handle) -> Self {
        Self {
            table,
            forwarder: Forwarder::new(settings.resolv_conf, settings.upstream_port),
            askers: settings.askers,
            counters: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            forwards: Gate::new(FORWARDS_MAX, FORWARDS_EACH_MAX),
            runtime,
        }
    }

    /// Returns who asks from an address; a stranger is counted and gets no answer.
    pub(super) fn asker<'a>(
        &self,
        zone: &'a Zone,
        source: Ipv4Addr,
    ) -> Option<(u32, &'a Arc<Asker>)> {
        let lidx = u32::from(source).wrapping_sub(u32::from(self.askers.network()));
        let asker = zone.asker(lidx).filter(|_| self.askers.contains(source));
        let found = asker.map(|asker| (lidx, asker));
        if found.is_none() {
            self.counters.strangers.add(1);
        }
        found
    }

    /// Takes a place for a question to an upstream; `None` if there is none for this asker.
    pub(super) fn enter_forward(&self, lidx: u32) -> Option<Place<u32>> {
        let place = self.forwards.enter(lidx);
        match &place {
            Some(_) => self.counters.forwarded.add(1),
            None => self.counters.over_limit.add(1),
        }
        place
    }

    /// Writes "not now": a client tries again or says so, instead of waiting for its time-out.
    pub(super) fn refuse(&self, query: &Query, out: &mut Vec<u8>) {
        empty(query, Rcode::Failed, out);
    }

    /// Runs a task until it ends or the resolver stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let stopped = async move { stop.run_until_cancelled(task).await };
        self.tasks.spawn_on(async { stopped.await.unwrap_or_default() }, &self.runtime);
    }

    /// Returns a number that differs between starts.
    pub(super) fn seed(&self) -> u32 {
        // Never 0, on which the generator would stay.
        u32::from(random_id()) | 1 << 16
    }
}
