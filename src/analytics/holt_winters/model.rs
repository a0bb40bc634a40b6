//! What is learned of one series from its slots: the ladder and its state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Expected;
use super::naive::SeasonalNaive;
use super::plan::ForecastPlan;
use super::recursion::{Components, Season, phase, variance_factors};
use super::score::{ErrorScale, Rung, Score};
use super::start::{self, History};
use crate::analytics::settings::Trend;

/// One-step errors beyond this start the model afresh: their squares, summed, would overflow.
const ERROR_MAX: f64 = 1e140;

/// Everything behind the open slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Model {
    /// The plan's step and season length when it began; another plan begins afresh.
    #[serde(rename = "t")]
    step: i64,
    #[serde(rename = "m")]
    season_length: usize,
    /// Missing slots since the last observed one; at most the plan's gap limit, which means that
    /// the level is no longer believed.
    #[serde(rename = "g")]
    missed: u32,
    #[serde(rename = "e")]
    errors: ErrorScale,
    #[serde(rename = "c")]
    score: Score,
    #[serde(rename = "k")]
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    /// Rungs `level` and `seasonal-naive`.
    #[serde(rename = "s")]
    Start {
        /// Exponentially smoothed; `None` before the first observed slot.
        #[serde(rename = "l")]
        level: Option<f64>,
        /// Ends with the last closed slot; at most three seasons.
        #[serde(rename = "h")]
        history: History,
    },
    /// Rungs `holt-winters`, `holt`, `ses`.
    #[serde(rename = "r")]
    Running {
        #[serde(rename = "c")]
        components: Components,
        /// Last observed slot mean by phase (without a season: one element): the naive forecast.
        #[serde(rename = "y")]
        last: Vec<Option<f64>>,
    },
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Start { level: None, history: VecDeque::new() }
    }
}

/// What was projected with, and how many errors its sigma2 rests on.
pub(super) struct Basis {
    pub rung: Rung,
    pub errors: f64,
}

/// What closing a slot showed.
pub(super) struct Outcome {
    pub expected: Option<Expected>,
    pub restarted: bool,
}

impl Model {
    /// For a series whose first slot is `slot`.
    pub(super) fn new(plan: &ForecastPlan, slot: i64) -> Model {
        let m = plan.season_length;
        let stage = plan.initial.as_ref().map_or_else(Stage::default, |initial| {
            let season = if m == 0 {
                Season::None
            } else {
                let mut factors = initial.season.clone();
                factors.rotate_right(phase(slot, m));
                Season::Additive(factors)
            };
            let (level, trend) = (initial.level, initial.trend);
            let components = Components { level, trend, season, residual: 0.0 };
            Stage::Running { components, last: vec![None; m.max(1)] }
        });
        Model { step: plan.step, season_length: m, stage, ..Model::default() }
    }

    /// True when this state can go on under `plan`; also guards every index taken by phase.
    pub(super) fn fits(&self, plan: &ForecastPlan) -> bool {
        let m = plan.season_length;
        self.step == plan.step
            && self.season_length == m
            && match &self.stage {
                Stage::Start { history, .. } => history.len() <= start::capacity(m),
                Stage::Running { components, last } => {
                    components.season.length() == m && last.len() == m.max(1)
                }
            }
    }

    /// Takes in `slot`, the one after the last closed.
    pub(super) fn close(
        &mut self,
        plan: &ForecastPlan,
        slot: i64,
        observed: Option<f64>,
    ) -> Outcome {
        let Some(y) = observed else {
            self.miss(plan, slot);
            return Outcome { expected: None, restarted: false };
        };
        if self.missed >= plan.gap_limit {
            self.resume(slot, y);
            return Outcome { expected: None, restarted: false };
        }
        let issued = self.issue(plan, slot);
        let expected = issued.map(|(_, expected)| expected);
        let naive = self.naive(slot);
        let error = match &mut self.stage {
            Stage::Start { level, history } => {
                push(history, plan, Some(y));
                let error = level.map(|level| y - level);
                *level = level.map_or(Some(y), |level| {
                    Some(level + plan.parameters.alpha * error.unwrap_or_default())
                });
                error
            }
            Stage::Running { components, last } => {
                let error = components.step(&plan.parameters, slot, Some(y)).error;
                let m = last.len();
                last[phase(slot, m)] = Some(y);
                error.map(|e| if components.is_finite_at(slot) { e } else { f64::INFINITY })
            }
        };
        if error.is_some_and(|e| e.abs() > ERROR_MAX || e.is_nan()) {
            self.restart(y);
            return Outcome { expected, restarted: true };
        }
        if let Some(e) = error {
            self.errors.add(plan.memory, e / self.spread(plan).sqrt());
        }
        self.missed = 0;
        if let Some((rung, expected)) = issued {
            self.score.cover(rung, (expected.lower..=expected.upper).contains(&y));
            if let Some(naive) = naive {
                self.score.compare((y - expected.mean).abs(), (y - naive).abs());
            }
        }
        let restarted = self.climb(plan, slot, y);
        Outcome { expected, restarted }
    }

    /// A missing slot: predicted through.
    fn miss(&mut self, plan: &ForecastPlan, slot: i64) {
        self.missed = self.missed.saturating_add(1).min(plan.gap_limit);
        self.errors.previous = 0.0;
        match &mut self.stage {
            Stage::Start { history, .. } => push(history, plan, None),
            Stage::Running { components, .. } => {
                components.step(&plan.parameters, slot, None);
            }
        }
    }

    /// A gap too long to predict through.
    pub(super) fn interrupt(&mut self, plan: &ForecastPlan) {
        self.missed = plan.gap_limit;
        self.errors.previous = 0.0;
        match &mut self.stage {
            Stage::Start { history, .. } => history.clear(),
            Stage::Running { components, .. } => components.trend = 0.0,
        }
    }

    /// The first slot after such a gap: its level is taken as it is and not held against the model.
    fn resume(&mut self, slot: i64, y: f64) {
        self.missed = 0;
        match &mut self.stage {
            Stage::Start { level, history } => {
                *level = Some(y);
                history.push_back(Some(y));
            }
            Stage::Running { components, last } => {
                components.level = components.season.level_of(y, slot);
                components.trend = 0.0;
                let m = last.len();
                last[phase(slot, m)] = Some(y);
            }
        }
    }

    /// Afresh from a slot of mean `y`, without `initial`, which led here.
    fn restart(&mut self, y: f64) {
        *self = Model {
            step: self.step,
            season_length: self.season_length,
            stage: Stage::Start { level: Some(y), history: VecDeque::from([Some(y)]) },
            ..Model::default()
        };
    }

    /// [`variance_factors`] with the correlation of the errors seen; runs from `initial` do without.
    fn variance_factors(&self, plan: &ForecastPlan) -> impl Iterator<Item = f64> {
        let correlation = match plan.initial {
            Some(_) => 0.0,
            None => self.errors.correlation(),
        };
        variance_factors(&plan.parameters, (plan.season_length, 0), correlation)
    }

    /// By how much the variance of the next slot's forecast exceeds sigma2, for the slots missed
    /// before it. Errors after a gap are divided by it, lest one gap widen the intervals for
    /// weeks. Runs from `initial` keep plain errors: sigma2 = SSE/n.
    fn spread(&self, plan: &ForecastPlan) -> f64 {
        match &self.stage {
            _ if self.missed == 0 || plan.initial.is_some() => 1.0,
            Stage::Start { .. } => f64::from(self.missed) + 1.0,
            Stage::Running { .. } => {
                self.variance_factors(plan).nth(self.missed as usize).unwrap_or(1.0)
            }
        }
    }

    /// Starts Holt-Winters when the history carries it, after the slot of mean `y`. True when its
    /// numbers would have overflowed, so that everything starts afresh.
    fn climb(&mut self, plan: &ForecastPlan, slot: i64, y: f64) -> bool {
        let Stage::Start { history, .. } = &self.stage else { return false };
        if !start::is_ready(history, plan.season_length) {
            return false;
        }
        let first = slot + 1 - history.len() as i64;
        let states = start::states(history, first, plan.season_length, plan.trend);
        let Some((mut components, fitted)) = states else { return false };
        let mut last = vec![None; plan.season_length.max(1)];
        let m = last.len();
        let mut errors = ErrorScale::default();
        for (slot, observed) in (first..).zip(history) {
            match components.step(&plan.parameters, slot, *observed).error {
                Some(e) => {
                    errors.add(1.0, e);
                    last[phase(slot, m)] = *observed;
                }
                None => errors.previous = 0.0,
            }
            if !(errors.sum.is_finite() && components.is_finite_at(slot)) {
                self.restart(y);
                return true;
            }
        }
        // The states were fitted to the same slots: count the errors that were free.
        errors.weight = f64::max(errors.weight - fitted as f64, 1.0);
        self.errors = errors;
        self.stage = Stage::Running { components, last };
        false
    }

    /// Changes everything that was seen and learned of the level by `shift`.
    pub(super) fn shift(&mut self, shift: impl Fn(&mut f64)) {
        match &mut self.stage {
            Stage::Start { level, history } => {
                level.iter_mut().for_each(&shift);
                history.iter_mut().flatten().for_each(&shift);
            }
            Stage::Running { components, last } => {
                shift(&mut components.level);
                last.iter_mut().flatten().for_each(&shift);
            }
        }
    }

    /// Coverage and skill of `rung`.
    pub(super) fn score(&self, rung: Rung) -> Score {
        self.score.of(rung)
    }

    #[cfg(test)]
    pub(super) fn components(&self) -> Option<&Components> {
        match &self.stage {
            Stage::Running { components, .. } => Some(components),
            Stage::Start { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> ErrorScale {
        self.errors
    }

    /// The naive one-step forecast of `slot`: one season before, without a season (or before one
    /// was seen) the last observed slot. With `initial` and a season: `None` before that phase was seen.
    fn naive(&self, slot: i64) -> Option<f64> {
        match &self.stage {
            Stage::Running { last, .. } => last[phase(slot, last.len())],
            Stage::Start { history, .. } => {
                let seasonal = match self.season_length {
                    0 => None,
                    m => history.iter().rev().skip(m - 1).step_by(m).flatten().next(),
                };
                seasonal.or_else(|| history.iter().rev().flatten().next()).copied()
            }
        }
    }

    /// The one-step forecast of `slot` with its interval.
    fn issue(&self, plan: &ForecastPlan, slot: i64) -> Option<(Rung, Expected)> {
        let (mut mean, mut variance) = (0.0, 0.0);
        let basis = self.project(plan, slot, 1, |m, v| (mean, variance) = (m, v))?;
        let half = plan.quantile.at(basis.errors) * variance.sqrt();
        Some((basis.rung, Expected { mean, lower: mean - half, upper: mean + half }))
    }

    /// Calls `each` with mean and variance of the `steps` slots from `slot` (the next) on. `None`,
    /// and no call, while no error is known.
    pub(super) fn project(
        &self,
        plan: &ForecastPlan,
        slot: i64,
        steps: usize,
        mut each: impl FnMut(f64, f64),
    ) -> Option<Basis> {
        match &self.stage {
            Stage::Running { components, .. } => {
                let sigma2 = self.errors.sigma2()?;
                let factors = self.variance_factors(plan);
                let points = components.points(&plan.parameters, slot);
                for (mean, factor) in points.zip(factors.skip(self.missed as usize)).take(steps) {
                    each(mean, sigma2 * factor);
                }
                let rung = match (&components.season, plan.trend) {
                    (Season::Additive(_) | Season::Multiplicative(_) | Season::Double(..), _) => {
                        Rung::HoltWinters
                    }
                    (Season::None, Trend::None) => Rung::Ses,
                    (Season::None, Trend::Additive | Trend::Damped) => Rung::Holt,
                };
                Some(Basis { rung, errors: self.errors.weight })
            }
            Stage::Start { level, history } => {
                if let Some(naive) = SeasonalNaive::new(history, plan.season_length) {
                    for h in 0..steps {
                        let (mean, variance) = naive.at(h);
                        each(mean, variance);
                    }
                    return Some(Basis { rung: Rung::SeasonalNaive, errors: naive.errors });
                }
                let (level, sigma2) = ((*level)?, self.errors.sigma2()?);
                for h in 1..=steps {
                    each(level, sigma2 * (h as f64 + f64::from(self.missed)));
                }
                Some(Basis { rung: Rung::Level, errors: self.errors.weight })
            }
        }
    }
}

/// Appends to the history, forgetting the oldest beyond its capacity.
fn push(history: &mut History, plan: &ForecastPlan, slot: Option<f64>) {
    if history.len() >= start::capacity(plan.season_length) {
        history.pop_front();
    }
    history.push_back(slot);
}
