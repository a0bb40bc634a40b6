//! Noise found by maximum likelihood: against the Nile's published variances, on simulated series
//! by fixed seeds, and the rules of starting, offering and adopting.

use super::super::fit::Likelihood;
use super::super::plan::{Given, Noise};
use super::super::recent::{RECENT_MAX, Recent, Step};
use super::super::state::Source;
use super::*;

const ALL: Given =
    Given { observation: None, level: None, trend: Some(0.0), acceleration: Some(0.0) };
const ALL_OF_TREND: Given = Given { trend: None, ..ALL };

/// A simulated series, readings `dt` seconds apart.
struct Simulated {
    normal: Normal,
    noise: Noise,
    level: f64,
    trend: f64,
}

impl Simulated {
    fn new(seed: u64, noise: Noise) -> Simulated {
        Simulated {
            normal: Normal(seed.wrapping_mul(0x1234_5678_9abc_def1)),
            noise,
            level: 100.0,
            trend: 0.0,
        }
    }

    fn next(&mut self, dt: f64) -> f64 {
        // Conditional on the trend at the end: Q = q_t·[[dt³/3, dt²/2], [dt²/2, dt]].
        let w = (self.noise.trend * dt).sqrt() * self.normal.next();
        let rest = (self.noise.trend * dt * dt * dt / 12.0 + self.noise.level * dt).sqrt();
        self.level += self.trend * dt + w * dt / 2.0 + rest * self.normal.next();
        self.trend += w;
        self.level + self.noise.observation.sqrt() * self.normal.next()
    }
}

fn noise(observation: f64, level: f64, trend: f64) -> Noise {
    Noise { observation, level, trend, acceleration: 0.0 }
}

fn learned(kalman: &Kalman) -> Noise {
    match &kalman.source {
        Source::Learned(noise) => *noise,
        other => panic!("{other:?}"),
    }
}

/// As a live filter, with each fit made at once.
fn feed(kalman: &mut Kalman, plan: &KalmanPlan, time: f64, value: f64) -> (Update, bool) {
    let update = kalman.update(plan, at(time), finite(value));
    let fit = kalman.take_fit_job(plan).and_then(|job| job.run());
    let found = fit.is_some_and(|fit| kalman.offer(fit));
    (update, found)
}

fn auto(model: KalmanModel) -> KalmanPlan {
    KalmanPlan::new(&KalmanSettings { model, ..KalmanSettings::default() })
}

fn steps(values: impl IntoIterator<Item = f64>) -> Vec<Step> {
    let mut recent = Recent::default();
    for (i, value) in values.into_iter().enumerate() {
        recent.push(at(i as f64), finite(value));
    }
    recent.steps().to_vec()
}

#[test]
fn the_nile() {
    let path = "tests/data/reference/kalman/nile_mle.json";
    let text = std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |name: &str| file["mle"][name].as_f64().unwrap();
    let steps = steps(file["y"].as_array().unwrap().iter().map(|y| y.as_f64().unwrap()));
    let plan = auto(KalmanModel::Level);
    let likelihood = Likelihood::new(&plan, &steps, 0.0);
    for start in [noise(1.0, 1.0, 0.0), noise(1e6, 1.0, 0.0), noise(1e4, 1e4, 0.0)] {
        let found = likelihood.maximise(&ALL, &start).unwrap();
        let loglik = -likelihood.loss(&found, 0);
        let error = |found: f64, expected: f64| (found / expected - 1.0).abs();
        assert!(error(found.observation, number("sigma2_eps")) < 0.01, "{found:?}");
        assert!(error(found.level, number("sigma2_eta")) < 0.01, "{found:?}");
        assert!((loglik - number("loglik_diffuse")).abs() < 1e-3, "{loglik}");
    }
}

/// Mean of the logarithm of found over true, and its standard deviation, over `series` series.
fn errors(model: KalmanModel, truth: Noise, series: u64, of: fn(&Noise) -> f64) -> (f64, f64) {
    let given = if model == KalmanModel::Trend { ALL_OF_TREND } else { ALL };
    let logs: Vec<f64> = (0..series)
        .map(|seed| {
            let mut simulated = Simulated::new(seed + 1, truth);
            let steps = steps((0..RECENT_MAX).map(|_| simulated.next(1.0)));
            let start = noise(1.0, 1.0, if model == KalmanModel::Trend { 1.0 } else { 0.0 });
            let found =
                Likelihood::new(&auto(model), &steps, 0.01).maximise(&given, &start).unwrap();
            (of(&found) / of(&truth)).ln()
        })
        .collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let square = logs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (mean, (square / (logs.len() - 1) as f64).sqrt())
}

/// Maximum likelihood over 256 readings finds what is there: the mean error of the logarithm over
/// 100 series is near nothing, and single ones are as far off as that many readings let them.
#[test]
fn simulated_variances_are_found() {
    type Variance = fn(&Noise) -> f64;
    let r: Variance = |n| n.observation;
    let q: Variance = |n| n.level;
    let level = KalmanModel::Level;
    for (truth, of, bias, sd) in [
        (noise(1.0, 0.0025, 0.0), r, 0.05, 0.12),
        (noise(1.0, 0.1, 0.0), r, 0.05, 0.15),
        (noise(1.0, 0.1, 0.0), q, 0.15, 0.5),
        (noise(1.0, 1.0, 0.0), r, 0.1, 0.3),
        (noise(1.0, 1.0, 0.0), q, 0.1, 0.3),
        (noise(0.01, 1.0, 0.0), q, 0.1, 0.15),
    ] {
        let (mean, spread) = errors(level, truth, 100, of);
        assert!(mean.abs() < bias && spread < sd, "{truth:?}: {mean} ± {spread}");
    }
    let trend = KalmanModel::Trend;
    for (truth, of, bias, sd) in [
        (noise(1.0, 0.0, 0.01), r, 0.1, 0.15),
        (noise(1.0, 0.0, 0.01), |n: &Noise| n.trend, 0.3, 0.7),
    ] {
        let (mean, spread) = errors(trend, truth, 100, of);
        assert!(mean.abs() < bias && spread < sd, "{truth:?}: {mean} ± {spread}");
    }
}

/// Behind the fits, ordinary readings are gated as often as the gate says, and innovations are
/// those of noise that fits.
#[test]
fn fitted_noise_gates_at_the_nominal_rate() {
    let cases = [
        (KalmanModel::Level, noise(1.0, 0.01, 0.0)),
        (KalmanModel::Level, noise(0.04, 1.0, 0.0)),
        (KalmanModel::Trend, noise(1.0, 0.01, 1e-4)),
    ];
    for (model, truth) in cases {
        let settings = KalmanSettings { model, gate: 0.99, ..KalmanSettings::default() };
        let plan = KalmanPlan::new(&settings);
        let (mut gated, mut judged, mut nis, mut adopted) = (0, 0, 0.0, 0);
        let series = 40;
        for seed in 0..series {
            let mut kalman = Kalman::new(&plan);
            let mut simulated = Simulated::new(seed + 1, truth);
            for i in 0..1600 {
                let (update, found) = feed(&mut kalman, &plan, f64::from(i), simulated.next(1.0));
                adopted += usize::from(found);
                if i >= 1000 {
                    judged += 1;
                    gated += usize::from(update.verdict != Verdict::Accepted);
                    nis += update.nis.unwrap();
                }
            }
        }
        let (share, mean_nis) = (gated as f64 / judged as f64, nis / judged as f64);
        assert!((0.004..0.02).contains(&share), "{model:?} {truth:?}: {share} gated");
        assert!((0.9..1.15).contains(&mean_nis), "{model:?} {truth:?}: mean NIS {mean_nis}");
        assert!(adopted >= series as usize / 2, "{adopted} fits were better");
    }
}

/// A tenth of glitches and a step of the level leave the fitted noise where it is.
#[test]
fn glitches_and_steps_hardly_move_the_fit() {
    let truth = noise(1.0, 0.01, 0.0);
    let fit = |spoil: fn(usize, f64) -> f64| {
        let mut logs = (0.0, 0.0);
        for seed in 1..=20 {
            let mut simulated = Simulated::new(seed, truth);
            let steps = steps((0..RECENT_MAX).map(|i| spoil(i, simulated.next(1.0))));
            let found = Likelihood::new(&auto(KalmanModel::Level), &steps, 0.01)
                .maximise(&ALL, &noise(1.0, 1.0, 0.0))
                .unwrap();
            logs.0 += found.observation.ln() / 20.0;
            logs.1 += found.level.ln() / 20.0;
        }
        logs
    };
    let clean = fit(|_, y| y);
    let glitches = fit(|i, y| if i % 25 == 7 { y + 1e6 } else { y });
    let step = fit(|i, y| if i > 120 { y + 50.0 } else { y });
    for (name, spoilt) in [("glitches", glitches), ("step", step)] {
        assert!((spoilt.0 - clean.0).abs() < 0.15, "{name}: {spoilt:?}, not {clean:?}");
        assert!((spoilt.1 - clean.1).abs() < 0.5, "{name}: {spoilt:?}, not {clean:?}");
    }
}

/// A filter behind `count` readings of a simulated level, without any fit offered.
fn simulated_filter(plan: &KalmanPlan, count: u32) -> (Kalman, Simulated, Option<FitJob>) {
    let mut simulated = Simulated::new(3, noise(1.0, 0.05, 0.0));
    let mut kalman = Kalman::new(plan);
    let mut job = None;
    for i in 0..count {
        kalman.update(plan, at(f64::from(i)), finite(simulated.next(1.0)));
        job = kalman.take_fit_job(plan).or(job);
    }
    (kalman, simulated, job)
}

fn some_fit(job: &FitJob) -> Fit {
    Fit { at: job.at(), model: KalmanModel::Level, noise: noise(2.0, 0.125, 0.0) }
}

#[test]
fn fits_start_at_set_counts() {
    let plan = auto(KalmanModel::Level);
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(1);
    let mut started = Vec::new();
    for i in 0..300_000_u32 {
        kalman.update(&plan, at(f64::from(i)), finite(normal.next()));
        if let Some(job) = kalman.take_fit_job(&plan) {
            assert_eq!(job.steps.len(), RECENT_MAX.min(job.at() as usize));
            started.push(job.at());
        }
        assert!(kalman.heap_bytes() < 8192);
    }
    assert_eq!(started[..3], [150, 400, 1000]);
    // From then on about once a day of these 86,400 readings.
    let days: Vec<u64> = started[2..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(days.len() == 3 && days.iter().all(|n| (86_400..86_400 + 600).contains(n)), "{days:?}");
}

#[test]
fn a_fit_is_adopted_at_its_reading_whenever_it_was_offered() {
    let plan = auto(KalmanModel::Level);
    let (start, ..) = simulated_filter(&plan, 150);
    let mut ends = Vec::new();
    for late in [0, 1, 30, FIT_DELAY - 1] {
        let (mut kalman, mut simulated, job) = simulated_filter(&plan, 150);
        assert_eq!(kalman, start);
        let fit = some_fit(&job.unwrap());
        let before = learned(&kalman);
        for i in 0..FIT_DELAY {
            if i == late {
                assert!(kalman.offer(fit.clone()));
            }
            assert_eq!(learned(&kalman), before, "not before its reading");
            kalman.update(&plan, at(150.0 + i as f64), finite(simulated.next(1.0)));
        }
        assert_eq!(learned(&kalman), fit.noise, "offered {late} readings later");
        ends.push(kalman);
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
}

#[test]
fn fits_that_are_late_or_strange_are_refused() {
    let plan = auto(KalmanModel::Level);
    let (mut kalman, mut simulated, job) = simulated_filter(&plan, 150);
    let fit = some_fit(&job.unwrap());
    assert!(!kalman.offer(Fit { at: 149, ..fit.clone() }));
    assert!(!kalman.offer(Fit { model: KalmanModel::Trend, ..fit.clone() }));
    assert!(!kalman.offer(Fit { noise: noise(-1.0, 0.0, 0.0), ..fit.clone() }));
    let before = learned(&kalman);
    for i in 0..FIT_DELAY {
        kalman.update(&plan, at(150.0 + i as f64), finite(simulated.next(1.0)));
        assert!(kalman.take_fit_job(&plan).is_none());
    }
    assert!(!kalman.offer(fit.clone()), "its time has passed");
    assert_eq!(learned(&kalman), before);
    let given = KalmanPlan::new(&level_settings(1.0, 1.0));
    let (mut kalman, _, job) = simulated_filter(&given, 200);
    assert!(job.is_none() && !kalman.offer(fit), "nothing is to be found");
}

/// Noise that is right already is hardly ever replaced by something far from it, and what is given
/// stays as it is.
#[test]
fn fits_keep_what_is_given_and_must_predict_better() {
    let (mut better, mut total) = (0, 0);
    for seed in 1..=60 {
        let truth = noise(1.0, 0.05, 0.0);
        let mut simulated = Simulated::new(seed, truth);
        let steps = steps((0..RECENT_MAX).map(|_| simulated.next(1.0)));
        let job = |given, present| FitJob {
            at: 400,
            plan: KalmanPlan { given, ..auto(KalmanModel::Level) },
            present,
            steps: steps.clone(),
        };
        total += 1;
        better += usize::from(job(ALL, truth).run().is_some());
        let given = Given { observation: Some(4.0), ..ALL };
        let fit = job(given, noise(4.0, 1e-9, 0.0)).run();
        assert!(fit.is_none_or(|fit| fit.noise.observation == 4.0));
        let wrong =
            job(ALL, noise(1e-4, 1e-4, 0.0)).run().expect("far too small noise is bettered");
        assert!((wrong.noise.observation.ln()).abs() < 0.6, "{wrong:?}");
    }
    // The truth is hard to beat on readings not looked at.
    assert!(better < total * 6 / 10, "{better} of {total}");
    let constant = FitJob {
        at: 400,
        plan: auto(KalmanModel::Level),
        present: noise(1.0, 1.0, 0.0),
        steps: steps([20.0; 200]),
    };
    assert_eq!(constant.run(), None);
}

#[test]
fn recent_readings_survive_rounding_and_glitches() {
    let values = [1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.1, 1e300, 1e9 + 0.3, 1e9 + 0.4, 1e9 + 0.4];
    let steps = steps(values);
    let rebuilt: Vec<f64> = steps
        .iter()
        .scan(0.0, |sum, step| {
            *sum += f64::from(step.difference);
            Some(*sum)
        })
        .collect();
    for (i, (rebuilt, value)) in rebuilt.iter().zip(values).enumerate().take(3) {
        assert!((rebuilt - (value - values[0])).abs() < 1e-6, "{i}: {rebuilt}");
    }
    assert!(steps[3].difference > 1e29 && steps[4].difference < -1e29);
    assert!((steps[5].difference - 0.1).abs() < 1e-6, "{steps:?}");
    assert_eq!(steps[6].difference, 0.0);
    // Thousands of small steps far from zero do not drift.
    let mut recent = Recent::default();
    for i in 0..10_000_i32 {
        recent.push(at(f64::from(i)), finite(1e6 + f64::from(i % 7) / 3.0));
    }
    let sum: f64 = recent.steps()[1..].iter().map(|step| f64::from(step.difference)).sum();
    let expected = f64::from(9999 % 7) / 3.0 - f64::from((10_000 - 256) % 7) / 3.0;
    assert!((sum - expected).abs() < 1e-6, "{sum}, not {expected}");
}

/// Stored and restored around the starts and adoptions of fits, the filter goes on to the same bits.
#[test]
fn a_checkpoint_anywhere_around_a_fit_goes_on_alike() {
    for model in [KalmanModel::Level, KalmanModel::Trend] {
        let plan = auto(model);
        let mut simulated = Simulated::new(11, noise(1.0, 0.05, 1e-6));
        let (mut whole, mut resumed) = (Kalman::new(&plan), Kalman::new(&plan));
        for i in 0..1100 {
            if i % 3 == 0 || (395..470).contains(&i) {
                resumed = crate::cbor::from_slice(&serde_cbor::to_vec(&resumed).unwrap()).unwrap();
            }
            let value = simulated.next(60.0);
            let time = f64::from(i) * 60.0;
            let expected = feed(&mut whole, &plan, time, value);
            assert_eq!(feed(&mut resumed, &plan, time, value), expected, "reading {i}");
            assert_eq!(resumed, whole, "reading {i}");
        }
        let stored = |kalman: &Kalman| serde_cbor::to_vec(kalman).unwrap();
        assert_eq!(stored(&resumed), stored(&whole));
    }
}

#[test]
fn unsound_stored_fits_are_refused() {
    use serde_json::json;
    let plan = auto(KalmanModel::Level);
    let (mut kalman, _, job) = simulated_filter(&plan, 150);
    assert!(kalman.offer(some_fit(&job.unwrap())));
    let stored = serde_json::to_value(&kalman).unwrap();
    assert_eq!(serde_json::from_value::<Kalman>(stored.clone()).unwrap(), kalman);
    for (pointer, value) in [
        ("/t/n", json!(151)),
        ("/t/n", json!(149)),
        ("/t/s", json!(20)),
        ("/t/x", json!(u64::MAX)),
        ("/t/t", json!(i64::MAX)),
        ("/t/p/n", json!(149)),
        ("/t/p/w/r", json!(-1.0)),
        ("/t/r/s", json!([1, 2, 3])),
        ("/t/r/s", json!([0, 0, 192, 127, 0, 0, 0, 0])),
        ("/t/r/s", json!([])),
        ("/t/r/s", json!(vec![0; 257 * 8])),
        ("/t/r/e", json!(null)),
        ("/h/m", json!(-1.0)),
        ("/h/c", json!(17.0)),
        ("/h/n", json!(257)),
    ] {
        let mut unsound = stored.clone();
        *unsound.pointer_mut(pointer).expect(pointer) = value.clone();
        let result = serde_json::from_value::<Kalman>(unsound);
        assert!(result.is_err(), "{pointer} = {value} was taken");
    }
}

/// What a year of hourly readings, rounded to a tenth, comes to: (gated, level shifts).
fn year(values: impl Fn(&mut Normal, i32) -> f64, seed: u64) -> (usize, usize) {
    let plan = auto(KalmanModel::Level);
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(seed.wrapping_mul(77).wrapping_add(5));
    let (mut gated, mut shifts) = (0, 0);
    for i in 0..8760 {
        let value = (values(&mut normal, i) * 10.0).round() / 10.0;
        let (update, _) = feed(&mut kalman, &plan, f64::from(i) * 3600.0, value);
        gated += usize::from(update.verdict == Verdict::Gated);
        shifts += usize::from(matches!(update.verdict, Verdict::Shift { .. }));
    }
    (gated, shifts)
}

/// Series that a random-walk level describes badly (a daily swing, autoregressive changes) have next
/// to no shifts for that.
#[test]
fn coloured_series_hardly_ever_shift() {
    use std::cell::Cell;
    for (name, phi, sd, swing, integrated) in [
        ("autoregression and a daily swing", 0.95, 0.6, 5.0, false),
        ("autoregression", 0.95, 0.6, 0.0, false),
        ("autoregressive changes", 0.6, 0.5, 0.0, true),
        ("autoregressive changes, stronger", 0.8, 0.3, 2.0, true),
    ] {
        let (mut gated, mut shifts) = (0, 0);
        for seed in 0..6 {
            let (x, sum) = (Cell::new(0.0), Cell::new(0.0));
            let counts = year(
                |normal, i| {
                    x.set(phi * x.get() + sd * normal.next());
                    sum.set(sum.get() + x.get());
                    let hour = std::f64::consts::TAU * f64::from(i % 24) / 24.0;
                    let level = if integrated { sum.get() } else { x.get() };
                    20.0 + swing * hour.sin() + level + 0.1 * normal.next()
                },
                seed,
            );
            gated += counts.0;
            shifts += counts.1;
        }
        assert!(shifts <= 2 && gated < 60, "{name}: {gated} gated, {shifts} shifts in six years");
    }
}

/// A step of eight standard deviations of the readings is told within ten of them.
#[test]
fn steps_are_still_told() {
    let plan = auto(KalmanModel::Level);
    let (mut found, mut false_shifts) = (0, 0);
    for seed in 0..200 {
        let mut kalman = Kalman::new(&plan);
        let mut simulated = Simulated::new(seed + 1, noise(1.0, 1e-3, 0.0));
        for i in 0..710 {
            let value = simulated.next(1.0) + if i < 700 { 0.0 } else { 8.0 };
            let (update, _) = feed(&mut kalman, &plan, f64::from(i), value);
            if let Verdict::Shift { .. } = update.verdict {
                *(if i < 700 { &mut false_shifts } else { &mut found }) += 1;
            }
        }
    }
    assert!(found >= 195 && false_shifts == 0, "{found} of 200 steps told, {false_shifts} others");
}
