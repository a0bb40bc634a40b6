//! Intervals that cover what they promise: class-1 intervals, corrected online by what became of those issued.
//!
//! Pure. The models say mean and standard deviation of the slot h ahead; class 1 makes mean ±
//! z·sigma_h of them. That is right when the model is: real errors are larger at some hours than at
//! others, come in bursts, have tails of their own, and grow with h otherwise than the model says. So
//! the forecasts issued for a few horizons (the **knots**: 1, 2, 4, 8, 16, 24, 48, up to the forecast's own)
//! are remembered until their slots close, and each knot learns, from errors e of forecasts with sigma:
//!
//! | factor of sigma | learned from | forgets in |
//! |---|---|---|
//! | `profile` √P of the time in the season (at most 24 bins) | P: mean of u², u = e/sigma | 60 seasons |
//! | `volatility` √(1 + β·ρ·(V − 1)), ρ = 6/(5 + h) | V: mean of the one-step u²/P; β: regression of the next on it | V: half in 3 slots; β: 2000 |
//! | `slow_volatility` √(1 + 0.8·(S − 1)), from two slots ahead on | S: mean of u²/P at this knot, each at most 4 | 100 slots |
//! | `stretch` below, above: one factor for each end | whether the end issued was passed | at its own rate |
//!
//! P and V are exponentially weighted mean squares in the manner of ARCH models (Bollerslev, Generalized autoregressive
//! conditional heteroskedasticity, 1986), start at 1 behind a prior weight, and take single errors as ±4 standard deviations at
//! most. S is for weeks of storms and weeks of calm: the errors of a day ahead, not those of one slot, tell of these. P and V are believed as far as they have shown something: a bin's deviation from the mean of all is shrunk by what
//! chance alone would make of it (James, Stein 1961, as positive-part empirical Bayes), and β is 0.3 at first, then what
//! bursts were followed by, 0 to 0.9. So intervals of forecasts that were right stay within about 3 % of class 1's score. The last is
//! adaptive conformal inference for each end alone: with miss = 1 when the actual lay beyond the end that had been
//! **issued** for it, else 0, ln stretch ← ln stretch + η_h·(miss − α/2). Whatever the errors do, the share of
//! misses then tends to α/2, since ln stretch is bounded and changes by their sum (Gibbs, Candès, Adaptive conformal inference under
//! distribution shift, 2021, proposition 4.1; as quantile tracking: Angelopoulos, Candès, Tibshirani, Conformal PID
//! control for time series prediction, 2023, proposition 1; Zaffran and others, Adaptive conformal predictions for time
//! series, 2022, on the choice of η). η_h = max(0.02, 0.1/√n)·h^(−1/4): errors of longer forecasts overlap and tell less.
//! Between knots the whole factor is interpolated in h; beyond the last it stays.
//!
//! A series that has lain exactly at its lowest (or highest) value in at least 2 % of its slots, and 24 of
//! them, is taken to be bounded there (rain, sunshine, relative humidity): no end lies beyond.
//!
//! The constants were chosen on synthetic hourly series and on recorded ones (electricity, traffic, bicycles,
//! sun, wind, weather) that are no part of this repository's tests; the Winkler score is flat around them.
//!
//! Invariants: factors stay within [0.05, 20] of class 1 and start at 1; every number is finite;
//! at horizon 24 the state takes less than 2 KB as stored, hardly more in memory.

mod packed;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::calendar::{Slot, phase};
use super::member::exp;
use super::plan::VALUE_MAX;

/// Forecasts of at most this many horizons are remembered.
const KNOTS_MAX: usize = 7;
/// The longest of them, slots.
const REACH_MAX: usize = 48;
/// Most bins of the profile.
const BINS_MAX: usize = 24;
/// Standard deviations that one error counts for at most, in P and V.
const SCORE_LIMIT: f64 = 4.0;
/// Seasons after which errors count 1/e in P.
const PROFILE_MEMORY: usize = 60;
/// Seasons' worth of P = 1 at the start.
const PROFILE_PRIOR: usize = 5;
/// Variance of u² around P that the shrinkage of the profile expects, as a multiple of P²: 2 for normal errors; real ones have heavier tails.
const PROFILE_VARIANCE: f64 = 2.0;
/// How far V counts one step ahead, before anything is known of it, and at most.
const BURST_START: f64 = 0.3;
const BURST_MAX: f64 = 0.9;
/// The weight of that start, as a sum of (V − 1)².
const BURST_PRIOR: f64 = 20.0;
/// Slots after which the regression that learns it counts 1/e.
const BURST_MEMORY: f64 = 2000.0;
/// Slots over which that share halves.
const VOLATILITY_REACH: f64 = 6.0;
/// 1 − 2^(−1/3): a slot's weight in V.
const VOLATILITY_RATE: f64 = 0.206_299_474_015_900_26;
/// A slot's weight in S, its share in the variance, and the most that one u²/P counts there: a leak of two days is no season of storms.
const SLOW_VOLATILITY_RATE: f64 = 0.01;
const SLOW_VOLATILITY_SHARE: f64 = 0.8;
const SLOW_VOLATILITY_LIMIT: f64 = 4.0;
/// η one step ahead: in the long run, and its start over √n.
const STRETCH_RATE: f64 = 0.02;
const STRETCH_RATE_START: f64 = 0.1;
/// A factor, whatever it is made of, stays between this and its inverse.
const FACTOR_MIN: f64 = 0.05;
/// Standard deviations that fit into the state's short floats with room for errors and factors; others are left alone.
const SIGMA_MIN: f64 = 1e-25;
const SIGMA_MAX: f64 = 1e25;
/// An end lies no further from its mean, as stored.
const HALF_MAX: f64 = 1e38;
/// Slots at the extreme before it counts as a bound, and their share of all (1/50).
const BOUND_SLOTS: u32 = 24;
const BOUND_SHARE: u32 = 50;
/// Half of an interval of logarithms is at most ln 1000: nothing is told by ends further away.
const LOG_HALF_MAX: f64 = 6.907_755_278_982_137;
/// Which end of an interval.
const LOWER: usize = 0;
const UPPER: usize = 1;

/// What one series' intervals have taught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Slots of the season, 0 without one; fixes the bins.
    #[serde(rename = "m")]
    season_length: usize,
    /// Slots that forecasts reach; fixes the knots.
    #[serde(rename = "h")]
    horizon: usize,
    /// Means are logarithms, and sigmas of logarithms.
    #[serde(rename = "l")]
    log: bool,
    /// V: mean square of the latest one-step errors, as multiples of what was thought usual.
    #[serde(rename = "v")]
    volatility: f32,
    /// Σ (V − 1)·(next u²/P − 1) and Σ (V − 1)², older slots counting less.
    #[serde(rename = "u")]
    burst: [f32; 2],
    /// One a knot.
    #[serde(rename = "k")]
    knots: Vec<Knot>,
    /// P by knot and bin.
    #[serde(rename = "p", with = "packed")]
    profile: Vec<f32>,
    /// Issued and not yet observed: a ring of k slots for knot k, by target slot modulo k.
    #[serde(rename = "r", with = "packed")]
    means: Vec<f64>,
    /// Beside each of `means`: sigma (0: none issued), and how far the ends lie below and above the mean.
    #[serde(rename = "s", with = "packed")]
    scales: Vec<f32>,
    #[serde(rename = "b")]
    low: Bound,
    #[serde(rename = "c")]
    high: Bound,
    /// Observed slots. Saturates.
    #[serde(rename = "n")]
    observed: u32,
}

/// What is learned at one horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Knot {
    /// Mean of the profile, and how much of each bin's deviation from it is believed.
    #[serde(rename = "q")]
    level: f32,
    #[serde(rename = "w")]
    belief: f32,
    /// Below, above.
    #[serde(rename = "t")]
    stretch: [f32; 2],
    /// S, the slow volatility: mean square of the last 100 errors or so, as multiples of what was thought usual.
    #[serde(rename = "s")]
    slow_volatility: f32,
    /// Intervals that met their slot. Saturates.
    #[serde(rename = "n")]
    scored: u32,
}

impl Knot {
    const NEW: Knot =
        Knot { level: 1.0, belief: 0.0, stretch: [1.0; 2], slow_volatility: 1.0, scored: 0 };
}

/// An extreme of the slots seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bound {
    #[serde(rename = "y")]
    value: f64,
    /// Slots that lay exactly there; 0 before the first. Saturates.
    #[serde(rename = "n")]
    times: u32,
}

impl Bound {
    fn see(&mut self, y: f64, beyond: bool) {
        if self.times == 0 || beyond {
            *self = Bound { value: y, times: 1 };
        } else if y == self.value {
            self.times = self.times.saturating_add(1);
        }
    }

    fn holds(&self, observed: u32) -> bool {
        self.times >= BOUND_SLOTS && self.times >= observed / BOUND_SHARE
    }
}

impl Calibration {
    /// Nothing learned: intervals are class 1. `season_length` in slots, 0 without a season;
    /// `horizon` ≥ 1: how many slots forecasts reach.
    pub fn new(season_length: usize, horizon: usize) -> Calibration {
        let mut new = Calibration {
            season_length,
            horizon,
            log: false,
            volatility: 1.0,
            burst: [0.0; 2],
            knots: Vec::new(),
            profile: Vec::new(),
            means: Vec::new(),
            scales: Vec::new(),
            low: Bound::default(),
            high: Bound::default(),
            observed: 0,
        };
        new.begin();
        new
    }

    /// As `new` made this one.
    pub fn afresh(&self) -> Calibration {
        Calibration::new(self.season_length, self.horizon)
    }

    /// Forgets what was learned of errors, as another model makes the forecasts now; what was seen of the series' bounds stays.
    pub fn begin(&mut self) {
        let (knots, slots) = knots(self.horizon).fold((0, 0), |(n, sum), k| (n + 1, sum + k));
        (self.volatility, self.burst) = (1.0, [0.0; 2]);
        self.knots = vec![Knot::NEW; knots];
        self.profile = vec![1.0; knots * self.bins()];
        self.means = vec![0.0; slots];
        self.scales = vec![0.0; 3 * slots];
    }

    /// Errors are now of the logarithm, or no longer: where in the season they are large is another matter there, and
    /// what was issued in the other scale cannot be judged. How large they are altogether, and how often the ends were passed, stays.
    fn change_scale(&mut self) {
        (self.volatility, self.burst) = (1.0, [0.0; 2]);
        self.scales.fill(0.0);
        let bins = self.bins();
        for (knot, profile) in self.knots.iter_mut().zip(self.profile.chunks_exact_mut(bins)) {
            (knot.belief, knot.slow_volatility) = (0.0, 1.0);
            profile.fill(knot.level);
        }
    }

    /// True when the state has the shape that `new` with these arguments gives it.
    pub fn fits(&self, season_length: usize, horizon: usize) -> bool {
        let (n, slots) = knots(horizon).fold((0, 0), |(n, sum), k| (n + 1, sum + k));
        (self.season_length, self.horizon) == (season_length, horizon)
            && self.knots.len() == n
            && self.profile.len() == n * self.bins()
            && (self.means.len(), self.scales.len()) == (slots, 3 * slots)
    }

    /// How many slots ahead [`issued`](Self::issued) wants to know of.
    pub fn reach(&self) -> usize {
        self.horizon.clamp(1, REACH_MAX)
    }

    /// Remembers what is forecast now. `points`: mean and standard deviation of the slots from `next`, the one after
    /// the last closed, on; [`reach`](Self::reach) of them are enough. `quantile`: of class 1, e.g. 1.96. `log`: the
    /// standard deviations are those of the logarithm.
    pub fn issued(&mut self, next: Slot<'_>, quantile: f64, log: bool, points: &[(f64, f64)]) {
        if self.log != log {
            self.log = log;
            self.change_scale();
        }
        let mut first = 0;
        for (index, k) in knots(self.horizon).enumerate() {
            let Some(&(mean, sigma)) = points.get(k - 1) else { return };
            let mean = if log { libm::log(mean) } else { mean };
            let target = next.after(k as i64 - 1);
            let at = first + phase(target.number(), k);
            first += k;
            let known = mean.is_finite() && (SIGMA_MIN..=SIGMA_MAX).contains(&sigma);
            let bin = self.bin(target);
            let half = |end| quantile * sigma * self.factor(index, k, bin, end);
            let scales = if known { [sigma, half(LOWER), half(UPPER)] } else { [0.0; 3] };
            if let Some(place) = self.means.get_mut(at) {
                *place = if known { mean } else { 0.0 };
            }
            if let Some(place) = self.scales.get_mut(3 * at..3 * at + 3) {
                place.copy_from_slice(&scales.map(|s| s as f32));
            }
        }
    }

    /// Learns from the slot that closed, and forgets what had been issued for it; `None`: no reading fell into
    /// it. `nominal`: the probability that intervals are to cover.
    pub fn observe(&mut self, slot: Slot<'_>, actual: Option<f64>, nominal: f64) {
        let tail = 0.5 - 0.5 * nominal;
        // What has no logarithm lies below all that has.
        let inward = |y: f64| if self.log { libm::log(y.max(f64::MIN_POSITIVE)) } else { y };
        let inward = actual.map(inward);
        let bin = self.bin(slot);
        let mut first = 0;
        for (index, k) in knots(self.horizon).enumerate() {
            let at = first + phase(slot.number(), k);
            first += k;
            let Some(&mean) = self.means.get(at) else { return };
            let Some([sigma, halves @ ..]) = self.scales.get_mut(3 * at..3 * at + 3) else {
                return;
            };
            let (sigma, halves) = (f64::from(std::mem::take(sigma)), [halves[0], halves[1]]);
            if let Some(y) = inward.filter(|_| sigma > 0.0) {
                self.learn(index, k, bin, y - mean, sigma, halves.map(f64::from), tail);
            }
        }
        let Some(y) = actual else { return };
        self.observed = self.observed.saturating_add(1);
        self.low.see(y, y < self.low.value);
        self.high.see(y, y > self.high.value);
    }

    /// One error `e` at knot `index`, `k` slots ahead, of a forecast with `sigma` and an interval of `halves`.
    #[expect(clippy::too_many_arguments, reason = "one call, from the loop over knots")]
    fn learn(
        &mut self,
        index: usize,
        k: usize,
        bin: usize,
        e: f64,
        sigma: f64,
        halves: [f64; 2],
        tail: f64,
    ) {
        let (season, bins) = (self.season_length, self.bins());
        let Some(knot) = self.knots.get_mut(index) else { return };
        knot.scored = knot.scored.saturating_add(1);
        let rate = f64::max(STRETCH_RATE, STRETCH_RATE_START / f64::from(knot.scored).sqrt())
            / (k as f64).sqrt().sqrt();
        let missed = [-e > halves[LOWER], e > halves[UPPER]];
        for (stretch, missed) in knot.stretch.iter_mut().zip(missed) {
            // exp(x) to the second order, x being at most 0.1.
            let x = rate * (f64::from(u8::from(missed)) - tail);
            let next = f64::from(*stretch) * (1.0 + x + 0.5 * x * x);
            *stretch = next.clamp(FACTOR_MIN, 1.0 / FACTOR_MIN) as f32;
        }

        let u = (e / sigma).clamp(-SCORE_LIMIT, SCORE_LIMIT);
        let errors_a_season = (season / bins).max(1);
        let seen = (knot.scored as usize / bins).min(PROFILE_MEMORY * errors_a_season);
        let weight = (seen + PROFILE_PRIOR * errors_a_season) as f64;
        let Some(profile) = self.profile.get_mut(index * bins..(index + 1) * bins) else { return };
        let usual = profile.get(bin).map_or(1.0, |&p| {
            f64::from(knot.level) + f64::from(knot.belief) * (f64::from(p) - f64::from(knot.level))
        });
        if let Some(p) = profile.get_mut(bin) {
            *p = (f64::from(*p) + (u * u - f64::from(*p)) / weight) as f32;
        }
        let level = profile.iter().map(|&p| f64::from(p)).sum::<f64>() / bins as f64;
        let deviation = |&p: &f32| (f64::from(p) - level) * (f64::from(p) - level);
        let variance = profile.iter().map(deviation).sum::<f64>() / (bins - 1).max(1) as f64;
        let noise = PROFILE_VARIANCE * level * level / weight;
        (knot.level, knot.belief) =
            (level as f32, if variance > noise { 1.0 - noise / variance } else { 0.0 } as f32);
        let now = u * u / usual.max(FACTOR_MIN);
        if index > 0 {
            let slow = f64::from(knot.slow_volatility);
            knot.slow_volatility =
                (slow + SLOW_VOLATILITY_RATE * (now.min(SLOW_VOLATILITY_LIMIT) - slow)) as f32;
        } else {
            let now = now.min(SCORE_LIMIT * SCORE_LIMIT);
            let volatility = f64::from(self.volatility);
            let x = volatility - 1.0;
            for (sum, new) in self.burst.iter_mut().zip([x * (now - 1.0), x * x]) {
                *sum = (f64::from(*sum) * (1.0 - 1.0 / BURST_MEMORY) + new) as f32;
            }
            self.volatility = (volatility + VOLATILITY_RATE * (now - volatility)) as f32;
        }
    }

    /// The interval of `target`, the slot `h` ≥ 1 ahead, whose forecast has this mean and standard deviation:
    /// lower and upper end, finite when `mean` is. `quantile`: of class 1; `log` as in
    /// [`issued`](Self::issued).
    pub fn interval(
        &self,
        h: usize,
        target: Slot<'_>,
        quantile: f64,
        log: bool,
        (mean, sigma): (f64, f64),
    ) -> (f64, f64) {
        let bin = self.bin(target);
        let half = |end| {
            let half = quantile * sigma * self.factor_at(h, bin, end);
            if log { half.min(LOG_HALF_MAX) } else { half }
        };
        let end = |value: f64| self.within(value.clamp(-f64::MAX, f64::MAX));
        if log {
            return (end(mean * exp(-half(LOWER))), end(mean * exp(half(UPPER))));
        }
        (end(mean - half(LOWER)), end(mean + half(UPPER)))
    }

    /// `value`, not beyond a bound of the series.
    pub fn within(&self, value: f64) -> f64 {
        // One value alone is no range.
        if self.low.value >= self.high.value {
            return value;
        }
        let value = if self.low.holds(self.observed) { value.max(self.low.value) } else { value };
        if self.high.holds(self.observed) { value.min(self.high.value) } else { value }
    }

    /// The level moved: errors of what was issued for slots to come are counted from there, but the ends that were issued stay
    /// where they are. Bounds are to be learned anew.
    pub fn shift(&mut self, by: f64) {
        for (mean, scales) in self.means.iter_mut().zip(self.scales.as_chunks_mut::<3>().0) {
            let moved = match self.log {
                true => libm::log(exp(*mean) + by),
                false => (*mean + by).clamp(-VALUE_MAX, VALUE_MAX),
            };
            if !moved.is_finite() {
                scales[0] = 0.0;
                continue;
            }
            let up = moved - std::mem::replace(mean, moved);
            for (end, further) in [(LOWER, up), (UPPER, -up)] {
                let half = f64::from(scales[1 + end]) + further;
                scales[1 + end] = half.clamp(-HALF_MAX, HALF_MAX) as f32;
            }
        }
        (self.low, self.high, self.observed) = (Bound::default(), Bound::default(), 0);
    }

    /// After a gap too long to predict through: what was issued before it is not judged.
    pub fn interrupt(&mut self) {
        self.scales.fill(0.0);
        self.volatility = 1.0;
        self.knots.iter_mut().for_each(|knot| knot.slow_volatility = 1.0);
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.knots)
            + size_of_val(&*self.profile)
            + size_of_val(&*self.means)
            + size_of_val(&*self.scales)
    }

    /// The whole factor of one end at knot `index`, `k` slots ahead.
    fn factor(&self, index: usize, k: usize, bin: usize, end: usize) -> f64 {
        let Some(knot) = self.knots.get(index) else { return 1.0 };
        let (level, belief) = (f64::from(knot.level), f64::from(knot.belief));
        let profile = self.profile.get(index * self.bins() + bin);
        let profile = profile.map_or(1.0, |&p| level + belief * (f64::from(p) - level));
        let [cross, square] = self.burst.map(f64::from);
        let share = (cross + BURST_PRIOR * BURST_START) / (square + BURST_PRIOR);
        let share =
            share.clamp(0.0, BURST_MAX) * VOLATILITY_REACH / (VOLATILITY_REACH - 1.0 + k as f64);
        let volatility = 1.0 + share * (f64::from(self.volatility) - 1.0);
        let stretch = knot.stretch.get(end).map_or(1.0, |&s| f64::from(s));
        let slow = 1.0 + SLOW_VOLATILITY_SHARE * (f64::from(knot.slow_volatility) - 1.0);
        let factor = (profile * volatility * slow).max(0.0).sqrt() * stretch;
        factor.clamp(FACTOR_MIN, 1.0 / FACTOR_MIN)
    }

    /// The same `h` slots ahead, between knots by a straight line.
    fn factor_at(&self, h: usize, bin: usize, end: usize) -> f64 {
        let mut before = None;
        for (index, k) in knots(self.horizon).enumerate() {
            if h <= k {
                let here = self.factor(index, k, bin, end);
                let Some((index, low)) = before.filter(|_| h < k) else { return here };
                let share = (h - low) as f64 / (k - low) as f64;
                let there = self.factor(index, low, bin, end);
                return there + share * (here - there);
            }
            before = Some((index, k));
        }
        before.map_or(1.0, |(index, k)| self.factor(index, k, bin, end))
    }

    fn bins(&self) -> usize {
        self.season_length.clamp(1, BINS_MAX)
    }

    /// The profile's bin of a slot.
    fn bin(&self, slot: Slot<'_>) -> usize {
        match self.season_length {
            0 | 1 => 0,
            m => slot.phase(m) * self.bins() / m,
        }
    }
}

/// The horizons learned from: 1, 2, 4, 8, 16, 24, 48 up to the forecast's, and that one.
fn knots(horizon: usize) -> impl Iterator<Item = usize> {
    let last = horizon.clamp(1, REACH_MAX);
    let below = [1, 2, 4, 8, 16, 24, REACH_MAX].into_iter().filter(move |&k| k < last);
    below.chain([last]).take(KNOTS_MAX)
}
