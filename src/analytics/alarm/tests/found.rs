//! What must be found.

use super::rig::*;

/// Readings before the fault.
const LEARNED: usize = 4000;

fn learned(series: Series, step: f64, seed: u64, readings: usize) -> (Rig, Source) {
    let (mut rig, mut source) = (Rig::new(), Source::new(series, step, seed));
    for _ in 0..readings {
        let (time, value) = source.next();
        rig.reading(time, value);
    }
    (rig, source)
}

/// Share of `seeds` in which `run` found it.
fn share(what: &str, seeds: u64, run: impl Fn(u64) -> bool) -> f64 {
    let found = (1..=seeds).filter(|&seed| run(seed)).count();
    let share = found as f64 / seeds as f64;
    println!("{what:40} found {found} of {seeds}");
    share
}

#[test]
fn steps_are_found_within_ten_readings() {
    for series in [Series::White, Series::Daily, Series::DailyWeekly, Series::Irregular, Series::HeavyTails] {
        for (step, readings) in [(MINUTE, 600), (MINUTE, LEARNED), (5.0 * MINUTE, LEARNED)] {
            let found = share(&format!("step of 5, {series:?} {step} {readings}"), 200, |seed| {
                let (mut rig, mut source) = learned(series, step, seed, readings);
                let from = source.time;
                for _ in 0..10 {
                    let (time, value) = source.next();
                    rig.reading(time, value + if seed % 2 == 0 { 5.0 } else { -5.0 });
                }
                rig.begun(from).contains(&"level-shift")
            });
            assert!(found >= 0.99 || std::env::var("WEIR_SHOW").is_ok(), "{series:?} {step} {readings}: {found}");
        }
    }
}

#[test]
fn spikes_are_outliers_and_no_shifts() {
    for series in [Series::White, Series::Daily, Series::DailyWeekly, Series::Irregular] {
        for (step, readings) in [(MINUTE, 600), (MINUTE, LEARNED), (5.0 * MINUTE, LEARNED)] {
            let found = share(&format!("spike of 8, {series:?} {step} {readings}"), 200, |seed| {
                let (mut rig, mut source) = learned(series, step, seed, readings);
                let from = source.time;
                let (time, value) = source.next();
                rig.reading(time, value + if seed % 2 == 0 { 8.0 } else { -8.0 });
                for _ in 0..10 {
                    let (time, value) = source.next();
                    rig.reading(time, value);
                }
                rig.begun(from) == ["outlier"]
            });
            assert!(found >= 0.99 || std::env::var("WEIR_SHOW").is_ok(), "{series:?} {step} {readings}: {found}");
        }
    }
}

#[test]
fn stuck_sensors_are_found() {
    for series in [Series::White, Series::Autoregressive, Series::Daily, Series::Walk, Series::Weather] {
        let found = share(&format!("stuck, {series:?}"), 100, |seed| {
            let (mut rig, mut source) = learned(series, MINUTE, seed, LEARNED);
            let (from, (_, last)) = (source.time, source.next());
            for _ in 0..120 {
                let (time, _) = source.next();
                rig.reading(time, last);
            }
            rig.begun(from).contains(&"stuck")
        });
        assert!(found >= 0.99, "{series:?}: {found}");
    }
}

#[test]
fn gaps_are_found() {
    for series in [Series::White, Series::Irregular] {
        let found = share(&format!("gap, {series:?}"), 100, |seed| {
            let (mut rig, source) = learned(series, MINUTE, seed, LEARNED);
            let from = source.time;
            rig.silence(from + 3600.0);
            rig.begun(from) == ["gap"]
        });
        assert!(found >= 0.99, "{series:?}: {found}");
    }
}

#[test]
fn drifts_are_found_within_three_days() {
    for series in [Series::White, Series::Daily, Series::DailyWeekly, Series::Irregular, Series::HeavyTails] {
        for (step, days) in [(MINUTE, 14.0), (5.0 * MINUTE, 14.0), (5.0 * MINUTE, 28.0)] {
            let found = share(&format!("drift of 1 a day, {series:?} {step} {days}"), 20, |seed| {
                let readings = (days * DAY / step) as usize;
                let (mut rig, mut source) = learned(series, step, seed, readings);
                let from = source.time;
                while source.time < from + 3.0 * DAY {
                    let (time, value) = source.next();
                    rig.reading(time, value + (time - from) / DAY);
                }
                rig.begun(from).contains(&"drift")
            });
            assert!(found >= 0.99 || std::env::var("WEIR_SHOW").is_ok(), "{series:?} {step}: {found}");
        }
    }
}
