//! A batch's readings of one unit: sifted, ordered, and those in order handed on.

use super::{Effects, Plan, StepContext, UnitState};
use crate::analytics::derive::{Derived, Evaluated};
use crate::analytics::members::Members;
use crate::batch::order::{Held, Watermark};
use crate::journal::frame::FrameReading;
use crate::reading::{AttendedTime, SeriesId};

impl UnitState {
    /// Takes the batch's readings of this series, or of the unit's members, in canonical order.
    pub fn take(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        readings: &[FrameReading],
        effects: &mut Effects,
    ) {
        match &mut self.members {
            None => self.take_own(plan, context, readings, effects),
            Some(members) => {
                let mut readings = members.collect(context, readings);
                if let Some(derived) = &mut self.derived {
                    readings = join(derived, members, plan, context, &readings);
                }
                self.take_own(plan, context, &readings, effects);
            }
        }
    }

    /// Evaluates rows that have waited long enough for the rest of their inputs.
    pub(super) fn take_due(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        effects: &mut Effects,
    ) {
        let Some((derived, derive)) = self.derived.as_mut().zip(plan.derive.as_ref()) else {
            return;
        };
        let rows = derived.due(derive, context.pane.attended);
        if !rows.is_empty() {
            let readings: Vec<FrameReading> = rows.into_iter().filter_map(computed).collect();
            self.take_own(plan, context, &readings, effects);
        }
    }

    fn take_own(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        readings: &[FrameReading],
        effects: &mut Effects,
    ) {
        let settings = &plan.settings;
        let (events, closed) = (effects.events.len(), effects.closed.len());
        self.counts.readings += readings.len() as u64;
        self.seen = context.pane.attended;
        for reading in readings {
            let (time, raw) = (reading.time, reading.value);
            let value = settings.scaled(raw).filter(|value| match settings.valid {
                Some((low, high)) => low <= value.get() && value.get() <= high,
                None => true,
            });
            let Some(value) = value else {
                self.counts.invalid += 1;
                continue;
            };
            let ahead = time.nanos() - context.pane.now.0;
            if context.pane.clock_trusted && ahead > context.pane.max_ahead {
                self.counts.future += 1;
                continue;
            }
            if reading.dedup && !self.order.remember(time, raw, settings.lateness) {
                self.counts.duplicate += 1;
                continue;
            }
            self.order.advance(time);
            if self.last.is_some_and(|last| time < last.time) {
                self.counts.unordered += 1;
                let watermark = self.watermark(plan);
                let before = effects.closed.len();
                self.fill(plan, context, (time, value), watermark, false, effects);
                self.carry(plan, &mut effects.closed[before..]);
                let attended = context.pane.attended;
                self.detectors.heard(&plan.alarms, attended, time, &mut effects.events);
            } else if settings.hold > 0 && self.derived.is_none() || self.order.held() > 0 {
                // Readings held under an earlier setting go first.
                let deadline = AttendedTime(context.pane.attended.0 + settings.hold);
                // As decoded: the scale may change before its turn.
                self.order.hold(Held { time, value: raw, deadline });
            } else {
                self.accept(plan, context, time, (raw, value), effects);
            }
        }
        self.counts.forgotten += self.order.prune(settings.lateness, context.max_recent);
        self.release(plan, context, effects);
        self.panes.close_passed(self.watermark(plan), &mut effects.closed);
        self.follow(effects, events);
        self.view(plan, context, effects, closed);
    }

    /// The watermark behind the readings that have had their turn: those still held must find the
    /// panes as they would had they not been held.
    pub(super) fn watermark(&self, plan: &Plan) -> Watermark {
        let lateness = plan.settings.lateness;
        self.last.map_or(Watermark::START, |last| Watermark::behind(last.time, lateness))
    }

    pub(super) fn release(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        effects: &mut Effects,
    ) {
        if self.order.held() == 0 {
            return;
        }
        let released =
            self.order.release(plan.settings.hold, context.pane.attended, context.max_recent);
        for held in released {
            match plan.settings.scaled(held.value) {
                Some(value) => self.accept(plan, context, held.time, (held.value, value), effects),
                None => self.counts.invalid += 1,
            }
        }
    }
}

/// The readings of a derived metric that come of its inputs' (in event order).
fn join(
    derived: &mut Derived,
    members: &Members,
    plan: &Plan,
    context: &StepContext<'_>,
    readings: &[FrameReading],
) -> Vec<FrameReading> {
    let Some(derive) = &plan.derive else { return Vec::new() };
    let deadline = AttendedTime(context.pane.attended.0 + plan.settings.lateness);
    let mut results = Vec::new();
    for reading in readings {
        let Some(input) = members.input(reading.series) else { continue };
        derived.take(derive, (input, reading.time, reading.value), deadline);
        results.extend(derived.ready(derive, plan.settings.hold).into_iter().filter_map(computed));
    }
    results
}

/// An evaluated row as a reading; the slot is not looked at.
fn computed((time, value): Evaluated) -> Option<FrameReading> {
    Some(FrameReading { series: SeriesId(0), time, value: value?, dedup: false })
}
