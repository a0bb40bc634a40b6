//! `gap`: readings that no longer come.
//!
//! Pure. Intervals are of attended time (DESIGN: it stands still while the daemon is down or the whole input away,
//! so neither raises a gap), as the readings arrive: a device that uploads once an hour is heard once an hour.

use serde::{Deserialize, Serialize};

use super::Event;
use super::latch::{Evidence, Kind, Latch};
use super::tail::Tail;
use crate::reading::{AttendedTime, EventTime, SECOND};

/// Intervals before any alarm.
const WARM_UP: u32 = 64;
/// A gap is longer than this many usual intervals, …
const TIMES_MEAN: f64 = 5.0;
/// … than this many times the longest of late, …
const TIMES_LONGEST: f64 = 2.0;
/// … and than this: what batches and networks do at times; seconds.
const LEAST: f64 = 10.0;
/// The limit takes logarithms, and moves slowly.
const RECOMPUTED_EVERY: u8 = 16;
/// Within so many seconds of attended time, a month, the longest interval fades: a machine that is off at night, or on
/// Sundays, may be read each second.
const MEMORY: f64 = 30.0 * 86_400.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Gap {
    /// When readings were last heard.
    #[serde(rename = "h")]
    heard: Option<AttendedTime>,
    /// From when on silence is a gap; `None`: not known yet, or it is one already.
    #[serde(rename = "d")]
    deadline: Option<AttendedTime>,
    #[serde(rename = "t")]
    tail: Tail,
    /// Usual interval in seconds.
    #[serde(rename = "m")]
    mean: f64,
    /// Longest of late.
    #[serde(rename = "x")]
    longest: f64,
    /// Seconds of silence that are a gap, computed so many times of hearing ago.
    #[serde(rename = "s")]
    limit: f64,
    #[serde(rename = "n")]
    since: u8,
    #[serde(rename = "l")]
    latch: Latch,
}

impl Gap {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.deadline
    }

    /// Readings are heard at `attended`. `time`: of the first of them.
    pub fn heard(
        &mut self,
        attended: AttendedTime,
        time: EventTime,
        (on, refractory): (bool, i64),
        events: &mut Vec<Event>,
    ) {
        let Some(before) = self.heard else {
            self.heard = Some(attended);
            return;
        };
        if attended <= before {
            return;
        }
        // No tick fell into it, or it ended with this batch.
        self.tick(attended, time, on, events);
        self.heard = Some(attended);
        let seconds = (attended.0 - before.0) as f64 / SECOND as f64;
        if self.latch.is_active() {
            let evidence = Evidence { value: Some(seconds), ..Evidence::default() };
            let why = format!("heard again after {}", super::span(seconds));
            self.latch.clear(Kind::Gap, time, refractory, evidence, &why, events);
        }
        let n = f64::from(self.tail.seen() + 1).min(100.0);
        let most = if self.mean > 0.0 { 10.0 * self.mean } else { seconds };
        self.mean += (seconds.min(most) - self.mean) / n;
        let most = if self.longest > 0.0 { 2.0 * TIMES_LONGEST * self.longest } else { seconds };
        let kept = 1.0 - (seconds / MEMORY).min(1.0);
        self.longest = (self.longest * kept).max(seconds.min(most));
        self.tail.observe(seconds, seconds);
        self.since = (self.since + 1) % RECOMPUTED_EVERY;
        if self.since == 0 || self.tail.seen() <= WARM_UP {
            self.limit = self.limit();
        }
        self.deadline = (on && self.tail.seen() >= WARM_UP).then(|| {
            let seconds = self.limit.max(TIMES_LONGEST * self.longest);
            let nanos = (seconds * SECOND as f64).min(1e18) as i64;
            AttendedTime(attended.0.saturating_add(nanos))
        });
    }

    /// Silence is none until the next reading.
    pub fn forget_waiting(&mut self) {
        self.deadline = None;
    }

    /// Seconds of silence that are a gap.
    fn limit(&self) -> f64 {
        self.tail
            .level(super::log10_target(self.mean))
            .max(TIMES_MEAN * self.mean)
            .max(TIMES_LONGEST * self.longest)
            .max(LEAST)
    }

    /// Attended time passes; `time`: the present as events tell it.
    pub fn tick(
        &mut self,
        attended: AttendedTime,
        time: EventTime,
        on: bool,
        events: &mut Vec<Event>,
    ) {
        if self.deadline.is_none_or(|deadline| deadline > attended) {
            return;
        }
        self.deadline = None;
        let (Some(heard), true) = (self.heard, on && self.latch.is_ready(time)) else { return };
        let seconds = (attended.0 - heard.0) as f64 / SECOND as f64;
        let reason = format!(
            "no reading for {}; usual are {}, the longest of late {}",
            super::span(seconds),
            super::span(self.mean),
            super::span(self.longest),
        );
        let evidence = Evidence {
            value: Some(seconds),
            expected: Some(self.mean),
            lower: None,
            upper: Some(self.limit()),
        };
        self.latch.raise(Kind::Gap, time, evidence, reason, events);
    }
}
