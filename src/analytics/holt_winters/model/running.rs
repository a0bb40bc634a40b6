//! The models at work, once the history carries any.

use serde::{Deserialize, Serialize};

use super::super::calendar::Slot;
use super::super::contest::Contest;
use super::super::member::Member;
use super::super::plan::ForecastPlan;
use super::super::recursion::Components;
use super::super::score::{ErrorScale, Rung};
use super::ERROR_MAX;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    /// One model, or two whose forecasts are averaged.
    #[serde(rename = "c")]
    pub members: Vec<Member>,
    /// Last observed slot mean by phase (without a season: one element): the naive forecast.
    #[serde(rename = "y")]
    pub last: Vec<Option<f64>>,
    /// Its errors.
    #[serde(rename = "e")]
    pub naive: ErrorScale,
    #[serde(rename = "v")]
    pub contest: Contest,
}

impl Running {
    pub fn new(plan: &ForecastPlan, members: Vec<Member>) -> Running {
        let last = vec![None; plan.season_length().max(1)];
        Running { members, last, naive: ErrorScale::default(), contest: Contest::default() }
    }

    /// Errors and variances are those of the logarithm: when all members work on it.
    pub fn in_logs(&self) -> bool {
        self.members.iter().all(|member| member.spec.log)
    }

    pub fn rung(&self) -> Rung {
        match self.members.as_slice() {
            [member] => member.spec.rung,
            _ => Rung::Combination,
        }
    }

    /// Forecasts from `slot` (the next) on, the members' average.
    pub fn points<'a>(&'a self, slot: Slot<'a>) -> impl Iterator<Item = f64> + use<'a> {
        average(&self.members, slot)
    }

    /// Class-1 variances as multiples of sigma2, the members' average.
    pub fn variance_factors(&self, correlation: f64) -> impl Iterator<Item = f64> + use<> {
        let mut members: Vec<_> =
            self.members.iter().map(|m| m.variance_factors(correlation)).collect();
        let share = 1.0 / members.len() as f64;
        std::iter::repeat_with(move || {
            members.iter_mut().filter_map(Iterator::next).map(|f| share * f).sum()
        })
    }

    /// Takes in a slot; the error in the scale of [`in_logs`](Self::in_logs).
    pub fn step(&mut self, robust: bool, slot: Slot<'_>, observed: Option<f64>) -> Option<f64> {
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
    pub fn settled(&self, slot: Slot<'_>) -> f64 {
        let share = 1.0 / self.members.len() as f64;
        self.members.iter().map(|member| share * member.settled(slot)).sum()
    }

    pub fn is_finite_at(&self, slot: Slot<'_>) -> bool {
        let is_finite = |c: &Components| c.is_finite_at(c.season.walk(slot).at());
        self.members.iter().all(|m| is_finite(&m.components))
    }

    pub fn rung_and_yield(&self) -> (Rung, bool) {
        let yields = self.contest.yields && self.naive.weight > 0.0;
        match (yields, self.last.len()) {
            (false, _) => (self.rung(), false),
            (true, 1) => (Rung::Naive, true),
            (true, _) => (Rung::SeasonalNaive, true),
        }
    }
}

/// Forecasts from `slot` (the next) on, the average of `members`.
pub(super) fn average<'a>(
    members: &'a [Member],
    slot: Slot<'a>,
) -> impl Iterator<Item = f64> + use<'a> {
    let mut members: Vec<_> = members.iter().map(|member| member.points(slot)).collect();
    let share = 1.0 / members.len() as f64;
    std::iter::repeat_with(move || {
        members.iter_mut().filter_map(Iterator::next).map(|point| share * point).sum()
    })
}
