//! Pure: what upstreams said, as long as they said it holds; bounded by number and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

use super::{Found, Question};

/// Answers that are kept.
const ENTRIES_MAX: usize = 4_096;
/// Bytes of them all, as they came.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of one: a few huge answers must not drive out all others.
const ENTRY_BYTES_MAX: usize = 16 << 10;
/// An hour, whatever the upstream allows: its mistakes should pass in a day's work.
const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// Longest life of "there is none" (RFC 2308 recommends at most hours; new names should be found soon).
const NEGATIVE_LIFE_MAX: Duration = Duration::from_secs(300);

/// Answers by question, and in the order in which they end.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<Arc<Question>, (Instant, Arc<Found>)>,
    ends: BTreeSet<(Instant, Arc<Question>)>,
    bytes: usize,
}

impl Cache {
    /// Returns an answer that still holds.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<Arc<Found>> {
        let (end, found) = self.entries.get(question)?;
        (now < *end).then(|| Arc::clone(found))
    }

    /// Keeps an answer as long as it holds; what ends soonest makes room for it.
    pub(super) fn put(&mut self, question: &Arc<Question>, found: &Arc<Found>) {
        let Some(life) = life_of(&found.message, question.kind) else { return };
        if life.is_zero() || found.size > ENTRY_BYTES_MAX {
            return;
        }
        let end = found.at + life;
        self.remove(question);
        self.bytes += found.size;
        self.ends.insert((end, Arc::clone(question)));
        self.entries.insert(Arc::clone(question), (end, Arc::clone(found)));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((_, first)) = self.ends.first().cloned() else { return };
            self.remove(&first);
        }
    }

    fn remove(&mut self, question: &Arc<Question>) {
        if let Some((end, found)) = self.entries.remove(question) {
            self.bytes -= found.size;
            self.ends.remove(&(end, Arc::clone(question)));
        }
    }
}

/// Returns how long a message may be repeated; `None` if it says nothing that lasts.
fn life_of(message: &Message, kind: u16) -> Option<Duration> {
    let lasting = [ResponseCode::NoError, ResponseCode::NXDomain];
    if message.metadata.truncation || !lasting.contains(&message.metadata.response_code) {
        return None;
    }
    let shortest = message.answers.iter().map(|record| record.ttl).min();
    let has_it = message.answers.iter().any(|r| r.record_type() == RecordType::from(kind));
    let positive = shortest.map(|ttl| Duration::from_secs(ttl.into()).min(LIFE_MAX));
    if has_it && message.metadata.response_code == ResponseCode::NoError {
        return positive;
    }
    // "There is none" lasts as long as the zone says (RFC 2308), and no longer than the way there.
    let negative = message.authorities.iter().find_map(|record| {
        let RData::SOA(soa) = &record.data else { return None };
        Some(record.ttl.min(soa.minimum))
    })?;
    let negative = Duration::from_secs(negative.into()).min(NEGATIVE_LIFE_MAX);
    Some(positive.map_or(negative, |positive| positive.min(negative)))
}
