//! The anomaly score of the latest reading, in [0, 1].
//!
//! Pure. `score = min(1, log10(return period in readings) / 6)`, the return period being the longest that
//! one of these statistics gives in its own learned tails ([`Sides`]):
//!
//! - the innovation (a spike, the first reading of a jump);
//! - a short mean of the readings against their long mean, once over about three and once over about forty of
//!   them, each side by itself (a level or excursion that is unusual for the series even where the filter follows it);
//! - the forecast's error, with the reading that closes a slot (a season that did not come).
//!
//! Short against long is the idea of Ahmad et al. 2017 ("Unsupervised real-time anomaly detection for
//! streaming data"), with the tail learned instead of a normal one.
//!
//! Extremes come in clusters; a return period is a cluster's, and one member stands for it (declustering:
//! Coles 2001, section 5.3.2). Here it is the first, so that the score rises early, and what is yet rarer: k readings
//! behind one of height h (in decades), less than `h·(1 − k/K) + 0.5` scores 0, for K readings: it belongs to the same
//! event. Of a series that is seen for the first time a tenth is a cluster at most.
//!
//! Constants were chosen on the synthetic recordings of `tests/corpus.rs`, rounds 1 to 3 and 5 to 7; the benchmark's score of them
//! is flat around these.

use serde::{Deserialize, Serialize};

use super::tail::Sides;
use super::{LEARNING, WARM_UP};

/// Weights of the latest reading in the short means, …
const SHORT: [f64; 2] = [0.4, 0.05];
/// … and least weight in the long one.
const LONG: f64 = 1.0 / 2000.0;
/// log10(score 1).
const FULL: f64 = 6.0;
/// The longest of several return periods is about a fourth of one.
const SEVERAL: f64 = 0.602;
/// K: readings that a cluster has at most, …
const CLUSTER: u32 = 300;
/// … of a series this many times as long, …
const CLUSTERS: u32 = 10;
/// … and at least.
const CLUSTER_MIN: u32 = 50;
/// log10 of the return period from which on a reading begins a cluster …
const BEGINS: f64 = 1.5;
/// … and by how much rarer than the rest of it a reading within is that scores again.
const RARER: f64 = 0.5;

/// A short mean, and the tails of its distance from the long one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Excursion {
    #[serde(rename = "s")]
    short: f64,
    #[serde(rename = "t")]
    tails: Sides,
}

impl Excursion {
    /// Takes in a reading. log10 of the return period of the distance; 0 unless `judged`.
    fn reading(&mut self, value: f64, weight: f64, long: f64, judged: bool) -> f64 {
        self.short += (value - self.short) * weight;
        let away = self.short - long;
        let tail = self.tails.of(away);
        let period = if judged { tail.log10_period(away.abs()) } else { 0.0 };
        self.tails.observe(away, away.abs());
        period
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    /// Readings so far, up to a bound.
    #[serde(rename = "n")]
    seen: u32,
    #[serde(rename = "l")]
    long: f64,
    #[serde(rename = "e")]
    excursions: [Excursion; 2],
    /// Height of the cluster of late, log10 of a return period; 0: there is none.
    #[serde(rename = "c")]
    height: f64,
    /// Readings since it got that high.
    #[serde(rename = "k")]
    since: u32,
    /// The score.
    #[serde(rename = "v")]
    latest: f64,
}

impl Score {
    pub fn latest(&self) -> f64 {
        self.latest
    }

    /// `innovation`, `residual`: log10 of their return periods in readings.
    pub fn reading(&mut self, value: f64, innovation: f64, residual: f64) {
        if self.seen == 0 {
            self.long = value;
            self.excursions.iter_mut().for_each(|excursion| excursion.short = value);
        }
        self.seen = (self.seen + 1).min(1 << 20);
        let weight = if self.seen < 2000 { 1.0 / f64::from(self.seen) } else { LONG };
        self.long += (value - self.long) * weight;
        let judged = self.seen > LEARNING + WARM_UP;
        let mut period = innovation.max(residual);
        for (excursion, weight) in self.excursions.iter_mut().zip(SHORT) {
            period = period.max(excursion.reading(value, weight, self.long, judged));
        }
        self.decluster((period - SEVERAL).max(0.0));
    }

    fn decluster(&mut self, period: f64) {
        if self.height > 0.0 {
            self.since += 1;
            let most = (self.seen / CLUSTERS).clamp(CLUSTER_MIN, CLUSTER);
            let left = 1.0 - f64::from(self.since) / f64::from(most);
            if left <= 0.0 {
                self.height = 0.0;
            } else if period < self.height * left + RARER {
                self.latest = 0.0;
                return;
            }
        }
        if period > BEGINS {
            (self.height, self.since) = (period, 0);
        }
        self.latest = (period / FULL).min(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The score in tenths of a decade.
    fn shown(score: &mut Score, period: f64) -> u32 {
        score.decluster(period);
        (score.latest() * 10.0 * FULL).round() as u32
    }

    #[test]
    fn an_event_scores_once_and_again_only_for_something_rarer() {
        let mut score = Score { seen: 10_000, ..Score::default() };
        assert_eq!(shown(&mut score, 1.2), 12);
        assert_eq!(shown(&mut score, 4.5), 45);
        assert_eq!(shown(&mut score, 4.5), 0);
        assert_eq!(shown(&mut score, 4.9), 0);
        assert_eq!(shown(&mut score, 6.0), 60);
        (1..CLUSTER / 2).for_each(|_| score.decluster(3.0));
        assert_eq!(shown(&mut score, 3.4), 0);
        assert_eq!(shown(&mut score, 3.6), 36);
        (0..CLUSTER).for_each(|_| score.decluster(0.0));
        assert_eq!(shown(&mut score, 1.8), 18);
    }
}
