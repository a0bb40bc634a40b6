//! What can be set for a series, and how layers of settings merge into one.
//!
//! Pure. `[[profile]]`, `[[device]]` and `[[alarm]]` tables become [`Layer`]s; all that match a series apply in
//! file order, later ones win key by key. The layers travel in journal frames, so that replay
//! resolves the same settings.

use serde::{Deserialize, Serialize};

use crate::reading::SECOND;

mod alarm;
mod custom;
mod derive;
mod detectors;
mod forecast;
mod glob;
mod group;
mod kalman;
mod kind;
mod layer;
mod vector;
mod window;

pub use alarm::{DETECTOR_NAMES, THRESHOLDS_MAX, ThresholdSettings};
pub use custom::{CustomSettings, METRICS_MAX, STATES_MAX, is_covariance};
pub use derive::DeriveSettings;
pub use detectors::{DetectorPatch, DetectorSettings};
pub use forecast::{
    ForecastInitial, ForecastPatch, ForecastResumed, ForecastSettings, Log, SLOTS_MAX, Seasonal,
    Smoothing, Trend,
};
pub use glob::{glob_covers, glob_matches, glob_meets};
pub use group::{GroupSettings, KEY};
pub use kalman::{KalmanInitial, KalmanModel, KalmanOutliers, KalmanPatch, KalmanSettings};
pub use kind::{Kind, KindSetting, scaled};
pub use layer::{Conflict, Layer, Patch};
pub use vector::{DeviceVector, VectorSettings};
pub use window::{Align, WindowSettings};

/// Nanoseconds in an hour.
pub const HOUR: i64 = 3600 * SECOND;

/// The resolved settings of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Unit text, passed through to estimates (`"°C"`).
    pub unit: Option<String>,
    /// What the readings are.
    pub kind: KindSetting,
    /// Decoded values are multiplied by it; finite, not 0. See [`Settings::scaled`].
    pub scale: f64,
    /// … and this is added; finite.
    pub offset: f64,
    /// Decoded value at which a counter begins again at zero, > 0; `None`: it does not wrap.
    pub wrap: Option<f64>,
    /// Readings outside `[low, high]` are dropped as `invalid`.
    pub valid: Option<(f64, f64)>,
    /// How far behind its largest event time a series' watermark runs; nanoseconds, ≥ 0.
    pub lateness: i64,
    /// How long readings are held to restore order for the filters; nanoseconds, 0 ≤ hold ≤ lateness.
    pub hold: i64,
    /// The filter.
    pub kalman: KalmanSettings,
    /// The panes kept, each with its own size; in order of configuration.
    pub windows: Vec<WindowSettings>,
    /// The forecaster; `None` switches it off.
    pub forecast: Option<ForecastSettings>,
    /// The configured alarms, at most [`THRESHOLDS_MAX`], each name once; in order of configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<ThresholdSettings>,
    /// The statistical detectors.
    #[serde(default)]
    pub alarms: DetectorSettings,
    /// For [`Kind::State`], which is neither filtered nor forecast by default: whether the layer
    /// that sets `kind`, or one behind it, sets the filter, …
    pub kalman_asked: bool,
    /// … and the forecaster.
    pub forecast_asked: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            unit: None,
            kind: KindSetting::Auto,
            scale: 1.0,
            offset: 0.0,
            wrap: None,
            valid: None,
            lateness: 5 * SECOND,
            hold: 0,
            kalman: KalmanSettings::default(),
            windows: vec![WindowSettings::default()],
            forecast: Some(ForecastSettings::default()),
            thresholds: Vec::new(),
            alarms: DetectorSettings::default(),
            kalman_asked: false,
            forecast_asked: false,
        }
    }
}
