//! What is forecast, and how surely.

use super::super::Expected;
use super::super::calendar::Slot;
use super::super::member::exp;
use super::super::naive::SeasonalNaive;
use super::super::plan::ForecastPlan;
use super::super::score::Rung;
use super::super::start;
use super::{Model, Stage};

/// What was projected with, and how many errors its sigma2 rests on.
pub struct Basis {
    pub rung: Rung,
    pub errors: f64,
    /// Variances are those of the logarithm.
    pub log: bool,
}

impl Basis {
    /// End of an interval `reach` standard deviations from `mean`.
    pub fn end(&self, mean: f64, variance: f64, reach: f64) -> f64 {
        let by = reach * variance.sqrt();
        if self.log { mean * exp(by) } else { mean + by }
    }
}

impl Model {
    /// The naive one-step forecast of `slot`: one season before, without a season (or before one
    /// was seen) the last observed slot. With `initial` and a season: `None` before that phase was seen.
    pub(super) fn naive(&self, slot: Slot<'_>) -> Option<f64> {
        match &self.stage {
            Stage::Running(running) => running.last[slot.phase(running.last.len())],
            Stage::Start { history, .. } => {
                let seasonal = match self.seasons[0] {
                    0 => None,
                    m => start::latest(
                        history,
                        slot.after(-(history.len() as i64)),
                        m,
                        slot.phase(m),
                    ),
                };
                seasonal.or_else(|| history.iter().rev().flatten().next().copied())
            }
        }
    }

    /// The one-step forecast of `slot` with its interval.
    pub(super) fn issue(&self, plan: &ForecastPlan, slot: Slot<'_>) -> Option<(Rung, Expected)> {
        let (mut mean, mut variance) = (0.0, 0.0);
        let basis = self.project(plan, slot, 1, |m, v| (mean, variance) = (m, v))?;
        let expected = self.calibrated(plan, &basis, (1, slot), (mean, variance));
        Some((basis.rung, expected))
    }

    /// Calls `each` with mean and variance of the `steps` slots from `slot` (the next) on. `None`,
    /// and no call, while no error is known.
    pub fn project(
        &self,
        plan: &ForecastPlan,
        slot: Slot<'_>,
        steps: usize,
        mut each: impl FnMut(f64, f64),
    ) -> Option<Basis> {
        match &self.stage {
            Stage::Running(running) => {
                let (rung, yields) = running.rung_and_yield();
                if yields {
                    let sigma2 = running.naive.sigma2()?;
                    let (mut last, m) = (running.last.clone(), running.last.len());
                    start::fill_circular(&mut last);
                    let mut walk = slot.walk((m, 0));
                    for h in 0..steps {
                        let mean = last[walk.at().first].unwrap_or(0.0);
                        walk.advance();
                        let seasons = (h + self.missed as usize) / m + 1;
                        each(mean, sigma2 * seasons as f64);
                    }
                    return Some(Basis { rung, errors: running.naive.weight, log: false });
                }
                let sigma2 = self.errors.sigma2()?;
                let factors = self.variance_factors(plan, running).skip(self.missed as usize);
                for (mean, factor) in running.points(slot).zip(factors).take(steps) {
                    each(mean, sigma2 * factor);
                }
                Some(Basis { rung, errors: self.errors.weight, log: running.in_logs() })
            }
            Stage::Start { level, history } => {
                let m = plan.season_length();
                let first = slot.after(-(history.len() as i64));
                if let Some(naive) = SeasonalNaive::new(history, first, m) {
                    let mut walk = slot.walk((m, 0));
                    for h in 0..steps {
                        let (mean, variance) = naive.at(h, walk.at().first);
                        walk.advance();
                        each(mean, variance);
                    }
                    let rung = Rung::SeasonalNaive;
                    return Some(Basis { rung, errors: naive.errors, log: false });
                }
                let (level, sigma2) = ((*level)?, self.errors.sigma2()?);
                for h in 1..=steps {
                    each(level, sigma2 * (h as f64 + f64::from(self.missed)));
                }
                Some(Basis { rung: Rung::Level, errors: self.errors.weight, log: false })
            }
        }
    }

    /// Remembers what is forecast now, `slot` being the next, for the calibration of what comes.
    pub fn remember(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
        let Some(mut calibration) = self.calibration.take() else { return };
        let mut points = Vec::with_capacity(calibration.reach());
        let each = |mean, variance: f64| points.push((mean, variance.sqrt()));
        if let Some(basis) = self.project(plan, slot, calibration.reach(), each) {
            if self.score.rung() == Rung::Level && basis.rung != Rung::Level {
                calibration.begin();
            }
            calibration.issued(slot, plan.quantile.at(basis.errors), basis.log, &points);
        }
        self.calibration = Some(calibration);
    }

    /// What is said of the slot `h` ahead, `target`, whose forecast has this mean and variance.
    pub fn calibrated(
        &self,
        plan: &ForecastPlan,
        basis: &Basis,
        (h, target): (usize, Slot<'_>),
        (mean, variance): (f64, f64),
    ) -> Expected {
        let reach = plan.quantile.at(basis.errors);
        let bounded = |value: f64| value.clamp(-f64::MAX, f64::MAX);
        let class1 = [-reach, reach].map(|reach| bounded(basis.end(mean, variance, reach)));
        let Some(calibration) = &self.calibration else {
            let [lower, upper] = class1;
            return Expected { mean: bounded(mean), lower, upper, class1 };
        };
        let point = (mean, variance.sqrt());
        let (lower, upper) = calibration.interval(h, target, reach, basis.log, point);
        let mean = calibration.within(bounded(mean));
        match self.rest.at(target) {
            // As probable as the interval is to be.
            Some((value, sure)) if sure >= plan.nominal => {
                Expected { mean: value, lower: value, upper: value, class1 }
            }
            Some((value, _)) => {
                Expected { mean: value, lower: lower.min(value), upper: upper.max(value), class1 }
            }
            None => Expected { mean, lower, upper, class1 },
        }
    }
}
