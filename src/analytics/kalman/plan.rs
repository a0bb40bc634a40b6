//! Settings compiled once into what the filter needs at every reading.

use serde::{Deserialize, Serialize};

use super::level::Level;
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
}

impl Noise {
    pub fn is_sound(&self) -> bool {
        self.observation.is_finite()
            && self.observation > 0.0
            && self.level.is_finite()
            && self.level >= 0.0
            && self.trend.is_finite()
            && self.trend >= 0.0
    }
}

/// What the settings say of the noise; `None`: to be found from the readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Given {
    pub observation: Option<f64>,
    pub level: Option<f64>,
    pub trend: Option<f64>,
}

impl Given {
    /// The given ones, the others from `learned`.
    pub fn or(&self, learned: &Noise) -> Noise {
        Noise {
            observation: self.observation.unwrap_or(learned.observation),
            level: self.level.unwrap_or(learned.level),
            trend: self.trend.unwrap_or(learned.trend),
        }
    }
}

/// [`KalmanSettings`] compiled: one plan serves every series with the same settings.
#[derive(Clone, Debug, PartialEq)]
pub struct KalmanPlan {
    pub(super) model: KalmanModel,
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
    /// trend is kept per second). The gate is the chi-square quantile with one degree of freedom of
    /// `gate`, infinite for 1. An `initial` that does not fit the model (wrong size, not finite, a
    /// negative variance) is what the configuration refuses; here it counts as not given.
    pub fn new(settings: &KalmanSettings) -> KalmanPlan {
        let variance = |sd: Option<f64>, per: f64| {
            sd.filter(|sd| sd.is_finite()).map(|sd| (sd * sd / per).min(VARIANCE_MAX))
        };
        let hours = SECONDS_PER_HOUR;
        let given = Given {
            observation: variance(settings.observation_sd, 1.0).map(|r| r.max(VARIANCE_MIN)),
            level: variance(settings.level_sd, hours),
            trend: match settings.model {
                KalmanModel::Trend => variance(settings.trend_sd, hours * hours * hours),
                KalmanModel::Off | KalmanModel::Level => Some(0.0),
            },
        };
        let noise = match given {
            Given { observation: Some(observation), level: Some(level), trend: Some(trend) } => {
                Some(Noise { observation, level, trend })
            }
            _ => None,
        };
        let diffuse = Belief::diffuse(settings.model);
        let start = settings.initial.as_ref().and_then(|initial| belief(settings.model, initial));
        KalmanPlan {
            model: settings.model,
            given,
            noise,
            gate: chi_square_quantile(settings.gate, 1),
            huber: settings.outliers == KalmanOutliers::Huber,
            start: start.unwrap_or(diffuse),
        }
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
        _ => return None,
    };
    belief.is_sound().then_some(belief)
}

/// Log-likelihood from what an update returns; see [`linear::Innovation::loglik`].
pub(super) fn loglik(variance: Option<f64>, nis: Option<f64>) -> Option<f64> {
    Some(linear::loglik(variance?, nis?))
}
