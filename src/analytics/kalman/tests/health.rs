//! Whether the noise fits, and Huber's weight.

use super::super::health::{SetBy, Watch};
use super::*;
use crate::analytics::settings::KalmanOutliers;

/// The health of a filter with noise (`r`, `q`) on readings simulated with 1 and 0.04.
fn health(seed: u64, r: f64, q: f64, count: u32) -> Health {
    let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, ..level_settings(r, q) });
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(seed);
    let mut level = 20.0;
    for i in 0..count {
        level += 0.2 * normal.next();
        kalman.update(&plan, at(f64::from(i)), finite(level + normal.next()));
    }
    kalman.health(&plan)
}

#[test]
fn verdicts() {
    for (r, q, verdict, advice) in [
        (1.0, 0.04, Fitness::Fits, "the noise fits"),
        (0.4, 0.016, Fitness::TooSmall, "raise observation_sd or level_sd"),
        (3.0, 0.12, Fitness::TooLarge, "lower observation_sd or level_sd"),
        (1.8, 0.0015, Fitness::Coloured, "raise level_sd against observation_sd"),
        (0.2, 1.6, Fitness::Coloured, "lower level_sd against observation_sd"),
    ] {
        let health = health(1, r, q, 1000);
        assert_eq!(health.verdict, verdict, "r = {r}, q = {q}: {health:?}");
        assert!(health.advice().contains(advice), "{}", health.advice());
        assert_eq!(health.is_misfit(), verdict != Fitness::Fits);
    }
    assert_eq!(health(1, 0.1, 0.04, 50).verdict, Fitness::Unknown);
}

/// The health of a filter with noise (`r` of both metrics, `q`) on rows simulated with 1 and 0.04:
/// two levels with a sensor each, of which now and then one is missing.
fn health_of_rows(seed: u64, r: f64, q: f64, count: u32) -> Health {
    let custom = CustomSettings {
        metrics: vec!["a".into(), "b".into()],
        f: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        h: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        q: vec![vec![q, 0.0], vec![0.0, q]],
        r: vec![vec![r, 0.0], vec![0.0, r]],
        ..CustomSettings::default()
    };
    let plan = VectorPlan::new(&custom, 1.0, None).unwrap();
    let mut filter = VectorFilter::new(&plan);
    let mut normal = Normal(seed);
    let mut levels = [20.0, -5.0];
    for i in 0..count {
        let mut reading = |level: &mut f64| {
            *level += 0.2 * normal.next();
            finite(*level + normal.next())
        };
        let row = levels.each_mut().map(&mut reading);
        let row = [Some(row[0]).filter(|_| i % 7 != 0), Some(row[1]).filter(|_| i % 7 != 3)];
        filter.update(&plan, at(f64::from(i)), &row);
        // It is part of the stored state.
        if i == 150 {
            let bytes = serde_cbor::to_vec(&filter).unwrap();
            let back: VectorFilter = crate::cbor::from_slice(&bytes).unwrap();
            assert_eq!(back, filter);
            filter = back;
        }
    }
    filter.health()
}

#[test]
fn verdicts_of_rows() {
    for (r, q, verdict, advice) in [
        (1.0, 0.04, Fitness::Fits, "the noise fits"),
        (0.4, 0.016, Fitness::TooSmall, "raise R or Q"),
        (3.0, 0.12, Fitness::TooLarge, "lower R or Q"),
        (1.8, 0.0015, Fitness::Coloured, "raise Q against R"),
        (0.2, 1.6, Fitness::Coloured, "lower Q against R"),
    ] {
        let health = health_of_rows(1, r, q, 1000);
        assert_eq!(health.verdict, verdict, "r = {r}, q = {q}: {health:?}");
        assert!(health.advice().contains(advice), "{}", health.advice());
    }
    assert_eq!(health_of_rows(1, 0.1, 0.04, 50).verdict, Fitness::Unknown);
    let misfits =
        (0..500).filter(|seed| health_of_rows(seed * 7919 + 1, 1.0, 0.04, 300).is_misfit());
    let misfits = misfits.count();
    assert!(misfits <= 2, "{misfits}");
}

/// The bands hold their 99.9 %: of 2,000 filters that fit, a handful at most is outside, and none is
/// called a misfit; at 300 readings as at 1,000.
#[test]
fn noise_that_fits_is_inside_the_bands() {
    for count in [120, 300, 1000] {
        let (mut outside, mut misfits) = (0, 0);
        for seed in 0..2000 {
            let health = health(seed * 7919 + 1, 1.0, 0.04, count);
            let (low, high) = health.nis_band;
            outside += usize::from(!(low..high).contains(&health.mean_nis));
            outside += usize::from(health.autocorrelation.abs() > health.autocorrelation_band);
            misfits += usize::from(health.is_misfit());
        }
        assert!(outside <= 20, "{outside} of 4,000 outside at {count} readings");
        assert!(misfits <= 4, "{misfits} misfits at {count} readings");
    }
}

#[test]
fn one_glitch_decides_nothing() {
    let mut watch = Watch::default();
    let mut normal = Normal(4);
    for i in 0..600 {
        let z = if i == 590 { 1e9 } else { normal.next() };
        watch.take(z, z * z);
    }
    assert!(watch.is_sound());
    let health = watch.health(true, SetBy::Settings);
    assert_eq!(health.verdict, Fitness::Fits, "{health:?}");
}

fn huber() -> KalmanPlan {
    let settings = KalmanSettings { outliers: KalmanOutliers::Huber, ..level_settings(0.25, 1e-4) };
    KalmanPlan::new(&settings)
}

fn settled(plan: &KalmanPlan) -> Kalman {
    let mut kalman = Kalman::new(plan);
    let mut normal = Normal(1);
    for i in 0..60 {
        kalman.update(plan, at(f64::from(i)), finite(20.0 + 0.5 * normal.next()));
    }
    kalman
}

/// Beyond two standard deviations the correction stays what it is there: Huber's psi.
#[test]
fn huber_bounds_the_correction() {
    let plan = huber();
    let kalman = settled(&plan);
    let before = kalman.estimate().unwrap();
    let sd = (before.variance.unwrap() + 1e-4 + 0.25).sqrt();
    let gain = (before.variance.unwrap() + 1e-4) / (sd * sd);
    for (z, clipped, verdict) in [
        (1.0, 1.0, Verdict::Accepted),
        (2.0, 2.0, Verdict::Accepted),
        (-3.0, -2.0, Verdict::Accepted),
        (3.8, 2.0, Verdict::Accepted),
        (4.0, 2.0, Verdict::Gated),
        (1000.0, 2.0, Verdict::Gated),
    ] {
        let mut kalman = kalman.clone();
        let update = kalman.update(&plan, at(60.0), finite(before.level + z * sd));
        assert_eq!(update.verdict, verdict, "{z}");
        let after = kalman.estimate().unwrap();
        let moved = (after.level - before.level) / (gain * sd);
        assert!((moved - clipped).abs() < 1e-6, "{z}: moved by {moved}");
        assert!(after.variance.unwrap() <= before.variance.unwrap() + 1e-4 + 1e-15);
    }
    // Too far to weigh anything.
    let mut far = kalman.clone();
    far.update(&plan, at(60.0), finite(1e9));
    let moved = far.estimate().unwrap().level - before.level;
    assert!(moved.abs() < 0.1, "{moved}");
}

#[test]
fn huber_still_tells_shifts() {
    let plan = huber();
    let mut kalman = settled(&plan);
    let verdicts: Vec<_> = (0..5)
        .map(|i| kalman.update(&plan, at(60.0 + f64::from(i)), finite(40.0)).verdict)
        .collect();
    assert_eq!(verdicts[..4], [Verdict::Gated; 4]);
    let Verdict::Shift { delta, since } = verdicts[4] else { panic!("{verdicts:?}") };
    assert!((delta - 20.0).abs() < 1.5 && since == at(60.0), "{verdicts:?}");
    assert!((kalman.estimate().unwrap().level - 40.0).abs() < 1e-9);
}

/// With a tenth of the readings off by far, the soft filter is nearer to the truth than a hard gate
/// that is switched off.
#[test]
fn huber_withstands_many_outliers() {
    let settings = |outliers, gate| KalmanSettings { outliers, gate, ..level_settings(1.0, 0.01) };
    let error = |settings: KalmanSettings| {
        let plan = KalmanPlan::new(&settings);
        let mut squares = 0.0;
        for seed in 0..20 {
            let mut kalman = Kalman::new(&plan);
            let mut normal = Normal(seed);
            let mut level = 0.0;
            for i in 0..400 {
                level += 0.1 * normal.next();
                let outlier = if i > 40 && i % 10 == 3 { 8.0 } else { 0.0 };
                kalman.update(&plan, at(f64::from(i)), finite(level + outlier + normal.next()));
                let error = kalman.estimate().unwrap().level - level;
                squares += error * error;
            }
        }
        squares
    };
    let none = error(settings(KalmanOutliers::Gate, 1.0));
    let soft = error(settings(KalmanOutliers::Huber, 1.0));
    assert!(soft < 0.7 * none, "{soft}, without weights {none}");
}

/// White innovations that fit widen nothing; correlated ones widen a run, not a first reading.
#[test]
fn widening_of_the_gate() {
    let watch = |correlation: f64, sd: f64| {
        let mut watch = Watch::default();
        let mut normal = Normal(8);
        let mut z = 0.0;
        for _ in 0..2000 {
            z = correlation * z + (1.0 - correlation * correlation).sqrt() * normal.next();
            watch.take(sd * z, sd * sd * z * z);
        }
        watch
    };
    assert!(watch(0.0, 0.9).widening(0) == 1.0 && watch(0.0, 0.9).widening(4) == 1.0);
    assert_eq!(watch(-0.5, 0.8).widening(4), 1.0);
    let white = watch(0.0, 1.6).widening(4);
    assert!(white > 2.0 && white < 3.0, "{white}");
    assert_eq!(watch(0.0, 10.0).widening(0), 4.0);
    let run = watch(0.7, 0.8).widening(4);
    // 1 + 2·(0.8·0.7 + 0.6·0.49 + 0.4·0.343 + 0.2·0.2401) = 3.08, give or take the correlation found.
    assert!(run > 2.4 && run < 3.8, "{run}");
}
