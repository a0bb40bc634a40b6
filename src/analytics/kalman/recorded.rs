//! Maximum likelihood over recorded readings, for the models with parameters beyond variances too.
//!
//! Pure. The likelihood is the one of [`fit`](super::fit): innovations with a few outliers expected. `decay`'s time
//! constant and `acceleration`'s noise are searched for around it.

use libm::{exp, log};

use super::fit::{CONTAMINATION, Likelihood, contaminated};
use super::plan::{KalmanPlan, Noise, hours_to_the};
use super::recent::Step;
use super::{Update, seconds};
use crate::analytics::settings::{KalmanModel, KalmanSettings};
use crate::reading::{EventTime, Finite, SECOND};

/// Fewer readings are not searched over.
pub const READINGS_NEEDED: usize = 50;
/// More are not, either: the newest of them say how noisy the sensor is now.
const READINGS_MAX: usize = 4096;
/// Fewer for `acceleration`, whose steps cost ten times as much.
const ACCELERATION_READINGS: usize = 1024;
/// Most time constants of `decay` tried, each twice the one before.
const TAUS: usize = 14;

/// Logarithm of the density that was predicted for a reading, with a few outliers expected (1 % of them Cauchy), so
/// that one glitch does not decide between models. `None`: nothing had been predicted.
pub fn log_density(update: &Update) -> Option<f64> {
    let (variance, nis) = update.innovation_variance.zip(update.nis)?;
    let density = contaminated(CONTAMINATION, nis).0 / variance.sqrt();
    Some(log(density)).filter(|x| x.is_finite())
}

/// `settings` with the noise (and, of `decay`, `tau` and `mean`) under which the readings (in event order) are most
/// probable; what the settings give stays. `None`: fewer than [`READINGS_NEEDED`] or without changes, or a
/// model that has nothing to search for.
pub fn maximum_likelihood(
    settings: &KalmanSettings,
    readings: &[(EventTime, Finite)],
) -> Option<KalmanSettings> {
    let readings = &readings[readings.len().saturating_sub(READINGS_MAX)..];
    if readings.len() < READINGS_NEEDED {
        return None;
    }
    let steps = steps(readings);
    if steps.iter().filter(|step| step.difference != 0.0).count() < READINGS_NEEDED / 5 {
        return None;
    }
    match settings.model {
        KalmanModel::Off | KalmanModel::Custom => None,
        KalmanModel::Level | KalmanModel::Trend => Some(variances(settings, &steps)?.0),
        KalmanModel::Decay => decay(settings, readings, &steps),
        KalmanModel::Acceleration => acceleration(settings, &steps),
    }
}

/// As the likelihood has readings: differences to the one before, as rebuilt (see [`super::recent`]).
fn steps(readings: &[(EventTime, Finite)]) -> Vec<Step> {
    let mut rebuilt = readings.first().map_or(0.0, |(_, value)| value.get());
    let mut before = None;
    let each = |&(time, value): &(EventTime, Finite)| {
        let dt = before.replace(time).map_or(0.0, |before| seconds(before, time)) as f32;
        let difference = (value.get() - rebuilt).clamp(-1e30, 1e30) as f32;
        rebuilt += f64::from(difference);
        Step { dt, difference }
    };
    readings.iter().map(each).collect()
}

/// The settings with the variances found, and minus the log-likelihood.
fn variances(settings: &KalmanSettings, steps: &[Step]) -> Option<(KalmanSettings, f64)> {
    let plan = KalmanPlan::new(settings);
    let likelihood = Likelihood::new(&plan, steps, CONTAMINATION);
    let start = Noise { observation: 1.0, level: 1.0, trend: 1.0, acceleration: 0.0 };
    let noise = likelihood.maximise(&plan.given, &plan.given.or(&start))?;
    Some((with(settings, &noise), likelihood.loss(&noise, 0)))
}

/// Variances per second as standard deviations by the hour; see [`KalmanPlan::new`].
fn with(settings: &KalmanSettings, noise: &Noise) -> KalmanSettings {
    let sd = |variance: f64, power| Some((variance * hours_to_the(power)).sqrt());
    let model = settings.model;
    let trend = match model {
        KalmanModel::Trend => sd(noise.trend, 3),
        _ => settings.trend_sd,
    };
    let level = match model {
        KalmanModel::Acceleration => settings.level_sd,
        _ => sd(noise.level, 1),
    };
    KalmanSettings {
        observation_sd: sd(noise.observation, 0),
        level_sd: level,
        trend_sd: trend,
        acceleration_sd: match model {
            KalmanModel::Acceleration => sd(noise.acceleration, 5),
            _ => settings.acceleration_sd,
        },
        ..settings.clone()
    }
}

/// Time constants from a few intervals to a quarter of the recording; the mean is the readings'.
fn decay(
    settings: &KalmanSettings,
    readings: &[(EventTime, Finite)],
    steps: &[Step],
) -> Option<KalmanSettings> {
    let first = readings.first()?.1.get();
    let n = readings.len() as f64;
    let mean = settings.mean.unwrap_or(readings.iter().map(|(_, v)| v.get() / n).sum());
    let span: f64 = steps.iter().map(|step| f64::from(step.dt)).sum();
    let shortest = 5.0 * span / n;
    let taus: Vec<i64> = match settings.tau {
        Some(tau) => vec![tau],
        None => (0..TAUS)
            .map(|i| shortest * f64::from(1_u32 << i))
            .take_while(|&tau| tau <= span / 4.0)
            .map(|tau| ((tau * SECOND as f64) as i64).max(1))
            .collect(),
    };
    // The likelihood has readings as distances from the first.
    let of =
        |tau: i64| KalmanSettings { tau: Some(tau), mean: Some(mean - first), ..settings.clone() };
    let found = taus.iter().filter_map(|&tau| variances(&of(tau), steps));
    let (best, _) = found.min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(KalmanSettings { mean: Some(mean), ..best })
}

/// Over the ratio of the two noises on a grid, then more finely, and for each over their size by a golden section.
fn acceleration(settings: &KalmanSettings, steps: &[Step]) -> Option<KalmanSettings> {
    let plan = KalmanPlan::new(settings);
    let steps = &steps[steps.len().saturating_sub(ACCELERATION_READINGS)..];
    let likelihood = Likelihood::new(&plan, steps, CONTAMINATION);
    let (dt, spread) = (likelihood.mean_dt(), likelihood.spread());
    let noise = |ratio: f64, size: f64| {
        let observation = exp(size);
        let acceleration = exp(ratio) * observation / (dt * dt * dt * dt * dt);
        plan.given.or(&Noise { observation, level: 0.0, trend: 0.0, acceleration })
    };
    let at = |ratio: f64| {
        let loss = |size: f64| likelihood.loss(&noise(ratio, size), 0);
        let middle = 2.0 * log(spread);
        let size = golden(middle - 12.0, middle + 2.0, 16, loss);
        (size, loss(size))
    };
    let grid = (0..8).map(|i| -18.0 + 2.5 * f64::from(i));
    let coarse = grid.map(|ratio| (ratio, at(ratio).1)).min_by(|a, b| a.1.total_cmp(&b.1))?.0;
    let ratio = golden(coarse - 2.5, coarse + 2.5, 8, |ratio| at(ratio).1);
    let (size, value) = at(ratio);
    let found = noise(ratio, size);
    (value.is_finite() && found.is_sound()).then(|| with(settings, &found))
}

/// Where `cost` is least in [low, high], by golden section with so many calls (Kiefer 1953).
fn golden(low: f64, high: f64, calls: u32, cost: impl Fn(f64) -> f64) -> f64 {
    const SHARE: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = (low, high);
    let (mut a, mut b) = (high - SHARE * (high - low), low + SHARE * (high - low));
    let (mut at_a, mut at_b) = (cost(a), cost(b));
    for _ in 2..calls {
        if at_a <= at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - SHARE * (high - low);
            at_a = cost(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + SHARE * (high - low);
            at_b = cost(b);
        }
    }
    if at_a <= at_b { a } else { b }
}
