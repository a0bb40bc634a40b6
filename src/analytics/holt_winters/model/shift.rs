//! Level shifts that the filter confirmed.

use serde::{Deserialize, Serialize};

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
    delta: f64,
    /// Number, as in `slots`, of the first slot that is not from before it.
    #[serde(rename = "s")]
    since: u64,
    /// Of the slot that decides: it lies behind it as a whole.
    #[serde(rename = "w")]
    decides: u64,
}

/// One that the forecast has followed, and that has not lasted for a season yet; with those the same way that came while it
/// had not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shifted {
    /// `slots` at which the last of them has lasted, and the rest is taken.
    #[serde(rename = "n")]
    due: u64,
    /// How much that is at most, in the series' unit.
    #[serde(rename = "d")]
    rest: f64,
    /// Number, as in `slots`, of the first slot that is not from before the first of them.
    #[serde(rename = "f", default)]
    since: u64,
    /// By how much they were more than expected, together.
    #[serde(rename = "w", default)]
    whole: f64,
    /// The models' levels before, in their scales; empty where other models are at work since.
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
    /// The filter confirmed a level shift by `delta`, whose first reading lies `first` slots behind the open one, and whose last
    /// `last`. A whole slot behind it shows what it means: readings and slots' means cannot be compared, where a machine runs for a
    /// quarter of an hour. Where readings are slots apart, that of the last one does, for in the first the machine may
    /// still run down. A shift that takes back another before that is none.
    pub fn expect_shift(&mut self, delta: f64, (first, last): (u64, u64)) {
        let before = self.confirmed.take();
        let sum = delta + before.map_or(0.0, |before| before.delta);
        if sum.abs() > EXPECTED * delta.abs() {
            let since = self.slots.saturating_add(first);
            self.confirmed = Some(Shift {
                delta: sum.clamp(-VALUE_MAX, VALUE_MAX),
                since: before.map_or(since, |before| before.since),
                decides: self.slots.saturating_add(last.max(1)),
            });
        }
    }

    /// Before `slot` of mean `y` is taken in.
    pub(super) fn confront(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64) {
        let slots = self.slots;
        if let Some(shift) = self.confirmed.take_if(|shift| shift.decides <= slots) {
            self.follow_shift(plan, slot, y, shift);
        } else if let Some(mut shifted) = self.shifted.take() {
            let members = self.restored(&shifted.levels, slot, y);
            shifted.better = if members.is_some() { shifted.better.saturating_add(1) } else { 0 };
            match members {
                // The filter need not have seen the way back.
                Some(members) if shifted.better >= BACK => self.restore(members),
                _ => self.shifted = Some(shifted),
            }
        }
    }

    /// `slot`, which lies behind a shift, has the mean `y`. The states move by a part of what
    /// was not expected, by all of it where no model runs yet or the shift is opposed to the one before. They are as before that
    /// one when that says it better: the machine is back. What was seen stays as it was seen until the shift has lasted for a
    /// season: a machine that is on by day would else have its nights moved to the level of its days, and back, and no season
    /// left to be found.
    fn follow_shift(&mut self, plan: &ForecastPlan, slot: Slot<'_>, y: f64, shift: Shift) {
        let Shift { delta, since, .. } = shift;
        let expected = match &self.stage {
            Stage::Running(running) => running.points(slot).next(),
            Stage::Start { .. } => self.issue(plan, slot).map(|(_, expected)| expected.mean),
        };
        let apart = expected.map_or(delta, |expected| y - expected);
        if !apart.is_finite() {
            return;
        }
        let before = self.shifted.take();
        let returns = before.as_ref().is_some_and(|before| before.whole * delta < 0.0);
        if let Some(before) = &before
            && returns
            && let Some(members) = self.restored(&before.levels, slot, y)
        {
            return self.restore(members);
        }
        let moved = apart.clamp(delta.min(0.0), delta.max(0.0));
        if moved.abs() <= EXPECTED * delta.abs() {
            self.shifted = before;
            return;
        }
        let season = Contest::block(self.seasons[0]) as u64;
        // A season on from the last slot before it.
        let due = since.saturating_add(season.saturating_sub(1));
        let now =
            if returns || matches!(self.stage, Stage::Start { .. }) { 1.0 } else { SHIFT_SHARE };
        let rest = (1.0 - now) * moved;
        let next = match before {
            Some(before) => Shifted {
                due,
                rest: before.rest + rest,
                whole: before.whole + moved,
                better: 0,
                ..before
            },
            None => Shifted { due, rest, since, whole: moved, levels: self.levels(), better: 0 },
        };
        self.move_states(now * moved);
        self.shifted = (!returns).then_some(next);
    }

    /// The models with their levels as they were, if the slot of mean `y` lies nearer to their forecast.
    fn restored(&self, levels: &[f64], slot: Slot<'_>, y: f64) -> Option<Vec<Member>> {
        let Stage::Running(running) = &self.stage else { return None };
        if levels.len() != running.members.len() {
            return None;
        }
        let back = running.members.iter().zip(levels).map(|(member, level)| {
            let mut member = member.clone();
            let before = member.settled_inward(slot);
            member.components.level = *level;
            if member.spec.parameters.rho > 0.0 {
                // What the last slot was apart from its forecast without residual.
                member.components.residual += before - member.settled_inward(slot);
            }
            member
        });
        let back: Vec<Member> = back.collect();
        let off = |members: &[Member]| Some((y - average(members, slot).next()?).abs());
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
            let by = shifted.whole * lasting(ago, (since, block), shifted.whole);
            let older = history.iter_mut().take(end.saturating_sub(since)).flatten();
            older.for_each(|value| *value = (*value + by).clamp(-VALUE_MAX, VALUE_MAX));
        }
        let end = self.ring.len();
        let ago = |k: usize| if k == 0 { Some(y) } else { self.ring.get(end.checked_sub(k)?) };
        let share = lasting(ago, (since, block), shifted.whole);
        self.ring.move_first(end.saturating_sub(since), shifted.whole * share);
        if let Stage::Running(running) = &self.stage
            && share > 0.0
        {
            // Of the same phase as the slot that closed, a season on: what is left of the difference.
            let m = running.last.len() as i64;
            let apart = y - running.settled(slot.after(m));
            let moved = apart.clamp(shifted.rest.min(0.0), shifted.rest.max(0.0));
            if moved.is_finite() && moved != 0.0 {
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

/// What share of a shift by `whole`, `since` slots ago, has lasted for the `season` slots up to this one (`ago(0)`), by what they
/// differ from those a season before, where these are from before it: the median, if three quarters of them show half of it or
/// more. A day off lasts a day, and differs by its hours of work alone.
fn lasting(ago: impl Fn(usize) -> Option<f64>, (since, season): (usize, usize), whole: f64) -> f64 {
    let share = |k: usize| Some(((ago(k)? - ago(k + season)?) / whole).clamp(0.0, 1.0));
    let mut shares: Vec<f64> = ((since + 1).saturating_sub(season)..season)
        .filter_map(share)
        .filter(|s| !s.is_nan())
        .collect();
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
        lasting(|k| values.iter().rev().nth(k).copied(), (3, 4), 10.0)
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

    /// By 8 five slots ago, by 2 more since.
    #[test]
    fn of_two_shifts_slots_are_compared_with_those_before_both() {
        let newest_first = [11.0, 15.0, 15.0, 11.0, 9.0, 13.0, 5.0, 1.0];
        let ago = |k: usize| newest_first.get(k).copied();
        assert_eq!(lasting(ago, (5, 4), 10.0), 1.0);
        assert_eq!(lasting(ago, (3, 4), 10.0), 0.0, "as if all were from before");
    }
}
