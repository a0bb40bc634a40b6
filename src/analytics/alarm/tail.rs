//! The tail of a statistic, learned as it comes: how rarely is it this large?
//!
//! Pure. Peaks over threshold: above a high quantile `u` the excess of almost any distribution is
//! near a generalised Pareto one (Pickands–Balkema–de Haan; Coles 2001, *An Introduction to
//! Statistical Modeling of Extreme Values*, section 4.2), so the probability of more than x > u is
//! `p·(1 + ξ·(x − u)/σ)^(−1/ξ)`, p the share above u (ibid., equation 4.11; Siffer et al. 2017,
//! "Anomaly detection in streams with extreme value theory", the stream's form). Here u follows the
//! quantile by stochastic approximation of its logarithm, ξ and σ come from the mean and the mean
//! square of the excess (Hosking and Wallis 1987, section 3), leaning on those of normal noise until
//! enough was seen. Old readings fade, so a series that has changed for good is ordinary again.
//!
//! Dimensionless within: what is observed may have any unit, but always the same one.

use libm::{exp, log1p};
use serde::{Deserialize, Serialize};

/// Share of observations above the threshold.
const SHARE: f64 = 0.02;
/// −log10(SHARE).
pub(super) const SHARE_LOG10: f64 = 1.698_970_004_336_018_7;
/// Observations whose mean size gives the first threshold.
const START: u32 = 64;
/// The 98 % quantile of N(0, 1) over the mean of |N(0, 1)|.
const QUANTILE_TO_MEAN: f64 = 3.422;
/// 1 / (density of log N(0, 1) at that quantile): the best gain of the approximation over n.
const GAIN: f64 = 15.0;
/// Observations remembered by the threshold, and exceedances by the excess.
const MEMORY: u32 = 10_000;
/// From so many observations on the threshold moves once in [`BLOCK`] of them: it then moves by little.
const DENSE: u32 = 512;
const BLOCK: u32 = 16;
/// The counter of observations goes back to [`MEMORY`] here; a multiple of [`BLOCK`], as are both others.
const COUNTED: u32 = 1 << 30;
const EXCEEDANCES: u32 = 300;
/// Normal noise counts as so many exceedances seen before the first.
const PRIOR: u32 = 20;
/// Mean excess of normal noise, and its mean square, in units of the threshold.
const PRIOR_MEAN: f64 = 0.289;
const PRIOR_SQUARE: f64 = 0.160;
/// See [`Tail::caution`]: the most, and exceedances that end it.
const CAUTION: f64 = 0.4;
const KNOWN: u32 = 150;
/// An excess counts as at most so many mean ones: a single reading must not move the scale.
const CLIP: f64 = 15.0;
/// Least mean excess believed: coarse values may never lie between their steps.
const MEAN_MIN: f64 = 0.02;
/// Heaviest tail believed: the variance is then just infinite.
const SHAPE_MAX: f64 = 0.5;
/// The shape's standard error times the root of the exceedances, roughly: half of the textbook's 1,
/// taken off what is found, since few exceedances of normal noise look heavy every other time.
const SHAPE_ERROR: f64 = 0.5;
const LN_10: f64 = core::f64::consts::LN_10;

/// What is known of the tail of one statistic that is ≥ 0 (a negative one counts as small).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Observations, up to [`COUNTED`].
    #[serde(rename = "n")]
    seen: u32,
    /// Those above the threshold since it moved last.
    #[serde(rename = "o")]
    over: u32,
    /// Exceedances, up to [`EXCEEDANCES`].
    #[serde(rename = "k")]
    exceeded: u32,
    /// The threshold; before [`START`] observations their sum.
    #[serde(rename = "u")]
    threshold: f64,
    /// Mean excess over the threshold, in units of it.
    #[serde(rename = "m")]
    mean: f64,
    /// Mean square of the same.
    #[serde(rename = "q")]
    square: f64,
}

impl Default for Tail {
    fn default() -> Tail {
        Tail {
            seen: 0,
            over: 0,
            exceeded: 0,
            threshold: 0.0,
            mean: PRIOR_MEAN,
            square: PRIOR_SQUARE,
        }
    }
}

impl Tail {
    /// A tail of which something is known before the first observation: its threshold, and the mean and
    /// the mean square of the excess in units of it.
    pub fn starting_at(threshold: f64, mean: f64, square: f64) -> Tail {
        Tail { seen: START, over: 0, exceeded: 0, threshold, mean, square }
    }

    /// Takes in one observation; `size`: how large it is on either side, for the first threshold
    /// (the observation itself, but for statistics that look at one side of something symmetric).
    #[inline]
    pub fn observe(&mut self, x: f64, size: f64) {
        if self.seen < START {
            self.begin(size);
        } else if self.rank(x) {
            self.learn(x);
        }
    }

    /// Takes in an observation that is on the other side.
    #[inline]
    fn pass(&mut self, size: f64) {
        if self.seen < START {
            self.begin(size);
        } else {
            self.count();
        }
    }

    /// Takes in whether an observation exceeds the threshold, which it returns, but not yet by how much.
    #[inline]
    pub fn rank(&mut self, x: f64) -> bool {
        let exceeds = x > self.threshold;
        self.over += u32::from(exceeds);
        self.count();
        exceeds
    }

    #[inline]
    fn count(&mut self) {
        self.seen += 1;
        if self.seen <= DENSE || self.seen.is_multiple_of(BLOCK) {
            self.follow();
        }
    }

    /// Moves the threshold by what was seen since it moved last.
    #[inline(never)]
    fn follow(&mut self) {
        let block = if self.seen <= DENSE { 1 } else { BLOCK };
        let gain = GAIN / f64::from(self.seen.min(MEMORY));
        let surplus = f64::from(self.over) - SHARE * f64::from(block);
        self.threshold = (self.threshold * (1.0 + gain * surplus)).clamp(1e-300, 1e300);
        self.over = 0;
        if self.seen >= COUNTED {
            self.seen = MEMORY;
        }
    }

    /// Takes in by how much an observation, or the largest of a cluster of them, exceeds the threshold.
    pub fn learn(&mut self, x: f64) {
        self.exceeded = (self.exceeded + 1).min(EXCEEDANCES);
        let excess = self.excess(x).min(CLIP * self.mean);
        let weight = 1.0 / f64::from(self.exceeded + PRIOR);
        self.mean = (self.mean + weight * (excess - self.mean)).max(MEAN_MIN);
        self.square += weight * (excess * excess - self.square);
    }

    #[cold]
    fn begin(&mut self, size: f64) {
        self.seen += 1;
        // One glitch among the first must not set the scale.
        let before = f64::from(self.seen - 1);
        let most = if self.seen > 8 { 5.0 * self.threshold / before } else { f64::MAX / 1e9 };
        self.threshold += size.abs().min(most);
        if self.seen == START {
            let mean = self.threshold / f64::from(START);
            self.threshold = (QUANTILE_TO_MEAN * mean).clamp(1e-300, 1e300);
        }
    }

    /// Excess over the threshold, in units of it; bounded.
    fn excess(&self, x: f64) -> f64 {
        (x / self.threshold - 1.0).clamp(0.0, 1e9)
    }

    /// Observations so far, up to a bound.
    pub fn seen(&self) -> u32 {
        self.seen
    }

    /// How much rarer (log10) something must be while few exceedances tell how heavy the tail is.
    pub fn caution(&self) -> f64 {
        CAUTION * (1.0 - f64::from(self.exceeded.min(KNOWN)) / f64::from(KNOWN))
    }

    /// The threshold; `None` while the first readings are gathered.
    pub fn threshold(&self) -> Option<f64> {
        (self.seen >= START).then_some(self.threshold)
    }

    /// Shape ξ in [0, 0.5] and scale σ (in units of the threshold): mean = σ/(1 − ξ), variance =
    /// σ²/((1 − ξ)²(1 − 2ξ)). A tail lighter than exponential is not relied upon.
    fn shape_and_scale(&self) -> (f64, f64) {
        let variance = self.square - self.mean * self.mean;
        let ratio = if variance > 0.0 { self.mean * self.mean / variance } else { 1.0 };
        let error = SHAPE_ERROR / f64::from(self.exceeded + PRIOR).sqrt();
        let shape = (0.5 * (1.0 - ratio) - error).clamp(0.0, SHAPE_MAX);
        (shape, self.mean * (1.0 - shape))
    }

    /// log10 of how many observations it takes, in the mean, until one is larger than `x`; ≥ 0. Below the
    /// threshold it is interpolated as for normal noise.
    #[inline]
    pub fn log10_period(&self, x: f64) -> f64 {
        if self.seen < START {
            return 0.0;
        }
        if x > self.threshold {
            return self.log10_period_beyond(x);
        }
        let ratio = (x / self.threshold).max(0.0);
        SHARE_LOG10 * ratio * ratio
    }

    #[cold]
    fn log10_period_beyond(&self, x: f64) -> f64 {
        let (shape, scale) = self.shape_and_scale();
        let y = self.excess(x) / scale;
        let log = if shape > 1e-6 { log1p(shape * y) / shape } else { y };
        SHARE_LOG10 + log / LN_10
    }

    /// What is exceeded once in 10^`log10_period` observations, for periods above that of the threshold.
    pub fn level(&self, log10_period: f64) -> f64 {
        let (shape, scale) = self.shape_and_scale();
        let log = (log10_period - SHARE_LOG10).max(0.0) * LN_10;
        let y = if shape > 1e-6 { (exp(shape * log) - 1.0) / shape } else { log };
        self.threshold * (1.0 + scale * y)
    }
}

/// The tails of both sides of one statistic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Sides {
    /// Of what is not above zero, and of what is: found by index, since the processor could not guess the side.
    tails: [Tail; 2],
}

/// As they are stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "u")]
    up: Tail,
    #[serde(rename = "d")]
    down: Tail,
}

impl From<Stored> for Sides {
    fn from(Stored { up, down }: Stored) -> Sides {
        Sides { tails: [down, up] }
    }
}

impl From<Sides> for Stored {
    fn from(Sides { tails: [down, up] }: Sides) -> Stored {
        Stored { up, down }
    }
}

impl Sides {
    /// The tail of the side where `x` lies.
    #[inline]
    pub fn of(&self, x: f64) -> &Tail {
        &self.tails[usize::from(x > 0.0)]
    }

    /// Both thresholds, the upper side's first; `None` while the first readings are gathered.
    pub fn thresholds(&self) -> Option<[f64; 2]> {
        let [down, up] = &self.tails;
        Some([up.threshold()?, down.threshold()?])
    }

    /// Takes in one observation that lies where `x` does, of this size ≥ 0: what [`Tail::observe`] of both would do,
    /// since it exceeds nothing on the other side.
    #[inline]
    pub fn observe(&mut self, x: f64, size: f64) {
        let side = usize::from(x > 0.0);
        self.tails[1 - side].pass(size);
        self.tails[side].observe(if x == 0.0 { 0.0 } else { size }, size);
    }
}
