//! Settings of alarms.

use serde::{Deserialize, Serialize};

use crate::analytics::alarm::Severity;

/// Most `[[alarm]]` tables that apply to one series; later ones are left out.
pub const THRESHOLDS_MAX: usize = 16;

/// Names that the detectors' alarms have; `[[alarm]]` tables cannot take them.
pub const DETECTOR_NAMES: [&str; 6] =
    ["outlier", "level-shift", "residual", "stuck", "gap", "drift"];

/// One `[[alarm]]` table: limits, and when crossing them is an alarm. One of `above` and `below`
/// is set; numbers are in the series' unit, durations in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdSettings {
    /// Tells the alarms of a series apart; 1 to 128 bytes.
    pub name: String,
    /// Greater readings are outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Lesser readings are outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// The alarm ends at or above this; `None`: at `below`. ≥ `below`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_above: Option<f64>,
    /// The alarm ends at or below this; `None`: at `above`. ≤ `above`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_below: Option<f64>,
    /// How long readings must stay outside; ≥ 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold: i64,
    /// Raise it too when the forecast is outside in a slot that begins within this; > 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<i64>,
    /// After its end the alarm is not raised again before this; ≥ 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeat_after: i64,
    /// How bad it is.
    pub severity: Severity,
}

fn is_zero(nanos: &i64) -> bool {
    *nanos == 0
}
