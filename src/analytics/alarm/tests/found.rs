//! What must be found.

use super::rig::*;

/// Readings before the fault.
pub const LEARNED: usize = 4000;

/// Which fault; sizes in standard deviations of the noise.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Up or down by five, for good.
    Step,
    /// Eight up or down, one reading.
    Spike,
    /// 120 readings without a change.
    Stuck,
    /// Sixty usual intervals of silence.
    Gap,
    /// One a day.
    Drift,
}

pub fn learned(series: Series, step: f64, seed: u64, readings: usize) -> (Rig, Source) {
    let (mut rig, mut source) = (Rig::new(), Source::new(series, step, seed));
    for _ in 0..readings {
        let (time, value) = source.next();
        rig.reading(time, value);
    }
    (rig, source)
}

/// Whether the fault is found after so many readings.
fn finds(fault: Fault, series: Series, step: f64, seed: u64, readings: usize) -> bool {
    finds_after(fault, learned(series, step, seed, readings), seed)
}

/// Whether the fault is found: the step within ten further readings, the spike at once and as nothing
/// else, stuck and gap within their length, the drift within three days.
pub fn finds_after(fault: Fault, (mut rig, mut source): (Rig, Source), seed: u64) -> bool {
    let from = source.time;
    let size = source.series.noise() * if seed.is_multiple_of(2) { 1.0 } else { -1.0 };
    match fault {
        Fault::Step => {
            for _ in 0..10 {
                let (time, value) = source.next();
                rig.reading(time, value + 5.0 * size);
            }
            rig.begun(from).contains(&"level-shift")
        }
        Fault::Spike => {
            for k in 0..11 {
                let (time, value) = source.next();
                rig.reading(time, value + if k == 0 { 8.0 * size } else { 0.0 });
            }
            rig.begun(from) == ["outlier"]
        }
        Fault::Stuck => {
            let (_, last) = source.next();
            for _ in 0..120 {
                let (time, _) = source.next();
                rig.reading(time, last);
            }
            rig.begun(from).contains(&"stuck")
        }
        Fault::Gap => {
            rig.silence(from + 60.0 * source.step);
            rig.begun(from) == ["gap"]
        }
        Fault::Drift => {
            while source.time < from + 3.0 * DAY {
                let (time, value) = source.next();
                rig.reading(time, value + size.abs() * (time - from) / DAY);
            }
            rig.begun(from).contains(&"drift")
        }
    }
}

/// Share of `seeds` in which `run` found it.
fn share(what: &str, seeds: u64, run: impl Fn(u64) -> bool) -> f64 {
    let found = (1..=seeds).filter(|&seed| run(seed)).count();
    let share = found as f64 / seeds as f64;
    println!("{what:40} found {found} of {seeds}");
    share
}

/// Where and how long before: a slow filter (white noise) and one that follows a cycle.
const CASES: [(Series, f64, usize); 9] = [
    (Series::White, MINUTE, 600),
    (Series::White, MINUTE, LEARNED),
    (Series::White, 5.0 * MINUTE, LEARNED),
    (Series::Daily, MINUTE, LEARNED),
    (Series::DailyWeekly, MINUTE, LEARNED),
    (Series::Irregular, MINUTE, LEARNED),
    (Series::Irregular, 5.0 * MINUTE, LEARNED),
    (Series::Daily, 5.0 * MINUTE, LEARNED),
    (Series::HeavyTails, MINUTE, LEARNED),
];

#[test]
fn steps_are_found_within_ten_readings() {
    for (series, step, readings) in CASES {
        let found = share(&format!("step of 5, {series:?} {step} s {readings}"), 50, |seed| {
            finds(Fault::Step, series, step, seed, readings)
        });
        assert!(found >= 0.97, "{series:?} {step} {readings}: {found}");
    }
}

#[test]
fn spikes_are_outliers_and_no_shifts() {
    // A spike of eight deviations is nothing rare in heavy tails; before 600 readings are
    // over, too little is known of the tail.
    for (series, step, readings) in CASES.into_iter().take(8) {
        let found = share(&format!("spike of 8, {series:?} {step} s {readings}"), 50, |seed| {
            finds(Fault::Spike, series, step, seed, readings)
        });
        let least = if readings < LEARNED { 0.93 } else { 0.97 };
        assert!(found >= least, "{series:?} {step} {readings}: {found}");
    }
}

/// Its standard deviation is 0.3 of the daily mean when the fault comes, and 1.7 twelve hours before.
#[test]
fn noise_that_comes_and_goes_hides_nothing_while_it_is_away() {
    for fault in [Fault::Step, Fault::Spike] {
        let found = share(&format!("{fault:?}, Heteroscedastic"), 50, |seed| {
            finds(fault, Series::Heteroscedastic, MINUTE, seed, LEARNED)
        });
        assert!(found >= 0.97, "{fault:?}: {found}");
    }
}

#[test]
fn stuck_sensors_are_found() {
    for series in
        [Series::White, Series::Autoregressive, Series::Daily, Series::Walk, Series::Weather]
    {
        let found = share(&format!("stuck, {series:?}"), 50, |seed| {
            finds(Fault::Stuck, series, MINUTE, seed, LEARNED)
        });
        assert!(found >= 0.99, "{series:?}: {found}");
    }
}

#[test]
fn gaps_are_found() {
    for series in [Series::White, Series::Irregular] {
        let found = share(&format!("gap, {series:?}"), 50, |seed| {
            finds(Fault::Gap, series, MINUTE, seed, LEARNED)
        });
        assert!(found >= 0.99, "{series:?}: {found}");
    }
}

#[test]
fn drifts_are_found_within_three_days() {
    for series in [Series::White, Series::Daily, Series::Irregular] {
        for (step, days) in [(MINUTE, 21.0), (5.0 * MINUTE, 28.0)] {
            let found = share(&format!("drift of 1 a day, {series:?} {step} {days}"), 10, |seed| {
                finds(Fault::Drift, series, step, seed, (days * DAY / step) as usize)
            });
            assert!(found >= 0.99, "{series:?} {step}: {found}");
        }
    }
}

#[test]
fn a_resumed_state_goes_on_bit_identically() {
    for series in [Series::Walk, Series::Counts, Series::Weather, Series::Heteroscedastic] {
        let (mut rig, mut source) = learned(series, 5.0 * MINUTE, 7, 3000);
        let mut resumed = Rig::new();
        let mut source2 = Source::new(series, 5.0 * MINUTE, 7);
        for i in 0..6000 {
            if i < 3000 {
                let (time, value) = source2.next();
                resumed.reading(time, value);
                continue;
            }
            if i % 97 == 0 {
                let bytes = serde_cbor::to_vec(&resumed.detectors).unwrap();
                resumed.detectors = crate::cbor::from_slice(&bytes).unwrap();
            }
            let spike = if i % 701 == 0 { 30.0 } else { 0.0 };
            let (time, value) = source.next();
            rig.reading(time, value + spike);
            let (time, value) = source2.next();
            resumed.reading(time, value + spike);
        }
        assert!(!rig.events.is_empty(), "{series:?}: nothing compared");
        assert_eq!(rig.events, resumed.events, "{series:?}");
        let bytes = |rig: &Rig| serde_cbor::to_vec(&rig.detectors).unwrap();
        assert_eq!(bytes(&rig), bytes(&resumed), "{series:?}");
    }
}
