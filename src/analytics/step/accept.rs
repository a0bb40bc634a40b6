//! A reading in order: filter, panes, alarms, forecaster, detectors.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::effects::outlook;
use super::plan::filters;
use super::state::Last;
use super::{Effects, Plan, StepContext, UnitState};
use crate::analytics::alarm::{self, ReadingSeen};
use crate::analytics::fit::{FitMode, Job};
use crate::analytics::holt_winters::SlotsClosed;
use crate::analytics::kalman::{Update, Verdict};
use crate::analytics::settings::{Kind, SLOTS_MAX, Settings};
use crate::batch::counter::CounterStep;
use crate::batch::order::Watermark;
use crate::batch::pane::Stretch;
use crate::reading::{EventTime, Finite, SECOND};

/// For how many usual intervals a reading speaks when no other follows.
const COVERED_INTERVALS: f64 = 3.0;

impl UnitState {
    /// A model asks for a search.
    fn begin_fit(&mut self, job: Job, mode: FitMode, effects: &mut Effects) {
        match mode {
            FitMode::Background => effects.fits.push(job),
            FitMode::InPlace => {
                if let Some(fit) = job.run() {
                    self.offer(self.fit_epoch, fit);
                }
            }
        }
    }

    /// A reading in order: filter, pane, forecaster. `raw`: as decoded.
    pub(super) fn accept(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        time: EventTime,
        (raw, value): (Finite, Finite),
        effects: &mut Effects,
    ) {
        let kind = self.kind(plan);
        let before = self.last.as_ref().filter(|_| !self.severed);
        let before = before.map(|last| (last.time, last.value));
        let since = before.map_or(0, |(last, _)| time.nanos().abs_diff(last.nanos()));
        let step = match (kind, before) {
            (Kind::Counter, Some((_, last))) => {
                Some(CounterStep::between(last, value, &plan.settings.counter_range()))
            }
            _ => None,
        };
        // What filter and forecaster see.
        let signal = match kind {
            Kind::Gauge | Kind::State => Some(value),
            Kind::Counter => step.and_then(|step| step.rate(since)),
        };
        let held = self.kalman.held();
        let update = match signal {
            Some(signal) if filters(kind, plan) => self.kalman.update(&plan.kalman, time, signal),
            _ => Update::UNJUDGED,
        };
        if let Some(job) = self.kalman.take_fit_job(&plan.kalman) {
            self.begin_fit(Job::Noise(Box::new(job)), context.fits, effects);
        }
        let gated = matches!(update.verdict, Verdict::Gated);
        self.counts.outliers += u64::from(gated);
        let stretch = self.stretch(kind, Some(time));
        self.learn_interval(time);
        let closed = effects.closed.len();
        // As of this reading's turn: held readings that follow must still find their panes.
        let watermark = Watermark::behind(time, plan.settings.lateness);
        self.fill(plan, context, (time, value), watermark, gated, effects);
        if let Some(stretch) = &stretch {
            self.panes.cover(stretch);
            effects.closed[closed..].iter_mut().for_each(|pane| pane.cover(stretch));
        }
        if let Some(step) = &step {
            self.panes.count_increase(time, step, since);
        }
        if kind == Kind::State && before.is_some_and(|(_, last)| last != value) {
            self.panes.count_transition(time);
        }
        let settings = &plan.settings;
        if let Some(signal) = signal
            && !settings.thresholds.is_empty()
        {
            let unit = unit_of(kind, settings);
            let moment = alarm::Moment {
                attended: context.pane.attended,
                now: context.pane.now,
                max_ahead: context.pane.max_ahead,
                patience: settings.lateness + settings.hold,
                unit: unit.as_deref(),
            };
            let (thresholds, events) = (&settings.thresholds, &mut effects.events);
            self.thresholds.on_reading(thresholds, &moment, time, signal.get(), events);
        }
        let mut closed = SmallVec::new();
        if let Verdict::Shift { delta, since } = update.verdict {
            self.counts.shifts += 1;
            self.confirm_shift(plan, (since, time), delta);
            // The filter has taken them all.
            for reading in held {
                self.observe_slot(plan, reading, effects, &mut closed);
            }
        }
        if let Some(signal) = signal
            && !gated
        {
            self.observe_slot(plan, (time, signal), effects, &mut closed);
            if !closed.is_empty() {
                // Behind the last of them: a fit asked for earlier would have no time to come.
                if let (Some(forecaster), Some(plan)) = (&mut self.forecaster, &plan.forecast)
                    && let Some(job) = forecaster.take_fit_job(plan, context.stagger)
                {
                    self.begin_fit(Job::Forecast(Box::new(job)), context.fits, effects);
                }
                self.look_ahead(plan, time, signal, effects);
            }
        }
        self.detect(plan, context, (time, signal, &update, &closed), kind, effects);
        let rate = signal.filter(|_| kind == Kind::Counter);
        self.last = Some(Last { time, value, rate, update: Some(update) });
        self.severed = false;
        if let (Some(details), Some(signal)) = (&mut effects.details, signal) {
            let score = self.detectors.score();
            details.readings.push((time, signal, update, self.kalman.clone(), score));
        }
        effects.filtered = true;
        // Counts from the next reading on; panes keep what they have.
        if plan.settings.kind.fixed().is_none() && self.classifier.observe(raw) {
            self.restart_models(plan, time, effects);
        }
    }

    fn confirm_shift(&mut self, plan: &Plan, readings: (EventTime, EventTime), delta: f64) {
        if let (Some(forecaster), Some(plan)) = (&mut self.forecaster, &plan.forecast) {
            forecaster.confirm_shift(plan, readings, delta);
        }
    }

    /// The forecaster sees a reading that the filter has taken; what it closed.
    fn observe_slot(
        &mut self,
        plan: &Plan,
        (time, signal): (EventTime, Finite),
        effects: &mut Effects,
        closed: &mut SmallVec<[SlotsClosed; 1]>,
    ) {
        let (Some(forecaster), Some(plan)) = (&mut self.forecaster, &plan.forecast) else { return };
        let Some(slots) = forecaster.observe(plan, time, signal) else { return };
        effects.slot_closed = true;
        closed.push(slots);
        if let Some(details) = &mut effects.details {
            details.slots.push(slots);
            if let Some(origins) = &effects.origins {
                details.outlooks.extend(outlook(forecaster, plan, &slots, origins));
            }
        }
    }

    /// The detectors look at a reading in order. Of a state they only see that it comes.
    pub(super) fn detect(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        (time, signal, update, closed): (EventTime, Option<Finite>, &Update, &[SlotsClosed]),
        kind: Kind,
        effects: &mut Effects,
    ) {
        let (plan, attended, events) = (&plan.alarms, context.pane.attended, &mut effects.events);
        let Some(value) = signal.filter(|_| kind != Kind::State) else {
            self.detectors.heard(plan, attended, time, events);
            return;
        };
        for slots in closed {
            self.detectors.slot(plan, slots, time, events);
        }
        let reading = ReadingSeen { time, value, attended, update };
        self.detectors.reading(plan, &reading, events);
    }

    /// A slot closed: alarms that look ahead see what is expected now.
    pub(super) fn look_ahead(
        &mut self,
        plan: &Plan,
        time: EventTime,
        value: Finite,
        effects: &mut Effects,
    ) {
        let settings = &plan.settings;
        let furthest = settings.thresholds.iter().filter_map(|s| s.within).max();
        let (Some(within), Some(forecast)) = (furthest, &plan.forecast) else { return };
        // The slot under way, and those that begin within.
        let steps = within / forecast.step() + 2;
        let steps = usize::try_from(steps.min(SLOTS_MAX)).unwrap_or(1);
        let unit = unit_of(self.kind(plan), settings);
        self.thresholds.on_forecast(
            &settings.thresholds,
            unit.as_deref(),
            (time, value.get()),
            self.forecaster.as_ref().and_then(|f| f.forecast_steps(forecast, steps)).as_ref(),
            &mut effects.events,
        );
    }

    /// Puts a reading into its panes.
    pub(super) fn fill(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        (time, value): (EventTime, Finite),
        watermark: Watermark,
        outlier: bool,
        effects: &mut Effects,
    ) {
        let settings = &plan.settings;
        self.panes.add(
            &settings.windows,
            settings.lateness + settings.hold,
            watermark,
            &context.pane,
            time,
            value,
            outlier,
            self.last.as_ref().map(|last| last.time),
            &mut effects.closed,
        );
    }

    /// Learns the usual interval.
    pub(super) fn learn_interval(&mut self, time: EventTime) {
        let Some(last) = &self.last else { return };
        let seconds = time.seconds_since(last.time);
        if seconds <= 0.0 {
            return;
        }
        if self.interval == 0.0 {
            self.interval = seconds;
        }
        self.interval += (seconds.min(10.0 * self.interval) - self.interval) / 8.0;
    }

    /// The time for which the last reading speaks: until the next one, `until`, and at most for some
    /// usual intervals. Nothing before these are known.
    pub(super) fn stretch(&self, kind: Kind, until: Option<EventTime>) -> Option<Stretch> {
        let last = self.last.as_ref().filter(|_| !self.severed && self.interval > 0.0)?;
        let most = (COVERED_INTERVALS * self.interval * SECOND as f64) as i64;
        let far = EventTime::clamped(last.time.nanos().saturating_add(most));
        Some(Stretch {
            from: last.time,
            to: until.map_or(far, |until| until.min(far)),
            value: last.value,
            is_state: kind == Kind::State,
        })
    }
}

/// The unit of what filter, forecaster and alarms see: of a counter the rate per second.
pub(super) fn unit_of(kind: Kind, settings: &Settings) -> Option<Cow<'_, str>> {
    let unit = settings.unit.as_deref()?;
    // Only alarms' words ask for it.
    let rate = kind == Kind::Counter && !settings.thresholds.is_empty();
    Some(if rate { Cow::Owned(format!("{unit}/s")) } else { Cow::Borrowed(unit) })
}
