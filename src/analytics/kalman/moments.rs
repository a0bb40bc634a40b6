//! Noise variances from the first readings, by moments.
//!
//! For readings k apart, E[(y' − y)²] = 2r + q·dt: the variogram of a random walk seen with noise is
//! a straight line (Cressie 1993, *Statistics for Spatial Data*, section 2.4). A weighted line
//! through its values at a few lags gives both variances. Neighbours alone (E[d²] = q·dt + 2r,
//! E[d·d'] = −r, the textbook pair) only start it: simulated with 50 readings, they cost 0.02 to
//! 0.25 in log-likelihood a reading against the true variances, the line 0.02 to 0.07, as
//! maximum likelihood does. Outliers are clipped first, and neither variance can come out at
//! nothing.

use super::plan::{Given, Noise, VARIANCE_MAX, VARIANCE_MIN};
use super::seconds;
use crate::analytics::settings::KalmanModel;
use crate::reading::{EventTime, Finite};

/// Most readings looked at.
pub(super) const READINGS_MAX: usize = 50;
const DIFFERENCES_MAX: usize = READINGS_MAX - 1;

/// Differences are clipped at this many of their standard deviations, as Huber does.
const CLIP: f64 = 3.0;
/// Standard deviation of a normal variable over its median absolute value.
const MAD_TO_SD: f64 = 1.482_602_218_505_602;
/// Differences are taken between readings so many apart, as far as there are
/// [`READINGS_PER_LAG`] times as many readings.
const LAGS: [usize; 5] = [1, 2, 4, 8, 16];
const READINGS_PER_LAG: usize = 3;
/// Rounds of fitting the line, each with weights from the last one's variances.
const ROUNDS: usize = 3;
/// With few readings the autocovariance says next to nothing: this many made-up pairs lean it
/// towards half of the variance being observation noise.
const PRIOR_PAIRS: f64 = 2.0;
/// Least observation noise as a share of the mean square difference: what is beyond telling.
const OBSERVATION_FLOOR: f64 = 1e-4;
/// Least level noise between two readings, as a share of the observation noise: the filter then
/// never looks back on much more than 30 readings (gain about the square root), so it goes on
/// following where the first readings stood still.
const LEVEL_FLOOR: f64 = 1e-3;
/// The same for the trend: q_t·dt³/r of 1e-6 also is a memory of about 30 readings (1e-6^(1/4)).
const TREND_FLOOR: f64 = 1e-6;
/// The acceleration's noise is not found by moments: q_a·dt⁵/r of 1e-6 is a memory of about 10
/// readings (1e-6^(1/6)).
const ACCELERATION_SHARE: f64 = 1e-6;
/// Readings that are all equal: noise of this share of the value, and this much at zero.
const CONSTANT_SD_RELATIVE: f64 = 1e-9;
const CONSTANT_SD: f64 = 1e-12;

/// How many successive readings differ.
pub(super) fn moves(readings: &[(EventTime, Finite)]) -> usize {
    readings.windows(2).filter(|pair| pair[0].1 != pair[1].1).count()
}

/// The variances: `given` ones as they are, the others estimated from `readings` (1 to
/// [`READINGS_MAX`], in event order).
pub(super) fn estimate(
    model: KalmanModel,
    given: &Given,
    readings: &[(EventTime, Finite)],
) -> Noise {
    let found = differences(readings)
        .map_or_else(|| constant(readings), |differences| differences.noise(model, given));
    given.or(&found)
}

/// Noise of readings that are all equal (or only one): there is nothing to learn from, only
/// nothing to divide by zero.
fn constant(readings: &[(EventTime, Finite)]) -> Noise {
    let largest = readings.iter().fold(0.0, |most: f64, (_, value)| most.max(value.get().abs()));
    let sd = CONSTANT_SD_RELATIVE * largest + CONSTANT_SD;
    let observation = (sd * sd).clamp(VARIANCE_MIN, VARIANCE_MAX);
    let dt = mean_interval(readings);
    Noise {
        observation,
        level: (LEVEL_FLOOR * observation / dt).min(VARIANCE_MAX),
        trend: (TREND_FLOOR * observation / (dt * dt * dt)).min(VARIANCE_MAX),
        acceleration: acceleration(observation, dt),
    }
}

/// Noise of the acceleration that goes with observation noise `r` and readings every `dt` seconds.
fn acceleration(r: f64, dt: f64) -> f64 {
    (ACCELERATION_SHARE * r / (dt * dt * dt * dt * dt)).min(VARIANCE_MAX)
}

/// Mean seconds between readings; 1 if they have no extent in time.
fn mean_interval(readings: &[(EventTime, Finite)]) -> f64 {
    let span = match readings {
        [first, .., last] => seconds(first.0, last.0),
        _ => 0.0,
    };
    if span > 0.0 { span / (readings.len() - 1) as f64 } else { 1.0 }
}

/// Successive differences, in units of `scale` so that squares of huge ones do not overflow.
struct Differences {
    count: usize,
    value: [f64; DIFFERENCES_MAX],
    /// Seconds.
    dt: [f64; DIFFERENCES_MAX],
    /// Unit of `value` and `step`: the largest absolute difference.
    scale: f64,
    /// The sensor's step: the smallest absolute difference that is not zero.
    step: f64,
    mean_interval: f64,
}

/// Differences of readings so many apart.
#[derive(Clone, Copy, Default)]
struct Lag {
    pairs: f64,
    mean_square: f64,
    /// Seconds.
    mean_dt: f64,
}

/// `None` if there are none or all are zero.
fn differences(readings: &[(EventTime, Finite)]) -> Option<Differences> {
    let count = readings.len().checked_sub(1)?.min(DIFFERENCES_MAX);
    let (mut value, mut dt) = ([0.0; DIFFERENCES_MAX], [0.0; DIFFERENCES_MAX]);
    let (mut scale, mut step) = (0.0_f64, f64::INFINITY);
    for (i, pair) in readings.windows(2).take(count).enumerate() {
        let difference = (pair[1].1.get() - pair[0].1.get()).clamp(f64::MIN, f64::MAX);
        value[i] = difference;
        dt[i] = seconds(pair[0].0, pair[1].0);
        scale = scale.max(difference.abs());
        if difference != 0.0 {
            step = step.min(difference.abs());
        }
    }
    if scale == 0.0 {
        return None;
    }
    // Their squares are outside f64's range beyond these.
    let scale = scale.clamp(1e-140, f64::MAX);
    value.iter_mut().for_each(|v| *v /= scale);
    let mean_interval = mean_interval(readings);
    Some(Differences { count, value, dt, scale, step: step / scale, mean_interval })
}

impl Differences {
    fn noise(mut self, model: KalmanModel, given: &Given) -> Noise {
        let trending = matches!(model, KalmanModel::Trend | KalmanModel::Acceleration);
        let n = self.count;
        let span: f64 = self.dt[..n].iter().sum();
        if trending && span > 0.0 {
            // The level's own noise is what a straight line leaves.
            let slope = self.value[..n].iter().sum::<f64>() / span;
            for (value, dt) in self.value.iter_mut().zip(self.dt) {
                *value -= slope * dt;
            }
        }
        self.clip();
        let (value, dt) = (&self.value[..n], &self.dt[..n]);
        let scaled = |variance: Option<f64>| variance.map(|v| v / self.scale / self.scale);
        let (given_r, given_q) = (scaled(given.observation), scaled(given.level));
        let (r, q) = self.fit(given_r, given_q);
        // Rounding to a step has at least this variance (Sheppard's correction), so one step
        // alone never looks like an outlier either.
        let r = given_r.unwrap_or_else(|| r.max(self.step * self.step / 12.0));
        // A trend follows by itself; a level must be able to.
        let floor = if trending { 0.0 } else { LEVEL_FLOOR * r / self.mean_interval };
        let q = given_q.unwrap_or_else(|| q.max(floor));
        let trend = if trending { self.trend_noise(r, q, value, dt) } else { 0.0 };
        let unscaled = |v: f64| v * self.scale * self.scale;
        Noise {
            observation: unscaled(r).clamp(VARIANCE_MIN, VARIANCE_MAX),
            level: unscaled(q).clamp(0.0, VARIANCE_MAX),
            trend: unscaled(trend).clamp(0.0, VARIANCE_MAX),
            acceleration: acceleration(
                unscaled(r).clamp(VARIANCE_MIN, VARIANCE_MAX),
                self.mean_interval,
            ),
        }
    }

    /// Observation and level noise (scaled): the variogram's line, both ≥ 0.
    fn fit(&self, given_r: Option<f64>, given_q: Option<f64>) -> (f64, f64) {
        let value = &self.value[..self.count];
        let (lags, used) = self.lags();
        let lags = &lags[..used];
        let (mean_square, mean_dt) = (lags[0].mean_square, lags[0].mean_dt);
        let floor = OBSERVATION_FLOOR * mean_square;
        let products: f64 = value.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let pairs = (self.count - 1) as f64;
        let leaning = PRIOR_PAIRS * mean_square / 4.0 - products;
        let mut r = given_r
            .unwrap_or_else(|| (leaning / (pairs + PRIOR_PAIRS)).min(mean_square / 2.0).max(floor));
        if mean_dt == 0.0 {
            // Readings of one instant differ by their noise alone.
            return (given_r.unwrap_or(mean_square / 2.0), given_q.unwrap_or(0.0));
        }
        let mut q = given_q.unwrap_or_else(|| ((mean_square - 2.0 * r) / mean_dt).max(0.0));
        for _ in 0..ROUNDS {
            // Sums for the line mean_square = intercept + q·mean_dt. The variance of a lag's mean
            // square: that of a square, over the pairs; overlapping pairs say less where it is the
            // level that moved.
            let (mut s, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (lag, k) in lags.iter().zip(LAGS) {
                let moved = q * lag.mean_dt;
                let expected = (2.0 * r + moved).max(floor);
                let overlap = 1.0 + 2.0 / 3.0 * k as f64 * moved / expected;
                let relative = mean_square / expected;
                let weight = lag.pairs * relative * relative / overlap;
                s += weight;
                sx += weight * lag.mean_dt;
                sy += weight * lag.mean_square;
                sxx += weight * lag.mean_dt * lag.mean_dt;
                sxy += weight * lag.mean_dt * lag.mean_square;
            }
            let (intercept, slope) = match (given_r, given_q) {
                (Some(r), Some(q)) => (2.0 * r, q),
                (Some(r), None) => (2.0 * r, (sxy - 2.0 * r * sx) / sxx),
                (None, Some(q)) => ((sy - q * sx) / s, q),
                (None, None) if used == 1 => (2.0 * r, q),
                (None, None) => {
                    let slope = (s * sxy - sx * sy) / (s * sxx - sx * sx);
                    let intercept = (sy - slope * sx) / s;
                    if slope <= 0.0 {
                        (sy / s, 0.0)
                    } else if intercept <= 0.0 {
                        (0.0, sxy / sxx)
                    } else {
                        (intercept, slope)
                    }
                }
            };
            if !(intercept.is_finite() && slope.is_finite()) {
                break;
            }
            (r, q) = ((intercept / 2.0).max(floor), slope.max(0.0));
        }
        (r, q)
    }

    /// Mean squares of the differences at each of [`LAGS`] that there are readings enough for, and
    /// how many these are, ≥ 1.
    fn lags(&self) -> ([Lag; LAGS.len()], usize) {
        let (mut level, mut time) = ([0.0; READINGS_MAX], [0.0; READINGS_MAX]);
        for i in 0..self.count {
            level[i + 1] = level[i] + self.value[i];
            time[i + 1] = time[i] + self.dt[i];
        }
        let n = self.count + 1;
        let mut lags = [Lag::default(); LAGS.len()];
        let mut used = 0;
        for (lag, k) in lags.iter_mut().zip(LAGS) {
            if used > 0 && k * READINGS_PER_LAG > n {
                break;
            }
            let (mut squares, mut dt) = (0.0, 0.0);
            for i in k..n {
                let difference: f64 = level[i] - level[i - k];
                squares += difference * difference;
                dt += time[i] - time[i - k];
            }
            let pairs = (n - k) as f64;
            *lag = Lag { pairs, mean_square: squares / pairs, mean_dt: dt / pairs };
            used += 1;
        }
        (lags, used)
    }

    /// The trend's noise from the change of the mean slope between both halves. For an integrated
    /// random walk its variance is q_t·(T1 + T2)/3; what level noise and observation noise add is
    /// taken off. One number to learn from, so no more than a start; never below
    /// [`TREND_FLOOR`]·r/dt³.
    fn trend_noise(&self, r: f64, q: f64, value: &[f64], dt: &[f64]) -> f64 {
        let interval = self.mean_interval;
        let floor = TREND_FLOOR * r / (interval * interval * interval);
        let middle = value.len() / 2;
        let slope = |part: std::ops::Range<usize>| {
            let span: f64 = dt[part.clone()].iter().sum();
            (value[part].iter().sum::<f64>() / span, 1.0 / span)
        };
        let (before, per_t1) = slope(0..middle);
        let (after, per_t2) = slope(middle..value.len());
        let per_both = per_t1 + per_t2;
        let expected = q * per_both + r * (per_t1 * per_t1 + per_t2 * per_t2 + per_both * per_both);
        let change = after - before;
        let excess = 3.0 * (change * change - expected) / (1.0 / per_t1 + 1.0 / per_t2);
        // Not a number where a half has no extent in time.
        if excess.is_finite() { excess.max(floor) } else { floor }
    }

    /// Huber's clipping, at [`CLIP`] robust standard deviations; wider after a longer interval than
    /// usual, where a level may have moved farther.
    fn clip(&mut self) {
        let n = self.count;
        let median_value = median(self.value, n, f64::abs);
        let median_dt = median(self.dt, n, |dt| dt);
        // More than half zeros (a coarse sensor): its step is the only scale there is.
        let sd = (MAD_TO_SD * median_value).max(self.step);
        for (value, dt) in self.value[..n].iter_mut().zip(self.dt) {
            let longer = if median_dt > 0.0 { (dt / median_dt).max(1.0) } else { 1.0 };
            let limit = CLIP * sd * longer.sqrt();
            *value = value.clamp(-limit, limit);
        }
    }
}

/// The (upper) median of `of` over the first `count`, ≥ 1.
fn median(values: [f64; DIFFERENCES_MAX], count: usize, of: fn(f64) -> f64) -> f64 {
    let mut sizes = values.map(of);
    *sizes[..count].select_nth_unstable_by(count / 2, f64::total_cmp).1
}
