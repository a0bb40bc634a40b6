//! Noise found by maximum likelihood: against the Nile's published variances, on simulated series
//! by fixed seeds, and the rules of starting, offering and adopting.

use super::super::fit::Likelihood;
use super::super::plan::{Given, Noise};
use super::super::recent::{RECENT_MAX, Recent, Step};
use super::super::state::Source;
use super::super::tuning::FIT_DELAY;
use super::*;

const ALL: Given = Given { observation: None, level: None, trend: Some(0.0) };
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
    Noise { observation, level, trend }
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
    let likelihood = Likelihood::new(KalmanModel::Level, &steps, 0.0);
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
            let found = Likelihood::new(model, &steps, 0.01).maximise(&given, &start).unwrap();
            (of(&found) / of(&truth)).ln()
        })
        .collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let square = logs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (mean, (square / (logs.len() - 1) as f64).sqrt())
}

#[test]
fn dbg_errors() {
    let r = |n: &Noise| n.observation;
    let q = |n: &Noise| n.level;
    let t = |n: &Noise| n.trend;
    for truth in
        [noise(1.0, 0.0025, 0.0), noise(1.0, 0.1, 0.0), noise(1.0, 1.0, 0.0), noise(0.01, 1.0, 0.0)]
    {
        println!(
            "{truth:?} r {:?} q {:?}",
            errors(KalmanModel::Level, truth, 100, r),
            errors(KalmanModel::Level, truth, 100, q)
        );
    }
    for truth in [noise(1.0, 0.0, 1e-4), noise(1.0, 0.1, 1e-4), noise(1.0, 0.0, 0.01)] {
        println!(
            "{truth:?} r {:?} q {:?} t {:?}",
            errors(KalmanModel::Trend, truth, 100, r),
            errors(KalmanModel::Trend, truth, 100, q),
            errors(KalmanModel::Trend, truth, 100, t)
        );
    }
}
