//! What is learned of one series from its slots: the ladder and its state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::calendar::Slot;
use super::calibration::Calibration;
use super::contest::Contest;
use super::fit::{self, Fit, FitJob};
use super::member::{Member, Shape, Spec, exp};
use super::naive::SeasonalNaive;
use super::plan::{ForecastPlan, VALUE_MAX};
use super::recursion::{Components, Parameters, Season};
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

/// A level shift that has not lasted for a season yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Shifted {
    /// `slots` at which the rest is taken.
    #[serde(rename = "n")]
    due: u64,
    /// By how much at most, in the series' unit.
    #[serde(rename = "d")]
    rest: f64,
    /// Number, as in `slots`, of the first slot that is not from before it.
    #[serde(rename = "f", default)]
    since: u64,
    /// By how much it was more than expected, with those the same way that it followed.
    #[serde(rename = "w", default)]
    whole: f64,
}

/// A shift of which the forecast lacks no more than this share was expected.
const EXPECTED: f64 = 0.2;

/// How much of a confirmed shift is taken at once. Machines stop and start again: a level that
/// has moved may be back tomorrow, or never. Half errs by half either way.
const SHIFT_SHARE: f64 = 0.5;

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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    /// One model, or two whose forecasts are averaged.
    #[serde(rename = "c")]
    members: Vec<Member>,
    /// Last observed slot mean by phase (without a season: one element): the naive forecast.
    #[serde(rename = "y")]
    last: Vec<Option<f64>>,
    /// Its errors.
    #[serde(rename = "e")]
    naive: ErrorScale,
    #[serde(rename = "v")]
    contest: Contest,
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

/// What closing a slot showed.
pub(super) struct Outcome {
    pub expected: Option<Expected>,
    pub restarted: bool,
}

impl Running {
    fn new(plan: &ForecastPlan, members: Vec<Member>) -> Running {
        let last = vec![None; plan.season_length().max(1)];
        Running { members, last, naive: ErrorScale::default(), contest: Contest::default() }
    }

    /// Errors and variances are those of the logarithm: when all members work on it.
    fn in_logs(&self) -> bool {
        self.members.iter().all(|member| member.spec.log)
    }

    fn rung(&self) -> Rung {
        match self.members.as_slice() {
            [member] => member.spec.rung,
            _ => Rung::Combination,
        }
    }

    /// Forecasts from `slot` (the next) on, the members' average.
    fn points<'a>(&'a self, slot: Slot<'a>) -> impl Iterator<Item = f64> + use<'a> {
        let mut members: Vec<_> = self.members.iter().map(|m| m.points(slot)).collect();
        let share = 1.0 / members.len() as f64;
        std::iter::repeat_with(move || {
            members.iter_mut().filter_map(Iterator::next).map(|p| share * p).sum()
        })
    }

    /// Class-1 variances as multiples of sigma2, the members' average.
    fn variance_factors(&self, correlation: f64) -> impl Iterator<Item = f64> + use<> {
        let mut members: Vec<_> =
            self.members.iter().map(|m| m.variance_factors(correlation)).collect();
        let share = 1.0 / members.len() as f64;
        std::iter::repeat_with(move || {
            members.iter_mut().filter_map(Iterator::next).map(|f| share * f).sum()
        })
    }

    /// Takes in a slot; the error in the scale of [`in_logs`](Self::in_logs).
    fn step(&mut self, robust: bool, slot: Slot<'_>, observed: Option<f64>) -> Option<f64> {
        let predicted = self.points(slot).next()?;
        let log = self.in_logs();
        for member in &mut self.members {
            let at = member.components.season.walk(slot).at();
            let inward = observed.and_then(|y| member.spec.inward(y));
            member.step(at, inward, robust);
        }
        let y = observed?;
        let m = self.last.len();
        if let Some(naive) = self.last[slot.phase(m)].replace(y) {
            let error = y - naive;
            let memory = 1.0 - 1.0 / (10 * m.max(20)) as f64;
            self.naive.add(memory, error.clamp(-ERROR_MAX, ERROR_MAX));
        }
        match log {
            false => Some(y - predicted),
            true => (y > 0.0).then(|| libm::log(y) - libm::log(predicted)),
        }
    }

    /// The members' average without their residuals.
    fn settled(&self, slot: Slot<'_>) -> f64 {
        let share = 1.0 / self.members.len() as f64;
        self.members.iter().map(|member| share * member.settled(slot)).sum()
    }

    fn is_finite_at(&self, slot: Slot<'_>) -> bool {
        let is_finite = |c: &Components| c.is_finite_at(c.season.walk(slot).at());
        self.members.iter().all(|m| is_finite(&m.components))
    }

    fn rung_and_yield(&self) -> (Rung, bool) {
        let yields = self.contest.yields && self.naive.weight > 0.0;
        match (yields, self.last.len()) {
            (false, _) => (self.rung(), false),
            (true, 1) => (Rung::Naive, true),
            (true, _) => (Rung::SeasonalNaive, true),
        }
    }
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

    /// A missing slot: predicted through.
    fn miss(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
        self.missed = self.missed.saturating_add(1).min(plan.gap_limit);
        self.errors.previous = 0.0;
        if let Some(calibration) = &mut self.calibration {
            calibration.observe(slot, None, plan.nominal);
        }
        match &mut self.stage {
            Stage::Start { history, .. } => push(history, plan, None),
            Stage::Running(running) => {
                running.step(plan.robust, slot, None);
            }
        }
    }

    /// A gap too long to predict through.
    pub(super) fn interrupt(&mut self, plan: &ForecastPlan) {
        self.missed = plan.gap_limit;
        self.errors.previous = 0.0;
        self.ring.clear();
        if let Some(calibration) = &mut self.calibration {
            calibration.interrupt();
        }
        (self.began, self.asked) = (self.slots, self.slots);
        (self.pending, self.unanswered, self.shifted) = (None, false, None);
        match &mut self.stage {
            Stage::Start { history, .. } => history.clear(),
            Stage::Running(running) => {
                for member in &mut running.members {
                    member.components.trend = 0.0;
                    member.components.residual = 0.0;
                }
            }
        }
    }

    /// The first slot after such a gap: its level is taken as it is and not held against the model.
    fn resume(&mut self, slot: Slot<'_>, y: f64) {
        self.missed = 0;
        match &mut self.stage {
            Stage::Start { level, history } => {
                *level = Some(y);
                history.push_back(Some(y));
            }
            Stage::Running(running) => {
                for member in &mut running.members {
                    if let Some(y) = member.spec.inward(y) {
                        member.components.level = member.components.season.level_of(y, slot);
                    }
                    member.components.trend = 0.0;
                    member.components.residual = 0.0;
                }
                let m = running.last.len();
                running.last[slot.phase(m)] = Some(y);
            }
        }
    }

    /// The first slot of a series that goes on from recorded states, those before slot `from`. What lies
    /// between is predicted through. The level may have wandered there, by α errors a slot: it moves
    /// by the share of the surprise k α²/(1 + k α²) after k slots that its variance then has, at least by α.
    fn arrive(&mut self, plan: &ForecastPlan, from: Slot<'_>, slot: Slot<'_>, y: f64) {
        let away = slot.number().saturating_sub(from.number());
        if !(0..i64::from(plan.gap_limit)).contains(&away) {
            return self.resume(slot, y);
        }
        self.missed = 0;
        let Stage::Running(running) = &mut self.stage else { return };
        for member in &mut running.members {
            let p = member.spec.parameters;
            for k in 0..away {
                member.components.step(&p, from.after(k), None);
            }
            let wandered = (away + 1) as f64 * p.alpha * p.alpha;
            let alpha = (wandered / (1.0 + wandered)).max(p.alpha);
            let gain = Parameters { alpha, gamma: p.gamma.min(1.0 - alpha), ..p };
            if let Some(y) = member.spec.inward(y) {
                member.components.step(&gain, slot, Some(y));
            }
        }
        let m = running.last.len();
        running.last[slot.phase(m)] = Some(y);
    }

    /// Afresh from a slot of mean `y`, without `initial`, which led here.
    fn restart(&mut self, y: f64) {
        let calibration = self.calibration.as_ref().map(|c| Box::new(c.afresh()));
        *self = Model {
            calibration,
            step: self.step,
            seasons: self.seasons,
            zone: self.zone.take(),
            stage: Stage::Start { level: Some(y), history: VecDeque::from([Some(y)]) },
            rest: Rest::new(self.seasons[0]),
            signed: self.signed,
            slots: self.slots,
            began: self.slots,
            asked: self.slots,
            ..Model::default()
        };
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

    /// By how much the variance of the next slot's forecast exceeds sigma2, for the slots missed
    /// before it. Errors after a gap are divided by it, lest one gap widen the intervals for
    /// weeks. Runs from `initial` keep plain errors: sigma2 = SSE/n.
    fn spread(&self, plan: &ForecastPlan) -> f64 {
        match &self.stage {
            _ if self.missed == 0 || plan.is_textbook() => 1.0,
            Stage::Start { .. } => f64::from(self.missed) + 1.0,
            Stage::Running(running) => {
                self.variance_factors(plan, running).nth(self.missed as usize).unwrap_or(1.0)
            }
        }
    }

    /// Starts the plan's model when the history carries it, after the slot of mean `y`. True when its
    /// numbers would have overflowed, so that everything starts afresh.
    fn climb(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64) -> bool {
        let Stage::Start { history, .. } = &self.stage else { return false };
        let first = slot.after(1 - history.len() as i64);
        if !start::is_ready(history, first, plan.season_length()) {
            return false;
        }
        let values: Vec<f64> = history.iter().map(|y| y.unwrap_or(f64::NAN)).collect();
        let fitted = plan.season_length().max(1) + 1;
        match self.begin(plan, &[plan.spec], &values, slot, fitted) {
            Some(true) => self.restart(y),
            // The form does not suit the series (a value without logarithm): its sibling that does.
            None if plan.spec.is_picky() => {
                let restarted = self.begin(plan, &[plan.spec.plainer()], &values, slot, fitted);
                if restarted == Some(true) {
                    self.restart(y);
                }
                return restarted == Some(true);
            }
            Some(false) => {
                if let Some(calibration) = &mut self.calibration {
                    calibration.begin();
                }
                return false;
            }
            None => return false,
        }
        true
    }

    /// Puts `specs` to work with the states that they have after `values`, the last of which is `slot`.
    /// True when their numbers overflowed; `None` when they have no states.
    fn begin(
        &mut self,
        plan: &ForecastPlan,
        specs: &[Spec],
        values: &[f64],
        slot: Slot<'_>,
        fitted: usize,
    ) -> Option<bool> {
        let first = slot.after(1 - values.len() as i64);
        let mut last = vec![None; plan.season_length().max(1)];
        let m = last.len();
        let (mut errors, mut naive) = (ErrorScale::default(), ErrorScale::default());
        let log = specs.iter().all(|spec| spec.log);
        let memory = if values.len() > 4 * m { plan.memory } else { 1.0 };
        let mut walk = first.walk((m, 0));
        let mut observe = |_: usize, observed: Option<f64>, predicted: f64| {
            let at = walk.at().first;
            walk.advance();
            let Some(y) = observed else {
                errors.previous = 0.0;
                return;
            };
            match log {
                false => errors.add(memory, y - predicted),
                true if y > 0.0 => errors.add(memory, libm::log(y) - libm::log(predicted)),
                true => {}
            }
            if let Some(before) = last[at].replace(y) {
                naive.add(memory, (y - before).clamp(-ERROR_MAX, ERROR_MAX));
            }
        };
        let members = fit::run_through(specs, values, first, plan.robust, &mut observe)?;
        let checked = values.len().min(SLOTS_CHECKED);
        let is_finite = |member: &Member| {
            let mut walk = member.components.season.walk(slot.after(1 - checked as i64));
            (0..checked).all(|_| {
                let at = walk.at();
                walk.advance();
                member.components.is_finite_at(at)
            })
        };
        let bounded = errors.sum.is_finite() && errors.sum < ERROR_MAX * ERROR_MAX;
        if !(bounded && members.iter().all(is_finite)) {
            return Some(true);
        }
        // The states were fitted to the same slots: count the errors that were free.
        errors.weight = f64::max(errors.weight - fitted as f64, 1.0);
        self.errors = errors;
        let running = Running { members, last, naive, contest: Contest::default() };
        self.stage = Stage::Running(Box::new(running));
        Some(false)
    }

    /// A fit's models take over after `slot`.
    fn adopt(&mut self, plan: &ForecastPlan, slot: Slot<'_>, specs: &[Spec]) {
        let values = self.ring.to_vec();
        // What cannot be replayed is not adopted; the model at work goes on.
        self.begin(plan, specs, &values, slot, 0);
    }

    /// Models of logarithms, or with factors that multiply, which fits have found in positive values, make way for their siblings
    /// with the same gains, until a fit a season behind the last: to them the slot below zero was a missing one.
    fn leave_positive_models(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
        let Stage::Running(running) = &self.stage else { return };
        if !running.members.iter().any(|member| member.spec.is_picky()) {
            return;
        }
        let scope = plan.scope.of_signed();
        let specs: Vec<Spec> = running.members.iter().map(|m| scope.settled(m.spec)).collect();
        if running.members.iter().zip(&specs).any(|(member, spec)| member.spec != *spec) {
            self.adopt(plan, slot, &specs);
            // Better gains are looked for as if the last fit had not come.
            self.unanswered = true;
        }
    }

    /// A fit, when one is due.
    pub(super) fn take_fit_job(
        &mut self,
        plan: &ForecastPlan,
        next: i64,
        stagger: u32,
    ) -> Option<FitJob> {
        let delay = schedule::delay(plan.scope.seasons, stagger);
        let seen = (self.slots - self.began).saturating_sub(delay);
        let due = schedule::last_due(plan.scope.seasons, seen)?;
        let again = self.unanswered
            && self.slots >= self.asked + Contest::block(plan.season_length()) as u64;
        let early = self.began == 0 && due < plan.settled_for();
        let begins = again || self.began + delay + due > self.asked;
        if plan.ring == 0 || early || !begins || !self.fits(plan) {
            return None;
        }
        (self.asked, self.unanswered, self.pending) = (self.slots, false, None);
        let values = self.ring.to_vec();
        let first = next - values.len() as i64;
        let scope = if self.signed { plan.scope.of_signed() } else { plan.scope.clone() };
        Some(FitJob { at: self.slots, first, values, scope })
    }

    /// Keeps `fit` until its slot comes. One that is not awaited, or not in order, is left: `false`.
    pub(super) fn offer(&mut self, fit: Fit) -> bool {
        let awaited = self.asked > self.began
            && fit.at == self.asked
            && self.slots < schedule::adopted(fit.at, self.step);
        let taken = awaited && fit.is_sound(self.seasons);
        if taken {
            self.pending = Some(Box::new(fit));
        }
        taken
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

    /// Remembers what is forecast now, `slot` being the next, for the calibration of what comes.
    pub(super) fn remember(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
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
    pub(super) fn calibrated(
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

    /// A level shift by `delta` was confirmed, and the next reading lies `apart` from its forecast. The states move by a
    /// part of what was not expected, by all of it when that takes back the shift before, or no model runs yet. What was
    /// seen stays as it was seen until the shift has lasted for a season: a machine that is on by day would else have
    /// its nights moved to the level of its days, and back, and no season left to be found. `between`: the open slot is from
    /// before the shift.
    pub(super) fn confirm_shift(&mut self, delta: f64, apart: f64, between: bool) {
        let moved = apart.clamp(delta.min(0.0), delta.max(0.0));
        if moved.abs() <= EXPECTED * delta.abs() {
            return;
        }
        let before = self.shifted.take();
        let returns = before.is_some_and(|before| before.whole * moved < 0.0);
        let now =
            if returns || matches!(self.stage, Stage::Start { .. }) { 1.0 } else { SHIFT_SHARE };
        self.move_states(|value| *value = (*value + now * moved).clamp(-VALUE_MAX, VALUE_MAX));
        if !returns {
            let since = self.slots.saturating_add(u64::from(between));
            // A season on from the last slot before it.
            let season = Contest::block(self.seasons[0]) as u64;
            let due = since.saturating_add(season.saturating_sub(1));
            let whole = moved + before.map_or(0.0, |before| before.whole);
            self.shifted = Some(Shifted { due, rest: (1.0 - now) * moved, since, whole });
        }
    }

    /// After `slot` of mean `y`: takes the rest of a shift that has lasted, as far as the model has not followed it by itself,
    /// and moves what was seen before it to the level that it has since.
    fn settle(&mut self, slot: Slot<'_>, y: f64) {
        let slots = self.slots;
        let Some(shifted) = self.shifted.take_if(|shifted| shifted.due <= slots) else { return };
        if let Stage::Running(running) = &self.stage {
            // Of the same phase as the slot that closed, a season on: what is left of the difference.
            let m = running.last.len() as i64;
            let apart = y - running.settled(slot.after(m));
            if apart.is_finite() {
                let moved = apart.clamp(shifted.rest.min(0.0), shifted.rest.max(0.0));
                self.move_states(|value| *value = (*value + moved).clamp(-VALUE_MAX, VALUE_MAX));
            }
        }
        let block = Contest::block(self.seasons[0]);
        let since = usize::try_from(slots - shifted.since.min(slots)).unwrap_or(usize::MAX);
        let lasting = |before: Option<f64>| {
            let by = before.map_or(shifted.whole, |before| y - before);
            by.clamp(shifted.whole.min(0.0), shifted.whole.max(0.0))
        };
        if let Stage::Start { history, .. } = &mut self.stage {
            // The slot that closed is its last.
            let end = history.len().saturating_sub(1);
            let by = lasting(end.checked_sub(block).and_then(|at| history[at]));
            let older = history.iter_mut().take(end.saturating_sub(since)).flatten();
            older.for_each(|value| *value = (*value + by).clamp(-VALUE_MAX, VALUE_MAX));
        }
        let by = lasting(self.ring.len().checked_sub(block).and_then(|at| self.ring.get(at)));
        self.ring.move_first(self.ring.len().saturating_sub(since), by);
    }

    /// Changes everything that was seen and learned of the level by `shift`. Not the naive forecast, and not
    /// what was said before: both are what the model is measured by.
    pub(super) fn shift(&mut self, shift: impl Fn(&mut f64)) {
        self.ring.shift(&shift);
        if let Stage::Start { history, .. } = &mut self.stage {
            history.iter_mut().flatten().for_each(&shift);
        }
        self.move_states(shift);
    }

    /// The same but for what was seen.
    fn move_states(&mut self, shift: impl Fn(&mut f64)) {
        if let Some(calibration) = &mut self.calibration {
            calibration.shift(&shift);
        }
        self.rest.doubt();
        match &mut self.stage {
            Stage::Start { level, .. } => level.iter_mut().for_each(&shift),
            Stage::Running(running) => {
                for member in &mut running.members {
                    let mut level = member.spec.outward(member.components.level);
                    shift(&mut level);
                    if let Some(level) = member.spec.inward(level) {
                        member.components.level = level;
                    }
                }
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
            Stage::Running(running) => running.members.first().map(|m| &m.components),
            Stage::Start { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> ErrorScale {
        self.errors
    }

    /// The naive one-step forecast of `slot`: one season before, without a season (or before one
    /// was seen) the last observed slot. With `initial` and a season: `None` before that phase was seen.
    fn naive(&self, slot: Slot<'_>) -> Option<f64> {
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
    fn issue(&self, plan: &ForecastPlan, slot: Slot<'_>) -> Option<(Rung, Expected)> {
        let (mut mean, mut variance) = (0.0, 0.0);
        let basis = self.project(plan, slot, 1, |m, v| (mean, variance) = (m, v))?;
        let expected = self.calibrated(plan, &basis, (1, slot), (mean, variance));
        Some((basis.rung, expected))
    }

    /// Calls `each` with mean and variance of the `steps` slots from `slot` (the next) on. `None`,
    /// and no call, while no error is known.
    pub(super) fn project(
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
}

/// Slots back from the newest whose factors are looked at after a replay: all phases of the longest season.
const SLOTS_CHECKED: usize = 2016;

/// Appends to the history, forgetting the oldest beyond its capacity.
fn push(history: &mut History, plan: &ForecastPlan, slot: Option<f64>) {
    if history.len() >= start::capacity(plan.season_length()) {
        history.pop_front();
    }
    history.push_back(slot);
}
