//! The noise that a filter runs with, as the settings write it.

use serde::Serialize;

use super::plan::{KalmanPlan, hours_to_the};
use super::state::{Kalman, Source};
use crate::analytics::settings::KalmanModel;

/// Standard deviations in the series' unit, and where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NoiseInForce {
    /// Of one reading.
    pub observation_sd: f64,
    /// Of the level's random change in an hour; `None`: the model has none.
    pub level_sd: Option<f64>,
    /// Of the trend's (unit per hour) in an hour.
    pub trend_sd: Option<f64>,
    /// Of the acceleration's (unit per hour²) in an hour.
    pub acceleration_sd: Option<f64>,
    /// `settings`, `learning` (moments of the first readings), or `readings` (found from them).
    pub noise_from: &'static str,
}

impl Kalman {
    /// The noise in force; `None` while nothing is known of it, without a filter, and for `custom`, whose noise is in
    /// its matrices.
    pub fn noise_in_force(&self, plan: &KalmanPlan) -> Option<NoiseInForce> {
        if !plan.is_on() || plan.model == KalmanModel::Custom {
            return None;
        }
        let noise = self.noise(plan)?;
        let noise_from = match self.source {
            Source::Given => "settings",
            Source::Learning(_) => "learning",
            Source::Learned(_) => "readings",
        };
        // The inverse of `KalmanPlan::new`.
        let sd = |variance: f64, power| (variance * hours_to_the(power)).sqrt();
        let trending = matches!(plan.model, KalmanModel::Trend | KalmanModel::Acceleration);
        Some(NoiseInForce {
            observation_sd: sd(noise.observation, 0),
            level_sd: Some(sd(noise.level, 1)),
            trend_sd: trending.then(|| sd(noise.trend, 3)),
            acceleration_sd: (plan.model == KalmanModel::Acceleration)
                .then(|| sd(noise.acceleration, 5)),
            noise_from,
        })
    }
}
