//! From rung to rung: the first model, and those that fits find.

use super::super::calendar::Slot;
use super::super::contest::Contest;
use super::super::fit::{self, Fit, FitJob};
use super::super::member::{Member, Spec};
use super::super::plan::ForecastPlan;
use super::super::score::ErrorScale;
use super::super::{schedule, start};
use super::{ERROR_MAX, Model, Running, Stage};

/// Slots back from the newest whose factors are looked at after a replay: all phases of the longest season.
const SLOTS_CHECKED: usize = 2016;

impl Model {
    /// Starts the plan's model when the history carries it, after the slot of mean `y`. True when its
    /// numbers would have overflowed, so that everything starts afresh.
    pub(super) fn climb(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64) -> bool {
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
        if let Some(shifted) = &mut self.shifted {
            shifted.levels.clear();
        }
        Some(false)
    }

    /// A fit's models take over after `slot`.
    pub(super) fn adopt(&mut self, plan: &ForecastPlan, slot: Slot<'_>, specs: &[Spec]) {
        let values = self.ring.to_vec();
        // What cannot be replayed is not adopted; the model at work goes on.
        self.begin(plan, specs, &values, slot, 0);
    }

    /// Models of logarithms, or with factors that multiply, which fits have found in positive values, make way for their siblings
    /// with the same gains, until a fit a season behind the last: to them the slot below zero was a missing one.
    pub(super) fn leave_positive_models(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
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
    pub fn take_fit_job(&mut self, plan: &ForecastPlan, next: i64, stagger: u32) -> Option<FitJob> {
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
    pub fn offer(&mut self, fit: Fit) -> bool {
        let awaited = self.asked > self.began
            && fit.at == self.asked
            && self.slots < schedule::adopted(fit.at, self.step);
        let taken = awaited && fit.is_sound(self.seasons);
        if taken {
            self.pending = Some(Box::new(fit));
        }
        taken
    }
}
