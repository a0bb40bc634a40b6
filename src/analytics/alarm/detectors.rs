//! [`Detectors`]: all that watches one series, and the score of its latest reading.

use serde::{Deserialize, Serialize};

use super::drift::Drift;
use super::gap::Gap;
use super::latch::{Evidence, Kind};
use super::outlier::Outlier;
use super::residual::Residual;
use super::score::Score;
use super::shift::LevelShift;
use super::stuck::Stuck;
use super::{Event, Judged, Seen, log10_target};
use crate::analytics::holt_winters::SlotsClosed;
use crate::analytics::kalman::{Update, Verdict};
use crate::analytics::settings::DetectorSettings;
use crate::reading::{AttendedTime, EventTime, Finite};

/// Values count as at most this: their squares must not overflow.
const VALUE_MAX: f64 = 1e150;

/// What the detectors of a series need of its settings.
#[derive(Clone, Debug)]
pub struct DetectorPlan {
    settings: DetectorSettings,
    /// Seconds of a forecaster's slot.
    slot_s: f64,
}

impl DetectorPlan {
    /// `step`: of the forecaster, nanoseconds.
    pub fn new(settings: &DetectorSettings, step: Option<i64>) -> DetectorPlan {
        let slot_s = step.map_or(3600.0, |step| step as f64 / 1e9).max(1e-9);
        DetectorPlan { settings: settings.clone(), slot_s }
    }
}

/// A reading as the filter left it.
#[derive(Clone, Copy, Debug)]
pub struct ReadingSeen<'a> {
    /// Event time.
    pub time: EventTime,
    /// Value.
    pub value: Finite,
    /// Attended time of its batch.
    pub attended: AttendedTime,
    /// What the filter made of it.
    pub update: &'a Update,
}

/// All detectors of one series. Bounded; the same readings, slots and attended times leave the
/// same bits, however often the state was written and read between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectors {
    /// Event time of the last reading in order.
    #[serde(rename = "t")]
    time: Option<EventTime>,
    /// Usual seconds between readings; 0: not known yet.
    #[serde(rename = "i")]
    interval: f64,
    /// log10 of the return period (in readings) of the largest error of the slots just closed.
    #[serde(rename = "p")]
    pending: f64,
    #[serde(rename = "o")]
    outlier: Outlier,
    #[serde(rename = "l")]
    shift: LevelShift,
    #[serde(rename = "r")]
    residual: Residual,
    #[serde(rename = "s")]
    stuck: Stuck,
    #[serde(rename = "g")]
    gap: Gap,
    #[serde(rename = "d")]
    drift: Drift,
    #[serde(rename = "c")]
    score: Score,
}

impl Detectors {
    /// Nothing seen yet.
    pub fn new() -> Detectors {
        Detectors::default()
    }

    /// The score of the latest reading in order, in [0, 1]; 0 while too little is known.
    pub fn score(&self) -> f64 {
        self.score.latest()
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.drift.heap_bytes() + self.outlier.heap_bytes()
    }

    /// A reading has come, that is all: one out of order, or of a state. `time`: its event time.
    pub fn heard(
        &mut self,
        plan: &DetectorPlan,
        attended: AttendedTime,
        time: EventTime,
        events: &mut Vec<Event>,
    ) {
        let on = &plan.settings;
        self.gap.heard(attended, time, (on.gap, on.repeat_after), events);
    }

    /// Takes in a reading in order; call [`slot`](Self::slot) before it if it closed a slot.
    pub fn reading(
        &mut self,
        plan: &DetectorPlan,
        reading: &ReadingSeen<'_>,
        events: &mut Vec<Event>,
    ) {
        let on = &plan.settings;
        let refractory = on.repeat_after;
        self.heard(plan, reading.attended, reading.time, events);
        if let Some(before) = self.time {
            let seconds = reading.time.seconds_since(before).max(0.0);
            if self.interval == 0.0 {
                self.interval = seconds;
            }
            self.interval += (seconds.min(10.0 * self.interval) - self.interval) / 64.0;
        }
        self.time = Some(reading.time);
        let value = reading.value.get().clamp(-VALUE_MAX, VALUE_MAX);
        let seen = Seen {
            time: reading.time,
            value,
            judged: Judged::new(value, reading.update),
            shifted: matches!(reading.update.verdict, Verdict::Shift { .. }),
            refractory,
            interval: self.interval,
        };
        let scale = self.outlier.scale_of_late();
        let innovation = self.outlier.reading(&seen, on.outlier, events);
        self.score.reading(value, innovation, std::mem::take(&mut self.pending));
        if self.shift.reading(&seen, scale, on.level_shift, events) {
            self.drift.mute(reading.time);
        }
        self.stuck.reading(&seen, on.stuck, events);
        if !matches!(reading.update.verdict, Verdict::Gated) {
            self.drift.reading(reading.time, value, (on.drift, refractory), events);
        }
    }

    /// Takes in what the reading at `time` closed.
    pub fn slot(
        &mut self,
        plan: &DetectorPlan,
        slot: &SlotsClosed,
        time: EventTime,
        events: &mut Vec<Event>,
    ) {
        let on = &plan.settings;
        let settings = (on.residual, on.repeat_after, log10_target(plan.slot_s));
        let period = self.residual.slot(slot, time, settings, events);
        // In readings rather than slots.
        let count = f64::from(slot.count.max(1));
        let period = if period > 1.0 { period + libm::log10(count) } else { 0.0 };
        self.pending = self.pending.max(period);
    }

    /// Attended time has come to `attended`; `now`: the present as events tell it.
    pub fn tick(
        &mut self,
        plan: &DetectorPlan,
        attended: AttendedTime,
        now: EventTime,
        events: &mut Vec<Event>,
    ) {
        self.gap.tick(attended, now, plan.settings.gap, events);
    }

    /// When [`tick`](Self::tick) must be called without further readings.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.gap.next_deadline()
    }

    /// Forgets what only time could still raise.
    pub fn forget_waiting(&mut self) {
        self.gap.forget_waiting();
    }

    /// What follows is not what was seen so far: ends every alarm and forgets everything.
    pub fn restart(&mut self, now: EventTime, events: &mut Vec<Event>) {
        let why = "the series is seen in another way from here on";
        for (kind, latch) in [
            (Kind::Outlier, self.outlier.latch()),
            (Kind::LevelShift, self.shift.latch()),
            (Kind::Residual, self.residual.latch()),
            (Kind::Stuck, self.stuck.latch()),
            (Kind::Gap, self.gap.latch()),
            (Kind::Drift, self.drift.latch()),
        ] {
            latch.clear(kind, now, 0, Evidence::default(), why, events);
        }
        *self = Detectors::default();
    }

    /// Event times beyond `to` were a wrong clock's.
    pub fn rewind(&mut self, to: EventTime) {
        self.time = self.time.map(|time| time.min(to));
        self.drift.rewind();
        for latch in [
            self.outlier.latch(),
            self.shift.latch(),
            self.residual.latch(),
            self.stuck.latch(),
            self.gap.latch(),
            self.drift.latch(),
        ] {
            latch.rewind(to);
        }
    }
}
