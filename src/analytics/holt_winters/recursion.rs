//! The recursion: additive error, innovations form.
//!
//! Pure arithmetic on a level, a trend, season factors and a residual; knows nothing of time, only slots and
//! their phases. Every path through the models (live slots, the start's run over its buffer, fits)
//! goes through [`Components::step_at`].

use serde::{Deserialize, Serialize};

use super::calendar::{Phase, Slot, Walk};

/// Smoothing parameters as the recursion uses them (Hyndman, Koehler, Ord, Snyder 2008, table 2.2):
/// `beta` is alpha·beta\*, `gamma` multiplies the error directly (R's HoltWinters has gamma/(1−alpha)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Level, in [0, 1].
    #[serde(rename = "a")]
    pub alpha: f64,
    /// Trend, 0 ≤ beta ≤ alpha; 0 without a trend.
    #[serde(rename = "b")]
    pub beta: f64,
    /// Season (of two: the shorter), 0 ≤ gamma ≤ 1 − alpha; 0 without a season.
    #[serde(rename = "g")]
    pub gamma: f64,
    /// The longer of two seasons, 0 ≤ omega ≤ 1 − alpha − gamma; 0 without.
    #[serde(rename = "o")]
    pub omega: f64,
    /// Damping: 1 for a straight line, in (0, 1) for a damped trend, 0 without a trend (then a
    /// trend left in the state has no effect and is gone after one step).
    #[serde(rename = "p")]
    pub phi: f64,
    /// First-order autoregression of the residual, in [0, 1); 0 without.
    #[serde(rename = "r")]
    pub rho: f64,
}

/// Season factors by phase ([`Slot::phase`] in a season of their count).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Season {
    /// No season.
    #[serde(rename = "n")]
    None,
    /// Added to the level; at least one.
    #[serde(rename = "a")]
    Additive(Vec<f64>),
    /// Multiplied with the level (and trend); at least one.
    #[serde(rename = "m")]
    Multiplicative(Vec<f64>),
    /// Two seasons, both added: day and week, say. At least one each.
    #[serde(rename = "d")]
    Double(Vec<f64>, Vec<f64>),
}

impl Season {
    /// Number of slots in the (shorter) season; 0 without one.
    pub fn length(&self) -> usize {
        self.lengths().0
    }

    /// Number of slots in the first and the second season; 0 where there is none.
    pub fn lengths(&self) -> (usize, usize) {
        match self {
            Season::None => (0, 0),
            Season::Additive(factors) | Season::Multiplicative(factors) => (factors.len(), 0),
            Season::Double(first, second) => (first.len(), second.len()),
        }
    }

    /// From `slot` on through these seasons.
    pub fn walk<'a>(&self, slot: Slot<'a>) -> Walk<'a> {
        slot.walk(self.lengths())
    }

    /// The forecast at `at` when the level (with trend) is `level`.
    #[inline]
    fn combine(&self, level: f64, at: Phase) -> f64 {
        match self {
            Season::None => level,
            Season::Additive(factors) => level + factors[at.first],
            Season::Multiplicative(factors) => level * factors[at.first],
            Season::Double(first, second) => level + (first[at.first] + second[at.second]),
        }
    }

    /// The level with which the forecast of `slot` is `value`.
    pub fn level_of(&self, value: f64, slot: Slot<'_>) -> f64 {
        let at = self.walk(slot).at();
        match self {
            Season::None => value,
            Season::Additive(factors) => value - factors[at.first],
            Season::Multiplicative(factors) => {
                if factors[at.first].abs() < RATIO_MIN {
                    value
                } else {
                    value / factors[at.first]
                }
            }
            Season::Double(first, second) => value - (first[at.first] + second[at.second]),
        }
    }
}

/// Factors and levels nearer to zero are not divided by: the state stays as it is.
const RATIO_MIN: f64 = 1e-9;

#[inline]
fn ratio(error: f64, by: f64) -> f64 {
    if by.abs() < RATIO_MIN { 0.0 } else { error / by }
}

/// The states after some slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Components {
    /// Level, in the series' unit, without season.
    #[serde(rename = "l")]
    pub level: f64,
    /// Trend per slot.
    #[serde(rename = "b")]
    pub trend: f64,
    /// Season factors.
    #[serde(rename = "s")]
    pub season: Season,
    /// What the states leave of the last slot, in the series' unit; 0 without autoregression.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub residual: f64,
}

fn is_zero(value: &f64) -> bool {
    value.to_bits() == 0
}

/// What one slot did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneStep {
    /// Forecast of the slot before it was seen.
    pub predicted: f64,
    /// Observed minus predicted; `None` for a missing slot.
    pub error: Option<f64>,
}

impl Components {
    /// Forecast of the next slot, which lies at `at`.
    #[inline]
    pub fn predict_at(&self, p: &Parameters, at: Phase) -> f64 {
        self.season.combine(self.level + p.phi * self.trend, at) + p.rho * self.residual
    }

    /// The same without what the residual adds: where forecasts far ahead lead.
    pub fn settled_at(&self, p: &Parameters, at: Phase) -> f64 {
        self.season.combine(self.level + p.phi * self.trend, at)
    }

    /// [`step_at`](Self::step_at) for the next slot, `slot`.
    pub fn step(&mut self, p: &Parameters, slot: Slot<'_>, observed: Option<f64>) -> OneStep {
        self.step_at(p, self.season.walk(slot).at(), observed)
    }

    /// Takes in the next slot, which lies at `at`.
    ///
    /// With q = l + phi·b, s the factor of this slot before it, r the residual, e = y − yhat:
    ///
    /// - no season, additive season: yhat = q + s + rho·r, l' = q + alpha·e, b' = phi·b + beta·e, s' = s + gamma·e;
    /// - multiplicative season: yhat = q·s + rho·r, l' = q + alpha·e/s, b' = phi·b + beta·e/s, s' = s + gamma·e/q;
    /// - two seasons s, w: yhat = q + s + w + rho·r, and w' = w + omega·e besides;
    /// - r' = y − (l' + s' + w') or y − l'·s': what the new states leave of the slot.
    ///
    /// A missing slot has e = 0: level and trend roll on, factors stay, r' = rho·r.
    ///
    /// Source: Hyndman, Koehler, Ord, Snyder, Forecasting with Exponential Smoothing (2008), table 2.2,
    /// (A,Ad,A) and (A,Ad,M). Two seasons with autoregressive residual: J. W. Taylor, Journal of the
    /// Operational Research Society 54 (2003) 799–805, whose forecast function this is. There the states
    /// move by y − (q + s + w), here by the innovation e, so that a disturbance which passes by itself
    /// does not enter the season factors; without autoregression both are the same.
    #[inline]
    pub fn step_at(&mut self, p: &Parameters, at: Phase, observed: Option<f64>) -> OneStep {
        let carried = p.phi * self.trend;
        let base = self.level + carried;
        let echo = p.rho * self.residual;
        let predicted = self.season.combine(base, at) + echo;
        let Some(y) = observed else {
            self.level = base;
            self.trend = carried;
            self.residual = echo;
            return OneStep { predicted, error: None };
        };
        let e = y - predicted;
        let mut relative = e;
        match &mut self.season {
            Season::None => {}
            Season::Additive(factors) => factors[at.first] += p.gamma * e,
            Season::Multiplicative(factors) => {
                let factor = &mut factors[at.first];
                relative = ratio(e, *factor);
                *factor += p.gamma * ratio(e, base);
            }
            Season::Double(first, second) => {
                first[at.first] += p.gamma * e;
                second[at.second] += p.omega * e;
            }
        }
        self.level = base + p.alpha * relative;
        self.trend = carried + p.beta * relative;
        if p.rho > 0.0 {
            self.residual = y - self.season.combine(self.level, at);
        }
        OneStep { predicted, error: Some(e) }
    }

    /// Forecasts of the slots from `slot` (the next one) on, without end:
    /// l + (phi + … + phi^h)·b combined with the season factors, plus rho^h·r.
    /// Source: as [`step_at`](Self::step_at), table 2.1.
    pub fn points<'a>(
        &'a self,
        p: &Parameters,
        slot: Slot<'a>,
    ) -> impl Iterator<Item = f64> + use<'a> {
        self.points_along(p, self.season.walk(slot))
    }

    /// [`points`](Self::points) of the slots of `walk`.
    #[inline]
    pub fn points_along<'a>(
        &'a self,
        p: &Parameters,
        mut walk: Walk<'a>,
    ) -> impl Iterator<Item = f64> + use<'a> {
        let (phi, rho) = (p.phi, p.rho);
        let (mut power, mut sum, mut echo) = (1.0, 0.0, self.residual);
        std::iter::repeat_with(move || {
            power *= phi;
            sum += power;
            echo *= rho;
            let point = self.season.combine(self.level + sum * self.trend, walk.at()) + echo;
            walk.advance();
            point
        })
    }

    /// True when level, trend, residual and the factors at `at` are finite: what a step there changed.
    pub fn is_finite_at(&self, at: Phase) -> bool {
        let factors = self.season.combine(1.0, at);
        (self.level.is_finite() && self.trend.is_finite())
            && (self.residual.is_finite() && factors.is_finite())
    }
}

/// Variance of the forecast h = 1, 2, … slots ahead as a multiple of the one-step variance, without
/// end. With c_0 = 1, c_j = alpha + beta·(phi + … + phi^j) + gamma·\[j mod m = 0\], the forecast error is
/// Σ_{j<h} c_j·e_{t+h−j}. For uncorrelated errors that gives 1 + Σ_{j=1}^{h−1} c_j² (Hyndman, Koehler,
/// Ord, Snyder 2008, class 1, equations 6.10 and 6.11 with table 6.2).
///
/// `correlation` in \[0, 1) is that of successive one-step errors: with smoothing that was not
/// fitted to the series they follow each other, and intervals that overlook it are far too narrow
/// some slots ahead. Errors i and j slots apart are taken to correlate by correlation^|i−j|
/// (first-order autoregression, as J. W. Taylor found in hourly data: Journal of the Operational
/// Research Society 54, 2003, 799–805): Σ_{i,j<h} c_i·c_j·correlation^|i−j|. 0 gives class 1, to the bit.
///
/// A second season adds omega·\[j mod m2 = 0\] to c_j, an autoregressive residual
/// rho^j·(1 − alpha − gamma − omega): the share of the error that the states leave (see
/// [`Components::step_at`]). Exact for additive seasons; for a multiplicative one an approximation
/// that takes all factors for 1.
///
/// `lengths`: the seasons in slots, 0 for none.
pub fn variance_factors(
    p: &Parameters,
    lengths: (usize, usize),
    correlation: f64,
) -> impl Iterator<Item = f64> + use<> {
    let p = *p;
    let (mut power, mut sum, mut factor) = (1.0, 0.0, 1.0);
    let mut passing = 1.0 - p.alpha - p.gamma - p.omega;
    let due = move |j: usize, length: usize| length > 0 && j.is_multiple_of(length);
    // Σ_{i<j} c_i·correlation^(j−i)
    let mut echo = correlation;
    (0_usize..).map(move |j| {
        if j > 0 {
            power *= p.phi;
            sum += power;
            passing *= p.rho;
            let first = if due(j, lengths.0) { p.gamma } else { 0.0 };
            let second = if due(j, lengths.1) { p.omega } else { 0.0 };
            let c = p.alpha + p.beta * sum + (first + second) + passing;
            factor += c * c + 2.0 * (c * echo);
            echo = correlation * (echo + c);
        }
        factor
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::holt_winters::calendar::UTC;

    /// Against the double sum of the docstring, term by term.
    #[test]
    fn variance_with_correlated_errors_is_the_double_sum() {
        let p =
            Parameters { alpha: 0.3, beta: 0.02, gamma: 0.1, phi: 0.9, ..Parameters::default() };
        let m = 4;
        let weight = |j: usize| -> f64 {
            if j == 0 {
                return 1.0;
            }
            let damped: f64 = (1..=j as i32).map(|k| 0.9_f64.powi(k)).sum();
            0.3 + 0.02 * damped + if j.is_multiple_of(m) { 0.1 } else { 0.0 }
        };
        for correlation in [0.0, 0.4, 0.95] {
            for (h, got) in (1..30).zip(variance_factors(&p, (m, 0), correlation)) {
                let expected: f64 = (0..h)
                    .flat_map(|i| (0..h).map(move |j| (i, j)))
                    .map(|(i, j)| {
                        weight(i) * weight(j) * correlation_power(correlation, i.abs_diff(j))
                    })
                    .sum();
                assert!(
                    (got / expected - 1.0).abs() < 1e-12,
                    "{correlation} {h}: {got} {expected}"
                );
            }
        }
    }

    fn correlation_power(correlation: f64, lag: usize) -> f64 {
        (0..lag).fold(1.0, |power, _| power * correlation)
    }

    /// Two seasons and a residual: the factors are what a unit innovation does to later slots, found
    /// by stepping through it.
    #[test]
    fn variance_is_the_sum_of_squared_responses() {
        let p = Parameters { alpha: 0.2, beta: 0.03, gamma: 0.1, omega: 0.25, phi: 0.9, rho: 0.8 };
        let start = Components {
            level: 5.0,
            trend: 0.1,
            season: Season::Double(vec![1.0, -1.0, 0.5], vec![0.2, 0.1, -0.4, 0.3, 0.0, 0.6]),
            residual: 0.7,
        };
        let mut hit = start.clone();
        let first = start.points(&p, UTC.slot(4)).next().unwrap();
        let quiet: Vec<f64> = start.points(&p, UTC.slot(4)).take(30).collect();
        hit.step(&p, UTC.slot(4), Some(first + 1.0));
        let response: Vec<f64> =
            hit.points(&p, UTC.slot(5)).zip(&quiet[1..]).map(|(a, b)| a - b).collect();
        let mut expected = 1.0;
        let mut factors = variance_factors(&p, (3, 6), 0.0);
        assert_eq!(factors.next(), Some(1.0));
        for (r, got) in response.iter().zip(factors) {
            expected += r * r;
            assert!((got / expected - 1.0_f64).abs() < 1e-12, "{got} {expected}");
        }
        // Missing slots change nothing in the forecasts of those behind them.
        let mut waited = start.clone();
        waited.step(&p, UTC.slot(4), None);
        waited.step(&p, UTC.slot(5), None);
        for (a, b) in waited.points(&p, UTC.slot(6)).zip(&quiet[2..]) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }
}
