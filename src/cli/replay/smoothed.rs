//! `weir replay --smooth`: every series once more, backwards, when all of it is known.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::lines::write_line;
use crate::analytics::kalman::{Kalman, Verdict, smooth};
use crate::analytics::step::Plan;
use crate::engine::StepOutput;
use crate::output::time as as_text;
use crate::reading::{EventTime, Finite};

/// A reading, and whether the filter took it.
type Reading = (EventTime, Finite, bool);

/// Keeps 24 bytes of every reading.
#[derive(Default)]
pub struct Smoothing {
    series: BTreeMap<(Arc<str>, Arc<str>), Series>,
}

struct Series {
    /// Parted where the level shifted.
    segments: Vec<Vec<Reading>>,
    plan: Arc<Plan>,
    kalman: Kalman,
}

/// The level at a reading given all readings of the series.
#[derive(Debug, Serialize)]
struct Smoothed<'a> {
    kind: &'static str,
    device: &'a str,
    metric: &'a str,
    #[serde(serialize_with = "as_text")]
    time: EventTime,
    reading: f64,
    smoothed: Option<f64>,
    smoothed_variance: Option<f64>,
}

impl Smoothing {
    /// Remembers what a batch made.
    pub fn take(&mut self, output: &StepOutput) {
        for detail in &output.details {
            let Some((.., kalman, _)) = detail.details.readings.last() else { continue };
            if !detail.plan.kalman.is_on() {
                continue;
            }
            let name = (detail.name.device.clone(), detail.name.metric.clone());
            let series = self.series.entry(name).or_insert_with(|| Series {
                segments: vec![Vec::new()],
                plan: detail.plan.clone(),
                kalman: kalman.clone(),
            });
            series.kalman = kalman.clone();
            series.plan = detail.plan.clone();
            for (time, value, update, ..) in &detail.details.readings {
                series.push(*time, *value, update.verdict);
            }
        }
    }

    /// Writes a line for each reading, series by series.
    ///
    /// # Errors
    /// As the output says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for ((device, metric), series) in &self.series {
            for (i, segment) in series.segments.iter().enumerate() {
                let taken: Vec<_> = segment
                    .iter()
                    .map(|&(time, value, taken)| (time, taken.then_some(value)))
                    .collect();
                let levels = smooth(&series.plan.kalman, &series.kalman, &taken, i == 0);
                for (&(time, value, _), level) in segment.iter().zip(levels) {
                    let (smoothed, smoothed_variance) = level.unzip();
                    let reading = value.get();
                    let line = Smoothed {
                        kind: "smoothed",
                        device,
                        metric,
                        time,
                        reading,
                        smoothed,
                        smoothed_variance,
                    };
                    write_line(out, &line)?;
                }
            }
        }
        Ok(())
    }
}

impl Series {
    fn push(&mut self, time: EventTime, value: Finite, verdict: Verdict) {
        let Some(segment) = self.segments.last_mut() else { return };
        match verdict {
            Verdict::Accepted => segment.push((time, value, true)),
            Verdict::Gated => segment.push((time, value, false)),
            Verdict::Shift { since, .. } => {
                // The rejected readings before it are the first of the new level.
                let kept = segment
                    .iter()
                    .rposition(|&(time, _, taken)| taken || time < since)
                    .map_or(0, |last| last + 1);
                let mut next = segment.split_off(kept);
                next.iter_mut().for_each(|(.., taken)| *taken = true);
                next.push((time, value, true));
                self.segments.push(next);
            }
        }
    }
}
