//! What a change of settings or of the clock does to a unit.

use super::plan::{filters, forecasts};
use super::{Effects, Plan, StepContext, UnitState};
use crate::analytics::derive::Derived;
use crate::analytics::holt_winters::Forecaster;
use crate::analytics::kalman::Kalman;
use crate::reading::EventTime;

impl UnitState {
    /// Forgets what only time could still raise: a recording ended.
    pub fn forget_waiting(&mut self) {
        self.thresholds.forget_waiting();
        self.detectors.forget_waiting();
    }

    /// Follows a change of settings: windows that stay keep their panes, a forecaster whose
    /// settings changed starts anew. The filter follows by itself: another model starts anew, other
    /// noise counts from the next reading on. What was learned of another kind or scale is
    /// forgotten, and panes of another scale close. Alarms that are no longer configured end.
    pub fn change_plan(&mut self, old: &Plan, new: &Plan, now: EventTime, effects: &mut Effects) {
        self.change_vector(old, new);
        let derive = |plan: &Plan| plan.derive.as_ref().map(|plan| plan.settings.clone());
        if let Some(derived) = &mut self.derived
            && derive(old) != derive(new)
        {
            // Its inputs may be others, or in another order.
            **derived = Derived::default();
        }
        let events = effects.events.len();
        self.thresholds.change(
            &old.settings.thresholds,
            &new.settings.thresholds,
            new.forecast.is_some(),
            now,
            &mut effects.events,
        );
        self.follow(effects, events);
        let scale = |plan: &Plan| (plan.settings.scale, plan.settings.offset);
        let rescaled = scale(old) != scale(new);
        let events = effects.events.len();
        if rescaled {
            self.panes.close_all(&mut effects.closed);
            self.views.clear();
            self.severed = true;
        }
        self.views.change_windows(&old.settings.windows, &new.settings.windows);
        if old.settings.windows != new.settings.windows {
            self.panes.change_windows(
                &old.settings.windows,
                &new.settings.windows,
                &mut effects.closed,
            );
        }
        let (before, kind) = (self.kind(old), self.kind(new));
        let switched = filters(before, old) != filters(kind, new);
        if rescaled || before != kind {
            self.restart_models(new, now, effects);
            self.follow(effects, events);
        } else {
            if old.settings.forecast != new.settings.forecast
                || forecasts(before, old) != forecasts(kind, new)
            {
                self.forecaster = forecasts(kind, new).then(Forecaster::new);
            }
            if switched {
                // Of readings from before a pause nothing is to be told.
                self.kalman = Kalman::new(&new.kalman);
            }
        }
        if switched
            || old.settings.forecast != new.settings.forecast
            || old.settings.kalman != new.settings.kalman
        {
            self.fit_epoch = self.fit_epoch.wrapping_add(1);
        }
    }

    /// Starts filter, forecaster and detectors anew, since what they are to see is not what they saw.
    pub(super) fn restart_models(&mut self, plan: &Plan, now: EventTime, effects: &mut Effects) {
        self.detectors.restart(now, &mut effects.events);
        self.kalman = Kalman::new(&plan.kalman);
        self.fit_epoch = self.fit_epoch.wrapping_add(1);
        self.forecaster = forecasts(self.kind(plan), plan).then(Forecaster::new);
    }

    /// True when the series has event times beyond `limit`.
    pub fn is_beyond(&self, limit: EventTime) -> bool {
        self.order.max_time().is_some_and(|max| max > limit)
    }

    /// The gateway's clock stepped back: event times beyond `to` were stamped by a wrong clock and
    /// must not hold up what follows. `true` when the unit had any.
    pub fn rewind(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        to: EventTime,
        effects: &mut Effects,
    ) -> bool {
        if self.order.max_time().is_none_or(|max| max <= to) {
            return false;
        }
        let closed = effects.closed.len();
        // Readings held from that wrong future count in their panes; in the filter they would move
        // its frontier there again.
        let watermark = self.watermark(plan);
        for held in self.order.take_beyond(to) {
            let Some(value) = plan.settings.scaled(held.value) else {
                self.counts.invalid += 1;
                continue;
            };
            self.counts.unordered += 1;
            self.fill(plan, context, (held.time, value), watermark, false, effects);
        }
        self.order.rewind(to);
        self.thresholds.rewind(to);
        self.detectors.rewind(to);
        self.kalman.rewind(&plan.kalman, to);
        self.fit_epoch = self.fit_epoch.wrapping_add(1);
        // Its slots lie in the future; the season's phase would be wrong.
        self.forecaster = forecasts(self.kind(plan), plan).then(Forecaster::new);
        if let Some(last) = &mut self.last {
            last.time = last.time.min(to);
        }
        self.view(plan, context, effects, closed);
        self.views.rewind(to);
        true
    }
}
