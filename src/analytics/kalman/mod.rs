//! The Kalman filter of one series, on every raw reading.
//!
//! Pure: the state after a reading is a function of the plan and of the readings so far, in order.
//! A [`KalmanPlan`] is compiled from the settings, [`Kalman`] is the state. On top are the models
//! ([`level`], [`trend`], [`decay`]: closed forms; [`acceleration`]; [`custom`]: the operator's
//! matrices, in continuous time by [`continuous`], for several metrics at once by [`vector`]),
//! below the generic recursion they run on or are tested against ([`linear`], on [`factors`]), and
//! its smoother ([`backward`]), beside them the first estimate of the noise ([`moments`]) and the rejected readings
//! that make a level shift ([`run`]). What enters with less than full weight is in [`outlier`].
//!
//! A reading is **judged** by its normalised innovation squared against the gate once 30 readings
//! were accepted. A rejected one changes nothing but the run of rejections; five in a row on one
//! side are a level shift: the filter starts anew, diffusely, at the first of them and takes all
//! five (level and trend alike; the noise stays).
//!
//! **Noise not given** is estimated by moments over all of the first 50 readings, and the
//! filter is run again over the accepted ones of them, at every reading. Readings that hardly differ
//! (fewer than three changes) teach nothing: the gate stays off, and at 50 they are forgotten but for
//! the last two, and learning goes on. So neither a sensor that stood still when it was first seen nor
//! a single glitch fixes the noise for good. From then on it changes by fits alone: at set counts of
//! readings ([`tuning`]) a [`FitJob`] starts with the recent readings ([`recent`]) and searches for
//! the most likely noise ([`fit`], [`search`]), wherever the caller runs it; what it found, offered in
//! time, is adopted [`FIT_DELAY`] readings after its start.
//!
//! **Whether the noise fits** is told from the innovations ([`health`]). Where it is not given, the
//! gate is wider by what they show of noise too small and of correlation.
//!
//! **Finite for ever**: should the state overflow (readings near the end of the range of f64), the
//! filter starts anew, diffusely, at that reading.

mod acceleration;
mod backward;
mod belief;
mod continuous;
mod custom;
mod decay;
mod factors;
mod fit;
mod health;
mod in_force;
mod level;
pub mod linear;
mod moments;
mod outlier;
mod packed;
mod plan;
mod recent;
mod recorded;
mod run;
mod search;
mod sized;
mod state;
mod trend;
mod tuning;

mod smoother;
mod vector;
mod wire;

#[cfg(test)]
mod tests;

pub use fit::{Fit, FitJob};
pub use health::{Fitness, Health};
pub use in_force::NoiseInForce;
pub use plan::KalmanPlan;
pub use recorded::{READINGS_NEEDED, log_density, maximum_likelihood};
pub use sized::SmoothedState;
pub use smoother::smooth;
pub use state::Kalman;
pub use tuning::FIT_DELAY;
pub use vector::{VectorFilter, VectorPlan, VectorUpdate, VectorVerdict};

use self::belief::Belief;
use self::linear::Innovation;
use crate::reading::{EventTime, SECOND};

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The filter took it.
    Accepted,
    /// Beyond the gate: the filter did not take it, or, with Huber's weight, hardly.
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
