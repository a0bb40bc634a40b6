//! Configured alarms: readings beyond a limit, and forecasts that will be.
//!
//! Pure. A value is **outside** (greater than `above` or less than `below`), **inside** (at or
//! within the limits where the alarm ends: `clear_below`, `clear_above`), or between the two. An
//! alarm has two causes and is active while one of them holds:
//!
//! - **readings**: they went outside and stayed there for `hold`, and none has been inside since;
//! - **forecast** (with `within`): in some slot that begins within that time the mean forecast is
//!   outside (a crossing is more likely than not), and no later forecast was inside throughout.
//!
//! One event when it begins, one when it ends: an alarm that was raised by its forecast stays the
//! same alarm when the crossing comes. Rules, chosen so that events do not depend on how readings
//! were cut into batches:
//!
//! - Readings count in event order, as they were measured, whether the filter's gate took them or
//!   not: the gate holds back the first readings of a step, and spikes are what `hold` is for.
//!   Readings that come behind the filter do not count.
//! - A reading stands for the series until the next one. So `hold` can end between readings: the
//!   event then has the time at which it ended, and the value that stood. Between readings only
//!   attended time counts: what the gateway slept through raises nothing.
//! - Without a further reading it ends by attended time, `lateness` (and the reordering `hold`)
//!   later, when a reading that breaks it can no longer come in time.
//! - `repeat_after` postpones the next begin by readings; what is still outside then raises it.

use serde::{Deserialize, Serialize};

use super::{AlarmState, Event};
use crate::analytics::holt_winters::Forecast;
use crate::analytics::settings::ThresholdSettings;
use crate::reading::{AttendedTime, EventTime, ProcessingTime, SECOND};

/// What the alarms need to know of the batch and the series.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Attended time.
    pub attended: AttendedTime,
    /// The gateway's clock.
    pub now: ProcessingTime,
    /// How far ahead of the clock a reading may be, nanoseconds.
    pub max_ahead: i64,
    /// How much later than its time a reading may have its turn, nanoseconds.
    pub patience: i64,
    /// Unit of the series, for words.
    pub unit: Option<&'a str>,
}

impl Moment<'_> {
    /// The attended time at which something happened, as far as the two clocks tell.
    fn attended_at(&self, time: EventTime) -> AttendedTime {
        let ago = self.now.0.saturating_sub(time.nanos());
        AttendedTime(self.attended.0.saturating_sub(ago))
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Inside,
    Between,
    Outside,
}

fn zone(s: &ThresholdSettings, value: f64) -> Zone {
    if s.above.is_some_and(|above| value > above) || s.below.is_some_and(|below| value < below) {
        return Zone::Outside;
    }
    let (high, low) = (s.clear_below.or(s.above), s.clear_above.or(s.below));
    if high.is_none_or(|high| value <= high) && low.is_none_or(|low| value >= low) {
        Zone::Inside
    } else {
        Zone::Between
    }
}

/// Readings are outside, but not for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    /// The alarm's begin, if nothing comes between.
    #[serde(rename = "r")]
    raise: EventTime,
    /// The same in attended time.
    #[serde(rename = "d")]
    due: AttendedTime,
    /// When it begins without a further reading.
    #[serde(rename = "t")]
    timer: AttendedTime,
    /// The value that stands.
    #[serde(rename = "v")]
    value: f64,
}

/// The state of one alarm that is not at rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Threshold {
    /// Which of the settings' thresholds.
    #[serde(rename = "i")]
    index: u8,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
    /// Readings keep it active.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    crossed: bool,
    /// The forecast keeps it active.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    forecast: bool,
    /// Not to be raised before this.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    quiet_until: Option<EventTime>,
}

impl Threshold {
    fn is_active(&self) -> bool {
        self.crossed || self.forecast
    }

    fn is_quiet(&self, time: EventTime) -> bool {
        self.quiet_until.is_some_and(|until| time < until)
    }

    fn rests(&self, time: EventTime) -> bool {
        self.pending.is_none() && !self.is_active() && !self.is_quiet(time)
    }
}

/// The configured alarms of one series: those of its settings' `thresholds` that are not at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thresholds {
    busy: Vec<Threshold>,
}

impl Thresholds {
    /// True when all are at rest.
    pub fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// Takes a reading, in event order.
    pub fn on_reading(
        &mut self,
        settings: &[ThresholdSettings],
        moment: &Moment<'_>,
        time: EventTime,
        value: f64,
        events: &mut Vec<Event>,
    ) {
        if settings.is_empty() {
            return;
        }
        if !self.busy.is_empty() {
            // First what came to pass before this reading.
            let passed = |s: &ThresholdSettings, p: &Pending| match zone(s, value) {
                Zone::Outside => time >= p.raise,
                _ => moment.attended_at(time) >= p.due,
            };
            self.expire(settings, moment.unit, passed, events);
        }
        for (index, s) in settings.iter().enumerate() {
            let zone = zone(s, value);
            if zone == Zone::Outside {
                self.outside(index, s, moment, time, value, events);
            } else if let Some(at) = self.find(index) {
                let threshold = &mut self.busy[at];
                threshold.pending = None;
                if zone == Zone::Inside && std::mem::take(&mut threshold.crossed) {
                    end(threshold, s, time, events, Some(value), || inside(s, value, moment.unit));
                }
            }
        }
        self.busy.retain(|threshold| !threshold.rests(time));
    }

    fn outside(
        &mut self,
        index: usize,
        s: &ThresholdSettings,
        moment: &Moment<'_>,
        time: EventTime,
        value: f64,
        events: &mut Vec<Event>,
    ) {
        let threshold = self.entry(index);
        if let Some(pending) = &mut threshold.pending {
            pending.value = value;
        }
        if threshold.crossed || threshold.pending.is_some() {
            return;
        }
        let held = EventTime::clamped(time.nanos().saturating_add(s.hold));
        let raise = threshold.quiet_until.map_or(held, |until| held.max(until));
        if raise <= time {
            begin(threshold, s, moment.unit, time, value, events);
            return;
        }
        let wait = raise.nanos() - time.nanos();
        let due = moment.attended_at(raise);
        // A device whose clock lags is not behind: it, too, has all of the hold. One that is far
        // ahead (of a gateway that does not know the time yet) does not wait for ever.
        let least = moment.attended.0.saturating_add(wait);
        let timer = due.0.clamp(least, least.saturating_add(moment.max_ahead.max(0)));
        let timer = AttendedTime(timer.saturating_add(moment.patience));
        threshold.pending = Some(Pending { raise, due, timer, value });
    }

    /// A slot closed with the reading `(time, value)`: what is expected now. `None`: no forecast can be made.
    pub fn on_forecast(
        &mut self,
        settings: &[ThresholdSettings],
        unit: Option<&str>,
        (time, value): (EventTime, f64),
        forecast: Option<&Forecast>,
        events: &mut Vec<Event>,
    ) {
        for (index, s) in settings.iter().enumerate() {
            let Some(within) = s.within else { continue };
            let ahead = forecast.map(|f| Ahead::of(s, f, time, within)).unwrap_or_default();
            match ahead {
                Ahead::Crosses { from, mean } => {
                    let threshold = self.entry(index);
                    if !threshold.is_active() && threshold.is_quiet(time) {
                        continue;
                    }
                    if !threshold.is_active() {
                        let side = side(s, mean, unit);
                        let reason = format!(
                            "forecast to be {side} from {from} on (mean {}), within {}",
                            quantity(significant(mean), unit),
                            words(within)
                        );
                        let mut event = event(s, AlarmState::Active, time, Some(value), reason);
                        event.expected = Some(mean);
                        events.push(event);
                    }
                    threshold.forecast = true;
                }
                Ahead::Between => {}
                Ahead::Inside => {
                    if let Some(at) = self.find(index)
                        && std::mem::take(&mut self.busy[at].forecast)
                    {
                        let reason =
                            || format!("not forecast to be outside within {}", words(within));
                        end(&mut self.busy[at], s, time, events, Some(value), reason);
                    }
                }
            }
        }
        self.busy.retain(|threshold| !threshold.rests(time));
    }

    /// Raises what has been held long enough without a further reading.
    pub fn tick(
        &mut self,
        settings: &[ThresholdSettings],
        unit: Option<&str>,
        attended: AttendedTime,
        events: &mut Vec<Event>,
    ) {
        let pending = self.busy.iter().filter_map(|t| t.pending);
        // What was to begin before the latest of them has passed too.
        let through = pending.filter(|p| p.timer <= attended).map(|p| p.raise).max();
        if let Some(through) = through {
            self.expire(settings, unit, |_, p| p.raise <= through, events);
        }
    }

    /// When [`tick`](Self::tick) has something to do without further readings.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.busy.iter().filter_map(|t| t.pending).map(|p| p.timer).min()
    }

    /// Forgets what only time could still decide: a recording ended.
    pub fn forget_waiting(&mut self) {
        for threshold in &mut self.busy {
            threshold.pending = None;
        }
    }

    /// Follows a change of settings: alarms that stay keep their state, a hold under way begins
    /// anew if its alarm changed, alarms that are gone end. `forecasts`: whether there will be any.
    pub fn change(
        &mut self,
        old: &[ThresholdSettings],
        new: &[ThresholdSettings],
        forecasts: bool,
        now: EventTime,
        events: &mut Vec<Event>,
    ) {
        for mut threshold in std::mem::take(&mut self.busy) {
            let Some(was) = old.get(usize::from(threshold.index)) else { continue };
            let stays = new.iter().enumerate().find(|(_, s)| s.name == was.name);
            let Some((index, s)) = stays else {
                if threshold.is_active() {
                    let reason = "no longer configured".to_owned();
                    events.push(event(was, AlarmState::Cleared, now, None, reason));
                }
                continue;
            };
            threshold.index = u8::try_from(index).unwrap_or(u8::MAX);
            if s != was {
                threshold.pending = None;
            }
            if (s.within.is_none() || !forecasts) && std::mem::take(&mut threshold.forecast) {
                let reason = || "the forecast is no longer watched".to_owned();
                end(&mut threshold, s, now, events, None, reason);
            }
            self.busy.push(threshold);
        }
        self.busy.sort_by_key(|threshold| threshold.index);
    }

    /// Times beyond `to` were stamped by a wrong clock and must not hold up what follows.
    pub fn rewind(&mut self, to: EventTime) {
        for threshold in &mut self.busy {
            threshold.pending = None;
            threshold.quiet_until = threshold.quiet_until.map(|until| until.min(to));
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.busy.capacity() * size_of::<Threshold>()
    }

    fn find(&self, index: usize) -> Option<usize> {
        self.busy.iter().position(|threshold| usize::from(threshold.index) == index)
    }

    fn entry(&mut self, index: usize) -> &mut Threshold {
        // Settings hold at most `THRESHOLDS_MAX` of them.
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let at = self.busy.partition_point(|threshold| threshold.index < index);
        if self.busy.get(at).is_none_or(|threshold| threshold.index != index) {
            let (pending, quiet_until) = (None, None);
            let rest = Threshold { index, pending, crossed: false, forecast: false, quiet_until };
            self.busy.insert(at, rest);
        }
        &mut self.busy[at]
    }

    /// Begins the alarms whose hold has passed, earliest first.
    fn expire(
        &mut self,
        settings: &[ThresholdSettings],
        unit: Option<&str>,
        passed: impl Fn(&ThresholdSettings, &Pending) -> bool,
        events: &mut Vec<Event>,
    ) {
        let mut expired: Vec<(EventTime, usize)> = Vec::new();
        for (at, threshold) in self.busy.iter().enumerate() {
            if let (Some(p), Some(s)) =
                (threshold.pending, settings.get(usize::from(threshold.index)))
                && passed(s, &p)
            {
                expired.push((p.raise, at));
            }
        }
        expired.sort_unstable();
        for (_, at) in expired {
            let threshold = &mut self.busy[at];
            if let (Some(p), Some(s)) =
                (threshold.pending.take(), settings.get(usize::from(threshold.index)))
            {
                begin(threshold, s, unit, p.raise, p.value, events);
            }
        }
    }
}

/// What a forecast says of a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Ahead {
    /// Inside in every slot (or there is nothing to go by).
    #[default]
    Inside,
    Between,
    /// Outside first in the slot that begins at `from`.
    Crosses {
        from: EventTime,
        mean: f64,
    },
}

impl Ahead {
    fn of(s: &ThresholdSettings, f: &Forecast, time: EventTime, within: i64) -> Ahead {
        let until = time.nanos().saturating_add(within);
        let mut ahead = Ahead::Inside;
        for (h, &mean) in f.mean.iter().enumerate() {
            let start = f.origin.nanos().saturating_add((h as i64).saturating_mul(f.step));
            if start > until {
                break;
            }
            match zone(s, mean) {
                // The slot under way began before: what it will be is told from now on.
                Zone::Outside => {
                    let from = EventTime::clamped(start).max(time);
                    return Ahead::Crosses { from, mean };
                }
                Zone::Between => ahead = Ahead::Between,
                Zone::Inside => {}
            }
        }
        ahead
    }
}

/// Readings begin to keep it active.
fn begin(
    threshold: &mut Threshold,
    s: &ThresholdSettings,
    unit: Option<&str>,
    time: EventTime,
    value: f64,
    events: &mut Vec<Event>,
) {
    let was = threshold.is_active();
    threshold.crossed = true;
    threshold.pending = None;
    if !was {
        let (value_words, side) = (quantity(value, unit), side(s, value, unit));
        let reason = if s.hold > 0 {
            format!("{side} for {}, now {value_words}", words(s.hold))
        } else {
            format!("{value_words} is {side}")
        };
        events.push(event(s, AlarmState::Active, time, Some(value), reason));
    }
}

/// One cause is gone; if it was the last one, the alarm ends.
fn end(
    threshold: &mut Threshold,
    s: &ThresholdSettings,
    time: EventTime,
    events: &mut Vec<Event>,
    value: Option<f64>,
    reason: impl FnOnce() -> String,
) {
    if !threshold.is_active() {
        threshold.quiet_until = (s.repeat_after > 0)
            .then(|| EventTime::clamped(time.nanos().saturating_add(s.repeat_after)));
        events.push(event(s, AlarmState::Cleared, time, value, reason()));
    }
}

fn event(
    s: &ThresholdSettings,
    state: AlarmState,
    time: EventTime,
    value: Option<f64>,
    reason: String,
) -> Event {
    let alarm = s.name.as_str().into();
    let (lower, upper, severity) = (s.below, s.above, s.severity);
    Event { alarm, state, time, value, expected: None, lower, upper, reason, severity }
}

/// `above 80 °C`.
fn side(s: &ThresholdSettings, value: f64, unit: Option<&str>) -> String {
    match (s.above, s.below) {
        (Some(above), _) if value > above => format!("above {}", quantity(above, unit)),
        (_, Some(below)) => format!("below {}", quantity(below, unit)),
        // The other side was crossed since.
        (Some(above), None) => format!("above {}", quantity(above, unit)),
        (None, None) => "outside".to_owned(),
    }
}

fn inside(s: &ThresholdSettings, value: f64, unit: Option<&str>) -> String {
    let value = quantity(value, unit);
    match (s.clear_above.or(s.below), s.clear_below.or(s.above)) {
        (Some(low), Some(high)) => format!("{value} is within {low} to {}", quantity(high, unit)),
        (None, Some(high)) => format!("{value} is not above {}", quantity(high, unit)),
        (Some(low), None) => format!("{value} is not below {}", quantity(low, unit)),
        (None, None) => format!("{value} is inside"),
    }
}

fn quantity(value: f64, unit: Option<&str>) -> String {
    match unit {
        Some(unit) if !unit.is_empty() => format!("{value} {unit}"),
        _ => value.to_string(),
    }
}

/// Rounded to five significant digits: a computed number has more than tell anything.
fn significant(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// A duration in words: the largest units that leave nothing out, at most two of them.
fn words(nanos: i64) -> String {
    const UNITS: [(i64, &str); 4] =
        [(86_400 * SECOND, "d"), (3600 * SECOND, "h"), (60 * SECOND, "min"), (SECOND, "s")];
    let mut parts = Vec::new();
    let mut rest = nanos;
    for (size, name) in UNITS {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {name}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { format!("{} ms", nanos / 1_000_000) } else { parts.join(" ") }
}

#[cfg(test)]
mod tests;
