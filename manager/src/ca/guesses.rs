//! Pure: how many wrong tokens each source may try.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use swarmnet_model::Timestamp;
use swarmnet_model::limits::FAILED_JOINS_PER_SECOND;

const WINDOW: Duration = Duration::from_secs(1);
/// Sources remembered at once; beyond that, unknown sources share one budget.
const SOURCES_MAX: usize = 4_096;

/// Failed joins of the last second, per source.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// Source → start of its window and failures in it. `None`: all that found no place.
    sources: BTreeMap<Option<IpAddr>, (Timestamp, u32)>,
}

impl Guesses {
    /// Says whether a token from `source` may be looked at.
    pub(super) fn may_try(&self, source: IpAddr, now: Timestamp) -> bool {
        let key = self.key(source);
        self.sources.get(&key).is_none_or(|(start, failures)| {
            now.since(*start) >= WINDOW || *failures < FAILED_JOINS_PER_SECOND
        })
    }

    /// Notes that `source` showed a wrong token.
    pub(super) fn failed(&mut self, source: IpAddr, now: Timestamp) {
        self.sources.retain(|_, (start, _)| now.since(*start) < WINDOW);
        let key = self.key(source);
        self.sources.entry(key).or_insert((now, 0)).1 += 1;
    }

    fn key(&self, source: IpAddr) -> Option<IpAddr> {
        let known = self.sources.contains_key(&Some(source));
        (known || self.sources.len() < SOURCES_MAX).then_some(source)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn source(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn ten_wrong_tokens_a_second_are_looked_at() {
        let mut guesses = Guesses::default();
        for _ in 0..10 {
            assert!(guesses.may_try(source(1), START));
            guesses.failed(source(1), START);
        }
        assert!(!guesses.may_try(source(1), START));
        assert!(guesses.may_try(source(2), START), "others are not punished");
        assert!(guesses.may_try(source(1), START.plus(WINDOW)));
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_sources() {
        let mut guesses = Guesses::default();
        for n in 0..10_000 {
            guesses.failed(source(n), START);
        }
        assert!(guesses.sources.len() <= SOURCES_MAX + 1);
        assert!(!guesses.may_try(source(20_000), START), "newcomers share what is left");
    }
}
