//! What the search for a model's parameters costs: each candidate alone, on 960 hours with a day and a week.

use std::time::{Duration, Instant};

use weir::analytics::holt_winters::{FitJob, ForecastPlan, Forecaster};
use weir::analytics::settings::{ForecastSettings, HOUR};
use weir::reading::{EventTime, Finite};

use crate::corpus::Chance;

const SLOTS: i64 = 960;
/// The least of so many runs is told: others on the machine only ever add.
const RUNS: u32 = 7;

/// The fit of a series that has seen 960 slots, all of them in its ring.
fn job() -> Option<FitJob> {
    let plan = ForecastPlan::new(&ForecastSettings::default());
    let (mut forecaster, mut chance, mut job) = (Forecaster::new(), Chance::new(1), None);
    for hour in 0..=SLOTS {
        let day = (hour % 24 - 12).abs() as f64;
        let week = if hour / 24 % 7 < 5 { 30.0 } else { 10.0 };
        let value = Finite::new(100.0 + week + 3.0 * day + 4.0 * chance.normal())?;
        forecaster.observe(&plan, EventTime::clamped(hour * HOUR), value);
        // Never answered, so it is asked for again each season.
        job = forecaster.take_fit_job(&plan, 0).or(job);
    }
    job
}

/// Prints milliseconds by candidate.
pub fn judge() {
    let Some(job) = job() else { return };
    println!(
        "Search for one candidate's parameters, {SLOTS} slots (goal: double-seasonal below 15 ms)\n"
    );
    for index in 0..job.candidates() {
        let mut least = Duration::MAX;
        let mut name = String::new();
        for _ in 0..RUNS {
            let begin = Instant::now();
            let tried = job.try_candidate(index);
            least = least.min(begin.elapsed());
            name = tried.map_or("none".to_owned(), |(name, _)| name);
        }
        println!("{name:36} {:>8.2} ms", 1e3 * least.as_secs_f64());
    }
    println!();
}
