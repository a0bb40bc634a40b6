//! `--judge`: what a profile is worth on readings that it was not fitted to.
//!
//! The first half of each series is fitted; then the production engine ([`Player`]) runs over the second half (its first
//! four weeks: the time for which a start matters) with the
//! profile, read back from its TOML, and with the settings without it. Twice: both starting cold with the second half (a
//! profile is installed and the daemon started), and both having seen the first half too. Told are
//!
//! - **filter**: mean difference of the log density predicted for a reading, over readings for which both had predicted
//!   and which both saw alike; above 0: the profile is better;
//! - **forecast**: the geometric mean of four ratios (mean absolute error and interval score, next slot and
//!   horizon), over the same slots; below 1: the profile is better;
//! - **overall**: the geometric mean of the forecast's ratio and e to the minus filter's difference (the ratio of the
//!   densities), or the one of them that there is; below 1: a win.

use std::fmt::Write as _;

use super::forecast::Score;
use super::recorded::Series;
use super::{profile, series};
use crate::analytics::holt_winters::{ForecastPlan, SlotsClosed};
use crate::analytics::kalman::log_density;
use crate::analytics::settings::HOUR;
use crate::analytics::step::{Origins, Outlook};
use crate::cli::Failure;
use crate::cli::replay::evaluation::{Evaluation, ranges};
use crate::cli::replay::player::Player;
use crate::config::Config;
use crate::engine::{ConfigError, StepOutput};
use crate::reading::{EventTime, Finite};

/// How often forecasts are judged to the horizon.
const ORIGIN_EVERY: i64 = 6 * HOUR;

/// What a run showed of the series.
#[derive(Default)]
struct Shown {
    /// What the filter saw, and the log density it had predicted.
    readings: Vec<(EventTime, Finite, Option<f64>)>,
    slots: Vec<SlotsClosed>,
    outlooks: Vec<Outlook>,
    plan: Option<ForecastPlan>,
}

impl Shown {
    fn take(&mut self, output: &StepOutput) {
        for detail in &output.details {
            let details = &detail.details;
            let reading = |(time, value, update, ..): &(EventTime, Finite, _, _, _)| {
                (*time, *value, log_density(update))
            };
            self.readings.extend(details.readings.iter().map(reading));
            self.slots.extend(&details.slots);
            self.outlooks.extend(details.outlooks.iter().cloned());
            self.plan = detail.plan.forecast.clone().or(self.plan.take());
        }
    }

    /// The evaluation of the slots from `from` on.
    fn evaluation(&self, from: EventTime) -> Option<Evaluation> {
        let plan = self.plan.as_ref()?;
        let after = from.nanos().saturating_sub(self.slots.first()?.start.nanos()).max(0);
        let mut evaluation = Evaluation::default();
        let mut outlooks = self.outlooks.as_slice();
        for slot in &self.slots {
            let due = outlooks.partition_point(|o| o.forecast.origin <= slot.start);
            // Those made at its beginning come first.
            evaluation.take(plan, after, std::slice::from_ref(slot), &outlooks[..due]);
            outlooks = &outlooks[due..];
        }
        Some(evaluation)
    }

    /// Start of the first slot for which something had been forecast, from `from` on.
    fn forecasts_from(&self, from: EventTime) -> Option<EventTime> {
        let expected = |slot: &&SlotsClosed| slot.expected.is_some() && slot.start >= from;
        Some(self.slots.iter().find(expected)?.start)
    }
}

fn play(
    config: &Config,
    series: &Series,
    readings: &[(EventTime, Finite)],
) -> Result<Shown, Failure> {
    let fault = |error: ConfigError| Failure::Config(error.to_string());
    let interval = i64::try_from(config.batch.interval.as_nanos()).unwrap_or(i64::MAX);
    let mut player =
        Player::new(config.core_config(), interval, config.batch.max_readings).map_err(fault)?;
    player.keep_outlooks(Origins { every: ORIGIN_EVERY, steps: |plan| ranges(plan)[0] });
    let mut shown = Shown::default();
    for &(time, value) in readings {
        let output = player.push((&series.device, &series.metric), time, value).map_err(fault)?;
        output.iter().for_each(|output| shown.take(output));
    }
    let finished = player.finish::<ConfigError>(|_, output| {
        shown.take(&output);
        Ok(())
    });
    finished.map_err(fault)?;
    Ok(shown)
}

/// Profile against defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    pub filter: Option<f64>,
    pub forecast: Option<f64>,
    pub coverage: Option<[f64; 2]>,
}

impl Verdict {
    /// Below 1: the profile wins.
    pub fn overall(&self) -> Option<f64> {
        let logs = [self.filter.map(|gain| -gain), self.forecast.map(libm::log)];
        let sum: f64 = logs.iter().flatten().sum();
        let count = logs.iter().flatten().count();
        (count > 0).then(|| libm::exp(sum / count as f64))
    }
}

fn compare(profile: &Shown, defaults: &Shown, from: EventTime) -> Verdict {
    let (mut sum, mut count) = (0.0, 0.0);
    let mut others = defaults.readings.iter().peekable();
    for (time, value, density) in &profile.readings {
        // Order is the same; one of them may have seen more.
        while others.next_if(|other| other.0 < *time).is_some() {}
        let Some((_, seen, other)) = others.next_if(|other| other.0 == *time) else { continue };
        if let (Some(a), Some(b)) = (density, other)
            && value == seen
            && *time >= from
        {
            sum += a - b;
            count += 1.0;
        }
    }
    let filter = (count > 0.0).then(|| sum / count);
    let mut verdict = Verdict { filter, ..Verdict::default() };
    let plans = profile.plan.as_ref().zip(defaults.plan.as_ref());
    let Some((mine, theirs)) = plans.filter(|(a, b)| a.step() == b.step()) else { return verdict };
    let begins = profile.forecasts_from(from).zip(defaults.forecasts_from(from));
    let Some(begin) = begins.map(|(a, b)| a.max(b)) else { return verdict };
    let steps = ranges(mine)[0].min(ranges(theirs)[0]);
    let score = |shown: &Shown| Score::new(&shown.evaluation(begin)?, steps);
    if let Some((mine, theirs)) = score(profile).zip(score(defaults)) {
        verdict.forecast = Some(mine.ratio(&theirs));
        verdict.coverage = Some(mine.coverage);
    }
    verdict
}

/// Verdicts by series: starting cold, and having seen the first half.
pub struct Judgement {
    name: String,
    verdicts: Option<[Verdict; 2]>,
    note: String,
}

/// Fits the first half, judges the second.
///
/// # Errors
/// The configuration cannot be used.
pub fn judge(config: &Config, all: &Series, horizon: Option<i64>) -> Result<Judgement, Failure> {
    let half = all.readings.len() / 2;
    let first = Series { readings: all.readings[..half].to_vec(), ..all.clone() };
    let name = format!("{}/{}", all.device, all.metric);
    let base = config.settings(&all.device, &all.metric);
    let found = series::fit(&first, &base, &config.gateway.time_zone, horizon)
        .filter(|found| !found.is_plain());
    let Some(found) = found else {
        let note = "the defaults stand".to_owned();
        return Ok(Judgement { name, verdicts: None, note });
    };
    let text = profile::document("the first half", std::slice::from_ref(&found));
    let read = Config::from_texts(&[("profile", &text)])?;
    let mut with = config.clone();
    // Where a file of conf.d would put it: behind the profiles, before the devices.
    let profiles =
        with.layers.iter().take_while(|layer| layer.origin.contains("[[profile]]")).count();
    with.layers.splice(profiles..profiles, read.layers);
    let Some(&(from, _)) = all.readings.get(half) else {
        return Ok(Judgement { name, verdicts: None, note: "too short".to_owned() });
    };
    let until = from.nanos().saturating_add(series::HELD_OUT_MAX);
    let end = all.readings.partition_point(|(time, _)| time.nanos() < until);
    let second = &all.readings[half..end];
    let cold = compare(&play(&with, all, second)?, &play(config, all, second)?, from);
    let whole = &all.readings[..end];
    let warm = compare(&play(&with, all, whole)?, &play(config, all, whole)?, from);
    let model = |name: Option<&String>| name.map_or("-", |name| name.as_str()).to_owned();
    let filter = found.filter.as_ref().map(|choice| &choice.compared[choice.best].name);
    let forecast = found.forecast.as_ref().map(|choice| &choice.compared[choice.best].name);
    let note = format!("{} | {}", model(filter), model(forecast));
    Ok(Judgement { name, verdicts: Some([cold, warm]), note })
}

/// The table, and the share of wins.
pub fn table(all: &[Judgement]) -> String {
    let width = all.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).clamp(8, 48);
    let mut text = format!(
        "Second half of each series (at most four weeks), with the profile fitted to the first, against the defaults.\n\
         filter: mean gain in log density a reading (> 0: better); forecast: geometric mean of the ratios of error and \
         interval score, next slot and horizon (< 1: better); overall < 1: a win; coverage of the profile's intervals.\n\
         {:width$} {:^31} {:^31}\n{:width$} {:>9} {:>9} {:>9}   {:>9} {:>9} {:>9}   {:>13}  filter | forecast\n",
        "",
        "both start cold",
        "both have seen the first half",
        "series",
        "filter",
        "forecast",
        "overall",
        "filter",
        "forecast",
        "overall",
        "coverage"
    );
    let tell = |x: Option<f64>, sign: bool| match x {
        Some(x) if sign => format!("{x:+.4}"),
        Some(x) => format!("{x:.4}"),
        None => "-".to_owned(),
    };
    let mut wins = [0; 2];
    for one in all {
        let _ = write!(text, "{:width$}", one.name);
        match &one.verdicts {
            None => {
                let _ = write!(text, " {:>75}", "");
            }
            Some(verdicts) => {
                for (verdict, wins) in verdicts.iter().zip(&mut wins) {
                    let overall = verdict.overall();
                    *wins += u32::from(overall.is_some_and(|ratio| ratio < 1.0));
                    let _ = write!(
                        text,
                        " {:>9} {:>9} {:>9}  ",
                        tell(verdict.filter, true),
                        tell(verdict.forecast, false),
                        tell(overall, false)
                    );
                }
                let coverage = verdicts[0].coverage;
                let coverage = coverage.map_or("-".to_owned(), |[a, b]| format!("{a:.3} {b:.3}"));
                let _ = write!(text, " {coverage:>13}");
            }
        }
        let _ = writeln!(text, "  {}", one.note);
    }
    let n = all.len();
    let share = |wins: u32| 100.0 * f64::from(wins) / n.max(1) as f64;
    let _ = writeln!(
        text,
        "{n} series: cold {} wins ({:.0} %), after the first half {} wins ({:.0} %)",
        wins[0],
        share(wins[0]),
        wins[1],
        share(wins[1])
    );
    text
}
