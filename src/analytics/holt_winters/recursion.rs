//! The recursion: additive error, innovations form.
//!
//! Pure arithmetic on a level, a trend and season factors; knows nothing of time, only slot
//! numbers. Every path through the models (live slots, the start's run over its buffer, fits)
//! goes through [`Components::step`].

use serde::{Deserialize, Serialize};

/// Smoothing parameters as the recursion uses them (Hyndman, Koehler, Ord, Snyder 2008, table 2.2):
/// `beta` is alpha·beta\*, `gamma` multiplies the error directly (R's HoltWinters has gamma/(1−alpha)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Level, in (0, 1].
    pub alpha: f64,
    /// Trend, 0 ≤ beta ≤ alpha; 0 without a trend.
    pub beta: f64,
    /// Season, 0 ≤ gamma ≤ 1 − alpha; 0 without a season.
    pub gamma: f64,
    /// Damping: 1 for a straight line, in (0, 1) for a damped trend, 0 without a trend (then a
    /// trend left in the state has no effect and is gone after one step).
    pub phi: f64,
}

/// Season factors by phase (slot number modulo their count).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Season {
    /// No season.
    #[serde(rename = "n")]
    None,
    /// Added to the level; at least one.
    #[serde(rename = "a")]
    Additive(Vec<f64>),
}

impl Season {
    /// Number of slots in a season; 0 without one.
    pub fn length(&self) -> usize {
        match self {
            Season::None => 0,
            Season::Additive(factors) => factors.len(),
        }
    }

    /// The forecast of `slot` when the level (with trend) is `level`.
    fn combine(&self, level: f64, slot: i64) -> f64 {
        match self {
            Season::None => level,
            Season::Additive(factors) => level + factors[phase(slot, factors.len())],
        }
    }

    /// The level with which the forecast of `slot` is `value`.
    pub fn level_of(&self, value: f64, slot: i64) -> f64 {
        match self {
            Season::None => value,
            Season::Additive(factors) => value - factors[phase(slot, factors.len())],
        }
    }
}

/// Where `slot` lies in a season of `length` ≥ 1 slots: 0 to length − 1, for negative slots too.
pub fn phase(slot: i64, length: usize) -> usize {
    slot.rem_euclid(length as i64) as usize
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
    /// Forecast of the next slot, whose number is `slot`.
    pub fn predict(&self, parameters: &Parameters, slot: i64) -> f64 {
        self.season.combine(self.level + parameters.phi * self.trend, slot)
    }

    /// Takes in the next slot, whose number is `slot`.
    ///
    /// With q = l + phi·b and s the factor of this slot before it: yhat = q + s, e = y − yhat,
    /// l' = q + alpha·e, b' = phi·b + beta·e, s' = s + gamma·e. A missing slot has e = 0: level and
    /// trend roll on, the factor stays.
    /// Source: Hyndman, Koehler, Ord, Snyder, Forecasting with Exponential Smoothing (2008), table 2.2, (A,Ad,A).
    pub fn step(&mut self, p: &Parameters, slot: i64, observed: Option<f64>) -> OneStep {
        let carried = p.phi * self.trend;
        let base = self.level + carried;
        let predicted = self.season.combine(base, slot);
        let error = observed.map(|y| y - predicted);
        let e = error.unwrap_or(0.0);
        self.level = base + p.alpha * e;
        self.trend = carried + p.beta * e;
        match &mut self.season {
            Season::None => {}
            Season::Additive(factors) => {
                let m = factors.len();
                factors[phase(slot, m)] += p.gamma * e;
            }
        }
        OneStep { predicted, error }
    }

    /// Forecasts of the slots from `slot` (the next one) on, without end:
    /// l + (phi + … + phi^h)·b combined with the season factor.
    /// Source: as [`step`](Self::step), table 2.1.
    pub fn points(&self, p: &Parameters, slot: i64) -> impl Iterator<Item = f64> {
        let phi = p.phi;
        let mut power = 1.0;
        let mut sum = 0.0;
        (slot..).map(move |slot| {
            power *= phi;
            sum += power;
            self.season.combine(self.level + sum * self.trend, slot)
        })
    }

    /// True when level, trend and the factor of `slot` are finite: what a step at `slot` changed.
    pub fn is_finite_at(&self, slot: i64) -> bool {
        self.level.is_finite()
            && self.trend.is_finite()
            && match &self.season {
                Season::None => true,
                Season::Additive(factors) => factors[phase(slot, factors.len())].is_finite(),
            }
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
/// `season_length`: m in slots, 0 without a season.
pub fn variance_factors(
    p: &Parameters,
    season_length: usize,
    correlation: f64,
) -> impl Iterator<Item = f64> {
    let p = *p;
    let (mut power, mut sum, mut factor) = (1.0, 0.0, 1.0);
    // Σ_{i<j} c_i·correlation^(j−i)
    let mut echo = correlation;
    (0_usize..).map(move |j| {
        if j > 0 {
            power *= p.phi;
            sum += power;
            let season = if season_length > 0 && j % season_length == 0 { p.gamma } else { 0.0 };
            let c = p.alpha + p.beta * sum + season;
            factor += c * c + 2.0 * (c * echo);
            echo = correlation * (echo + c);
        }
        factor
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the double sum of the docstring, term by term.
    #[test]
    fn variance_with_correlated_errors_is_the_double_sum() {
        let p = Parameters { alpha: 0.3, beta: 0.02, gamma: 0.1, phi: 0.9 };
        let m = 4;
        let weight = |j: usize| -> f64 {
            if j == 0 {
                return 1.0;
            }
            let damped: f64 = (1..=j as i32).map(|k| 0.9_f64.powi(k)).sum();
            0.3 + 0.02 * damped + if j.is_multiple_of(m) { 0.1 } else { 0.0 }
        };
        for correlation in [0.0, 0.4, 0.95] {
            for (h, got) in (1..30).zip(variance_factors(&p, m, correlation)) {
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
}
