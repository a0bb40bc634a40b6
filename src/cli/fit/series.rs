//! One series: what is found for it, and why.

use super::filter;
use super::forecast::{self, Slots};
use super::recorded::{Series, Signal, signal};
use crate::analytics::settings::{ForecastSettings, HOUR, Kind, Settings};
use crate::batch::window::Zone;
use crate::config::units::format_duration;
use crate::reading::{EventTime, Finite, SECOND};

/// Fewer readings are not fitted: three quarters of them are learned from.
pub const READINGS_NEEDED: usize = 80;

/// Longest time held out, nanoseconds.
pub const HELD_OUT_MAX: i64 = 28 * 24 * HOUR;

/// What was found for one series.
#[derive(Debug)]
pub struct Found {
    pub device: String,
    pub metric: String,
    pub signal: Signal,
    pub readings: usize,
    pub first: EventTime,
    pub last: EventTime,
    pub filter: Option<filter::Choice>,
    pub forecast: Option<forecast::Choice>,
    /// Step of the slots compared.
    pub step: i64,
    /// Lateness, where the file's order asks for more than the settings have.
    pub lateness: Option<i64>,
    /// What was not fitted, and why.
    pub notes: Vec<String>,
}

/// Compares and chooses, for a site in `zone`. `horizon`: how far ahead forecasts shall go, nanoseconds. `None`: no reading.
pub fn fit(series: &Series, base: &Settings, zone: &Zone, horizon: Option<i64>) -> Option<Found> {
    let (first, last) = (series.readings.first()?.0, series.readings.last()?.0);
    let signal = signal(base, &series.readings);
    let mut found = Found {
        device: series.device.clone(),
        metric: series.metric.clone(),
        readings: series.readings.len(),
        first,
        last,
        filter: None,
        forecast: None,
        step: 0,
        lateness: lateness(series.lag, base.lateness),
        notes: Vec::new(),
        signal,
    };
    if found.signal.kind == Kind::State {
        found.notes.push("a state has durations, no filter and no forecast".to_owned());
        return Some(found);
    }
    if found.signal.points.len() < READINGS_NEEDED {
        found.notes.push(format!(
            "too short: {} readings, at least {READINGS_NEEDED} are needed (three quarters to learn from, the rest \
             to compare by)",
            found.signal.points.len()
        ));
        return Some(found);
    }
    let points = &found.signal.points;
    let split = split(points);
    let from = points[split].0;
    found.filter = filter::choose(&base.kalman, points, split);
    if found.filter.is_none() {
        found.notes.push("filter: readings that hardly change, or no filter to choose".to_owned());
    }
    match &base.forecast {
        None => found.notes.push("forecast: off in the settings".to_owned()),
        Some(settings) => {
            let span = last.nanos() - first.nanos();
            let settings = stepped(settings, found.signal.interval, span, horizon);
            found.step = settings.step;
            let gated = found.filter.as_ref().map_or(&[][..], |choice| &choice.gated);
            let slots = Slots::new(points, gated, settings.step, zone);
            let choice = slots
                .as_ref()
                .and_then(|slots| forecast::choose(&settings, slots, slots.index(from)));
            if choice.is_none() {
                found.notes.push(format!(
                    "forecast: {} slots of {}, at least {} are needed; a day's season needs 4 days, a week's 4 weeks",
                    slots.map_or(0, |slots| slots.values.len()),
                    format_duration(settings.step),
                    forecast::needed(&settings)
                ));
            }
            found.forecast = choice;
        }
    }
    Some(found)
}

/// The last quarter is held out, but no more than four weeks of it: the time for which a start matters.
fn split(points: &[(EventTime, Finite)]) -> usize {
    let quarter = points.len() * 3 / 4;
    let last = points.last().map_or(0, |(time, _)| time.nanos());
    let weeks = points.partition_point(|(time, _)| time.nanos() < last - HELD_OUT_MAX);
    // A gap may leave nothing in four weeks.
    quarter.max(weeks).min(points.len() * 9 / 10)
}

/// The forecast's settings with step and horizon that suit readings so far apart.
fn stepped(
    settings: &ForecastSettings,
    interval: i64,
    span: i64,
    horizon: Option<i64>,
) -> ForecastSettings {
    let default = ForecastSettings::default();
    // A step that was written is what is wanted.
    let step =
        if settings.step == default.step { forecast::step(interval, span) } else { settings.step };
    let whole = |nanos: i64| (nanos.max(1) + step - 1) / step * step;
    let horizon = match horizon {
        Some(horizon) => whole(horizon),
        None if settings.horizon % step == 0 && settings.horizon >= step => settings.horizon,
        None => 24 * step,
    };
    let changed = step != settings.step;
    ForecastSettings {
        step,
        horizon,
        // Seasons of other steps may have no slots.
        season: if changed { default.season } else { settings.season.clone() },
        season_auto: changed || settings.season_auto,
        initial: None,
        ..settings.clone()
    }
}

/// A round time above what the file's order showed; `None`: the settings' is enough.
fn lateness(lag: i64, present: i64) -> Option<i64> {
    const ROUND: [i64; 9] = [
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        HOUR,
        6 * HOUR,
        24 * HOUR,
        7 * 24 * HOUR,
    ];
    // Further back is backlog, which opens panes of its own.
    (lag > present).then(|| ROUND.into_iter().find(|&round| round >= lag)).flatten()
}

impl Found {
    /// Nothing was found that the defaults do not have.
    pub fn is_plain(&self) -> bool {
        let filter = self.filter.as_ref().is_some_and(|choice| choice.chosen.is_some());
        let forecast = self.forecast.as_ref().is_some_and(|choice| choice.chosen.is_some());
        !(filter || forecast || self.kind_key().is_some() || self.lateness.is_some())
    }

    /// The `kind` to be written.
    pub fn kind_key(&self) -> Option<&'static str> {
        self.signal.found.then_some(match self.signal.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::State => "state",
        })
    }
}
