//! One alarm's begin and end: active or not, and how soon it may begin again.
//!
//! Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AlarmState, Event, Severity};
use crate::reading::EventTime;

const THIRTY_DAYS: f64 = 30.0 * 86_400e9;
/// See [`Latch::surplus`].
const SURPLUS: f64 = 1.0;
const SURPLUS_MAX: f64 = 3.0;

/// Which detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Outlier,
    LevelShift,
    Residual,
    Stuck,
    Gap,
    Drift,
}

impl Kind {
    /// As events name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Outlier => "outlier",
            Kind::LevelShift => "level-shift",
            Kind::Residual => "residual",
            Kind::Stuck => "stuck",
            Kind::Gap => "gap",
            Kind::Drift => "drift",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Kind::Outlier | Kind::Drift => Severity::Info,
            Kind::LevelShift | Kind::Residual | Kind::Stuck | Kind::Gap => Severity::Warning,
        }
    }
}

/// What decided, and what would have been ordinary; see [`Event`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    pub value: Option<f64>,
    pub expected: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

impl Evidence {
    /// `value` where `expected` ± `width` would have been ordinary.
    pub fn around(value: f64, expected: f64, width: f64) -> Evidence {
        let bounded = |x: f64| Some(x.clamp(f64::MIN, f64::MAX));
        Evidence {
            value: Some(value),
            expected: bounded(expected),
            lower: bounded(expected - width),
            upper: bounded(expected + width),
        }
    }
}

/// Whether an alarm is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Latch {
    #[serde(rename = "a")]
    active: bool,
    /// Event time (nanoseconds) before which it must not begin again.
    #[serde(rename = "u")]
    until: i64,
    /// Event time of the last begin.
    #[serde(rename = "r")]
    raised: i64,
    /// How much rarer than usual the next one must be, as of then; log10.
    #[serde(rename = "s")]
    surplus: f64,
}

impl Latch {
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// True when it may begin at `time`.
    pub fn is_ready(&self, time: EventTime) -> bool {
        !self.active && (self.until == 0 || time.nanos() >= self.until)
    }

    /// How much rarer (log10 of the return period) something must be for an alarm just now: an alarm was
    /// either the one in a month or shows that the tail is heavier than was thought, so for 30
    /// days more is asked of the next, ever less.
    pub fn surplus(&self, time: EventTime) -> f64 {
        if self.surplus == 0.0 {
            return 0.0;
        }
        let since = (time.nanos().saturating_sub(self.raised)) as f64;
        self.surplus * (1.0 - since / THIRTY_DAYS).clamp(0.0, 1.0)
    }

    /// Event times beyond `to` were a wrong clock's.
    pub fn rewind(&mut self, to: EventTime) {
        self.until = self.until.min(to.nanos());
        self.raised = self.raised.min(to.nanos());
    }

    /// Begins.
    pub fn raise(
        &mut self,
        kind: Kind,
        time: EventTime,
        evidence: Evidence,
        reason: String,
        events: &mut Vec<Event>,
    ) {
        self.active = true;
        self.surplus = (self.surplus(time) + SURPLUS).min(SURPLUS_MAX);
        self.raised = time.nanos();
        events.push(event(kind, AlarmState::Active, time, evidence, reason));
    }

    /// Ends, if it is active; `refractory`: nanoseconds for which it then keeps quiet.
    pub fn clear(
        &mut self,
        kind: Kind,
        time: EventTime,
        refractory: i64,
        evidence: Evidence,
        reason: &str,
        events: &mut Vec<Event>,
    ) {
        if self.active {
            self.active = false;
            self.until = time.nanos().saturating_add(refractory);
            events.push(event(kind, AlarmState::Cleared, time, evidence, reason.to_owned()));
        }
    }
}

fn event(
    kind: Kind,
    state: AlarmState,
    time: EventTime,
    evidence: Evidence,
    reason: String,
) -> Event {
    let Evidence { value, expected, lower, upper } = evidence;
    let alarm = Arc::from(kind.name());
    Event { alarm, state, time, value, expected, lower, upper, reason, severity: kind.severity() }
}
