//! Settings compiled once into what the filter needs at every reading.

use serde::{Deserialize, Serialize};

use super::belief::Custom;
use super::decay::{Decay, Pull};
use super::level::Level;
use super::linear::Gaussian;
use super::sized::AnySystem;
use super::trend::Trend;
use super::{Belief, linear};
use crate::analytics::quantile::chi_square_quantile;
use crate::analytics::settings::{KalmanInitial, KalmanModel, KalmanOutliers, KalmanSettings};

/// Variances are kept inside these, so that ratios and products of two of them with a reading's
/// square root stay finite.
pub(super) const VARIANCE_MIN: f64 = 1e-300;
pub(super) const VARIANCE_MAX: f64 = 1e300;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The variances that drive a filter. Unit: the series' unit squared, and per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Noise {
    /// Of one reading, > 0.
    #[serde(rename = "r")]
    pub observation: f64,
    /// Of the level's random change in a second, ≥ 0.
    #[serde(rename = "q")]
    pub level: f64,
    /// Of the random change of the trend (per second) in a second, ≥ 0; 0 for the level model.
    #[serde(rename = "t")]
    pub trend: f64,
    /// Of the random change of the acceleration (per second²) in a second, ≥ 0.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub acceleration: f64,
}

impl Noise {
    pub fn is_sound(&self) -> bool {
        self.observation.is_finite()
            && self.observation > 0.0
            && self.level.is_finite()
            && self.level >= 0.0
            && self.trend.is_finite()
            && self.trend >= 0.0
            && self.acceleration.is_finite()
            && self.acceleration >= 0.0
    }
}

fn is_zero(variance: &f64) -> bool {
    *variance == 0.0
}

/// What the settings say of the noise; `None`: to be found from the readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Given {
    pub observation: Option<f64>,
    pub level: Option<f64>,
    pub trend: Option<f64>,
    pub acceleration: Option<f64>,
}

impl Given {
    /// The given ones, the others from `learned`.
    pub fn or(&self, learned: &Noise) -> Noise {
        Noise {
            observation: self.observation.unwrap_or(learned.observation),
            level: self.level.unwrap_or(learned.level),
            trend: self.trend.unwrap_or(learned.trend),
            acceleration: self.acceleration.unwrap_or(learned.acceleration),
        }
    }
}

/// What the variances alone don't say of how the state moves.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dynamics {
    /// Nothing: off, level, trend, acceleration.
    Plain,
    Decay(Pull),
    Custom(AnySystem),
}

/// [`KalmanSettings`] compiled: one plan serves every series with the same settings.
#[derive(Clone, Debug, PartialEq)]
pub struct KalmanPlan {
    pub(super) model: KalmanModel,
    pub(super) dynamics: Dynamics,
    pub(super) given: Given,
    /// All variances, if all are given.
    pub(super) noise: Option<Noise>,
    /// A normalised innovation squared beyond this is an outlier.
    pub(super) gate: f64,
    /// Readings beyond Huber's bound enter with less weight, those beyond the gate too.
    pub(super) huber: bool,
    /// What is believed before the first reading.
    pub(super) start: Belief,
}

impl KalmanPlan {
    /// Compiles `settings`.
    ///
    /// Standard deviations become variances per second: `level_sd`²/3600, `trend_sd`²/3600³ (the
    /// trend is kept per second), `acceleration_sd`²/3600⁵. The gate is the chi-square quantile with
    /// one degree of freedom of `gate`, infinite for 1. An `initial` that does not fit the model
    /// (wrong size, not finite, a negative variance) is what the configuration refuses; here it
    /// counts as not given. So does a model without what it needs (`decay` without `tau` and `mean`,
    /// `custom` without matrices that fit): it counts as `level`.
    pub fn new(settings: &KalmanSettings) -> KalmanPlan {
        let variance = |sd: Option<f64>, per: f64| {
            sd.filter(|sd| sd.is_finite()).map(|sd| (sd * sd / per).min(VARIANCE_MAX))
        };
        let hours = SECONDS_PER_HOUR;
        let (model, dynamics) = dynamics(settings);
        let level = variance(settings.level_sd, hours);
        let trend = variance(settings.trend_sd, hours * hours * hours);
        let acceleration =
            variance(settings.acceleration_sd, hours * hours * hours * hours * hours);
        let observation = variance(settings.observation_sd, 1.0).map(|r| r.max(VARIANCE_MIN));
        let given = match model {
            KalmanModel::Off | KalmanModel::Level | KalmanModel::Decay => {
                Given { observation, level, trend: Some(0.0), acceleration: Some(0.0) }
            }
            KalmanModel::Trend => Given { observation, level, trend, acceleration: Some(0.0) },
            // The acceleration moves level and trend; noise of their own they have if it is given.
            KalmanModel::Acceleration => Given {
                observation,
                level: level.or(Some(0.0)),
                trend: trend.or(Some(0.0)),
                acceleration,
            },
            // Its noise is in its matrices.
            KalmanModel::Custom => Given {
                observation: Some(1.0),
                level: Some(0.0),
                trend: Some(0.0),
                acceleration: Some(0.0),
            },
        };
        let noise = match given {
            Given {
                observation: Some(observation),
                level: Some(level),
                trend: Some(trend),
                acceleration: Some(acceleration),
            } => Some(Noise { observation, level, trend, acceleration }),
            _ => None,
        };
        let start = match (&dynamics, &settings.initial) {
            (Dynamics::Custom(system), _) => Belief::Custom(Custom::new(system.start())),
            (Dynamics::Decay(_), None) => Belief::Decay(Decay::STATIONARY),
            (_, None) => diffuse(model, &dynamics),
            (_, Some(initial)) => {
                belief(model, initial).unwrap_or_else(|| diffuse(model, &dynamics))
            }
        };
        KalmanPlan {
            model,
            dynamics,
            given,
            noise,
            gate: chi_square_quantile(settings.gate, 1),
            // A custom model has its observation noise in its matrices: its outliers are gated.
            huber: settings.outliers == KalmanOutliers::Huber && model != KalmanModel::Custom,
            start,
        }
    }

    /// Nothing known.
    pub(super) fn diffuse(&self) -> Belief {
        diffuse(self.model, &self.dynamics)
    }

    /// Whether each reading is a step of the model, whatever the time between them.
    pub(super) fn is_per_reading(&self) -> bool {
        matches!(&self.dynamics, Dynamics::Custom(system) if system.is_per_reading())
    }

    /// False for [`KalmanModel::Off`].
    pub fn is_on(&self) -> bool {
        self.model != KalmanModel::Off
    }

    /// Some of the noise is to be found from the readings.
    pub fn is_auto(&self) -> bool {
        self.is_on() && self.noise.is_none()
    }

    /// Normalised innovation squared beyond which a reading is an outlier; infinite if the gate is
    /// off.
    pub fn gate_threshold(&self) -> f64 {
        self.gate
    }
}

/// Seconds in an hour to this power: from variances per second to the settings' by the hour.
pub(super) fn hours_to_the(power: u32) -> f64 {
    (0..power).fold(1.0, |product, _| product * SECONDS_PER_HOUR)
}

/// The model, and what it needs besides variances.
fn dynamics(settings: &KalmanSettings) -> (KalmanModel, Dynamics) {
    let model = settings.model;
    match (model, settings.pull(), &settings.custom) {
        (KalmanModel::Decay, Some((tau, mean)), _) => (model, Dynamics::Decay(Pull { tau, mean })),
        (KalmanModel::Custom, _, Some(custom)) if custom.h.len() == 1 => {
            match AnySystem::new(custom, settings.initial.as_ref()) {
                Some(system) => (model, Dynamics::Custom(system)),
                None => (KalmanModel::Level, Dynamics::Plain),
            }
        }
        (KalmanModel::Decay | KalmanModel::Custom, ..) => (KalmanModel::Level, Dynamics::Plain),
        _ => (model, Dynamics::Plain),
    }
}

fn diffuse(model: KalmanModel, dynamics: &Dynamics) -> Belief {
    match (model, dynamics) {
        (_, Dynamics::Custom(system)) => Belief::Custom(Custom::new(system.diffuse())),
        (KalmanModel::Off, _) => Belief::Off,
        (KalmanModel::Trend, _) => Belief::Trend(Trend::DIFFUSE),
        (KalmanModel::Acceleration, _) => Belief::Acceleration(Box::new(Gaussian::diffuse())),
        (KalmanModel::Decay, _) => Belief::Decay(Decay::DIFFUSE),
        // A custom model has its dynamics.
        (KalmanModel::Level | KalmanModel::Custom, _) => Belief::Level(Level::DIFFUSE),
    }
}

/// The settings' initial state, if it fits the model.
fn belief(model: KalmanModel, initial: &KalmanInitial) -> Option<Belief> {
    let rows: Vec<&[f64]> = initial.covariance.iter().map(Vec::as_slice).collect();
    let belief = match (model, initial.state.as_slice(), rows.as_slice()) {
        (KalmanModel::Level, &[mean], &[&[variance]]) => {
            Belief::Level(Level { mean, variance, diffuse: false })
        }
        (KalmanModel::Trend, &[level, trend], &[&[a, b], &[c, d]]) => {
            let symmetric = b == c && a >= 0.0 && d >= 0.0;
            symmetric.then(|| Belief::Trend(Trend::new([level, trend], [[a, b], [c, d]])))?
        }
        (KalmanModel::Decay, &[mean], &[&[variance]]) => Belief::Decay(Decay::new(mean, variance)),
        (KalmanModel::Acceleration, state, _) => {
            Belief::Acceleration(Box::new(Gaussian::from_rows(state, &initial.covariance)?))
        }
        _ => return None,
    };
    belief.is_sound().then_some(belief)
}

/// Log-likelihood from what an update returns; see [`linear::Innovation::loglik`].
pub(super) fn loglik(variance: Option<f64>, nis: Option<f64>) -> Option<f64> {
    Some(linear::loglik(variance?, nis?))
}
