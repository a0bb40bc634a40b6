//! The lines that `weir replay` writes: records as NDJSON, `kind` first.

use std::io::{self, Write};

use serde::Serialize;

use crate::analytics::step::estimate;
use crate::analytics::vector::{self, FilteredRow, VectorUnitPlan};
use crate::engine::{Detail, StepOutput};
use crate::output::{Estimate, Kinded, Record, VectorEstimate};

/// An estimate as `--every-reading` writes it.
#[derive(Debug, Serialize)]
struct EveryReading<'a> {
    kind: &'static str,
    #[serde(flatten)]
    estimate: &'a Estimate,
    /// In [0, 1].
    score: f64,
    #[serde(flatten)]
    full: Option<Full>,
}

/// What `--full` adds. Time unit: second. `None` while it is not known.
#[derive(Debug, Serialize)]
struct Full {
    state: Option<Vec<f64>>,
    covariance: Option<Vec<Vec<f64>>>,
    loglik: Option<f64>,
}

/// The same of a row of several metrics; state and covariance are in the estimate.
#[derive(Debug, Serialize)]
struct EveryRow<'a> {
    kind: &'static str,
    #[serde(flatten)]
    estimate: &'a VectorEstimate,
    score: f64,
    #[serde(flatten)]
    full: Option<FullRow>,
}

#[derive(Debug, Serialize)]
struct FullRow {
    loglik: Option<f64>,
}

/// What is written of each reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EstimateLines {
    /// Nothing.
    None,
    /// An estimate with its score.
    Plain,
    /// … with state, covariance and log-likelihood.
    Full,
}

/// Writes what a batch made: estimates, then records.
///
/// # Errors
/// As the output says.
pub fn write_output(
    out: &mut impl Write,
    output: &StepOutput,
    estimates: EstimateLines,
) -> io::Result<()> {
    if estimates != EstimateLines::None {
        for detail in &output.details {
            write_estimates(out, detail, estimates == EstimateLines::Full)?;
        }
    }
    output.records.iter().try_for_each(|record| write_record(out, record))
}

fn write_rows(
    out: &mut impl Write,
    detail: &Detail,
    (plan, rows): (&VectorUnitPlan, &[FilteredRow]),
    full: bool,
) -> io::Result<()> {
    for FilteredRow { row, filter } in rows {
        let name = (&detail.name.device, &detail.name.metric);
        let estimate = &vector::estimate(name, plan, (row, filter), true);
        let update = row.update.as_ref();
        let full = full.then(|| FullRow { loglik: update.and_then(|update| update.loglik) });
        let score = vector::score(update);
        write_line(out, &EveryRow { kind: "estimate", estimate, score, full })?;
    }
    Ok(())
}

fn write_estimates(out: &mut impl Write, detail: &Detail, full: bool) -> io::Result<()> {
    if let Some(plan) = &detail.plan.vector {
        write_rows(out, detail, (plan, &detail.details.rows), full)?;
    }
    let (device, metric) = (&detail.name.device, &detail.name.metric);
    for (time, value, update, kalman, score) in &detail.details.readings {
        let reading = (*time, *value, Some(*update), kalman);
        // `None`: the series has no filter.
        let Some(estimate) = estimate(device, metric, &detail.plan, reading, true) else {
            continue;
        };
        let full = full.then(|| {
            let (state, covariance) = kalman.state_and_covariance().unzip();
            Full { state, covariance, loglik: update.loglik() }
        });
        let score = *score;
        write_line(out, &EveryReading { kind: "estimate", estimate: &estimate, score, full })?;
    }
    Ok(())
}

/// Writes one record.
///
/// # Errors
/// As the output says.
pub fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let kind = record.kind();
    match record {
        Record::Aggregate(record) | Record::View(record) => {
            write_line(out, &Kinded { kind, record: &**record })
        }
        Record::Forecast(record) => write_line(out, &Kinded { kind, record: &**record }),
        Record::Alarm(record) => write_line(out, &Kinded { kind, record: &**record }),
    }
}

pub(super) fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
