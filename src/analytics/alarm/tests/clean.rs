//! False alarms on clean series.

use std::collections::BTreeMap;

use super::super::AlarmState;
use super::rig::*;

/// Alarms begun of one series.
pub fn alarms(series: Series, step: f64, days: f64, seed: u64) -> Vec<String> {
    let (mut rig, mut source) = (Rig::new(), Source::new(series, step, seed));
    while source.time < days * DAY {
        let (time, value) = source.next();
        rig.reading(time, value);
    }
    if std::env::var("WEIR_SHOW").is_ok() {
        for event in rig.events.iter().filter(|event| event.state == AlarmState::Active) {
            println!("  {seed} {} {}: {}", event.time, event.alarm, event.reason);
        }
    }
    rig.begun(0.0).into_iter().map(str::to_owned).collect()
}

/// Prints, with `--nocapture`, the alarms in 30 days of each kind of series; `WEIR_SEEDS` runs more of them.
#[test]
fn clean_series_raise_hardly_any_alarm() {
    let seeds = std::env::var("WEIR_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let only = std::env::var("WEIR_KIND").ok();
    for series in Series::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{series:?}")) {
            continue;
        }
        for (step, days) in [(MINUTE, 60.0), (5.0 * MINUTE, 60.0)] {
            let mut counts = BTreeMap::<String, u32>::new();
            for seed in 0..seeds {
                for alarm in alarms(series, step, days, seed + 1) {
                    *counts.entry(alarm).or_default() += 1;
                }
            }
            let total: u32 = counts.values().sum();
            let rate = f64::from(total) / (seeds as f64 * days / 30.0);
            println!(
                "{:20} {:3} min  {rate:6.3} in 30 days  {counts:?}",
                format!("{series:?}"),
                step / 60.0
            );
            assert!(rate <= 1.5, "{series:?} every {step} s: {rate} {counts:?}");
        }
    }
}

/// Read each 20 seconds, off at night: learned in a week of nights, and not forgotten over the day.
#[test]
fn a_device_that_is_off_at_night_is_no_gap_for_ever() {
    let mut rig = Rig::new();
    let mut random = Random::new(1);
    for day in 0..14 {
        for reading in 0..10 * 180 {
            let seconds = f64::from(day) * DAY + 20.0 * f64::from(reading);
            rig.reading(seconds, 20.0 + random.normal());
        }
    }
    let gaps = |from: f64| rig.begun(from).into_iter().filter(|alarm| *alarm == "gap").count();
    assert!((3..=6).contains(&gaps(0.0)), "{}", gaps(0.0));
    assert_eq!(gaps(7.0 * DAY), 0);
}
