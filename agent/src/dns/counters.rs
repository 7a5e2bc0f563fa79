//! What the resolver has done since it started, for people.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one running resolver.
#[derive(Debug, Default)]
pub struct Counters {
    pub queries_udp: Counter,
    pub queries_tcp: Counter,
    pub answered: Counter,
    pub forwarded: Counter,
    /// From a source address that stands for no attachment.
    pub strangers: Counter,
    /// What no reply may be made to.
    pub not_queries: Counter,
    /// Refused because the asker, or all together, had their share under way.
    pub over_limit: Counter,
    /// Replies that the socket did not take.
    pub unsent: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
