//! Level shifts that the filter confirmed.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::super::calendar::Slot;
use super::super::contest::Contest;
use super::super::member::Member;
use super::super::plan::{ForecastPlan, VALUE_MAX};
use super::running::average;
use super::{Model, Stage};

/// A level shift that the filter has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shift {
    /// By how much, in the series' unit.
    #[serde(rename = "d")]
    pub delta: f64,
    /// Number, as in `slots`, of the first slot that is not from before it.
    #[serde(rename = "s")]
    pub since: u64,
    /// Of the first slot that lies behind it as a whole.
    #[serde(rename = "w")]
    pub whole: u64,
}

/// One that the forecast has followed, and that has not lasted for a season yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shifted {
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
    /// The models' levels before it, in their scales; empty where other models are at work since.
    #[serde(rename = "l", default)]
    pub levels: Vec<f64>,
    /// Slots in a row that these say better.
    #[serde(rename = "b", default)]
    better: u8,
}

/// A shift of which the forecast lacks no more than this share was expected.
const EXPECTED: f64 = 0.2;

/// So many slots in a row that lie nearer to what would be forecast without the shift end it.
const BACK: u8 = 3;

/// How much of a confirmed shift is taken at once. Machines stop and start again: a level that
/// has moved may be back tomorrow, or never. Half errs by half either way.
const SHIFT_SHARE: f64 = 0.5;

impl Model {
    /// The filter confirmed a level shift by `delta`. What it means shows the first whole slot behind it: readings and slots' means
    /// cannot be compared, where a machine runs for a quarter of an hour. One that takes back another before that is none.
    /// `between`: the open slot is from before it.
    pub fn expect_shift(&mut self, delta: f64, between: bool) {
        let before = self.confirmed.take();
        let sum = delta + before.map_or(0.0, |before| before.delta);
        if sum.abs() > EXPECTED * delta.abs() {
            let since = self.slots.saturating_add(u64::from(between));
            self.confirmed = Some(Shift {
                delta: sum.clamp(-VALUE_MAX, VALUE_MAX),
                since: before.map_or(since, |before| before.since),
                whole: self.slots.saturating_add(1),
            });
        }
    }

    /// One whose readings, `seen`, lie in slots of their own behind `open`: as many slots on, in order, with that mean.
    pub fn take_shift(
        &mut self,
        plan: &ForecastPlan,
        open: Slot<'_>,
        seen: &[(usize, f64)],
        delta: f64,
    ) {
        let delta = delta + self.confirmed.take().map_or(0.0, |before| before.delta);
        let since = self.slots.saturating_add(1);
        let delta = delta.clamp(-VALUE_MAX, VALUE_MAX);
        self.follow_shift(plan, open, seen, Shift { delta, since, whole: since });
    }

    /// Before `slot` of mean `y` is taken in.
    pub(super) fn confront(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64) {
        let slots = self.slots;
        if let Some(shift) = self.confirmed.take_if(|shift| shift.whole <= slots) {
            self.follow_shift(plan, slot, &[(0, y)], shift);
        } else if let Some(mut shifted) = self.shifted.take() {
            let members = self.restored(&shifted.levels, slot, &[(0, y)]);
            shifted.better = if members.is_some() { shifted.better + 1 } else { 0 };
            match members {
                // The filter need not have seen the way back.
                Some(members) if shifted.better >= BACK => self.restore(members),
                _ => self.shifted = Some(shifted),
            }
        }
    }

    /// Slots behind a shift have the means `seen`, so many slots behind `slot` (the next). The states move by a part of what
    /// was not expected, by all of it where no model runs yet. They are as before the last shift when that says it better: the
    /// machine is back. What was seen stays as it was seen until the shift has lasted for a season: a machine that is on by
    /// day would else have its nights moved to the level of its days, and back, and no season left to be found.
    fn follow_shift(
        &mut self,
        plan: &ForecastPlan,
        slot: Slot<'_>,
        seen: &[(usize, f64)],
        shift: Shift,
    ) {
        let Shift { delta, since, .. } = shift;
        let apart = match &self.stage {
            Stage::Running(running) => median(apart(&running.members, slot, seen)),
            Stage::Start { .. } => {
                let mut points = Vec::new();
                let steps = seen.last().map_or(0, |(ahead, _)| ahead + 1);
                self.project(plan, slot, steps, |mean, _| points.push(mean));
                median(seen.iter().filter_map(|(at, y)| Some(y - points.get(*at)?)))
            }
        };
        let apart = apart.unwrap_or(delta);
        if !apart.is_finite() {
            return;
        }
        let before = self.shifted.take();
        let returns = before.as_ref().is_some_and(|before| before.whole * delta < 0.0);
        if let Some(before) = &before
            && returns
            && let Some(members) = self.restored(&before.levels, slot, seen)
        {
            return self.restore(members);
        }
        let moved = apart.clamp(delta.min(0.0), delta.max(0.0));
        if moved.abs() <= EXPECTED * delta.abs() {
            self.shifted = before;
            return;
        }
        let (before, levels) = match before {
            Some(Shifted { whole, levels, .. }) => (whole, levels),
            None => (0.0, self.levels()),
        };
        let now =
            if returns || matches!(self.stage, Stage::Start { .. }) { 1.0 } else { SHIFT_SHARE };
        self.move_states(now * moved);
        if !returns {
            // A season on from the last slot before it.
            let season = Contest::block(self.seasons[0]) as u64;
            let due = since.saturating_add(season.saturating_sub(1));
            let whole = moved + before;
            let rest = (1.0 - now) * moved;
            self.shifted = Some(Shifted { due, rest, since, whole, levels, better: 0 });
        }
    }

    /// The models with their levels as they were, if the slots of means `seen` lie nearer to their forecast.
    fn restored(
        &self,
        levels: &[f64],
        slot: Slot<'_>,
        seen: &[(usize, f64)],
    ) -> Option<Vec<Member>> {
        let Stage::Running(running) = &self.stage else { return None };
        if levels.len() != running.members.len() {
            return None;
        }
        let back = running.members.iter().zip(levels).map(|(member, level)| {
            let mut member = member.clone();
            let before = member.settled_inward(slot);
            member.components.level = *level;
            // What the last slot was apart from its forecast without residual.
            member.components.residual += before - member.settled_inward(slot);
            member
        });
        let back: Vec<Member> = back.collect();
        let off = |members: &[Member]| median(apart(members, slot, seen).map(f64::abs));
        (off(&back)? < off(&running.members)?).then_some(back)
    }

    /// Puts them to work: the machine is back.
    fn restore(&mut self, members: Vec<Member>) {
        let Stage::Running(running) = &mut self.stage else { return };
        let level = |members: &[Member]| {
            members.first().map_or(0.0, |member| member.spec.outward(member.components.level))
        };
        let by = level(&members) - level(&running.members);
        running.members = members;
        if let Some(calibration) = &mut self.calibration
            && by.is_finite()
        {
            calibration.shift(by);
        }
        self.rest.doubt();
    }

    /// The models' levels, in their scales.
    fn levels(&self) -> Vec<f64> {
        match &self.stage {
            Stage::Running(running) => running.members.iter().map(|m| m.components.level).collect(),
            Stage::Start { .. } => Vec::new(),
        }
    }

    /// After `slot` of mean `y`: takes the rest of a shift that has lasted, as far as the model has not followed it by itself,
    /// and moves what was seen before it to the level that it has since.
    pub(super) fn settle(&mut self, slot: Slot<'_>, y: f64) {
        let slots = self.slots;
        let Some(shifted) = self.shifted.take_if(|shifted| shifted.due <= slots) else { return };
        let block = Contest::block(self.seasons[0]);
        let since = usize::try_from(slots - shifted.since.min(slots)).unwrap_or(usize::MAX);
        if let Stage::Start { history, .. } = &mut self.stage {
            // The slot that closed is its last.
            let end = history.len().saturating_sub(1);
            let ago = |k: usize| end.checked_sub(k).and_then(|at| history[at]);
            let by = shifted.whole * lasting(ago, block, shifted.whole);
            let older = history.iter_mut().take(end.saturating_sub(since)).flatten();
            older.for_each(|value| *value = (*value + by).clamp(-VALUE_MAX, VALUE_MAX));
        }
        let end = self.ring.len();
        let ago = |k: usize| if k == 0 { Some(y) } else { self.ring.get(end.checked_sub(k)?) };
        let share = lasting(ago, block, shifted.whole);
        self.ring.move_first(end.saturating_sub(since), shifted.whole * share);
        if let Stage::Running(running) = &self.stage
            && share > 0.0
        {
            // Of the same phase as the slot that closed, a season on: what is left of the difference.
            let m = running.last.len() as i64;
            let apart = y - running.settled(slot.after(m));
            if apart.is_finite() {
                let moved = apart.clamp(shifted.rest.min(0.0), shifted.rest.max(0.0));
                self.move_states(moved);
            }
        }
    }

    /// Changes what was learned of the level. Not the naive forecast, and not what was said before: both are
    /// what the model is measured by.
    fn move_states(&mut self, by: f64) {
        let moved = |value: f64| (value + by).clamp(-VALUE_MAX, VALUE_MAX);
        if let Some(calibration) = &mut self.calibration {
            calibration.shift(by);
        }
        self.rest.doubt();
        match &mut self.stage {
            Stage::Start { level, .. } => level.iter_mut().for_each(|level| *level = moved(*level)),
            Stage::Running(running) => {
                for member in &mut running.members {
                    let level = moved(member.spec.outward(member.components.level));
                    if let Some(level) = member.spec.inward(level) {
                        member.components.level = level;
                    }
                }
            }
        }
    }
}

/// By how much the slots of means `seen` differ from what `members` forecast of them, `slot` being the next.
fn apart(
    members: &[Member],
    slot: Slot<'_>,
    seen: &[(usize, f64)],
) -> impl Iterator<Item = f64> + use<> {
    let steps = seen.last().map_or(0, |(ahead, _)| ahead + 1);
    let points: Vec<f64> = average(members, slot).take(steps).collect();
    let seen: SmallVec<[(usize, f64); 5]> = seen.into();
    seen.into_iter().filter_map(move |(ahead, y)| Some(y - points.get(ahead)?))
}

/// The middle one, of an even number the upper.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: SmallVec<[f64; 5]> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What share of a shift by `whole` has lasted for the `season` slots up to this one (`ago(0)`), by what they differ from those a
/// season before: the median, if three quarters of them show half of it or more. A day off lasts a day, and differs
/// by its hours of work alone.
fn lasting(ago: impl Fn(usize) -> Option<f64>, season: usize, whole: f64) -> f64 {
    let share = |k: usize| Some(((ago(k)? - ago(k + season)?) / whole).clamp(0.0, 1.0));
    let mut shares: Vec<f64> = (0..season).filter_map(share).filter(|s| !s.is_nan()).collect();
    // Nothing to compare with.
    if shares.len() < season.div_ceil(4) {
        return 1.0;
    }
    shares.sort_by(f64::total_cmp);
    let at = |quarters: usize| shares[shares.len() * quarters / 4];
    if at(1) >= 0.5 { at(2) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four slots a day, the second and third of work; today and the day before, newest first.
    fn of_two_days(today: [f64; 4], before: [f64; 4]) -> f64 {
        let values = [before, today].concat();
        lasting(|k| values.iter().rev().nth(k).copied(), 4, 10.0)
    }

    #[test]
    fn a_shift_lasts_where_all_hours_differ() {
        let day = [1.0, 5.0, 5.0, 1.0];
        assert_eq!(of_two_days(day.map(|y| y + 10.0), day), 1.0);
        assert_eq!(of_two_days(day.map(|y| y + 30.0), day), 1.0);
        assert_eq!(of_two_days([9.0, 13.0, 14.0, 9.0], day), 0.8);
        // On one day alone the machine ran, or stood still.
        assert_eq!(of_two_days([1.0, 15.0, 15.0, 1.0], day), 0.0);
        assert_eq!(of_two_days(day.map(|y| y - 10.0), day), 0.0);
        assert_eq!(of_two_days(day.map(|y| y + 10.0), [f64::NAN; 4]), 1.0, "nothing to compare");
    }
}
