//! Alarms: what begins, what ends, and why.
//!
//! Pure. Detectors look at one unit's readings, slots and attended time, and leave [`Event`]s: one
//! when an alarm begins, one when it ends.

mod active;
mod threshold;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reading::EventTime;

pub use active::Active;
pub use threshold::{Moment, Thresholds};

/// Whether an event begins or ends an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// It begins.
    Active,
    /// It is over.
    Cleared,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Worth getting up for.
    Critical,
}

impl AlarmState {
    /// Its name in records.
    pub const fn name(self) -> &'static str {
        match self {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        }
    }
}

impl Severity {
    /// Its name in records and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// The begin or the end of an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The alarm's name: a detector's (`outlier`, `level-shift`, `residual`, `stuck`, `gap`, `drift`) or a
    /// configured one's.
    #[serde(rename = "n")]
    pub alarm: Arc<str>,
    /// Begin or end.
    #[serde(rename = "s")]
    pub state: AlarmState,
    /// Event time of what decided it.
    #[serde(rename = "t")]
    pub time: EventTime,
    /// The reading (or slot mean) that decided it.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What was expected instead.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    /// Lower end of what would have been ordinary.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Upper end of what would have been ordinary.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// In words, with numbers.
    #[serde(rename = "r")]
    pub reason: String,
    /// How bad it is.
    #[serde(rename = "l")]
    pub severity: Severity,
}
