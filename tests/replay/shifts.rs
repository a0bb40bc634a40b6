//! Level shifts in readings that are far closer than slots: those that come back each day, and one that stays.

use super::{Replayed, numbers, replay};

const DAY: i64 = 86_400;

/// Readings each `interval` seconds for `days` days; even noise of that standard deviation, the same in every run.
fn csv(interval: i64, days: i64, sd: f64, value: impl Fn(i64) -> f64) -> String {
    let mut csv = "time,device,metric,value\n".to_owned();
    for t in (0..days * DAY).step_by(interval as usize) {
        let noise = f64::from(crc32fast::hash(&t.to_le_bytes())) / f64::from(u32::MAX) - 0.5;
        csv += &format!("{t},d,m,{:.3}\n", value(t) + noise * sd * 12_f64.sqrt());
    }
    csv
}

/// Mean distance of a day's forecasts, made at midnight from day `first` on, from `value` without noise.
fn mean_error(replayed: &Replayed, first: i64, value: impl Fn(i64) -> f64) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for forecast in replayed.of_kind("forecast") {
        let origin: jiff::Timestamp = forecast["origin"].as_str().unwrap().parse().unwrap();
        let origin = origin.as_second();
        if origin % DAY != 0 || origin < first * DAY {
            continue;
        }
        for (hour, mean) in numbers(&forecast["mean"]).into_iter().enumerate() {
            sum += (mean - value(origin + hour as i64 * 3600 + 1800)).abs();
            n += 1.0;
        }
    }
    assert!(n >= 48.0);
    sum / n
}

/// A filter of the level sees two shifts a day; the forecast has them in its season.
#[test]
fn a_machine_that_is_on_by_day_is_forecast() {
    let on = |t: i64| if (9..18).contains(&(t % DAY / 3600)) { 80.0 } else { 20.0 };
    for (interval, sd) in [(60, 1.0), (300, 0.1), (300, 1.0), (300, 5.0), (3600, 1.0)] {
        let replayed = replay(&csv(interval, 14, sd, on), "", &[]);
        let error = mean_error(&replayed, 5, on);
        assert!(error < 0.5 + 0.2 * sd, "each {interval} s, noise {sd}: {error}");
    }
}

/// A shift and another back, both within a slot: what they mean for its mean, the slot says.
#[test]
fn a_pump_that_runs_for_twenty_minutes_is_forecast() {
    let power = |t: i64| if (360..380).contains(&(t % DAY / 60)) { 40.0 } else { 0.5 };
    let mean = |t: i64| if t % DAY / 3600 == 6 { 0.5 + 39.5 / 3.0 } else { 0.5 };
    for interval in [30, 60] {
        let replayed = replay(&csv(interval, 14, 0.02, power), "", &[]);
        let error = mean_error(&replayed, 5, mean);
        assert!(error < 0.5, "each {interval} s: {error}");
    }
}

/// The filter has taken them: so does the forecast, which would have holes in each slot of an hour else.
#[test]
fn readings_held_until_the_shift_is_confirmed_are_slots() {
    let judged = |by: f64| {
        let value = |t: i64| if t < 8 * DAY + 34_000 { 20.0 } else { 20.0 + by };
        let replayed = replay(&csv(3600, 10, 0.5, value), "", &[]);
        let mut row = replayed.summary.lines().filter_map(|line| line.strip_prefix("d/m"));
        let n = row.next().unwrap().split_whitespace().nth(1).unwrap().to_owned();
        (n, replayed.summary.contains("1 level shifts"))
    };
    let (all, unshifted) = judged(0.0);
    assert!(!unshifted);
    assert_eq!(judged(60.0), (all, true));
}

/// One that stays moves the forecast, and is no part of the season afterwards.
#[test]
fn a_level_that_stays_moves_the_forecast() {
    // In the second day, before any model runs, and in the ninth.
    for at in [DAY + 34_000, 8 * DAY + 34_000] {
        let value = |t: i64| {
            let day = libm::sin(std::f64::consts::TAU * t as f64 / DAY as f64);
            10.0 * day + if t < at { 50.0 } else { 90.0 }
        };
        let replayed = replay(&csv(300, 14, 1.0, value), "", &[]);
        let error = mean_error(&replayed, at / DAY + 3, value);
        assert!(error < 1.5, "shift at {at} s: {error}");
    }
}
