//! Mean and covariance of the state, by model. A new model is a new variant here, with the same
//! functions.

use serde::{Deserialize, Serialize};

use super::decay::Decay;
use super::level::Level;
use super::linear::{Gaussian, Innovation};
use super::plan::{Dynamics, KalmanPlan, Noise};
use super::sized::AnyState;
use super::trend::{Diffuse, Trend};
use super::{Estimate, acceleration};
use crate::analytics::settings::KalmanModel;
use crate::reading::Finite;

/// What is known of the state. The larger ones are boxed: series of the usual models are many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Belief {
    #[serde(rename = "o")]
    Off,
    #[serde(rename = "l")]
    Level(Level),
    #[serde(rename = "t")]
    Trend(Trend),
    #[serde(rename = "a")]
    Acceleration(Box<Gaussian<3>>),
    #[serde(rename = "d")]
    Decay(Decay),
    #[serde(rename = "c")]
    Custom(Custom),
}

/// The state of a custom model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Custom {
    #[serde(rename = "s")]
    state: AnyState,
    /// Mean and variance of what the readings measure, H·x; `None` while diffuse. Kept because an
    /// estimate is asked for without the plan, which has H.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    level: Option<(f64, f64)>,
}

impl Custom {
    pub fn new(state: AnyState) -> Custom {
        Custom { state, level: None }
    }
}

impl Belief {
    /// Whether it belongs to the plan's model.
    pub fn fits(&self, plan: &KalmanPlan) -> bool {
        match (self, &plan.dynamics) {
            (Belief::Custom(custom), Dynamics::Custom(system)) => system.fits(&custom.state),
            (Belief::Off, Dynamics::Plain) => plan.model == KalmanModel::Off,
            (Belief::Level(_), Dynamics::Plain) => plan.model == KalmanModel::Level,
            (Belief::Trend(_), Dynamics::Plain) => plan.model == KalmanModel::Trend,
            (Belief::Acceleration(_), Dynamics::Plain) => plan.model == KalmanModel::Acceleration,
            (Belief::Decay(_), Dynamics::Decay(_)) => true,
            _ => false,
        }
    }

    /// Whether it is a state of a model that searches for its noise.
    pub fn is_of(&self, model: KalmanModel) -> bool {
        match self {
            Belief::Level(_) => model == KalmanModel::Level,
            Belief::Trend(_) => model == KalmanModel::Trend,
            _ => false,
        }
    }

    /// `dt`: seconds, ≥ 0.
    pub fn predict(&mut self, plan: &KalmanPlan, noise: &Noise, dt: f64) {
        match (self, &plan.dynamics) {
            (Belief::Level(level), _) => level.predict(noise.level, dt),
            (Belief::Trend(trend), _) => trend.predict(noise.level, noise.trend, dt),
            (Belief::Acceleration(state), _) if dt > 0.0 => {
                state.predict(&acceleration::transition(noise, dt));
            }
            (Belief::Decay(decay), Dynamics::Decay(pull)) => decay.predict(pull, noise.level, dt),
            (Belief::Custom(custom), Dynamics::Custom(system)) => {
                system.predict(&mut custom.state, dt);
                custom.level = system.level(&custom.state, 0);
            }
            _ => {}
        }
    }

    /// `None` while diffuse.
    pub fn innovation(&self, plan: &KalmanPlan, noise: &Noise, reading: f64) -> Option<Innovation> {
        let r = noise.observation;
        let of = |(mean, variance): (f64, f64)| Innovation { value: reading - mean, variance };
        match (self, &plan.dynamics) {
            (Belief::Level(level), _) => level.innovation(r, reading),
            (Belief::Trend(trend), _) => trend.innovation(r, reading),
            (Belief::Acceleration(state), _) => {
                let (mean, variance) = state.of(&acceleration::observation(noise).row)?;
                Some(of((mean, variance + r)))
            }
            (Belief::Decay(decay), Dynamics::Decay(pull)) => {
                decay.innovation(pull, noise.level, r, reading)
            }
            (Belief::Custom(custom), Dynamics::Custom(system)) => {
                system.reading(&custom.state, 0).map(of)
            }
            _ => None,
        }
    }

    pub fn update(&mut self, plan: &KalmanPlan, noise: &Noise, reading: Finite) {
        let (r, y) = (noise.observation, reading.get());
        match (self, &plan.dynamics) {
            (Belief::Level(level), _) => level.update(r, y),
            (Belief::Trend(trend), _) => trend.update(r, y),
            (Belief::Acceleration(state), _) => {
                state.update(&acceleration::observation(noise), y);
            }
            (Belief::Decay(decay), Dynamics::Decay(pull)) => decay.update(pull, noise.level, r, y),
            (Belief::Custom(custom), Dynamics::Custom(system)) => {
                system.take(&mut custom.state, &[Some(reading)]);
                custom.level = system.level(&custom.state, 0);
            }
            _ => {}
        }
    }

    /// Finite, variances not negative.
    pub fn is_sound(&self) -> bool {
        match self {
            Belief::Off => true,
            Belief::Level(level) => level.is_sound(),
            Belief::Trend(trend) => trend.is_sound(),
            Belief::Acceleration(state) => state.is_sound(),
            Belief::Decay(decay) => decay.is_sound(),
            Belief::Custom(custom) => {
                let sound = |(mean, variance): (f64, f64)| {
                    mean.is_finite() && variance.is_finite() && variance >= 0.0
                };
                custom.state.is_sound() && custom.level.is_none_or(sound)
            }
        }
    }

    /// `None` while the level is not known. For `custom` the level is what the readings measure,
    /// H·x.
    pub fn estimate(&self) -> Option<Estimate> {
        let level = |(level, variance): (f64, f64)| Estimate {
            level,
            variance: Some(variance),
            trend: None,
            trend_variance: None,
        };
        match self {
            Belief::Off => None,
            Belief::Level(state) => (!state.diffuse).then(|| level((state.mean, state.variance))),
            Belief::Trend(trend) => (trend.diffuse != Diffuse::Both).then(|| {
                let known = trend.diffuse == Diffuse::Nothing;
                Estimate {
                    level: trend.level,
                    variance: Some(trend.level_variance()),
                    trend: known.then_some(trend.trend),
                    trend_variance: known.then(|| trend.trend_variance()),
                }
            }),
            Belief::Acceleration(state) => {
                let one = |i: usize| {
                    state.of(&nalgebra::SVector::from_fn(|k, _| f64::from(u8::from(k == i))))
                };
                let trend = one(1);
                Some(Estimate {
                    trend: trend.map(|(mean, _)| mean),
                    trend_variance: trend.map(|(_, variance)| variance),
                    ..level(one(0)?)
                })
            }
            Belief::Decay(decay) => decay.seen().map(level),
            Belief::Custom(custom) => custom.level.map(level),
        }
    }

    /// Mean and covariance of the state; `None` while any of it is not known.
    pub fn state_and_covariance(&self) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
        let one = |(mean, variance): (f64, f64)| (vec![mean], vec![vec![variance]]);
        match self {
            Belief::Off => None,
            Belief::Level(level) => (!level.diffuse).then(|| one((level.mean, level.variance))),
            Belief::Trend(trend) => (trend.diffuse == Diffuse::Nothing).then(|| {
                let covariance = trend.covariance().map(|row| row.to_vec()).to_vec();
                (vec![trend.level, trend.trend], covariance)
            }),
            Belief::Acceleration(state) => {
                (!state.is_diffuse()).then(|| super::custom::lists(state))
            }
            Belief::Decay(decay) => decay.seen().map(one),
            Belief::Custom(custom) => custom.state.known(),
        }
    }
}
