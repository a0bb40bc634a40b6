//! What is learned of one series from its slots: the ladder and its state.

mod gap;
mod ladder;
mod outlook;
mod running;
mod shift;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use self::running::Running;
use self::shift::{Shift, Shifted};
use super::calendar::Slot;
use super::calibration::Calibration;
use super::contest::Contest;
use super::fit::Fit;
use super::member::{Member, Shape, Spec};
use super::plan::ForecastPlan;
use super::recursion::{Components, Season};
use super::rest::Rest;
use super::ring::Ring;
use super::score::{ErrorScale, Rung, Score};
use super::start::{self, History};
use super::{Expected, schedule};

/// One-step errors beyond this start the model afresh: their squares, summed, would overflow.
const ERROR_MAX: f64 = 1e140;

/// How many errors a recorded standard deviation counts as.
const RESUMED_ERRORS: f64 = 100.0;

/// Everything behind the open slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Model {
    /// The plan's step and season lengths when it began, and the zone that these go by (`None`: UTC); another plan
    /// begins afresh.
    #[serde(rename = "t")]
    step: i64,
    #[serde(rename = "m")]
    seasons: [usize; 2],
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    zone: Option<Box<str>>,
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
    /// Slots closed since the first, missing ones included; the fits' clock.
    #[serde(rename = "n")]
    slots: u64,
    /// What fits are made from; empty when the plan wants none.
    #[serde(rename = "h", default, skip_serializing_if = "is_empty")]
    ring: Ring,
    /// `slots` when the ring last began, when the last fit was asked for; the fit that waits.
    #[serde(rename = "b")]
    began: u64,
    #[serde(rename = "a")]
    asked: u64,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pending: Option<Box<Fit>>,
    /// The last fit did not come in time, or its models suit no longer: it is asked for again a season later.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    unanswered: bool,
    /// Not with `initial`: these runs keep the textbook's intervals.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Box<Calibration>>,
    /// The level shift behind which no whole slot has closed.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    confirmed: Option<Shift>,
    /// The level shift of late.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    shifted: Option<Shifted>,
    /// Where the season rests.
    #[serde(rename = "q")]
    rest: Rest,
    /// Some slot was zero or less: what it measures may fall below zero again, however long it stays above.
    #[serde(rename = "j")]
    signed: bool,
}

fn is_empty(ring: &Ring) -> bool {
    ring.len() == 0
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
    /// All rungs above.
    #[serde(rename = "r")]
    Running(Box<Running>),
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Start { level: None, history: VecDeque::new() }
    }
}

/// What closing a slot showed.
pub(super) struct Outcome {
    pub expected: Option<Expected>,
    pub restarted: bool,
}

impl Model {
    /// For a series whose first slot is `slot`.
    pub(super) fn new(plan: &ForecastPlan, slot: Slot<'_>) -> Model {
        let stage = plan.initial.as_ref().map_or_else(Stage::default, |initial| {
            let first = plan.resumed().map_or(slot, |r| plan.slot(r.at.div_euclid(plan.step)));
            let by_phase = |terms: &[f64]| {
                let mut factors = terms.to_vec();
                if !factors.is_empty() {
                    factors.rotate_right(first.phase(terms.len()));
                }
                factors
            };
            let factors = by_phase(&initial.season);
            let season = match plan.spec.shape {
                Shape::Additive(_) => Season::Additive(factors),
                Shape::Multiplicative(_) => Season::Multiplicative(factors),
                Shape::Double(..) => Season::Double(factors, by_phase(initial.longer())),
                Shape::Plain => Season::None,
            };
            let (level, trend) = (initial.level, initial.trend);
            let components = Components { level, trend, season, residual: 0.0 };
            let members = vec![Member::new(plan.spec, components)];
            Stage::Running(Box::new(Running::new(plan, members)))
        });
        let calibration = || Box::new(Calibration::new(plan.season_length(), plan.horizon));
        let calibration = (!plan.is_textbook()).then(calibration);
        let mut model = Model {
            step: plan.step,
            seasons: plan.scope.seasons,
            zone: plan.calendar().zone().map(Box::from),
            stage,
            calibration,
            rest: Rest::new(plan.season_length()),
            ..Model::default()
        };
        if let Some(resumed) = plan.resumed() {
            // The level is not believed before a slot was seen.
            model.missed = plan.gap_limit;
            model.errors = ErrorScale::known(resumed.sd, RESUMED_ERRORS);
        }
        model
    }

    /// True when this state can go on under `plan`; also guards every index taken by phase.
    pub(super) fn fits(&self, plan: &ForecastPlan) -> bool {
        let m = plan.season_length();
        self.step == plan.step
            && self.seasons == plan.scope.seasons
            && self.zone.as_deref() == plan.calendar().zone()
            && self.rest.fits(m)
            && self.calibration.as_ref().is_none_or(|c| c.fits(m, plan.horizon))
            && match &self.stage {
                Stage::Start { history, .. } => history.len() <= start::capacity(m),
                Stage::Running(running) => {
                    let whole = |member: &Member| match &member.components.season {
                        Season::None => true,
                        Season::Additive(f) | Season::Multiplicative(f) => !f.is_empty(),
                        Season::Double(first, second) => !first.is_empty() && !second.is_empty(),
                    };
                    running.last.len() == m.max(1)
                        && !running.members.is_empty()
                        && running.members.iter().all(whole)
                }
            }
    }

    /// Takes in `slot`, the one after the last closed.
    pub(super) fn close(
        &mut self,
        plan: &ForecastPlan,
        slot: Slot<'_>,
        observed: Option<f64>,
    ) -> Outcome {
        let outcome = self.take(plan, slot, observed);
        self.slots = self.slots.saturating_add(1);
        if plan.ring > 0 {
            self.ring.push(plan.ring, observed);
        }
        self.signed |= observed.is_some_and(|y| y <= 0.0);
        if self.asked > self.began && self.slots == schedule::adopted(self.asked, self.step) {
            match self.pending.take() {
                Some(fit) => self.adopt(plan, slot, &fit.members),
                None => self.unanswered = true,
            }
        }
        if self.signed {
            self.leave_positive_models(plan, slot);
        }
        outcome
    }

    fn take(&mut self, plan: &ForecastPlan, slot: Slot<'_>, observed: Option<f64>) -> Outcome {
        let Some(y) = observed else {
            self.miss(plan, slot);
            return Outcome { expected: None, restarted: false };
        };
        if self.missed >= plan.gap_limit {
            match plan.resumed().filter(|_| self.slots == 0) {
                Some(resumed) => {
                    self.arrive(plan, plan.slot(resumed.at.div_euclid(plan.step)), slot, y);
                }
                None => self.resume(slot, y),
            }
            return Outcome { expected: None, restarted: false };
        }
        let issued = self.issue(plan, slot);
        let expected = issued.map(|(_, expected)| expected);
        let naive = self.naive(slot);
        if let Some(calibration) = &mut self.calibration {
            calibration.observe(slot, Some(y), plan.nominal);
        }
        self.confront(plan, slot, y);
        let error = match &mut self.stage {
            Stage::Start { level, history } => {
                push(history, plan, Some(y));
                let error = level.map(|level| y - level);
                *level = level.map_or(Some(y), |level| {
                    Some(level + plan.spec.parameters.alpha * error.unwrap_or_default())
                });
                error
            }
            Stage::Running(running) => {
                let error = running.step(plan.robust, slot, Some(y));
                if running.is_finite_at(slot) { error } else { Some(f64::INFINITY) }
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
        self.settle(slot, y);
        if let Some((rung, expected)) = issued {
            self.score.cover(rung, (expected.lower..=expected.upper).contains(&y));
            if let Some(naive) = naive {
                self.score.compare((y - expected.mean).abs(), (y - naive).abs());
            }
        }
        self.contend(plan, slot, y, naive);
        self.rest.observe(slot, y);
        let restarted = self.climb(plan, slot, y);
        Outcome { expected, restarted }
    }

    /// Counts an observed slot in the contest with the naive forecast.
    fn contend(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64, naive: Option<f64>) {
        let Stage::Running(running) = &mut self.stage else { return };
        if plan.is_textbook() {
            return;
        }
        let m = plan.season_length();
        running.contest.observe(m, slot.number(), y, naive);
        if running.contest.is_due(slot.number()) {
            let mut contest = std::mem::take(&mut running.contest);
            let next = slot.after(1);
            contest.begin(m, next.number(), y, running.points(next));
            running.contest = contest;
        }
    }

    /// Class-1 variance factors with the correlation of the errors seen; runs from `initial` do without.
    fn variance_factors(
        &self,
        plan: &ForecastPlan,
        running: &Running,
    ) -> impl Iterator<Item = f64> {
        let correlation = if plan.is_textbook() { 0.0 } else { self.errors.correlation() };
        running.variance_factors(correlation)
    }

    #[cfg(test)]
    pub(super) fn works_on_logarithms(&self) -> bool {
        matches!(&self.stage, Stage::Running(running) if running.members.iter().any(|m| m.spec.log))
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        let stage = match &self.stage {
            Stage::Start { history, .. } => history.capacity() * size_of::<Option<f64>>(),
            Stage::Running(running) => {
                let members = running.members.iter().map(|member| {
                    let (first, second) = member.lengths();
                    size_of::<Member>() + 8 * (first + second)
                });
                size_of::<Running>()
                    + members.sum::<usize>()
                    + running.last.capacity() * size_of::<Option<f64>>()
                    + 8 * Contest::block(self.seasons[0])
            }
        };
        let fit = self.pending.as_ref().map_or(0, |_| 2 * size_of::<Spec>() + size_of::<Fit>());
        let calibration = self
            .calibration
            .as_ref()
            .map_or(0, |calibration| size_of::<Calibration>() + calibration.heap_bytes());
        size_of::<Model>()
            + stage
            + self.rest.heap_bytes()
            + self.ring.heap_bytes()
            + fit
            + calibration
    }

    /// Coverage and skill of `rung`.
    pub(super) fn score(&self, rung: Rung) -> Score {
        self.score.of(rung)
    }

    #[cfg(test)]
    pub(super) fn components(&self) -> Option<&Components> {
        match &self.stage {
            Stage::Running(running) => running.members.first().map(|m| &m.components),
            Stage::Start { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> ErrorScale {
        self.errors
    }
}

/// Appends to the history, forgetting the oldest beyond its capacity.
fn push(history: &mut History, plan: &ForecastPlan, slot: Option<f64>) {
    if history.len() >= start::capacity(plan.season_length()) {
        history.pop_front();
    }
    history.push_back(slot);
}
