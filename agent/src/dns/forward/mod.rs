//! Asks upstreams what the zone does not know: once per question, raced, remembered, bounded.

mod cache;
mod exchange;
mod race;
mod reply;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use hickory_proto::op::Message;

use super::message::{Query, Rcode};
use super::resolv_conf::{ResolvConf, is_upstream};
use super::zone::Upstreams;
use crate::dns::answer::empty;
use cache::Cache;
use race::Racer;

/// Different questions under way; each may hold three sockets.
const QUESTIONS_MAX: usize = 256;

/// One question to a set of upstreams: what is asked once and remembered once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    servers: Arc<[IpAddr]>,
    /// The network namespace to ask from; the host's if `None`.
    sandbox: Option<PathBuf>,
    /// Lower case, without the root label.
    name: Box<[u8]>,
    kind: u16,
    /// EDNS is spoken to upstreams if the client does; true in it if it wants signatures.
    edns: Option<bool>,
    checking_disabled: bool,
    /// The port upstreams listen at.
    port: u16,
}

/// What an upstream said.
#[derive(Debug)]
pub(super) struct Found {
    message: Message,
    /// As it came, in bytes.
    size: usize,
    at: Instant,
}

type Asking = Shared<BoxFuture<'static, Option<Arc<Found>>>>;

/// The forwarding side of a resolver.
pub(super) struct Forwarder {
    host: ResolvConf,
    upstream_port: u16,
    shared: Arc<State>,
}

struct State {
    racer: Arc<Racer>,
    cache: Mutex<Cache>,
    under_way: Mutex<BTreeMap<Arc<Question>, Asking>>,
}

impl Forwarder {
    pub(super) fn new(resolv_conf: PathBuf, upstream_port: u16) -> Self {
        let shared =
            State { racer: Arc::default(), cache: Mutex::default(), under_way: Mutex::default() };
        Self { host: ResolvConf::new(resolv_conf), upstream_port, shared: Arc::new(shared) }
    }

    /// Writes what the upstreams say, or that they say nothing.
    pub(super) async fn reply(&self, query: &Query, upstreams: &Upstreams, out: &mut Vec<u8>) {
        let found = match self.question(query, upstreams) {
            Some(question) => self.find(question).await,
            None => None,
        };
        let written = found.is_some_and(|found| reply::write(query, &found, out).is_some());
        if !written {
            empty(query, Rcode::Failed, out);
        }
    }

    /// `None` if there is nobody to ask.
    fn question(&self, query: &Query, upstreams: &Upstreams) -> Option<Arc<Question>> {
        let (servers, sandbox) = match upstreams {
            Upstreams::Nobody => return None,
            Upstreams::Host => (self.host.servers(), None),
            Upstreams::Own { servers, sandbox } => {
                let others = servers.iter().copied().filter(|addr| is_upstream(*addr));
                (others.collect(), sandbox.clone())
            }
        };
        let question = Question {
            servers,
            sandbox,
            name: query.name().into(),
            kind: query.kind,
            edns: query.edns.map(|edns| edns.dnssec_ok),
            checking_disabled: query.checking_disabled(),
            port: self.upstream_port,
        };
        (!question.servers.is_empty()).then(|| Arc::new(question))
    }

    async fn find(&self, question: Arc<Question>) -> Option<Arc<Found>> {
        if let Some(found) = self.shared.cache().get(&question, Instant::now()) {
            return Some(found);
        }
        self.ask_once(question)?.await
    }

    /// Joins who asks the same already; `None` if too many different questions are under way.
    fn ask_once(&self, question: Arc<Question>) -> Option<Asking> {
        let mut under_way = self.shared.under_way();
        // Who asked and was stopped has left its question behind: nobody drives it any more.
        under_way.retain(|_, asking| asking.strong_count() != Some(1));
        if let Some(asking) = under_way.get(&question) {
            return Some(asking.clone());
        }
        if under_way.len() >= QUESTIONS_MAX {
            return None;
        }
        let racer = Arc::clone(&self.shared.racer);
        // Weak: the state holds this question, which must not hold the state.
        let state = Arc::downgrade(&self.shared);
        let asked = Arc::clone(&question);
        let asking = async move {
            let found = racer.ask(&asked).await.map(Arc::new);
            if let Some(state) = state.upgrade() {
                if let Some(found) = &found {
                    state.cache().put(&asked, found);
                }
                state.under_way().remove(&asked);
            }
            found
        };
        let asking = asking.boxed().shared();
        under_way.insert(question, asking.clone());
        Some(asking)
    }
}

impl State {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Arc<Question>, Asking>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a number nobody can guess.
pub(super) fn random_id() -> u16 {
    Message::query().metadata.id
}

#[cfg(test)]
mod tests;
