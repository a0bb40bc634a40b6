//! The anomaly score of the latest reading, in [0, 1].
//!
//! Pure. `score = min(1, log10(return period in readings) / 6)`, the return period being the longest that
//! one of these statistics gives in its own learned tail ([`Tail`]):
//!
//! - the innovation (a spike, the first reading of a jump);
//! - the short mean of the readings against their long mean, each side by itself (a level or excursion that is
//!   unusual for the series even where the filter follows it);
//! - the short mean of the innovations' size (a burst, a change of noise);
//! - the forecast's error, with the reading that closes a slot (a season that did not come).
//!
//! Short against long is the idea of Ahmad et al. 2017 ("Unsupervised real-time anomaly detection for
//! streaming data"), with the tail learned instead of a normal one. Extremes come in clusters; a return
//! period is that of a cluster, and its largest member stands for it (Coles 2001, section
//! 5.3.2). So once the score has been high it is high again only for something yet rarer, until
//! the cluster is over.

use serde::{Deserialize, Serialize};

use super::Seen;
use super::tail::Tail;

/// Weight of the latest reading in the short mean, …
const SHORT: f64 = 0.4;
/// … and least weight in the long one.
const LONG: f64 = 1.0 / 2000.0;
/// Weight of the latest innovation in the mean of their size.
const ACTIVITY: f64 = 0.1;
/// An innovation counts there as at most so many standard deviations.
const CLIP: f64 = 6.0;
/// log10(score 1).
const FULL: f64 = 6.0;
/// Readings before any statistic counts.
const WARM_UP: u32 = 200;
/// The longest of four return periods is about a fourth of one.
const SEVERAL: f64 = 0.602;
/// What a cluster's height loses with each reading.
const FADE: f64 = 1.0 - 1.0 / 300.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    /// Readings so far, up to a bound.
    #[serde(rename = "n")]
    seen: u32,
    #[serde(rename = "l")]
    long: f64,
    #[serde(rename = "s")]
    short: f64,
    #[serde(rename = "u")]
    up: Tail,
    #[serde(rename = "d")]
    down: Tail,
    #[serde(rename = "a")]
    activity: f64,
    #[serde(rename = "b")]
    busy: Tail,
    /// Height of the cluster of late, log10 of a return period.
    #[serde(rename = "c")]
    cluster: f64,
    /// The score.
    #[serde(rename = "v")]
    latest: f64,
}

impl Score {
    pub fn latest(&self) -> f64 {
        self.latest
    }

    /// `innovation`, `residual`: log10 of their return periods in readings; `w`: the innovation in its
    /// usual deviations.
    pub fn reading(&mut self, seen: &Seen, innovation: f64, residual: f64, w: Option<f64>) {
        let value = seen.value;
        if self.seen == 0 {
            (self.long, self.short) = (value, value);
        }
        self.seen = (self.seen + 1).min(1 << 20);
        let weight = if self.seen < 2000 { 1.0 / f64::from(self.seen) } else { LONG };
        self.long += (value - self.long) * weight;
        self.short += (value - self.short) * SHORT;
        let away = self.short - self.long;
        let mut period = innovation.max(residual);
        if self.seen > WARM_UP {
            let tail = if away > 0.0 { &self.up } else { &self.down };
            period = period.max(tail.log10_period(away.abs()));
        }
        self.up.observe(away, away);
        self.down.observe(-away, away);
        if let Some(w) = w {
            self.activity += ACTIVITY * (w.abs().min(CLIP) - self.activity);
            if self.seen > WARM_UP {
                period = period.max(self.busy.log10_period(self.activity));
            }
            self.busy.observe(self.activity, self.activity);
        }
        self.decluster((period - SEVERAL).max(0.0));
    }

    fn decluster(&mut self, period: f64) {
        self.cluster *= FADE;
        let shown = if period > self.cluster { period } else { 0.5 * period };
        self.cluster = self.cluster.max(period);
        self.latest = (shown / FULL).clamp(0.0, 1.0);
    }
}
