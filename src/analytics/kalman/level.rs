//! Random-walk level: x(t + dt) = x(t) + w, w ~ N(0, q·dt); y = x + v, v ~ N(0, r).
//!
//! Durbin and Koopman (2012), section 2.2, in closed form.

use serde::{Deserialize, Serialize};

use super::linear::Innovation;

/// What is known of the level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    #[serde(rename = "m")]
    pub mean: f64,
    /// ≥ 0; means nothing while diffuse.
    #[serde(rename = "p")]
    pub variance: f64,
    #[serde(rename = "d")]
    pub diffuse: bool,
}

impl Level {
    pub const DIFFUSE: Level = Level { mean: 0.0, variance: 0.0, diffuse: true };

    /// `q`: variance per second.
    pub fn predict(&mut self, q: f64, dt: f64) {
        self.variance += q * dt;
    }

    /// `None` while diffuse.
    pub fn innovation(&self, r: f64, reading: f64) -> Option<Innovation> {
        (!self.diffuse)
            .then_some(Innovation { value: reading - self.mean, variance: self.variance + r })
    }

    /// `r` > 0.
    pub fn update(&mut self, r: f64, reading: f64) {
        if self.diffuse {
            *self = Level { mean: reading, variance: r, diffuse: false };
            return;
        }
        let innovation_variance = self.variance + r;
        let gain = self.variance / innovation_variance;
        self.mean += gain * (reading - self.mean);
        // (1 − K)·P with the difference taken out: nothing cancels, and it cannot be negative.
        self.variance *= r / innovation_variance;
    }

    pub fn is_sound(&self) -> bool {
        self.mean.is_finite() && self.variance.is_finite() && self.variance >= 0.0
    }
}
