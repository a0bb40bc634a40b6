//! What can be set for a series, and how layers of settings merge into one.
//!
//! Pure. `[[profile]]` and `[[device]]` tables become [`Layer`]s; all that match a series apply in
//! file order, later ones win key by key. The layers travel in journal frames, so that replay
//! resolves the same settings.

use serde::{Deserialize, Serialize};

use crate::reading::SECOND;

mod glob;
mod layer;

pub use glob::{glob_covers, glob_matches, glob_meets};
pub use layer::{Conflict, ForecastPatch, KalmanPatch, Layer, Patch, SLOTS_MAX};

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

/// What a window's panes are aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// Multiples of the size since 1970-01-01T00:00:00Z.
    Epoch,
    /// Local midnights of `gateway.time_zone`; the size must then be whole days.
    Local,
}

/// One window: a size and what its panes are aligned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowSettings {
    /// Nanoseconds, > 0.
    pub size: i64,
    /// Alignment.
    pub align: Align,
    /// Probabilities in (0, 1) of the quantiles to report; empty: no sketch is kept.
    pub quantiles: Vec<f64>,
}

impl Default for WindowSettings {
    fn default() -> Self {
        WindowSettings { size: 60 * SECOND, align: Align::Epoch, quantiles: Vec::new() }
    }
}

/// Trend component of the forecaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// None.
    None,
    /// A straight line.
    Additive,
    /// A line that flattens out by the factor phi a step.
    Damped,
}

/// Seasonal component of the forecaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seasonal {
    /// None.
    None,
    /// Added to the level.
    Additive,
}

/// Settings of the Holt-Winters forecaster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastSettings {
    /// Length of a slot, whose mean is what is forecast; nanoseconds, > 0.
    pub step: i64,
    /// Season lengths in nanoseconds, each a whole number (≥ 2) of steps; at most one so far.
    pub season: Vec<i64>,
    /// Trend component.
    pub trend: Trend,
    /// Seasonal component.
    pub seasonal: Seasonal,
    /// How far ahead to forecast; nanoseconds, a whole number (≥ 1) of steps.
    pub horizon: i64,
    /// Probability that the interval is to cover, in (0, 1).
    pub nominal: f64,
    /// Smoothing parameters; `None`: defaults.
    pub smoothing: Option<Smoothing>,
    /// States before the first slot; `None`: found from the first two seasons.
    pub initial: Option<ForecastInitial>,
}

impl Default for ForecastSettings {
    fn default() -> Self {
        ForecastSettings {
            step: HOUR,
            season: vec![24 * HOUR],
            trend: Trend::Damped,
            seasonal: Seasonal::Additive,
            horizon: 24 * HOUR,
            nominal: 0.95,
            smoothing: None,
            initial: None,
        }
    }
}

/// Smoothing parameters in the innovations form (Hyndman, Koehler, Ord, Snyder 2008, table 2.2):
/// `beta` is alpha·beta*, `gamma` multiplies the error directly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    /// Level, in (0, 1).
    pub alpha: f64,
    /// Trend, 0 ≤ beta ≤ alpha.
    pub beta: f64,
    /// Season, 0 ≤ gamma ≤ 1 − alpha.
    pub gamma: f64,
    /// Damping, in (0, 1]; 1: none.
    pub phi: f64,
}

/// States of the forecaster before its first slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastInitial {
    /// Level, in the series' unit.
    pub level: f64,
    /// Trend per step.
    pub trend: f64,
    /// Seasonal terms; element 0 belongs to the first slot.
    pub season: Vec<f64>,
}
