//! What the search for a model's parameters costs: each candidate alone, on 960 hours with a day and a week.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use weir::analytics::holt_winters::{FitJob, ForecastPlan, Forecaster};
use weir::analytics::settings::{ForecastSettings, HOUR};
use weir::batch::window::Zone;
use weir::reading::{EventTime, Finite};

use crate::corpus::Chance;

const SLOTS: i64 = 960;
/// The mean of so many runs is told: some systems count a thread's time in ticks of milliseconds.
const RUNS: u32 = 40;

/// Time that this thread has run, where the system tells (Linux); else time that has passed.
fn spent() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = BEGIN.get_or_init(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| begin.elapsed(), Duration::from_nanos)
}

/// The fit of a series that has seen 960 slots, all of them in its ring.
fn job() -> Option<FitJob> {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &Zone::utc());
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
        let mut name = String::new();
        let begin = spent();
        for _ in 0..RUNS {
            let tried = job.try_candidate(index);
            name = tried.map_or("none".to_owned(), |(name, _)| name);
        }
        let each = spent().saturating_sub(begin).as_secs_f64() / f64::from(RUNS);
        println!("{name:36} {:>8.2} ms of CPU time", 1e3 * each);
    }
    println!();
}
