//! What a replay showed, for standard error: counts, and how good the forecasts were.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::analytics::alarm::AlarmState;
use crate::analytics::holt_winters::SlotsClosed;
use crate::engine::{Engine, StepOutput};
use crate::output::Record;

/// Series with a line of their own.
const LINES_MAX: usize = 20;
/// Series scored; a file may name any number, of which the engine keeps `max_series` at a time.
const SERIES_MAX: usize = 100_000;

/// Errors of one-step forecasts of slot means.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Score {
    slots: u64,
    absolute: f64,
    squared: f64,
    inside: u64,
}

impl Score {
    fn add(&mut self, slots: &SlotsClosed) {
        let Some(expected) = slots.expected else { return };
        let error = slots.mean - expected.mean;
        self.slots += 1;
        self.absolute += error.abs();
        self.squared += error * error;
        self.inside += u64::from((expected.lower..=expected.upper).contains(&slots.mean));
    }

    fn share_inside(&self) -> f64 {
        self.inside as f64 / self.slots as f64
    }
}

/// Gathered while the replay runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// By (device, metric).
    scores: BTreeMap<(String, String), Score>,
    /// Slots of series beyond [`SERIES_MAX`].
    others: Score,
    aggregates: u64,
    views: u64,
    forecasts: u64,
    /// Alarms that began, and that ended.
    raised: u64,
    cleared: u64,
    /// Readings in aggregates.
    aggregated: u64,
}

impl Summary {
    /// Takes in what a batch made.
    pub fn take(&mut self, output: &StepOutput) {
        for record in &output.records {
            match record {
                Record::Aggregate(aggregate) => {
                    self.aggregates += 1;
                    self.aggregated += aggregate.count;
                }
                Record::View(_) => self.views += 1,
                Record::Forecast(_) => self.forecasts += 1,
                Record::Alarm(alarm) => match alarm.state {
                    AlarmState::Active => self.raised += 1,
                    AlarmState::Cleared => self.cleared += 1,
                },
            }
        }
        for detail in output.details.iter().filter(|detail| !detail.details.slots.is_empty()) {
            let key = (detail.name.device.to_string(), detail.name.metric.to_string());
            let known = self.scores.len() < SERIES_MAX || self.scores.contains_key(&key);
            let score = if known { self.scores.entry(key).or_default() } else { &mut self.others };
            detail.details.slots.iter().for_each(|slots| score.add(slots));
        }
    }

    /// The finished text's data. `lines`: lines of the file; `elapsed`: how long it took.
    pub fn finish<'a>(&'a self, engine: &'a Engine, lines: u64, elapsed: Duration) -> Report<'a> {
        Report { summary: self, engine, lines, elapsed }
    }
}

/// [`Summary`] with the engine's final counts; its `Display` is the text.
#[derive(Debug)]
pub struct Report<'a> {
    summary: &'a Summary,
    engine: &'a Engine,
    lines: u64,
    elapsed: Duration,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (summary, engine) = (self.summary, self.engine);
        let (totals, drops) = (engine.totals(), engine.drops());
        let seconds = self.elapsed.as_secs_f64();
        writeln!(
            f,
            "readings    {} in {} series, {} lines, {} batches; {:.2} s, {:.0} readings/s",
            totals.readings,
            engine.registry().len(),
            self.lines,
            engine.meta().batch,
            seconds,
            totals.readings as f64 / seconds.max(1e-9)
        )?;
        if drops.is_empty() {
            writeln!(f, "dropped     none")?;
        } else {
            let drops: Vec<String> =
                drops.iter().map(|(reason, n)| format!("{n} {}", reason.name())).collect();
            writeln!(f, "dropped     {}", drops.join(", "))?;
        }
        writeln!(
            f,
            "filter      {} outliers, {} level shifts, {} readings behind it",
            totals.outliers, totals.shifts, totals.unordered
        )?;
        writeln!(
            f,
            "written     {} aggregates, {} views, {} forecasts",
            summary.aggregates, summary.views, summary.forecasts
        )?;
        writeln!(
            f,
            "alarms      {} raised, {} cleared, {} still active",
            summary.raised,
            summary.cleared,
            engine.alarms_active()
        )?;
        self.write_scores(f)
    }
}

impl Report<'_> {
    fn write_scores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scored: Vec<_> = self.summary.scores.iter().filter(|(_, s)| s.slots > 0).collect();
        if scored.is_empty() {
            return writeln!(f, "forecasts   no slot could be scored");
        }
        writeln!(f, "\nForecasts of the next slot, before it (skill: of the last model):")?;
        let shown = &scored[..scored.len().min(LINES_MAX)];
        let names: Vec<String> =
            shown.iter().map(|((device, metric), _)| format!("{device}/{metric}")).collect();
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).clamp(6, 48);
        writeln!(
            f,
            "{:width$} {:>7} {:>11} {:>11} {:>8} {:>7}  model",
            "series", "slots", "MAE", "RMSE", "coverage", "skill"
        )?;
        for (name, (key, score)) in names.iter().zip(shown) {
            let n = score.slots as f64;
            let (model, skill) = self.last_model(key);
            writeln!(
                f,
                "{name:width$} {:>7} {:>11} {:>11} {:>8.3} {:>7}  {model}",
                score.slots,
                number(score.absolute / n),
                number((score.squared / n).sqrt()),
                score.share_inside(),
                skill.map_or("-".to_owned(), |skill| format!("{skill:.3}")),
            )?;
        }
        if scored.len() > shown.len() || self.summary.others.slots > 0 {
            let mut total = self.summary.others;
            for (_, score) in &scored {
                total.slots += score.slots;
                total.inside += score.inside;
            }
            let name = format!("all {} series", scored.len());
            let nothing = "";
            writeln!(
                f,
                "{name:width$} {:>7} {nothing:>11} {nothing:>11} {:>8.3}",
                total.slots,
                total.share_inside()
            )?;
        }
        Ok(())
    }

    /// The model at work at the end, and its skill.
    fn last_model(&self, (device, metric): &(String, String)) -> (&'static str, Option<f64>) {
        let unit = self.engine.registry().get(device, metric).and_then(|s| self.engine.unit(s));
        unit.and_then(|(_, unit)| unit.state().forecast(unit.plan(), Some(1)))
            .map_or(("-", None), |forecast| (forecast.model, forecast.skill))
    }
}

/// Four significant digits, whatever the unit.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let limits = [1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3];
    let digits = limits.iter().filter(|&&limit| size < limit || size == 0.0).count();
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        let cases = [
            (0.0, "0.000000"),
            (0.001, "0.001000"),
            (0.01234, "0.01234"),
            (1.23456, "1.235"),
            (12.3456, "12.35"),
            (1234.56, "1235"),
            (1e9, "1.000e9"),
            (1e-9, "1.000e-9"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
