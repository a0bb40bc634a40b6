//! The step of a unit that filters several metrics of one device: its members' readings, joined.

use super::{Effects, Plan, StepContext, UnitCounts, UnitState};
use crate::analytics::members::Members;
use crate::analytics::vector::{RowCounts, VectorUnit, VectorUnitPlan};
use crate::journal::frame::FrameReading;
use crate::reading::{AttendedTime, EventTime};

impl UnitState {
    /// The state of a filter over several metrics that has no members yet.
    pub fn new_vector(plan: &Plan, attended: AttendedTime) -> UnitState {
        UnitState { vector: Some(Box::default()), ..UnitState::new_group(plan, attended) }
    }

    /// The filter over several metrics; `None`: the unit is none.
    pub fn vector(&self) -> Option<&VectorUnit> {
        self.vector.as_deref()
    }

    /// Takes the members' readings (in event order).
    pub(super) fn take_rows(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        readings: &[FrameReading],
        effects: &mut Effects,
    ) {
        self.counts.readings += readings.len() as u64;
        self.seen = context.pane.attended;
        let Some((vector, members, plan_of)) = parts(&mut self.vector, &self.members, plan) else {
            return;
        };
        let inputs = readings
            .iter()
            .filter_map(|r| members.input(r.series).map(|input| (input, r.time, r.value)));
        let lateness = plan.settings.lateness;
        let deadline = AttendedTime(context.pane.attended.0 + lateness);
        let seen = &mut effects.details.as_mut().map(|details| &mut details.rows);
        let counts = vector.take(plan_of, inputs, (lateness, deadline), seen);
        self.count_rows(&counts, effects);
    }

    /// Filters rows that have waited long enough.
    pub(super) fn take_due_rows(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        effects: &mut Effects,
    ) {
        let Some((vector, _, plan)) = parts(&mut self.vector, &self.members, plan) else { return };
        let seen = &mut effects.details.as_mut().map(|details| &mut details.rows);
        let counts = vector.due(plan, context.pane.attended, seen);
        self.count_rows(&counts, effects);
    }

    fn count_rows(&mut self, rows: &RowCounts, effects: &mut Effects) {
        let UnitCounts { unordered, outliers, shifts, .. } = &mut self.counts;
        *unordered += rows.late;
        *outliers += rows.gated;
        *shifts += rows.shifts;
        effects.filtered |= rows.rows > 0;
    }

    /// Follows a change of settings.
    pub(super) fn change_vector(&mut self, old: &Plan, new: &Plan) {
        if let Some(vector) = &mut self.vector {
            vector.change(old.vector.as_ref(), new.vector.as_ref());
        }
    }

    /// The clock of some member stepped back.
    pub(super) fn rewind_vector(&mut self, to: EventTime) {
        if let Some(vector) = &mut self.vector {
            vector.rewind(to);
        }
    }
}

type Parts<'a> = (&'a mut VectorUnit, &'a Members, &'a VectorUnitPlan);

fn parts<'a>(
    vector: &'a mut Option<Box<VectorUnit>>,
    members: &'a Option<Box<Members>>,
    plan: &'a Plan,
) -> Option<Parts<'a>> {
    Some((vector.as_deref_mut()?, members.as_deref()?, plan.vector.as_ref()?))
}
