//! `weir replay --plot FILE.svg`: readings, estimate with its band, forecast and alarms as a picture.
//!
//! For each series one panel with all of the recording and one that looks closely at its end, where
//! the one-step forecasts of the slots and the forecast beyond the end can be seen.

mod draw;
mod track;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::analytics::alarm::AlarmState;
use crate::analytics::kalman::Verdict;
use crate::engine::{Engine, StepOutput};
use crate::output::Record;
use track::{Point, Track, seconds};

/// Series with panels; a report with more is none.
const SERIES_MAX: usize = 8;

/// What will be drawn, gathered while the replay runs.
#[derive(Debug)]
pub struct Plot {
    path: PathBuf,
    /// Slots of the forecast at the end; `None`: as the settings say.
    horizon: Option<usize>,
    /// By (device, metric), in order of name among the first that came.
    tracks: BTreeMap<(String, String), Track>,
    /// Series without panels.
    others: usize,
}

impl Plot {
    /// To be written to `path`.
    pub fn new(path: &Path, horizon: Option<usize>) -> Plot {
        Plot { path: path.to_owned(), horizon, tracks: BTreeMap::new(), others: 0 }
    }

    /// Where it goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes in what a batch made.
    pub fn take(&mut self, output: &StepOutput) {
        for detail in &output.details {
            let name = (detail.name.device.to_string(), detail.name.metric.to_string());
            let Some(track) = self.track(name) else { continue };
            if track.unit.is_none() {
                track.unit.clone_from(&detail.plan.settings.unit);
            }
            for (time, value, update, kalman, _) in &detail.details.readings {
                let estimate = kalman.estimate();
                track.reading(Point {
                    time: seconds(time.nanos()),
                    value: value.get(),
                    level: estimate.map(|e| (e.level, e.variance.unwrap_or(0.0).max(0.0).sqrt())),
                    outlier: matches!(update.verdict, Verdict::Gated),
                });
            }
            detail.details.slots.iter().for_each(|slot| track.slot(slot));
        }
        for record in &output.records {
            let Record::Alarm(alarm) = record else { continue };
            let name = (alarm.device.to_string(), alarm.metric.to_string());
            if let Some(track) = self.tracks.get_mut(&name) {
                let active = alarm.state == AlarmState::Active;
                track.alarm(&alarm.alarm, active, seconds(alarm.time.nanos()));
            }
        }
    }

    fn track(&mut self, name: (String, String)) -> Option<&mut Track> {
        if !self.tracks.contains_key(&name) && self.tracks.len() >= SERIES_MAX {
            return None;
        }
        Some(self.tracks.entry(name).or_default())
    }

    /// The picture, and what is to be said about it.
    ///
    /// # Errors
    /// Of the drawing library.
    pub fn finish(mut self, engine: &Engine) -> Result<(String, Option<String>), String> {
        for (_, name, unit) in engine.units() {
            let key = (name.device.to_string(), name.metric.to_string());
            let Some(track) = self.tracks.get_mut(&key) else {
                self.others += 1;
                continue;
            };
            let steps = match (self.horizon, unit.plan().forecast.as_ref()) {
                (Some(steps), _) => steps,
                (None, Some(plan)) => plan.horizon(),
                (None, None) => continue,
            };
            track.forecast = unit.state().forecast_after_end(unit.plan(), steps);
        }
        if self.tracks.is_empty() {
            return Err("no readings, so nothing to draw".to_owned());
        }
        let note = (self.others > 0).then(|| {
            format!("{} more series have no panel: at most {SERIES_MAX} are drawn", self.others)
        });
        draw::svg(&self.tracks).map(|svg| (svg, note))
    }
}
