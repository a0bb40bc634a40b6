//! Ornstein-Uhlenbeck level, which returns to a mean: dx = −(x − mean)/τ·dt + √q·dW, so
//! x' = mean + φ·(x − mean) + w with φ = exp(−dt/τ), w ~ N(0, s²·(1 − φ²)), s² = q·τ/2 the
//! stationary variance.
//!
//! Harvey (1989), *Forecasting, Structural Time Series Models and the Kalman Filter*, section 9.1
//! (equations 9.1.8 and 9.1.9 with one state); Gardiner (2009), *Stochastic Methods*, section 4.5.4.
//! `q` is the variance of the level's random change in a second, as in the other models: over times
//! far below τ the level wanders as in `level`.

use nalgebra::{Matrix1, Vector1};
use serde::{Deserialize, Serialize};

use super::linear::{Factors, Gaussian, Innovation, Transition};

/// Where the level returns to, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pull {
    /// τ in seconds, > 0.
    pub tau: f64,
    /// In the series' unit.
    pub mean: f64,
}

impl Pull {
    /// φ and 1 − φ².
    fn factors(&self, dt: f64) -> (f64, f64) {
        (libm::exp(-dt / self.tau), -libm::expm1(-2.0 * (dt / self.tau)))
    }

    /// q·τ/2.
    pub fn stationary_variance(&self, q: f64) -> f64 {
        (q * self.tau / 2.0).min(super::plan::VARIANCE_MAX)
    }

    /// For the generic form.
    pub fn transition(&self, q: f64, dt: f64) -> Transition<1> {
        let (phi, noise) = self.factors(dt);
        Transition {
            matrix: Matrix1::new(phi),
            offset: Vector1::new(-libm::expm1(-dt / self.tau) * self.mean),
            noise: Factors::new(&Matrix1::new(self.stationary_variance(q) * noise)),
        }
    }
}

/// What is known of the level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decay {
    #[serde(rename = "m")]
    mean: f64,
    /// ≥ 0; means nothing unless `from` says so.
    #[serde(rename = "p")]
    variance: f64,
    #[serde(rename = "d")]
    from: Start,
}

/// What the mean and variance are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Start {
    /// No reading yet: the stationary distribution.
    #[serde(rename = "s")]
    Stationary,
    /// Nothing is known (after a level shift).
    #[serde(rename = "b")]
    Diffuse,
    #[serde(rename = "n")]
    Known,
}

impl Decay {
    pub const STATIONARY: Decay = Decay { mean: 0.0, variance: 0.0, from: Start::Stationary };
    pub const DIFFUSE: Decay = Decay { mean: 0.0, variance: 0.0, from: Start::Diffuse };

    pub fn new(mean: f64, variance: f64) -> Decay {
        Decay { mean, variance, from: Start::Known }
    }

    /// Mean and variance; `None` while diffuse.
    pub fn known(&self, pull: &Pull, q: f64) -> Option<(f64, f64)> {
        match self.from {
            Start::Stationary => Some((pull.mean, pull.stationary_variance(q))),
            Start::Diffuse => None,
            Start::Known => Some((self.mean, self.variance)),
        }
    }

    /// Mean and variance once a reading has been taken.
    pub fn seen(&self) -> Option<(f64, f64)> {
        (self.from == Start::Known).then_some((self.mean, self.variance))
    }

    /// For the generic form.
    pub fn gaussian(&self, pull: &Pull, q: f64) -> Gaussian<1> {
        self.known(pull, q).map_or_else(Gaussian::diffuse, |(mean, variance)| {
            Gaussian::new(Vector1::new(mean), &Matrix1::new(variance))
        })
    }

    /// `q`: variance per second; `dt`: seconds, ≥ 0.
    pub fn predict(&mut self, pull: &Pull, q: f64, dt: f64) {
        if self.from == Start::Known && dt > 0.0 {
            let (phi, noise) = pull.factors(dt);
            // Not mean + φ·(x − mean): beside a large mean that loses the digits of x for dt → 0.
            self.mean += libm::expm1(-dt / pull.tau) * (self.mean - pull.mean);
            self.variance = phi * phi * self.variance + pull.stationary_variance(q) * noise;
        }
    }

    /// `None` while diffuse.
    pub fn innovation(&self, pull: &Pull, q: f64, r: f64, reading: f64) -> Option<Innovation> {
        let (mean, variance) = self.known(pull, q)?;
        Some(Innovation { value: reading - mean, variance: variance + r })
    }

    /// `r` > 0.
    pub fn update(&mut self, pull: &Pull, q: f64, r: f64, reading: f64) {
        *self = match self.known(pull, q) {
            None => Decay::new(reading, r),
            Some((mean, variance)) => {
                let innovation_variance = variance + r;
                let gain = variance / innovation_variance;
                // As in `level`: nothing cancels.
                let variance = variance * (r / innovation_variance);
                Decay::new(mean + gain * (reading - mean), variance)
            }
        };
    }

    pub fn is_sound(&self) -> bool {
        self.mean.is_finite() && self.variance.is_finite() && self.variance >= 0.0
    }
}
