//! Times, and what they say together.

use std::time::Duration;

/// Times in milliseconds, sorted.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Of these times.
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// The time that this share of all stays below, 0 to 1.
    pub fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.at(0.5)
    }

    /// A hundred and one points of the distribution, for plots.
    pub fn distribution(&self) -> Vec<f64> {
        (0..=100).map(|percent| self.at(f64::from(percent) / 100.0)).collect()
    }
}
