//! Settings of the filter, what a table sets of them, and their merge.

use serde::{Deserialize, Serialize};

use super::layer::set;
use super::{Conflict, CustomSettings};
use crate::reading::SECOND;

/// Which state-space model filters the raw readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KalmanModel {
    /// No filter; panes and forecast still work, nothing is gated.
    Off,
    /// Random-walk level.
    Level,
    /// Local linear trend in continuous time.
    Trend,
    /// Level, trend and acceleration in continuous time, driven by white jerk.
    Acceleration,
    /// Ornstein-Uhlenbeck: a level that returns to a mean.
    Decay,
    /// The operator's matrices.
    Custom,
}

impl KalmanModel {
    /// As the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            KalmanModel::Off => "off",
            KalmanModel::Level => "level",
            KalmanModel::Trend => "trend",
            KalmanModel::Acceleration => "acceleration",
            KalmanModel::Decay => "decay",
            KalmanModel::Custom => "custom",
        }
    }
}

/// What the filter does with readings that it hardly expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KalmanOutliers {
    /// Those beyond the gate do not enter, the others enter in full.
    Gate,
    /// Those beyond two standard deviations enter with Huber's weight, those beyond the gate too.
    Huber,
}

/// Settings of the Kalman filter. Standard deviations are in the series' unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KalmanSettings {
    /// The model.
    pub model: KalmanModel,
    /// Standard deviation of one reading's noise, > 0; `None`: estimated from the readings.
    pub observation_sd: Option<f64>,
    /// Standard deviation of the level's random change in an hour, ≥ 0; `None`: estimated.
    pub level_sd: Option<f64>,
    /// Standard deviation of the trend's (unit per hour) random change in an hour, ≥ 0; `None`: estimated.
    pub trend_sd: Option<f64>,
    /// Standard deviation of the acceleration's (unit per hour²) random change in an hour, ≥ 0;
    /// `None`: found from the readings' noise and interval.
    pub acceleration_sd: Option<f64>,
    /// Time constant with which the level of `decay` returns to its mean; nanoseconds, > 0.
    pub tau: Option<i64>,
    /// What the level of `decay` returns to, in the series' unit.
    pub mean: Option<f64>,
    /// The matrices of `custom`.
    pub custom: Option<CustomSettings>,
    /// Probability of the chi-square gate on the normalised innovation squared, in [0.5, 1]; 1 switches it off.
    pub gate: f64,
    /// What becomes of outliers.
    pub outliers: KalmanOutliers,
    /// State predicted for the first reading; `None`: exact diffuse start.
    pub initial: Option<KalmanInitial>,
}

impl Default for KalmanSettings {
    fn default() -> Self {
        KalmanSettings {
            model: KalmanModel::Level,
            observation_sd: None,
            level_sd: None,
            trend_sd: None,
            acceleration_sd: None,
            tau: None,
            mean: None,
            custom: None,
            gate: 0.9999,
            outliers: KalmanOutliers::Gate,
            initial: None,
        }
    }
}

/// Mean and covariance of the state predicted for the first reading (time unit: second).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KalmanInitial {
    /// `n` numbers: level, then trend per second, then acceleration per second²; or as `custom` has
    /// it.
    pub state: Vec<f64>,
    /// `n` rows of `n`.
    pub covariance: Vec<Vec<f64>>,
}

/// What a table sets of [`KalmanSettings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KalmanPatch {
    /// See [`KalmanSettings::model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<KalmanModel>,
    /// See [`KalmanSettings::observation_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_sd: Option<f64>,
    /// See [`KalmanSettings::level_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_sd: Option<f64>,
    /// See [`KalmanSettings::trend_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend_sd: Option<f64>,
    /// See [`KalmanSettings::acceleration_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceleration_sd: Option<f64>,
    /// See [`KalmanSettings::tau`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tau: Option<i64>,
    /// See [`KalmanSettings::mean`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// See [`KalmanSettings::custom`]; replaces all matrices of earlier layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomSettings>,
    /// See [`KalmanSettings::gate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// See [`KalmanSettings::outliers`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outliers: Option<KalmanOutliers>,
    /// See [`KalmanSettings::initial`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<KalmanInitial>,
}

impl KalmanSettings {
    pub(super) fn apply(&mut self, patch: &KalmanPatch) {
        set(&mut self.model, &patch.model);
        self.observation_sd = patch.observation_sd.or(self.observation_sd);
        self.level_sd = patch.level_sd.or(self.level_sd);
        self.trend_sd = patch.trend_sd.or(self.trend_sd);
        self.acceleration_sd = patch.acceleration_sd.or(self.acceleration_sd);
        self.tau = patch.tau.or(self.tau);
        self.mean = patch.mean.or(self.mean);
        if patch.custom.is_some() {
            self.custom.clone_from(&patch.custom);
        }
        set(&mut self.gate, &patch.gate);
        set(&mut self.outliers, &patch.outliers);
        if patch.initial.is_some() {
            self.initial.clone_from(&patch.initial);
        }
    }

    /// Time constant in seconds and mean of `decay`, if both are set.
    pub fn pull(&self) -> Option<(f64, f64)> {
        let tau = self.tau.filter(|tau| *tau > 0)?;
        Some((tau as f64 / SECOND as f64, self.mean?))
    }

    /// Length of the state vector.
    pub fn states(&self) -> usize {
        match self.model {
            KalmanModel::Off => 0,
            KalmanModel::Level | KalmanModel::Decay => 1,
            KalmanModel::Trend => 2,
            KalmanModel::Acceleration => 3,
            KalmanModel::Custom => self.custom.as_ref().map_or(0, CustomSettings::states),
        }
    }

    /// The models that a key of the configuration has an effect with, if this is none of them.
    pub fn model_for(&self, key: &str) -> Option<&'static str> {
        use KalmanModel::*;
        let (models, text): (&[KalmanModel], _) = match key {
            "kalman.observation_sd" | "kalman.level_sd" => (
                &[Off, Level, Trend, Acceleration, Decay],
                "a model other than \"custom\", whose noise is in Q and R",
            ),
            "kalman.trend_sd" => (&[Trend, Acceleration], "model = \"trend\" or \"acceleration\""),
            "kalman.acceleration_sd" => (&[Acceleration], "model = \"acceleration\""),
            "kalman.tau" | "kalman.mean" => (&[Decay], "model = \"decay\""),
            "kalman.F" => (&[Custom], "model = \"custom\""),
            _ => return None,
        };
        (!models.contains(&self.model)).then_some(text)
    }

    pub(super) fn conflicts(&self, conflicts: &mut Vec<Conflict>) {
        if let Some((keys, what, mend)) = self.lack() {
            conflicts.push(Conflict { keys, what, mend, remedy: "model is \"level\"" });
            return;
        }
        let states = self.states();
        if let Some(initial) = &self.initial
            && initial.state.len() != states
        {
            let mend = match self.model {
                KalmanModel::Acceleration => {
                    "give level, trend per second and acceleration per second² for \"acceleration\""
                }
                KalmanModel::Custom => "give as many numbers as F has rows",
                _ => "give level for \"level\", level and trend per second for \"trend\"",
            };
            conflicts.push(Conflict {
                keys: &["kalman.initial", "kalman.model", "kalman.F"],
                what: format!(
                    "has {} number(s) in state, the model has {states}",
                    initial.state.len()
                ),
                mend: mend.to_owned(),
                remedy: "initial is ignored",
            });
        }
    }

    /// What the model needs and has not: keys, what is wrong, how to mend it.
    fn lack(&self) -> Option<(&'static [&'static str], String, String)> {
        match (self.model, &self.custom) {
            (KalmanModel::Decay, _) if self.pull().is_none() => Some((
                &["kalman.model", "kalman.tau", "kalman.mean"],
                "model = \"decay\" needs tau and mean".to_owned(),
                "write e.g. tau = \"2h\", mean = 20.0".to_owned(),
            )),
            (KalmanModel::Custom, None) => Some((
                &["kalman.model"],
                "model = \"custom\" needs F, H, Q and R".to_owned(),
                "write e.g. F = [[1.0]], H = [[1.0]], Q = [[0.01]], R = [[0.25]]".to_owned(),
            )),
            (KalmanModel::Custom, Some(custom)) => {
                let (key, what) = custom.fault()?;
                let mend = "see kalman in docs/configuration.md".to_owned();
                Some((&["kalman.F", "kalman.model"], format!("{key} {what}"), mend))
            }
            _ => None,
        }
    }

    pub(super) fn settle(&mut self) {
        if self.lack().is_some() {
            self.model = KalmanModel::Level;
        }
        if let Some(initial) = &self.initial
            && initial.state.len() != self.states()
        {
            self.initial = None;
        }
    }
}
