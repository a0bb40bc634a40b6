//! What can be set for a series, and how layers of settings merge into one.
//!
//! Pure. `[[profile]]` and `[[device]]` tables become [`Layer`]s; all that match a series apply in
//! file order, later ones win key by key. The layers travel in journal frames, so that replay
//! resolves the same settings.

use serde::{Deserialize, Serialize};

use crate::reading::SECOND;

mod custom;
mod forecast;
mod glob;
mod kalman;
mod layer;
mod window;

pub use custom::{CustomSettings, METRICS_MAX, STATES_MAX, is_covariance};
pub use forecast::{
    ForecastInitial, ForecastPatch, ForecastSettings, SLOTS_MAX, Seasonal, Smoothing, Trend,
};
pub use glob::{glob_covers, glob_matches, glob_meets};
pub use kalman::{KalmanInitial, KalmanModel, KalmanPatch, KalmanSettings};
pub use layer::{Conflict, Layer, Patch};
pub use window::{Align, WindowSettings};

/// Nanoseconds in an hour.
pub const HOUR: i64 = 3600 * SECOND;

/// The resolved settings of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Unit text, passed through to estimates (`"°C"`).
    pub unit: Option<String>,
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
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            unit: None,
            valid: None,
            lateness: 5 * SECOND,
            hold: 0,
            kalman: KalmanSettings::default(),
            windows: vec![WindowSettings::default()],
            forecast: Some(ForecastSettings::default()),
        }
    }
}
