//! `weir replay --smooth`: every series once more, backwards, when all of it is known.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::lines::write_line;
use crate::analytics::kalman::{Kalman, VectorVerdict, Verdict, smooth};
use crate::analytics::step::Plan;
use crate::analytics::vector::LastRow;
use crate::engine::StepOutput;
use crate::output::time as as_text;
use crate::reading::{EventTime, Finite};

/// A reading, and whether the filter took it.
type Reading = (EventTime, Finite, bool);

/// Keeps 24 bytes of every reading.
#[derive(Default)]
pub struct Smoothing {
    series: BTreeMap<(Arc<str>, Arc<str>), Series>,
    vectors: BTreeMap<(Arc<str>, Arc<str>), Vector>,
}

/// Of a row, and whether the filter took it.
type Row = (EventTime, Vec<Option<Finite>>, bool);

/// A filter over several metrics.
struct Vector {
    /// Parted where the state shifted.
    segments: Vec<Vec<Row>>,
    plan: Arc<Plan>,
}

/// The state at a row given all rows. Lists are in the order of `metrics`.
#[derive(Debug, Serialize)]
struct SmoothedRow<'a> {
    kind: &'static str,
    device: &'a str,
    metric: &'a str,
    #[serde(serialize_with = "as_text")]
    time: EventTime,
    metrics: &'a [String],
    reading: Vec<Option<f64>>,
    smoothed: Vec<Option<f64>>,
    smoothed_variance: Vec<Option<f64>>,
    state: Option<Vec<f64>>,
    covariance: Option<Vec<Vec<f64>>>,
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
            if !detail.details.rows.is_empty() {
                let name = (detail.name.device.clone(), detail.name.metric.clone());
                let plan = detail.plan.clone();
                let new = || Vector { segments: vec![Vec::new()], plan: plan.clone() };
                let vector = self.vectors.entry(name).or_insert_with(new);
                vector.plan = plan.clone();
                detail.details.rows.iter().for_each(|row| vector.push(&row.row));
            }
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
        self.vectors.iter().try_for_each(|(name, vector)| vector.write(out, name))
    }
}

/// Parts the segment of readings before a shift: those since `since` that were rejected are the first
/// of what follows it.
fn part<T>(segment: &mut Vec<T>, of: impl Fn(&T) -> (EventTime, bool), since: EventTime) -> Vec<T> {
    let is_before = |item: &T| {
        let (time, taken) = of(item);
        taken || time < since
    };
    let kept = segment.iter().rposition(is_before).map_or(0, |last| last + 1);
    segment.split_off(kept)
}

impl Vector {
    fn push(&mut self, row: &LastRow) {
        let Some(segment) = self.segments.last_mut() else { return };
        let verdict = row.update.as_ref().map(|update| &update.verdict);
        let taken = !matches!(verdict, Some(VectorVerdict::Gated));
        if let Some(&VectorVerdict::Shift { since, .. }) = verdict {
            let mut next = part(segment, |&(time, _, taken)| (time, taken), since);
            next.iter_mut().for_each(|(.., taken)| *taken = true);
            self.segments.push(next);
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.push((row.time, row.values.clone(), taken));
        }
    }

    fn write(
        &self,
        out: &mut impl Write,
        (device, metric): &(Arc<str>, Arc<str>),
    ) -> io::Result<()> {
        let Some(plan) = &self.plan.vector else { return Ok(()) };
        for (i, segment) in self.segments.iter().enumerate() {
            let none = || vec![None; plan.filter.width()];
            let row =
                |(time, values, taken): &Row| (*time, if *taken { values.clone() } else { none() });
            let rows: Vec<_> = segment.iter().map(row).collect();
            for ((time, values, _), state) in segment.iter().zip(plan.filter.smooth(&rows, i == 0))
            {
                let levels = state.levels.into_iter().map(Option::unzip);
                let (smoothed, smoothed_variance) = levels.unzip();
                let (state, covariance) = state.state.unzip();
                let line = SmoothedRow {
                    kind: "smoothed",
                    device,
                    metric,
                    time: *time,
                    metrics: plan.filter.metrics(),
                    reading: values.iter().map(|value| value.map(Finite::get)).collect(),
                    smoothed,
                    smoothed_variance,
                    state,
                    covariance,
                };
                write_line(out, &line)?;
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
                let mut next = part(segment, |&(time, _, taken)| (time, taken), since);
                next.iter_mut().for_each(|(.., taken)| *taken = true);
                next.push((time, value, true));
                self.segments.push(next);
            }
        }
    }
}
