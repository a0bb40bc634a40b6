//! Settings of the filter, what a table sets of them, and their merge.

use serde::{Deserialize, Serialize};

use super::Conflict;
use super::layer::set;

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
            gate: 0.9999,
            outliers: KalmanOutliers::Gate,
            initial: None,
        }
    }
}

/// Mean and covariance of the state predicted for the first reading (time unit: second).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KalmanInitial {
    /// `n` numbers: level, then trend per second.
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

impl KalmanModel {
    /// Length of the state vector.
    pub const fn states(self) -> usize {
        match self {
            KalmanModel::Off => 0,
            KalmanModel::Level => 1,
            KalmanModel::Trend => 2,
        }
    }
}

impl KalmanSettings {
    pub(super) fn apply(&mut self, patch: &KalmanPatch) {
        set(&mut self.model, &patch.model);
        self.observation_sd = patch.observation_sd.or(self.observation_sd);
        self.level_sd = patch.level_sd.or(self.level_sd);
        self.trend_sd = patch.trend_sd.or(self.trend_sd);
        set(&mut self.gate, &patch.gate);
        set(&mut self.outliers, &patch.outliers);
        if patch.initial.is_some() {
            self.initial.clone_from(&patch.initial);
        }
    }

    pub(super) fn conflicts(&self, conflicts: &mut Vec<Conflict>) {
        let states = self.model.states();
        if let Some(initial) = &self.initial
            && initial.state.len() != states
        {
            conflicts.push(Conflict {
                keys: &["kalman.initial", "kalman.model"],
                what: format!(
                    "has {} number(s) in state, the model has {states}",
                    initial.state.len()
                ),
                mend: "give level for \"level\", level and trend per second for \"trend\""
                    .to_owned(),
                remedy: "initial is ignored",
            });
        }
    }

    pub(super) fn settle(&mut self) {
        if let Some(initial) = &self.initial
            && initial.state.len() != self.model.states()
        {
            self.initial = None;
        }
    }
}
