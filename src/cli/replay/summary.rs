//! What a replay showed: counts, and how good the forecasts were; as text for standard error and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::evaluation::{Evaluation, Measures};
use crate::analytics::alarm::AlarmState;
use crate::engine::{Engine, StepOutput};
use crate::output::Record;

/// Most groups and the like that are named as not made.
const UNMADE_MAX: usize = 5;
/// Series with lines of their own.
const LINES_MAX: usize = 20;
/// Series judged, about 10 KB each; a file may name any number, of which the engine keeps `max_series` at a time.
const SERIES_MAX: usize = 10_000;

/// Gathered while the replay runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// By (device, metric).
    series: BTreeMap<(String, String), Evaluation>,
    /// Nanoseconds at the beginning of each series that are not judged.
    judge_after: i64,
    /// Slots of series beyond [`SERIES_MAX`].
    unjudged: u64,
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
    /// Nothing seen. `judge_after`: nanoseconds at the beginning of each series that are not judged.
    pub fn new(judge_after: i64) -> Summary {
        Summary { judge_after, ..Summary::default() }
    }

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
        for detail in &output.details {
            let (slots, outlooks) = (&detail.details.slots, &detail.details.outlooks);
            let Some(plan) = detail.plan.forecast.as_ref().filter(|_| !slots.is_empty()) else {
                continue;
            };
            let key = (detail.name.device.to_string(), detail.name.metric.to_string());
            if self.series.len() < SERIES_MAX || self.series.contains_key(&key) {
                self.series.entry(key).or_default().take(plan, self.judge_after, slots, outlooks);
            } else {
                self.unjudged += slots.len() as u64;
            }
        }
    }

    /// The finished text's data. `lines`: lines of the file; `elapsed`: how long it took.
    pub fn finish<'a>(&'a self, engine: &'a Engine, lines: u64, elapsed: Duration) -> Report<'a> {
        Report { summary: self, engine, lines, elapsed }
    }

    /// Series of which at least one forecast met its slot.
    fn judged(&self) -> impl Iterator<Item = (&(String, String), &Evaluation)> {
        self.series.iter().filter(|(_, evaluation)| evaluation.one_step.n > 0)
    }
}

/// What is told together: the next slot, a season, two.
fn spans(evaluation: &Evaluation) -> [(usize, Measures); 3] {
    let [near, far] = evaluation.ranges;
    [(1, evaluation.one_step), (near, evaluation.through(near)), (far, evaluation.through(far))]
}

/// Means over series of measures without a unit: each series counts the same.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    sums: [(f64, u64); 8],
}

impl Total {
    const NAMES: [&str; 8] = [
        "smape",
        "mase",
        "mase_naive",
        "skill",
        "coverage",
        "coverage_class1",
        "msis",
        "msis_class1",
    ];

    fn add(&mut self, m: &Measures) {
        let values = [
            m.smape(),
            m.mase(),
            m.mase_naive(),
            m.skill(),
            m.coverage(),
            m.coverage_class1(),
            m.msis(),
            m.msis_class1(),
        ];
        for ((sum, n), value) in self.sums.iter_mut().zip(values) {
            *sum += value.unwrap_or(0.0);
            *n += u64::from(value.is_some());
        }
    }

    fn means(&self) -> [Option<f64>; 8] {
        self.sums.map(|(sum, n)| (n > 0).then(|| sum / n as f64))
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
        let unmade = engine.unmade();
        for unmade in unmade.iter().take(UNMADE_MAX) {
            writeln!(f, "not made    {unmade}")?;
        }
        if let Some(more) = unmade.len().checked_sub(UNMADE_MAX).filter(|&more| more > 0) {
            writeln!(f, "not made    {more} more")?;
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
        let judged: Vec<_> = self.summary.judged().collect();
        if judged.is_empty() {
            return writeln!(f, "forecasts   no slot could be scored");
        }
        writeln!(
            f,
            "\nForecasts (naive: MASE of the slot one season before; score: mean interval score; /class1: \
             to that before calibration)"
        )?;
        let shown = &judged[..judged.len().min(LINES_MAX)];
        let names: Vec<String> =
            shown.iter().map(|((device, metric), _)| format!("{device}/{metric}")).collect();
        let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).clamp(16, 48);
        writeln!(
            f,
            "{:width$} {:>6} {:>7} {:>10} {:>10} {:>6} {:>6} {:>6} {:>6} {:>8} {:>10} {:>7}  model",
            "series",
            "steps",
            "n",
            "MAE",
            "RMSE",
            "sMAPE",
            "MASE",
            "naive",
            "skill",
            "coverage",
            "score",
            "/class1"
        )?;
        for (name, (key, evaluation)) in names.iter().zip(shown) {
            for (index, (steps, m)) in spans(evaluation).into_iter().enumerate() {
                let (name, model) =
                    if index == 0 { (&**name, self.last_model(key)) } else { ("", "") };
                if m.n == 0 {
                    continue;
                }
                write!(f, "{name:width$} {:>6} {:>7}", span(steps), m.n)?;
                for value in [m.mae(), m.rmse()] {
                    write!(f, " {:>10}", value.map_or("-".to_owned(), number))?;
                }
                write_scaled(f, [m.smape(), m.mase(), m.mase_naive(), m.skill(), m.coverage()])?;
                let score = m.score().map_or("-".to_owned(), number);
                writeln!(f, " {score:>10} {:>7}  {model}", ratio(m.score(), m.score_class1()))?;
            }
        }
        let nothing = "";
        let labels = ["one step", "one season", "two seasons"];
        for (label, total) in labels.iter().zip(self.totals()) {
            let [smape, mase, naive, skill, coverage, _, msis, class1] = total.means();
            let name = format!("{} series", judged.len());
            write!(f, "{name:width$} {label:>14} {nothing:>10} {nothing:>10}")?;
            write_scaled(f, [smape, mase, naive, skill, coverage])?;
            let msis_text = msis.map_or("-".to_owned(), number);
            writeln!(f, " {msis_text:>10} {:>7}  (scaled score)", ratio(msis, class1))?;
        }
        if self.summary.unjudged > 0 {
            writeln!(
                f,
                "not judged: {} slots of series beyond the first {SERIES_MAX}",
                self.summary.unjudged
            )?;
        }
        Ok(())
    }

    fn totals(&self) -> [Total; 3] {
        let mut totals = [Total::default(); 3];
        for (_, evaluation) in self.summary.judged() {
            for (total, (_, measures)) in totals.iter_mut().zip(spans(evaluation)) {
                total.add(&measures);
            }
        }
        totals
    }

    /// The model at work at the end.
    fn last_model(&self, (device, metric): &(String, String)) -> &'static str {
        let unit = self.engine.registry().get(device, metric).and_then(|s| self.engine.unit(s));
        unit.and_then(|(_, unit)| unit.state().forecast(unit.plan(), Some(1)))
            .map_or("-", |forecast| forecast.model)
    }

    /// The same for programs: every measure of every series, by spans of steps and step by step.
    pub fn json(&self) -> Value {
        let totals = self.engine.totals();
        let drops: Map<String, Value> = self
            .engine
            .drops()
            .iter()
            .map(|(reason, n)| (reason.name().to_owned(), json!(n)))
            .collect();
        let series: Vec<Value> = self
            .summary
            .judged()
            .map(|(key, evaluation)| {
                let [one, near, far] = spans(evaluation).map(|(steps, m)| of(steps, &m));
                let by_step = evaluation.by_step.iter().enumerate().map(|(i, m)| of(i + 1, m));
                json!({
                    "device": key.0,
                    "metric": key.1,
                    "model": self.last_model(key),
                    "step_s": evaluation.step as f64 / 1e9,
                    "season_slots": evaluation.season_length,
                    "nominal": evaluation.nominal,
                    "origins": evaluation.origins,
                    "one_step": one,
                    "near": near,
                    "far": far,
                    "by_step": by_step.collect::<Vec<_>>(),
                })
            })
            .collect();
        let total = |total: &Total| -> Value {
            Total::NAMES
                .into_iter()
                .zip(total.means())
                .map(|(k, v)| (k.to_owned(), json!(v)))
                .collect::<Map<_, _>>()
                .into()
        };
        let [one, near, far] = &self.totals();
        json!({
            "readings": totals.readings,
            "lines": self.lines,
            "dropped": drops,
            "outliers": totals.outliers,
            "shifts": totals.shifts,
            "unordered": totals.unordered,
            "aggregates": self.summary.aggregates,
            "views": self.summary.views,
            "forecasts": self.summary.forecasts,
            "alarms_raised": self.summary.raised,
            "alarms_cleared": self.summary.cleared,
            "slots_not_judged": self.summary.unjudged,
            "total": { "series": series.len(), "one_step": total(one), "near": total(near), "far": total(far) },
            "series": series,
        })
    }
}

/// All measures; null: nothing to take the mean of.
fn of(steps: usize, m: &Measures) -> Value {
    json!({
        "steps": steps,
        "n": m.n,
        "mae": m.mae(),
        "rmse": m.rmse(),
        "smape": m.smape(),
        "mase": m.mase(),
        "mase_naive": m.mase_naive(),
        "skill": m.skill(),
        "coverage": m.coverage(),
        "coverage_class1": m.coverage_class1(),
        "width": m.width(),
        "score": m.score(),
        "score_class1": m.score_class1(),
        "msis": m.msis(),
        "msis_class1": m.msis_class1(),
    })
}

fn span(steps: usize) -> String {
    if steps == 1 { "1".to_owned() } else { format!("1-{steps}") }
}

fn ratio(a: Option<f64>, b: Option<f64>) -> String {
    let ratio = a.zip(b).filter(|&(_, b)| b > 0.0).map(|(a, b)| a / b);
    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"))
}

/// sMAPE, MASE, naive, skill, coverage.
fn write_scaled(f: &mut fmt::Formatter<'_>, values: [Option<f64>; 5]) -> fmt::Result {
    for ((value, digits), width) in values.into_iter().zip([2, 3, 3, 3, 3]).zip([6, 6, 6, 6, 8]) {
        let text = value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        write!(f, " {text:>width$}")?;
    }
    Ok(())
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
