//! Alarms: what begins, what ends, and why.
//!
//! Pure. Detectors look at one unit's readings, slots and attended time, and leave [`Event`]s: one
//! when an alarm begins, one when it ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reading::EventTime;

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

/// The begin or the end of an alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The alarm's name: a detector's (`outlier`, `level-shift`, `residual`, `stuck`, `gap`, `drift`) or a
    /// configured one's.
    pub alarm: Arc<str>,
    /// Begin or end.
    pub state: AlarmState,
    /// Event time of what decided it.
    pub time: EventTime,
    /// The reading (or slot mean) that decided it.
    pub value: Option<f64>,
    /// What was expected instead.
    pub expected: Option<f64>,
    /// Lower end of what would have been ordinary.
    pub lower: Option<f64>,
    /// Upper end of what would have been ordinary.
    pub upper: Option<f64>,
    /// In words, with numbers.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}
