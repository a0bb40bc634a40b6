//! The Kalman filter of one series, on every raw reading.
//!
//! Pure: the state after a reading is a function of the plan and of the readings so far, in order.
//! A [`KalmanPlan`] is compiled from the settings, [`Kalman`] is the state. On top are the models
//! ([`level`], [`trend`]: closed forms), below the generic recursion they are tested against
//! ([`linear`]), beside them the first estimate of the noise ([`moments`]) and the rejected readings
//! that make a level shift ([`run`]).
//!
//! A reading is **judged** by its normalised innovation squared against the gate once 30 readings
//! were accepted. A rejected one changes nothing but the run of rejections; five in a row on one
//! side are a level shift: the filter starts anew, diffusely, at the first of them and takes all
//! five (level and trend alike; the noise stays).
//!
//! **Noise not given** is estimated by moments over all of the first 50 readings, and the
//! filter is run again over the accepted ones of them, at every reading; after that it is frozen.
//! Readings that hardly differ (fewer than three changes) teach nothing: the gate stays off, and at
//! 50 they are forgotten but for the last two, and learning goes on. So neither a sensor that stood
//! still when it was first seen nor a single glitch fixes the noise for good.
//!
//! **Finite for ever**: should the state overflow (readings near the end of the range of f64), the
//! filter starts anew, diffusely, at that reading.

mod fit;
mod level;
pub mod linear;
mod moments;
mod outlier;
mod plan;
mod recent;
mod run;
mod search;
mod state;
mod trend;
mod tuning;
mod wire;

#[cfg(test)]
mod tests;

pub use fit::{Fit, FitJob};
pub use plan::KalmanPlan;
pub use state::Kalman;
pub use tuning::FIT_DELAY;

use serde::{Deserialize, Serialize};

use self::level::Level;
use self::linear::Innovation;
use self::plan::Noise;
use self::trend::{Diffuse, Trend};
use crate::analytics::settings::KalmanModel;
use crate::reading::{EventTime, SECOND};

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The filter took it.
    Accepted,
    /// Beyond the gate: the filter did not take it.
    Gated,
    /// The fifth rejection in a row on one side: the level has shifted.
    Shift {
        /// New level less the level expected at this reading, in the series' unit.
        delta: f64,
        /// Time of the first reading on the new level.
        since: EventTime,
    },
}

/// The verdict on a reading and what it was judged by: all `None` while nothing was expected of it
/// (diffuse start, noise not known yet, filter off).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// What became of it.
    pub verdict: Verdict,
    /// Reading less expectation, in the series' unit.
    pub innovation: Option<f64>,
    /// Its variance, > 0.
    pub innovation_variance: Option<f64>,
    /// Normalised innovation squared, ≥ 0: chi-square with one degree of freedom if the model fits.
    pub nis: Option<f64>,
}

impl Update {
    /// Accepted without having been expected.
    pub const UNJUDGED: Update = Update {
        verdict: Verdict::Accepted,
        innovation: None,
        innovation_variance: None,
        nis: None,
    };

    fn judged(verdict: Verdict, innovation: Innovation, nis: f64) -> Update {
        Update {
            verdict,
            innovation: Some(innovation.value),
            innovation_variance: Some(innovation.variance),
            nis: Some(nis),
        }
    }

    /// Log-likelihood of the reading, with the log 2π term (Durbin and Koopman 2012, equation 7.2).
    /// Computed when asked for: it takes a logarithm.
    pub fn loglik(&self) -> Option<f64> {
        plan::loglik(self.innovation_variance, self.nis)
    }
}

/// What the filter makes of the series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The level, in the series' unit.
    pub level: f64,
    /// Variance of the level; `None` while it is not known (one reading, noise not given).
    pub variance: Option<f64>,
    /// The trend, unit per second; `None` without one, or while readings of one instant are all
    /// there is.
    pub trend: Option<f64>,
    /// Variance of the trend.
    pub trend_variance: Option<f64>,
}

/// Seconds from `earlier` to `later`; 0 if they are the other way round. The whole range of event
/// time (300 years) is more nanoseconds than an `i64` holds.
fn seconds(earlier: EventTime, later: EventTime) -> f64 {
    let nanos = later.max(earlier).nanos().abs_diff(earlier.nanos());
    nanos as f64 / SECOND as f64
}

/// Mean and covariance of the state, by model. A new model is a new variant here, with the same
/// six functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Belief {
    #[serde(rename = "o")]
    Off,
    #[serde(rename = "l")]
    Level(Level),
    #[serde(rename = "t")]
    Trend(Trend),
}

impl Belief {
    fn diffuse(model: KalmanModel) -> Belief {
        match model {
            KalmanModel::Off => Belief::Off,
            KalmanModel::Level => Belief::Level(Level::DIFFUSE),
            KalmanModel::Trend => Belief::Trend(Trend::DIFFUSE),
        }
    }

    fn model(&self) -> KalmanModel {
        match self {
            Belief::Off => KalmanModel::Off,
            Belief::Level(_) => KalmanModel::Level,
            Belief::Trend(_) => KalmanModel::Trend,
        }
    }

    /// `dt`: seconds, ≥ 0.
    fn predict(&mut self, noise: &Noise, dt: f64) {
        match self {
            Belief::Off => {}
            Belief::Level(level) => level.predict(noise.level, dt),
            Belief::Trend(trend) => trend.predict(noise.level, noise.trend, dt),
        }
    }

    /// `None` while diffuse.
    fn innovation(&self, noise: &Noise, reading: f64) -> Option<Innovation> {
        match self {
            Belief::Off => None,
            Belief::Level(level) => level.innovation(noise.observation, reading),
            Belief::Trend(trend) => trend.innovation(noise.observation, reading),
        }
    }

    fn update(&mut self, noise: &Noise, reading: f64) {
        match self {
            Belief::Off => {}
            Belief::Level(level) => level.update(noise.observation, reading),
            Belief::Trend(trend) => trend.update(noise.observation, reading),
        }
    }

    /// Finite, variances not negative.
    fn is_sound(&self) -> bool {
        match self {
            Belief::Off => true,
            Belief::Level(level) => level.is_sound(),
            Belief::Trend(trend) => trend.is_sound(),
        }
    }

    fn estimate(&self) -> Option<Estimate> {
        match self {
            Belief::Off => None,
            Belief::Level(level) => (!level.diffuse).then_some(Estimate {
                level: level.mean,
                variance: Some(level.variance),
                trend: None,
                trend_variance: None,
            }),
            Belief::Trend(trend) => (trend.diffuse != Diffuse::Both).then(|| {
                let known = trend.diffuse == Diffuse::Nothing;
                Estimate {
                    level: trend.level,
                    variance: Some(trend.level_variance()),
                    trend: known.then_some(trend.trend),
                    trend_variance: known.then(|| trend.trend_variance()),
                }
            }),
        }
    }
}
