//! Noise variances by maximum likelihood over recent readings.
//!
//! Pure. The likelihood is that of the innovations (Durbin and Koopman 2012, equation 7.2; diffuse
//! readings do not count, section 7.2.2), with a few outliers expected: each innovation has the
//! density (1 − ε)·N(0, F) + ε·Cauchy(0, √F), contaminated as in Huber (1964), "Robust estimation of
//! a location parameter", Annals of Mathematical Statistics 35. A reading enters the filter with the
//! weight w that its innovation belongs to the first part: its observation variance is inflated so
//! that the gain is w times the usual one (Masreliez and Martin 1977, IEEE Transactions on Automatic
//! Control 22). Five improbable ones in a row on one side start the filter anew, as its level shift
//! does. So neither a glitch nor a step blows up the noise.
//!
//! With ε = 0 it is the plain diffuse likelihood, and gives the published variances of the Nile.

use std::cmp::Ordering;

use libm::{exp, log};
use serde::{Deserialize, Serialize};

use super::outlier::weighted;
use super::plan::{Given, KalmanPlan, Noise, VARIANCE_MAX, VARIANCE_MIN};
use super::recent::Step;
use super::run::SHIFT_AFTER;
use super::search::{DIMENSIONS_MAX, Point, Search};
use crate::analytics::settings::KalmanModel;
use crate::reading::Finite;

/// Fewer readings are not worth a fit.
pub(super) const READINGS_MIN: usize = 100;
/// Fewer changes than these are not, either.
const MOVES_MIN: usize = 20;
/// Share of outliers expected, the ε above. A weight of ½ is then at 3.9 standard deviations, where
/// the default gate (0.9999) is.
pub(super) const CONTAMINATION: f64 = 0.01;
/// The last share of the readings, on which a fit to the others must predict better.
const HELD_OUT: f64 = 0.25;
/// Least level noise between two readings, as a share of the observation noise: the filter then
/// looks back on about 100 readings (gain about the square root), of the 256 there are.
const LEVEL_FLOOR: f64 = 1e-4;
/// The same for a trend, q_t·dt³/r (memory about its fourth root); a level that has one need not
/// move by itself.
const TREND_FLOOR: f64 = 1e-8;
const LEVEL_FLOOR_WITH_TREND: f64 = 1e-7;
/// Least observation noise, as a share of the level's noise between two readings.
const OBSERVATION_FLOOR: f64 = 1e-4;
/// Evaluations of the likelihood in a search, for each number searched over.
const EVALUATIONS: usize = 70;
/// In log-likelihood.
const TOLERANCE: f64 = 1e-6;
/// Standard deviation of a normal variable over its median absolute value.
const MAD_TO_SD: f64 = 1.482_602_218_505_602;

/// A fit to be made: owns all it needs, so that it can run anywhere.
#[derive(Clone, Debug)]
pub struct FitJob {
    pub(super) at: u64,
    pub(super) plan: KalmanPlan,
    pub(super) present: Noise,
    pub(super) steps: Vec<Step>,
}

/// What a fit found; goes back by [`Kalman::offer`](super::Kalman::offer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    #[serde(rename = "n")]
    pub(super) at: u64,
    #[serde(rename = "k")]
    pub(super) model: KalmanModel,
    #[serde(rename = "w")]
    pub(super) noise: Noise,
}

impl Fit {
    /// The count of readings at which it was started.
    pub fn at(&self) -> u64 {
        self.at
    }
}

impl FitJob {
    /// The count of readings at which it was started.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Searches for the variances. `None` unless a fit to the first three quarters of the readings
    /// predicts the last quarter better than the present noise does; what is returned is then
    /// fitted to all of them.
    pub fn run(&self) -> Option<Fit> {
        let moves = self.steps.iter().filter(|step| step.difference != 0.0).count();
        if self.steps.len() < READINGS_MIN || moves < MOVES_MIN {
            return None;
        }
        let likelihood = Likelihood::new(&self.plan, &self.steps, CONTAMINATION);
        let given = &self.plan.given;
        let present = given.or(&self.present);
        let held_out = (self.steps.len() as f64 * HELD_OUT) as usize;
        let split = self.steps.len() - held_out;
        let earlier = Likelihood { steps: &self.steps[..split], ..likelihood };
        let found = earlier.maximise(given, &present)?;
        let fitted_ahead = likelihood.loss(&found, split);
        let present_ahead = likelihood.loss(&present, split);
        if fitted_ahead.partial_cmp(&present_ahead) != Some(Ordering::Less) {
            return None;
        }
        let noise = likelihood.maximise(given, &found)?;
        Some(Fit { at: self.at, model: self.plan.model, noise })
    }
}

/// The likelihood of readings as a function of the noise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likelihood<'a> {
    plan: &'a KalmanPlan,
    steps: &'a [Step],
    contamination: f64,
    /// Seconds, > 0.
    mean_dt: f64,
    /// The smallest difference seen: the sensor's step. 0: none.
    resolution: f64,
    /// A robust standard deviation of the differences, > 0.
    spread: f64,
}

impl<'a> Likelihood<'a> {
    /// `contamination`: ε, in [0, 1).
    pub fn new(plan: &'a KalmanPlan, steps: &'a [Step], contamination: f64) -> Likelihood<'a> {
        let span: f64 = steps.iter().map(|step| f64::from(step.dt)).sum();
        let mean_dt = if span > 0.0 { span / (steps.len() - 1).max(1) as f64 } else { 1.0 };
        let mut sizes: Vec<f64> =
            steps.iter().map(|step| f64::from(step.difference).abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let resolution = sizes.iter().copied().find(|&size| size > 0.0).unwrap_or(0.0);
        let median = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
        let spread = (MAD_TO_SD * median).max(resolution).max(VARIANCE_MIN.sqrt());
        Likelihood { plan, steps, contamination, mean_dt, resolution, spread }
    }

    /// Mean interval in seconds.
    pub fn mean_dt(&self) -> f64 {
        self.mean_dt
    }

    /// A robust standard deviation of the differences.
    pub fn spread(&self) -> f64 {
        self.spread
    }

    /// The variances that maximise it; given ones stay. The search starts at `start` or at the best
    /// of a few others. `None` if there is nothing to search for or no finite likelihood.
    pub fn maximise(&self, given: &Given, start: &Noise) -> Option<Noise> {
        let free = Free::new(self, given);
        if free.count == 0 {
            return None;
        }
        let loss = |point: &Point| self.loss(&free.noise(point), 0);
        let mut best = (free.point(start), f64::INFINITY);
        for point in free.starts(start) {
            let loss = loss(&point);
            if loss < best.1 {
                best = (point, loss);
            }
        }
        let search = Search {
            dimensions: free.count,
            extent: 0.7,
            tolerance: TOLERANCE,
            evaluations: EVALUATIONS * free.count,
        };
        let (point, value) = search.minimise(best.0, loss);
        let noise = free.noise(&point);
        (value.is_finite() && noise.is_sound()).then_some(noise)
    }

    /// Minus the log-likelihood, with the log 2π terms, of the readings from number `from` on
    /// (the earlier ones only move the filter).
    pub fn loss(&self, noise: &Noise, from: usize) -> f64 {
        let mut belief = self.plan.diffuse();
        let (mut reading, mut loss) = (0.0, 0.0);
        let (mut run, mut above) = (0, false);
        for (i, step) in self.steps.iter().enumerate() {
            reading += f64::from(step.difference);
            let Some(value) = Finite::new(reading) else { return f64::INFINITY };
            belief.predict(self.plan, noise, f64::from(step.dt));
            let Some(innovation) = belief.innovation(self.plan, noise, reading) else {
                belief.update(self.plan, noise, value);
                continue;
            };
            let nis = innovation.nis();
            let mut weight = 1.0;
            if self.contamination == 0.0 {
                if i >= from {
                    loss -= innovation.loglik();
                }
            } else {
                let (density, normal) = contaminated(self.contamination, nis);
                weight = normal / density;
                if i >= from {
                    loss -= log(density / innovation.variance.sqrt());
                }
            }
            if weight >= 0.5 {
                run = 0;
            } else {
                let side = innovation.value > 0.0;
                run = if run > 0 && side == above { run + 1 } else { 1 };
                above = side;
            }
            if run == SHIFT_AFTER {
                belief = self.plan.diffuse();
                belief.update(self.plan, noise, value);
                run = 0;
            } else if let Some(noise) = weighted(noise, innovation.variance, weight) {
                belief.update(self.plan, &noise, value);
            }
        }
        if belief.is_sound() { loss } else { f64::INFINITY }
    }
}

/// Density of a standardised innovation of this square, (1 − ε)·N(0, 1) + ε·Cauchy(0, 1), and the first part alone.
pub(super) fn contaminated(contamination: f64, nis: f64) -> (f64, f64) {
    // 1/√(2π) and 1/π.
    const NORMAL: f64 = 0.398_942_280_401_432_7;
    const CAUCHY: f64 = std::f64::consts::FRAC_1_PI;
    let normal = (1.0 - contamination) * NORMAL * exp(-nis / 2.0);
    (normal + contamination * CAUCHY / (1.0 + nis), normal)
}

/// The variances searched for, as logarithms: of `observation`, `level`·dt and `trend`·dt³ (dt the
/// mean interval), those that are not given.
struct Free<'a> {
    given: &'a Given,
    likelihood: &'a Likelihood<'a>,
    is_free: [bool; DIMENSIONS_MAX],
    count: usize,
    /// Turns the variances into those between two readings.
    per: [f64; DIMENSIONS_MAX],
    least_observation: f64,
}

impl<'a> Free<'a> {
    fn new(likelihood: &'a Likelihood<'a>, given: &'a Given) -> Free<'a> {
        let dt = likelihood.mean_dt;
        let trending = likelihood.plan.model == KalmanModel::Trend;
        let is_free =
            [given.observation.is_none(), given.level.is_none(), trending && given.trend.is_none()];
        let step = likelihood.resolution;
        Free {
            given,
            likelihood,
            is_free,
            count: is_free.iter().filter(|free| **free).count(),
            per: [1.0, dt, dt * dt * dt],
            // Rounding to a step has this variance (Sheppard's correction).
            least_observation: (step * step / 12.0).max(VARIANCE_MIN),
        }
    }

    fn point(&self, noise: &Noise) -> Point {
        let variances = [noise.observation, noise.level, noise.trend];
        let mut point = [0.0; DIMENSIONS_MAX];
        let mut places = point.iter_mut();
        for ((variance, per), free) in variances.iter().zip(self.per).zip(self.is_free) {
            if free && let Some(place) = places.next() {
                *place = log((variance * per).clamp(VARIANCE_MIN, VARIANCE_MAX));
            }
        }
        point
    }

    fn noise(&self, point: &Point) -> Noise {
        let mut numbers = point.iter();
        let mut next = |free: bool, per: f64| {
            let number = if free { numbers.next() } else { None };
            number.map(|x| (exp(*x) / per).clamp(0.0, VARIANCE_MAX))
        };
        let observation = next(self.is_free[0], self.per[0]);
        let level = next(self.is_free[1], self.per[1]);
        let trend = next(self.is_free[2], self.per[2]);
        let trending = self.likelihood.plan.model == KalmanModel::Trend;
        let moved = level.or(self.given.level).unwrap_or(0.0) * self.per[1];
        let observation = observation.map(|r| {
            r.max(self.least_observation).max(OBSERVATION_FLOOR * moved).min(VARIANCE_MAX)
        });
        let r = observation.or(self.given.observation).unwrap_or(1.0);
        let floor = if trending { LEVEL_FLOOR_WITH_TREND } else { LEVEL_FLOOR };
        let at_least =
            |floor: f64, per: f64| move |q: f64| q.max(floor * r / per).min(VARIANCE_MAX);
        self.given.or(&Noise {
            observation: r,
            level: level.map_or(0.0, at_least(floor, self.per[1])),
            trend: trend.map_or(0.0, at_least(TREND_FLOOR, self.per[2])),
            acceleration: 0.0,
        })
    }

    /// `start`, and noise of the readings' spread divided in other ways.
    fn starts(&self, start: &Noise) -> Vec<Point> {
        let trends: &[f64] = if self.is_free[2] { &[1e-6, 1e-4, 1e-2] } else { &[0.0] };
        let spread = self.likelihood.spread * self.likelihood.spread;
        let mut points = vec![self.point(start)];
        for level in [1e-3, 1e-2, 0.1, 1.0, 10.0] {
            for trend in trends {
                let observation = spread / (2.0 + level);
                points.push(self.point(&Noise {
                    observation,
                    level: level * observation / self.per[1],
                    trend: trend * observation / self.per[2],
                    acceleration: 0.0,
                }));
            }
        }
        points
    }
}
