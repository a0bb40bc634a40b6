//! What happens without a reading: time passes, or the series leaves.

use super::accept::unit_of;
use super::{Effects, Plan, StepContext, UnitState};
use crate::batch::pane::{Pane, PaneContext};
use crate::reading::{AttendedTime, EventTime};

/// Why the alarms of a series end with it.
const LEFT: &str = "the series was silent for so long that it was given up";

impl UnitState {
    /// When something must happen without further readings.
    pub fn next_deadline(&self, plan: &Plan) -> Option<AttendedTime> {
        let pending = self.order.pending_watermark(plan.settings.lateness);
        let deadlines = [
            self.derived.as_ref().and_then(|derived| derived.next_deadline()),
            self.panes.next_deadline(pending),
            self.order.next_deadline(),
            self.thresholds.next_deadline(),
            self.detectors.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due at the batch's attended time; `true` when anything was.
    pub fn tick(&mut self, plan: &Plan, context: &StepContext<'_>, effects: &mut Effects) -> bool {
        if self.next_deadline(plan).is_none_or(|deadline| deadline > context.pane.attended) {
            return false;
        }
        self.take_due(plan, context, effects);
        let (events, closed) = (effects.events.len(), effects.closed.len());
        // Readings before timers: one may break a hold.
        self.release(plan, context, effects);
        let (settings, attended) = (&plan.settings, context.pane.attended);
        let unit = unit_of(self.kind(plan), settings);
        let thresholds = &settings.thresholds;
        self.thresholds.tick(thresholds, unit.as_deref(), attended, &mut effects.events);
        let now = EventTime::clamped(context.pane.now.0);
        self.detectors.tick(&plan.alarms, attended, now, &mut effects.events);
        self.follow(effects, events);
        let pending = self.order.pending_watermark(settings.lateness);
        let before = effects.closed.len();
        self.panes.close_due(attended, pending, &mut effects.closed);
        self.carry(plan, &mut effects.closed[before..]);
        self.view(plan, context, effects, closed);
        true
    }

    /// Closes everything, since the series leaves.
    pub fn leave(&mut self, plan: &Plan, context: &StepContext<'_>, effects: &mut Effects) {
        let context = StepContext { max_recent: 0, ..*context };
        let attended = AttendedTime(i64::MAX);
        let end = StepContext { pane: PaneContext { attended, ..context.pane }, ..context };
        self.take_due(plan, &end, effects);
        let (events, closed) = (effects.events.len(), effects.closed.len());
        self.release(plan, &context, effects);
        self.follow(effects, events);
        let events = effects.events.len();
        let now = EventTime::clamped(context.pane.now.0);
        self.alarms.end_all(now, LEFT, &mut effects.events);
        self.follow(effects, events);
        let before = effects.closed.len();
        self.panes.close_all(&mut effects.closed);
        self.carry(plan, &mut effects.closed[before..]);
        self.view(plan, &context, effects, closed);
    }

    /// Takes in the events since the first `seen` of them.
    pub(super) fn follow(&mut self, effects: &Effects, seen: usize) {
        self.alarms.follow(effects.events.get(seen..).unwrap_or_default());
    }

    /// Credits panes that closed before the next reading in order; see [`Pane::cover`].
    pub(super) fn carry(&self, plan: &Plan, closed: &mut [Pane]) {
        if !closed.is_empty()
            && let Some(stretch) = self.stretch(plan, None)
        {
            closed.iter_mut().for_each(|pane| pane.cover(&stretch));
        }
    }

    /// Turns the panes that closed, `from` this one on, into views.
    pub(super) fn view(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        effects: &mut Effects,
        from: usize,
    ) {
        let windows = &plan.settings.windows;
        let closed = &effects.closed[from..];
        // Nearly all series have none, and most steps close nothing.
        if closed.is_empty() || windows.iter().all(|window| window.slide.is_none()) {
            return;
        }
        let latest = context.pane.now.0.saturating_add(context.pane.max_ahead);
        for pane in closed {
            // What a wrong clock stamped would be later than all that is to come.
            if context.pane.clock_trusted && pane.start.nanos() > latest {
                continue;
            }
            if let Some(window) = windows.get(usize::from(pane.window)) {
                effects.views.extend(self.views.take(window, context.pane.zone, pane));
            }
        }
    }
}
