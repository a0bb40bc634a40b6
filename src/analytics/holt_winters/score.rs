//! How well the forecasts did: the size of the one-step errors, coverage, skill.

use serde::{Deserialize, Serialize};

/// Scored slots before coverage and skill are told.
const SCORED_MIN: u64 = 20;

/// What makes the forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rung {
    #[default]
    #[serde(rename = "l")]
    Level,
    #[serde(rename = "n")]
    SeasonalNaive,
    #[serde(rename = "w")]
    HoltWinters,
    #[serde(rename = "h")]
    Holt,
    #[serde(rename = "s")]
    Ses,
    #[serde(rename = "a")]
    Damped,
    #[serde(rename = "d")]
    DoubleSeasonal,
    /// One week before.
    #[serde(rename = "k")]
    WeeklyNaive,
    /// The last slot.
    #[serde(rename = "v")]
    Naive,
    /// The average of two.
    #[serde(rename = "c")]
    Combination,
}

impl Rung {
    /// As forecasts name it.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Level => "level",
            Rung::SeasonalNaive => "seasonal-naive",
            Rung::HoltWinters => "holt-winters",
            Rung::Holt => "holt",
            Rung::Ses => "ses",
            Rung::Damped => "damped",
            Rung::DoubleSeasonal => "double-seasonal",
            Rung::WeeklyNaive => "weekly-naive",
            Rung::Naive => "naive",
            Rung::Combination => "combination",
        }
    }

    /// True for forecasts that repeat what was seen: they have no parameters.
    pub fn is_naive(self) -> bool {
        matches!(self, Rung::SeasonalNaive | Rung::WeeklyNaive | Rung::Naive)
    }
}

/// Largest correlation of successive errors believed: nearer to 1 the variances depend on it wildly.
const CORRELATION_MAX: f64 = 0.95;

/// Running moments of the one-step errors, older ones possibly counting less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorScale {
    /// Weighted sum of squared errors.
    #[serde(rename = "q")]
    pub sum: f64,
    /// Sum of their weights.
    #[serde(rename = "w")]
    pub weight: f64,
    /// Weighted sum of products of successive errors.
    #[serde(rename = "r")]
    pub product: f64,
    /// The last slot's error; 0 when it was missing.
    #[serde(rename = "p")]
    pub previous: f64,
}

impl ErrorScale {
    /// As if `errors` of them had been seen, of standard deviation `sd`.
    pub fn known(sd: f64, errors: f64) -> ErrorScale {
        ErrorScale { sum: sd * sd * errors, weight: errors, product: 0.0, previous: 0.0 }
    }

    /// Counts one error; all before it count `memory` in (0, 1] times what they did.
    pub fn add(&mut self, memory: f64, error: f64) {
        self.sum = self.sum * memory + error * error;
        self.weight = self.weight * memory + 1.0;
        self.product = self.product * memory + error * self.previous;
        self.previous = error;
    }

    /// Correlation of successive errors, in [0, 0.95]: a negative one, which would narrow the
    /// intervals, is not relied upon.
    pub fn correlation(&self) -> f64 {
        if self.product > 0.0 { (self.product / self.sum).min(CORRELATION_MAX) } else { 0.0 }
    }

    /// sigma2 = Σe²/n; `None` before the first error.
    pub fn sigma2(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// Coverage and skill of one rung since it took over; another rung's first slot clears it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Score {
    /// Whose score it is.
    #[serde(rename = "r")]
    rung: Rung,
    /// Observed slots for which an interval had been issued.
    #[serde(rename = "n")]
    scored: u64,
    /// Those inside it.
    #[serde(rename = "h")]
    hits: u64,
    /// Slots for which the naive forecast also existed.
    #[serde(rename = "c")]
    compared: u64,
    /// Sum of absolute errors over these: the model's.
    #[serde(rename = "a")]
    model: f64,
    /// The naive forecast's.
    #[serde(rename = "b")]
    naive: f64,
}

impl Score {
    /// The score of `rung`: empty when the counts are another's.
    pub fn of(&self, rung: Rung) -> Score {
        if self.rung == rung { *self } else { Score { rung, ..Score::default() } }
    }

    /// Whose score it is.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Counts one slot against the interval that `rung` issued for it.
    pub fn cover(&mut self, rung: Rung, inside: bool) {
        *self = self.of(rung);
        self.scored += 1;
        self.hits += u64::from(inside);
    }

    /// Counts the absolute errors of the slot just covered.
    pub fn compare(&mut self, model: f64, naive: f64) {
        self.compared += 1;
        self.model = (self.model + model).min(f64::MAX);
        self.naive = (self.naive + naive).min(f64::MAX);
    }

    /// Share inside the interval; `None` before 20 slots.
    pub fn coverage(&self) -> Option<f64> {
        (self.scored >= SCORED_MIN).then(|| self.hits as f64 / self.scored as f64)
    }

    /// 1 − MAE/MAE of the naive forecast; `None` before 20 slots or without a naive error.
    pub fn skill(&self) -> Option<f64> {
        (self.compared >= SCORED_MIN && self.naive > 0.0)
            .then(|| 1.0 - self.model / self.naive)
            .filter(|skill| skill.is_finite())
    }
}
