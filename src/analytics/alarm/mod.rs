//! Alarms: what begins, what ends, and why.
//!
//! Pure. Detectors look at one unit's readings, slots and attended time, and leave [`Event`]s: one
//! when an alarm begins, one when it ends.

mod active;
mod detectors;
mod drift;
mod gap;
mod latch;
mod outlier;
mod residual;
mod score;
mod shift;
mod stuck;
mod tail;
mod threshold;
mod volatility;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::analytics::kalman::Update;
use crate::reading::EventTime;

pub use active::Active;
pub use detectors::{DetectorPlan, Detectors, ReadingSeen};
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

/// Readings of a series from which its filter still learns: what they show of a tail is skipped.
const LEARNING: u32 = 64;
/// Observations of a statistic before it is judged.
const WARM_UP: u32 = 150;

/// False alarms that a detector may raise of one series in 30 days, by its own reckoning.
const FALSE_ALARMS: f64 = 0.03;
const THIRTY_DAYS_S: f64 = 30.0 * 86_400.0;
/// log10 of the shortest return period ever taken for an alarm.
const TARGET_MIN: f64 = 5.0;
const TARGET_MAX: f64 = 12.0;

/// log10 of the return period, in observations that come every `interval` seconds, of what is
/// worth an alarm.
fn log10_target(interval: f64) -> f64 {
    let observations = THIRTY_DAYS_S / (interval.max(1e-6) * FALSE_ALARMS);
    libm::log10(observations).clamp(TARGET_MIN, TARGET_MAX)
}

/// A reading as the detectors look at it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    time: EventTime,
    value: f64,
    judged: Option<Judged>,
    /// The filter says that the level has shifted.
    shifted: bool,
    /// See [`DetectorSettings::repeat_after`](crate::analytics::settings::DetectorSettings::repeat_after).
    refractory: i64,
    /// Usual seconds between readings.
    interval: f64,
}

impl Seen {
    fn log10_target(&self) -> f64 {
        log10_target(self.interval)
    }
}

/// What the filter had expected of a reading.
#[derive(Clone, Copy, Debug)]
struct Judged {
    expected: f64,
    /// Standard deviation of the innovation, > 0.
    sd: f64,
    /// Innovation over it.
    standardised: f64,
}

impl Judged {
    fn new(value: f64, update: &Update) -> Option<Judged> {
        let (innovation, sd) = (update.innovation?, update.innovation_variance?.sqrt());
        let standardised = (innovation / sd).clamp(-1e9, 1e9);
        (sd > 0.0 && sd.is_finite() && !standardised.is_nan()).then(|| Judged {
            expected: (value - innovation).clamp(f64::MIN, f64::MAX),
            sd,
            standardised,
        })
    }
}

/// A number as reasons tell it: four significant digits.
fn number(x: f64) -> String {
    let size = x.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{x:.3e}");
    }
    let before = if size >= 1.0 { libm::floor(libm::log10(size)) as usize + 1 } else { 1 };
    format!("{x:.*}", 4usize.saturating_sub(before).max(usize::from(size < 1000.0)))
}

/// 10^`log10` as reasons tell it.
fn count(log10: f64) -> String {
    if log10 > 9.0 { "more than 10^9".to_owned() } else { format!("{:.0}", libm::exp10(log10)) }
}

/// A span of time as reasons tell it.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// x^1.5, ≥ 0: on this scale the tails of normal noise, and of the least of five of them, are nearly
/// exponential, so what is learned of the last two in a hundred holds far out too.
fn stretched(x: f64) -> f64 {
    x * x.sqrt()
}

/// The inverse of [`stretched`].
fn two_thirds(x: f64) -> f64 {
    let root = libm::cbrt(x);
    root * root
}
