//! Pure: samples, their median and spread, and ratios of two interleaved series.

/// The samples of one path, one per round, in the order of the rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) const fn new() -> Self {
        Self(vec![])
    }

    /// A single one.
    pub(crate) fn of(sample: f64) -> Self {
        Self(vec![sample])
    }

    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn all(&self) -> &[f64] {
        &self.0
    }

    /// Returns the middle sample, or the mean of the two in the middle; zero if there is none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let half = sorted.len() / 2;
        match sorted.get(half) {
            None => 0.0,
            Some(upper) if sorted.len() % 2 == 1 => *upper,
            Some(upper) => f64::midpoint(sorted[half - 1], *upper),
        }
    }

    /// Returns the smallest and the largest sample; zeros if there is none.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0))
    }

    /// Returns the smallest sample that so large a share of them does not exceed; zero if there is none.
    pub(crate) fn rank(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let below = sorted.iter().enumerate().find(|(at, _)| {
            let count = |n: usize| f64::from(u32::try_from(n).expect("few samples"));
            count(at + 1) >= share * count(sorted.len())
        });
        below.map_or(0.0, |(_, sample)| *sample)
    }

    /// Returns ours divided by theirs, round by round: what disturbs a round disturbs both.
    pub(crate) fn ratios(&self, peer: &Self) -> Self {
        Self(self.0.iter().zip(&peer.0).map(|(ours, theirs)| ours / theirs).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}
