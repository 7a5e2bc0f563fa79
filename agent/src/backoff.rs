//! Pure: how long to wait before the next try.

use std::time::Duration;

/// Doubling waits between two bounds, spread so that many agents do not knock at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    /// Differs between agents; moves with every wait.
    seed: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, failures: 0, seed }
    }

    /// Returns the next wait: doubled with each failure in a row, then shortened by up to half.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        // Knuth's 64-bit linear congruential step; its high bits are the good ones.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let percent = u32::try_from((self.seed >> 33) % 51).expect("a remainder of 51 fits");
        full - full * percent / 100
    }

    /// It worked: the next failure waits shortly again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Returns a seed from text, the same for the same text (FNV-1a).
pub(crate) fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(8));
        let mut backoff = Backoff::new(first, longest, seed("n1"));
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        let mut full = first;
        for wait in &waits {
            assert!(*wait <= full && *wait >= full / 2 - Duration::from_millis(1), "{waits:?}");
            full = (full * 2).min(longest);
        }
        assert!(waits[20..].windows(2).any(|pair| pair[0] != pair[1]), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
