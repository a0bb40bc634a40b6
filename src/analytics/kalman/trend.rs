//! Local linear trend in continuous time: state (level, trend per second),
//! F = [[1, dt], [0, 1]], Q = q_l·[[dt, 0], [0, 0]] + q_t·[[dt³/3, dt²/2], [dt²/2, dt]].
//!
//! Harvey (1989), *Forecasting, Structural Time Series Models and the Kalman Filter*, section 9.1
//! (equation 9.1.19). The covariance is kept as P = U·D·Uᵀ with U = [[1, u], [0, 1]]: `d_trend` is
//! the trend's variance, `u` the regression of the level on it, `d_level` what that leaves. In this
//! form F only adds dt to `u`, adding Q and taking in a reading are sums and products of
//! non-negative numbers, nothing cancels. It is [`super::linear`] written out for two states.

use nalgebra::{Matrix2, Vector2};
use serde::{Deserialize, Serialize};

use super::linear::{Factors, Gaussian, Innovation, Transition};
use super::plan::Noise;

/// For the generic form.
pub(super) fn transition(noise: &Noise, dt: f64) -> Transition<2> {
    let level = noise.level * dt + noise.trend * dt * dt * dt / 12.0;
    Transition {
        matrix: Matrix2::new(1.0, dt, 0.0, 1.0),
        offset: Vector2::zeros(),
        noise: Factors {
            u: Matrix2::new(1.0, dt / 2.0, 0.0, 1.0),
            d: Vector2::new(level, noise.trend * dt),
        },
    }
}

/// Which part of the state no reading has seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Diffuse {
    #[serde(rename = "b")]
    Both,
    /// P∞ = [[0, 0], [0, 1]]: only readings of one instant so far.
    #[serde(rename = "t")]
    Trend,
    #[serde(rename = "n")]
    Nothing,
}

/// What is known of level and trend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trend {
    #[serde(rename = "m")]
    pub level: f64,
    /// Per second.
    #[serde(rename = "b")]
    pub trend: f64,
    #[serde(rename = "u")]
    u: f64,
    #[serde(rename = "p")]
    d_level: f64,
    #[serde(rename = "c")]
    d_trend: f64,
    /// Seconds predicted since the last reading while the trend was diffuse: P∞ is then
    /// [[s², s], [s, 1]]. Zero after every update.
    #[serde(skip)]
    ahead: f64,
    #[serde(rename = "d")]
    pub diffuse: Diffuse,
}

impl Trend {
    pub const DIFFUSE: Trend = Trend {
        level: 0.0,
        trend: 0.0,
        u: 0.0,
        d_level: 0.0,
        d_trend: 0.0,
        ahead: 0.0,
        diffuse: Diffuse::Both,
    };

    /// `covariance` symmetric and non-negative.
    pub fn new(mean: [f64; 2], covariance: [[f64; 2]; 2]) -> Trend {
        let d_trend = covariance[1][1];
        let u = if d_trend > 0.0 { covariance[0][1] / d_trend } else { 0.0 };
        let d_level = (covariance[0][0] - u * covariance[0][1]).max(0.0);
        let [level, trend] = mean;
        Trend { level, trend, u, d_level, d_trend, ahead: 0.0, diffuse: Diffuse::Nothing }
    }

    /// For the generic form; nothing known while anything is diffuse.
    pub fn gaussian(&self) -> Gaussian<2> {
        match self.diffuse {
            Diffuse::Nothing => {
                let [[a, b], [c, d]] = self.covariance();
                Gaussian::new(Vector2::new(self.level, self.trend), &Matrix2::new(a, b, c, d))
            }
            Diffuse::Both | Diffuse::Trend => Gaussian::diffuse(),
        }
    }

    /// The level's variance, ≥ 0. Means nothing while the level is diffuse.
    pub fn level_variance(&self) -> f64 {
        self.d_level + self.u * self.u * self.d_trend
    }

    pub fn trend_variance(&self) -> f64 {
        self.d_trend
    }

    /// P. Means nothing while anything is diffuse.
    pub fn covariance(&self) -> [[f64; 2]; 2] {
        let cross = self.u * self.d_trend;
        [[self.level_variance(), cross], [cross, self.d_trend]]
    }

    /// `q_level`, `q_trend`: per second.
    pub fn predict(&mut self, q_level: f64, q_trend: f64, dt: f64) {
        if self.diffuse == Diffuse::Both {
            return;
        }
        self.level += self.trend * dt;
        self.u += dt;
        self.d_level += q_level * dt;
        // The trend's noise is U·D·Uᵀ with u = dt/2 and D = q_t·(dt³/12, dt). The sum of two
        // factored matrices, one reading more than the other: d = a + b, u = the mean of both
        // weighted by them, and what the level gains is a·b/d·(difference)².
        let added = q_trend * dt;
        if added > 0.0 {
            let sum = self.d_trend + added;
            let apart = self.u - dt / 2.0;
            let share = added / sum;
            self.d_level += added * dt * dt / 12.0 + self.d_trend * share * apart * apart;
            self.u -= share * apart;
            self.d_trend = sum;
        }
        if self.diffuse == Diffuse::Trend {
            self.ahead += dt;
        }
    }

    /// `None` while the reading goes into a diffuse direction.
    pub fn innovation(&self, r: f64, reading: f64) -> Option<Innovation> {
        match self.diffuse {
            Diffuse::Both => None,
            Diffuse::Trend if self.ahead > 0.0 => None,
            Diffuse::Trend | Diffuse::Nothing => Some(Innovation {
                value: reading - self.level,
                variance: self.level_variance() + r,
            }),
        }
    }

    /// `r` > 0.
    pub fn update(&mut self, r: f64, reading: f64) {
        if self.diffuse == Diffuse::Both {
            *self = Trend { level: reading, d_level: r, diffuse: Diffuse::Trend, ..Trend::DIFFUSE };
            return;
        }
        let value = reading - self.level;
        let ahead = self.ahead;
        if self.diffuse == Diffuse::Trend && ahead > 0.0 {
            // F∞ = s² > 0: the gain is (1, 1/s), and P* becomes L·P*·Lᵀ + K·r·Kᵀ (Durbin and
            // Koopman 2012, equation 5.14), here in factors: `rest` is the variance of
            // trend − level/s under P*.
            let off = 1.0 - self.u / ahead;
            let rest = off * off * self.d_trend + self.d_level / ahead / ahead;
            let noise = r / ahead / ahead;
            self.level = reading;
            self.trend += value / ahead;
            self.d_trend = noise + rest;
            self.u = r / ahead / self.d_trend;
            self.d_level = r * (rest / self.d_trend);
            self.diffuse = Diffuse::Nothing;
            self.ahead = 0.0;
            return;
        }
        // Bierman (1977), section V.3.
        let alpha = self.d_level + r;
        let innovation_variance = alpha + self.u * self.u * self.d_trend;
        self.level += self.level_variance() / innovation_variance * value;
        self.trend += self.u * self.d_trend / innovation_variance * value;
        self.d_trend *= alpha / innovation_variance;
        self.u *= r / alpha;
        self.d_level *= r / alpha;
    }

    pub fn is_sound(&self) -> bool {
        [self.level, self.trend, self.u, self.level_variance(), self.covariance()[0][1]]
            .iter()
            .all(|x| x.is_finite())
            && self.d_level.is_finite()
            && self.d_trend.is_finite()
            && self.d_level >= 0.0
            && self.d_trend >= 0.0
    }
}
