//! The dispatcher's loop on the leader: one owner of all sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use swarmnet_model::defaults::{HEARTBEAT_PERIOD, HEARTBEATS_MISSED_MAX};
use swarmnet_model::limits::{SESSION_QUEUE_MAX, WITHDRAW_BOUND};
use swarmnet_model::{IdSource, NodeId, Role, Tables, TaskId};
use swarmnet_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::encoded::Shared;
use super::liveness::{self, Seen};
use super::session::Session;
use crate::discovery::views::Views;
use crate::store::Store;

/// What the gRPC service asks of the loop.
#[derive(Debug)]
pub enum Request {
    /// A node opens its session; an older one of the same node ends.
    Open { node_id: NodeId, addr: Ipv4Addr, stream: mpsc::Sender<v1::SessionMessage> },
    /// A sign of life; answers with the time until the next.
    Heartbeat { node_id: NodeId, session_id: String, reply: oneshot::Sender<Option<Duration>> },
    /// The node has a generation in its kernel.
    Applied { node_id: NodeId, session_id: String, generation: u64 },
    /// Has every node with a session probe its peers; answers with those that were told.
    Probe { order: Vec<u8>, reply: oneshot::Sender<BTreeSet<NodeId>> },
    /// Asks nodes for lines of logs; one without a session is asked again by whoever reads.
    Logs { orders: Vec<(NodeId, Vec<u8>)> },
    /// The node leaves the swarm: its session ends, until it opens another.
    Leave { node_id: NodeId },
}

/// A burst of changes makes one pass.
const COALESCE: Duration = Duration::from_millis(2);
/// Longest pause that a long pass earns.
const EFFORT_PAUSE_MAX: Duration = Duration::from_millis(250);
/// A pass so much later than planned: this process did not run (stopped, or its whole machine).
const STALL: Duration = Duration::from_secs(1);

struct Connected {
    session: Session,
    stream: mpsc::Sender<v1::SessionMessage>,
    managers: Vec<v1::Manager>,
    role: Option<Role>,
}

struct Dispatcher {
    store: Store,
    connected: BTreeMap<NodeId, Connected>,
    /// When a node without a session was first noticed.
    awaited: BTreeMap<NodeId, Instant>,
    /// Nodes whose session ended for a reason that needs no waiting.
    gone: BTreeMap<NodeId, Seen>,
    /// Since when a task that must stop has been draining.
    draining: BTreeMap<TaskId, Instant>,
    views: Views,
    withdrawn: BTreeSet<TaskId>,
    /// Until its first sessions have opened, a new leader does not know who uses what.
    cold_until: Instant,
    /// When the next pass is due at the latest.
    due: Instant,
    ids: Box<dyn IdSource + Send>,
    /// At most one write of node statuses is under way.
    writes: JoinSet<()>,
}

/// Serves sessions until cancelled; then every stream ends and the agents look for the new leader.
pub async fn run(
    store: Store,
    mut requests: mpsc::Receiver<Request>,
    ids: Box<dyn IdSource + Send>,
    cancel: CancellationToken,
) {
    let mut tables = store.watch();
    let mut dispatcher = Dispatcher {
        store,
        connected: BTreeMap::new(),
        awaited: BTreeMap::new(),
        gone: BTreeMap::new(),
        draining: BTreeMap::new(),
        views: Views::default(),
        withdrawn: BTreeSet::new(),
        cold_until: Instant::now() + WITHDRAW_BOUND,
        due: Instant::now(),
        ids,
        writes: JoinSet::new(),
    };
    loop {
        // A statement of its own: the borrow is a read lock, and `pass` reads the store again.
        let snapshot = tables.borrow_and_update().clone();
        let began = Instant::now();
        let mut next = dispatcher.pass(&snapshot, began);
        // Passes take at most half of the time, however many nodes there are.
        let rested = Instant::now() + began.elapsed().min(EFFORT_PAUSE_MAX);
        loop {
            let wanted = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(next) => break,
                changed = tables.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Some(Instant::now() + COALESCE)
                }
                Some(_) = dispatcher.writes.join_next() => Some(rested),
                Some(request) = requests.recv() => {
                    dispatcher.answer(request, Instant::now()).then_some(rested)
                }
            };
            next = wanted.map_or(next, |at| at.max(rested).min(next));
        }
    }
}

impl Dispatcher {
    /// Returns whether a pass has something to do now that it had not before.
    fn answer(&mut self, request: Request, now: Instant) -> bool {
        let period = self.period();
        match request {
            Request::Open { node_id, addr, stream } => {
                let session = Session::new(self.session_id(), addr, now, period);
                tracing::info!(node.id = %node_id, session.id = %session.id, "session opened");
                self.gone.remove(&node_id);
                let connected = Connected { session, stream, managers: Vec::new(), role: None };
                self.connected.insert(node_id, connected);
                return true;
            }
            Request::Heartbeat { node_id, session_id, reply } => {
                let session = self.session(&node_id, &session_id);
                let answer = session.map(|session| {
                    session.heartbeat(now, period);
                    period
                });
                // The caller may have given up; its next heartbeat asks again.
                let _ = reply.send(answer);
            }
            Request::Applied { node_id, session_id, generation } => {
                if let Some(session) = self.session(&node_id, &session_id) {
                    session.heartbeat(now, period);
                    session.acknowledge(generation);
                }
                return self.draining.len() > self.withdrawn.len();
            }
            Request::Probe { order, reply } => {
                // The caller may have given up; the nodes' findings then find nobody.
                let _ = reply.send(self.probe(&order));
            }
            Request::Logs { orders } => self.order_logs(orders),
            Request::Leave { node_id } => {
                tracing::info!(node.id = %node_id, "node leaves the swarm");
                self.connected.remove(&node_id);
                self.gone.insert(node_id, Seen::Left);
                return true;
            }
        }
        false
    }

    /// A session that has no room for the question is as good as a node that does not answer.
    fn probe(&self, order: &[u8]) -> BTreeSet<NodeId> {
        let message = |connected: &Connected| v1::SessionMessage {
            session_id: connected.session.id.clone(),
            probe: order.to_vec(),
            ..v1::SessionMessage::default()
        };
        let told = self.connected.iter().filter(|(_, c)| c.stream.try_send(message(c)).is_ok());
        told.map(|(node_id, _)| node_id.clone()).collect()
    }

    fn order_logs(&self, orders: Vec<(NodeId, Vec<u8>)>) {
        for (node_id, log_order) in orders {
            let Some(connected) = self.connected.get(&node_id) else { continue };
            let session_id = connected.session.id.clone();
            let message = v1::SessionMessage { session_id, log_order, ..Default::default() };
            if let Err(error) = connected.stream.try_send(message) {
                tracing::debug!(node.id = %node_id, %error, "no room for an order of logs");
            }
        }
    }

    fn session_id(&mut self) -> String {
        swarmnet_model::id::base36(self.ids.bits())
    }

    fn session(&mut self, node_id: &NodeId, session_id: &str) -> Option<&mut Session> {
        let connected = self.connected.get_mut(node_id)?;
        (connected.session.id == session_id).then_some(&mut connected.session)
    }

    fn period(&self) -> Duration {
        let tables = self.store.snapshot();
        tables.cluster.as_ref().map_or(HEARTBEAT_PERIOD, |c| c.spec.heartbeat_period)
    }

    /// Makes everything right for one snapshot; returns when to look again at the latest.
    fn pass(&mut self, tables: &Arc<Tables>, now: Instant) -> Instant {
        if now > self.due + STALL {
            self.forgive(now);
        }
        self.views.follow(tables);
        self.expire(tables, now);
        self.write_statuses(tables, now);
        self.withdraw(now);
        let mut shared = Shared::default();
        self.send(tables, &mut shared);
        // What was just sent may withdraw a task that no node was using.
        if self.withdraw(now) {
            self.send(tables, &mut shared);
        }
        self.due = self.wake_at(now);
        self.due
    }

    /// While nobody listened here, silence says nothing about the nodes: all waits begin anew.
    fn forgive(&mut self, now: Instant) {
        tracing::warn!(late = ?now.saturating_duration_since(self.due), "this manager stood still");
        let period = self.period();
        for connected in self.connected.values_mut() {
            connected.session.heartbeat(now, period);
        }
        self.awaited.values_mut().for_each(|since| *since = now);
    }

    /// Ends sessions of removed nodes and of nodes without heartbeats.
    fn expire(&mut self, tables: &Tables, now: Instant) {
        let gone = &mut self.gone;
        self.connected.retain(|node_id, connected| {
            let known = tables.nodes.contains_key(node_id);
            if known && connected.session.deadline <= now {
                tracing::warn!(node.id = %node_id, "no heartbeat, session ended");
                gone.insert(node_id.clone(), Seen::Lost);
            }
            known && connected.session.deadline > now
        });
        self.awaited.retain(|node_id, _| tables.nodes.contains_key(node_id));
        self.gone.retain(|node_id, _| tables.nodes.contains_key(node_id));
    }

    fn seen(&mut self, node_id: &NodeId, grace: Duration, now: Instant) -> Seen {
        if let Some(connected) = self.connected.get(node_id) {
            // The next wait begins when this session ends, not when the node first joined.
            self.awaited.remove(node_id);
            return Seen::Alive { addr: connected.session.addr };
        }
        if let Some(how) = self.gone.get(node_id) {
            return *how;
        }
        let since = *self.awaited.entry(node_id.clone()).or_insert(now);
        if now < since + grace { Seen::Awaited } else { Seen::Silent }
    }

    fn write_statuses(&mut self, tables: &Tables, now: Instant) {
        let grace = self.period() * HEARTBEATS_MISSED_MAX;
        let changes = liveness::plan(tables, |node_id| self.seen(node_id, grace, now));
        if changes.is_empty() || !self.writes.is_empty() {
            return;
        }
        let store = self.store.clone();
        self.writes.spawn(async move {
            if let Err(error) = store.propose(changes).await {
                tracing::warn!(%error, "node statuses not written, next pass tries again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Finds the tasks whose stop signal may go; true if there are new ones.
    fn withdraw(&mut self, now: Instant) -> bool {
        let stopping = self.views.stopping();
        self.draining.retain(|task, _| stopping.contains(task));
        self.withdrawn.retain(|task| stopping.contains(task));
        let known = self.withdrawn.len();
        let warm = now >= self.cold_until;
        let told = self.connected.values().map(|connected| connected.session.told());
        let using: Vec<_> = told.filter(|told| !told.is_idle()).collect();
        for task in stopping {
            if self.withdrawn.contains(task) {
                continue;
            }
            let since = *self.draining.entry(task.clone()).or_insert(now);
            let everywhere = using.iter().all(|told| told.is_withdrawn(task));
            if (warm && everywhere) || now >= since + WITHDRAW_BOUND {
                self.withdrawn.insert(task.clone());
            }
        }
        self.withdrawn.len() > known
    }

    /// Sends every session what it lacks; one that cannot take it ends.
    fn send(&mut self, tables: &Tables, shared: &mut Shared) {
        self.views.withdraw(&self.withdrawn);
        let views = &self.views;
        let managers = managers(tables);
        let period = self.period();
        self.connected.retain(|node_id, connected| {
            let update = connected.session.advance(views.of(node_id), shared);
            let role = tables.nodes.get(node_id).map(|node| node.next_role());
            if update.is_none() && connected.managers == managers && connected.role == role {
                return !connected.stream.is_closed();
            }
            connected.managers.clone_from(&managers);
            connected.role = role;
            let session = &connected.session.id;
            let message = v1::SessionMessage {
                role: role.map(|role| role.as_str().to_owned()).unwrap_or_default(),
                ..message(session, period, &managers, update)
            };
            match connected.stream.try_send(message) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(node.id = %node_id, %error, "session ended, it cannot keep up");
                    false
                }
            }
        });
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let deadlines = self.connected.values().map(|c| c.session.deadline);
        let drains = self
            .draining
            .iter()
            .filter(|(task, _)| !self.withdrawn.contains(*task))
            .map(|(_, since)| *since + WITHDRAW_BOUND);
        let grace = self.period() * HEARTBEATS_MISSED_MAX;
        let awaited = self.awaited.values().map(|since| *since + grace).filter(|at| *at > now);
        let idle = now + HEARTBEAT_PERIOD;
        deadlines.chain(drains).chain(awaited).fold(idle, Instant::min)
    }
}

/// Queue between the loop and one session's stream.
pub fn stream_queue() -> (mpsc::Sender<v1::SessionMessage>, mpsc::Receiver<v1::SessionMessage>) {
    mpsc::channel(SESSION_QUEUE_MAX)
}

fn managers(tables: &Tables) -> Vec<v1::Manager> {
    let members = tables.nodes.values().filter_map(|node| Some((node, node.manager.as_ref()?)));
    members
        .map(|(node, member)| v1::Manager {
            node_id: node.id.to_string(),
            addr: member.addr.clone(),
        })
        .collect()
}

fn message(
    session_id: &str,
    period: Duration,
    managers: &[v1::Manager],
    update: Option<Vec<u8>>,
) -> v1::SessionMessage {
    v1::SessionMessage {
        session_id: session_id.to_owned(),
        heartbeat_period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
        managers: managers.to_vec(),
        view_update: update.unwrap_or_default(),
        ..v1::SessionMessage::default()
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
