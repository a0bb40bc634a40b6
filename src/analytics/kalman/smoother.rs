//! The fixed-interval smoother of one series, for every model.

use nalgebra::{Matrix1, SVector, Vector1, Vector2};

use super::belief::Belief;
use super::decay::Decay;
use super::linear::{Factors, Gaussian, Observation, Transition};
use super::plan::{Dynamics, KalmanPlan, Noise};
use super::sized::{AnySystem, SmoothedState};
use super::state::Kalman;
use super::{acceleration, backward, seconds, trend};
use crate::analytics::settings::KalmanModel;
use crate::reading::{EventTime, Finite};

/// The level and its variance at each time given all readings (Rauch-Tung-Striebel); `None` where
/// they do not tell it. `readings` in event order; `None`: nothing was taken in at that time (a
/// missing or a gated reading). The variances are those that `kalman` runs with, so pass it as it
/// stands after them. With `first` the first reading is the series' first, where `initial` (or the
/// stationary prior of `decay`) belongs; otherwise, behind a level shift, nothing is known before.
///
/// Empty if the filter is off or has no noise yet. Memory: one state a reading.
pub fn smooth(
    plan: &KalmanPlan,
    kalman: &Kalman,
    readings: &[(EventTime, Option<Finite>)],
    first: bool,
) -> Vec<Option<(f64, f64)>> {
    let Some(noise) = kalman.noise(plan) else { return Vec::new() };
    smoothed(plan, &noise, readings, first)
        .into_iter()
        .map(|smoothed| smoothed.levels.first().copied().flatten())
        .collect()
}

/// As [`smooth`], with the whole state.
pub(super) fn smoothed(
    plan: &KalmanPlan,
    noise: &Noise,
    readings: &[(EventTime, Option<Finite>)],
    first: bool,
) -> Vec<SmoothedState> {
    let start = if first { plan.start.clone() } else { plan.diffuse() };
    let r = noise.observation;
    match (plan.model, &plan.dynamics) {
        (KalmanModel::Off, _) => Vec::new(),
        (_, Dynamics::Custom(system)) => custom(system, first, readings),
        (_, Dynamics::Decay(pull)) => {
            let decay = if let Belief::Decay(decay) = start { decay } else { Decay::DIFFUSE };
            let observation = Observation { row: Vector1::new(1.0), variance: r };
            let start = decay.gaussian(pull, noise.level);
            run(start, &observation, readings, |dt| pull.transition(noise.level, dt))
        }
        (KalmanModel::Trend, _) => {
            let observation = Observation { row: Vector2::new(1.0, 0.0), variance: r };
            let start = match start {
                Belief::Trend(trend) => trend.gaussian(),
                _ => Gaussian::diffuse(),
            };
            run(start, &observation, readings, |dt| trend::transition(noise, dt))
        }
        (KalmanModel::Acceleration, _) => {
            let start = match start {
                Belief::Acceleration(state) => *state,
                _ => Gaussian::diffuse(),
            };
            let observation = acceleration::observation(noise);
            run(start, &observation, readings, |dt| acceleration::transition(noise, dt))
        }
        _ => {
            let start = match start {
                Belief::Level(level) if !level.diffuse => {
                    Gaussian::new(Vector1::new(level.mean), &Matrix1::new(level.variance))
                }
                _ => Gaussian::diffuse(),
            };
            let observation = Observation { row: Vector1::new(1.0), variance: r };
            run(start, &observation, readings, |dt| Transition {
                matrix: Matrix1::identity(),
                offset: SVector::zeros(),
                noise: Factors::new(&Matrix1::new(noise.level * dt)),
            })
        }
    }
}

fn custom(
    system: &AnySystem,
    first: bool,
    readings: &[(EventTime, Option<Finite>)],
) -> Vec<SmoothedState> {
    let rows: Vec<_> = readings.iter().map(|&(time, reading)| (time, vec![reading])).collect();
    let start = if first { system.start() } else { system.diffuse() };
    system.smooth(&start, &rows)
}

/// Forward, then back. What is observed is the level.
fn run<const N: usize>(
    mut state: Gaussian<N>,
    observation: &Observation<N>,
    readings: &[(EventTime, Option<Finite>)],
    transition: impl Fn(f64) -> Transition<N>,
) -> Vec<SmoothedState> {
    let dt = |i: usize| match (readings.get(i), readings.get(i + 1)) {
        (Some((now, _)), Some((next, _))) => seconds(*now, *next),
        _ => 0.0,
    };
    let mut filtered = Vec::with_capacity(readings.len());
    for (i, (_, reading)) in readings.iter().enumerate() {
        if let Some(before) = i.checked_sub(1) {
            state.predict(&transition(dt(before)));
        }
        if let Some(reading) = reading {
            state.update(observation, reading.get());
        }
        filtered.push(state);
    }
    backward::smooth(&filtered, |i| transition(dt(i)))
        .iter()
        .map(|state| SmoothedState {
            state: (!state.is_diffuse()).then(|| super::custom::lists(state)),
            levels: vec![state.of(&observation.row)],
        })
        .collect()
}
