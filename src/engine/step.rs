//! One frame applied: readings to their units, timers that are due, and what changed as records.

use std::cmp::Reverse;

use super::{ConfigError, CoreConfig, Detail, Engine, FitRequest, StepOutput};
use crate::analytics::fit::{Fit, FitMode};
use crate::analytics::step::{StepContext, aggregate, alarm_record, forecast, view};
use crate::batch::pane::PaneContext;
use crate::batch::window::Zone;
use crate::journal::frame::{Frame, FrameReading};
use crate::output::{Aggregate, Record};
use crate::reading::{AttendedTime, SeriesId};

impl Engine {
    /// Applies one frame. Frames come in batch order; in replay they may begin before
    /// [`Meta::batch`](super::Meta::batch), and are then applied to the units whose chunk is older.
    ///
    /// # Errors
    /// When the frame carries a configuration that cannot be used; the state is as before.
    pub fn step(&mut self, frame: &Frame) -> Result<StepOutput, ConfigError> {
        let mut output = StepOutput::default();
        let fresh = frame.batch > self.meta.batch;
        let configuration = match &frame.configuration {
            Some(bytes) if fresh => Some(
                crate::cbor::from_slice::<CoreConfig>(bytes)
                    .map_err(|error| ConfigError(error.to_string()))?,
            ),
            _ => None,
        };
        if let Some(config) = &configuration {
            self.zone = Zone::get(&config.time_zone).map_err(ConfigError)?;
        }
        if fresh {
            self.meta.batch = frame.batch;
            self.meta.processing_time = frame.processing_time;
            self.meta.attended = frame.attended;
            self.meta.clock_trusted = frame.clock_trusted;
            self.meta.drops.merge(&frame.drops);
            self.meta.messages += frame.messages;
        }
        if let Some(config) = configuration {
            self.reconfigure(config, frame, &mut output);
        }
        if frame.clock_stepped_back {
            self.rewind(frame, &mut output);
        }
        for &series in &frame.evict {
            self.evict(series, frame, fresh, &mut output);
        }
        for define in &frame.define {
            self.define(define, frame);
        }
        self.join(frame, &mut output);
        self.offer(frame, &mut output);
        self.visit(frame, &mut output);
        Ok(output)
    }

    /// Hands the frame's fits to the units that asked for them, if they are still there.
    fn offer(&mut self, frame: &Frame, output: &mut StepOutput) {
        for fit in &frame.fits {
            let unit = self.units.get_mut(fit.series.0 as usize).and_then(Option::as_mut);
            if unit.as_ref().is_some_and(|unit| unit.included >= frame.batch) {
                continue;
            }
            if let Some(unit) = unit.filter(|unit| unit.defined == fit.defined)
                && let Some(found) = Fit::from_bytes(&fit.fit)
                && unit.state.offer(fit.epoch, found)
            {
                self.changed(fit.series.0, frame.batch, output);
            } else {
                output.fits_late += 1;
            }
        }
    }

    /// Applies readings and due timers, in slot order.
    fn visit(&mut self, frame: &Frame, output: &mut StepOutput) {
        let mut due = Vec::new();
        while let Some(&Reverse((deadline, slot))) = self.timers.peek()
            && deadline <= frame.attended
        {
            self.timers.pop();
            due.push(slot);
        }
        due.sort_unstable();
        due.dedup();
        let gathered = self.gather(frame);
        // Units without readings of their own: whose time has come, or whose members have some.
        let mut others: Vec<(u32, bool)> = due.into_iter().map(|slot| (slot, true)).collect();
        if !gathered.is_empty() {
            others.extend(gathered.keys().map(|&slot| (slot, false)));
            others.sort_unstable_by_key(|&(slot, timer)| (slot, !timer));
            others.dedup_by_key(|(slot, _)| *slot);
        }
        let fed = |slot: u32| gathered.get(&slot).map_or(&[][..], Vec::as_slice);
        let mut others = others.into_iter().peekable();
        let zone = self.zone.clone();
        let context = StepContext { fits: self.fits, ..context(&self.meta.config, &zone, frame) };
        for run in frame.readings.chunk_by(|a, b| a.series == b.series) {
            let slot = run[0].series.0;
            while let Some((earlier, timer)) = others.next_if(|&(other, _)| other < slot) {
                self.visit_unit(earlier, (fed(earlier), timer), &context, frame, output);
            }
            let timer = others.next_if(|&(other, _)| other == slot).is_some();
            self.visit_unit(slot, (run, timer), &context, frame, output);
        }
        for (slot, timer) in others {
            self.visit_unit(slot, (fed(slot), timer), &context, frame, output);
        }
    }

    fn visit_unit(
        &mut self,
        slot: u32,
        (readings, timer): (&[FrameReading], bool),
        context: &StepContext<'_>,
        frame: &Frame,
        output: &mut StepOutput,
    ) {
        let Some(Some(unit)) = self.units.get_mut(slot as usize) else {
            self.orphans += readings.len() as u64;
            return;
        };
        if timer {
            unit.timer = AttendedTime(i64::MAX);
        }
        if unit.included >= frame.batch {
            self.schedule(slot);
            return;
        }
        let context = &StepContext { stagger: unit.stagger, ..*context };
        let before = *unit.state.counts();
        let mut changed = !readings.is_empty();
        if changed {
            unit.state.take(&unit.plan, context, readings, &mut self.effects);
        }
        let mut next = unit.state.next_deadline(&unit.plan);
        if next.is_some_and(|deadline| deadline <= frame.attended) {
            unit.state.tick(&unit.plan, context, &mut self.effects);
            next = unit.state.next_deadline(&unit.plan);
            changed = true;
        }
        unit.enter(slot, next, &mut self.timers);
        if changed {
            if unit.state.kind_of_unit().is_series() {
                self.totals.merge(&unit.state.counts().since(&before));
            }
            self.changed(slot, frame.batch, output);
        }
    }

    /// A unit changed: marks it dirty and turns its effects into records.
    pub(super) fn changed(&mut self, slot: u32, batch: u64, output: &mut StepOutput) {
        let Some(Some(unit)) = self.units.get_mut(slot as usize) else { return };
        if !unit.dirty {
            unit.dirty = true;
            self.dirty.push_back((batch, slot));
        }
        if std::mem::take(&mut self.effects.filtered) {
            output.touched.push(SeriesId(slot));
        }
        let alarms = unit.state.alarms().len();
        self.alarms = self.alarms + alarms - std::mem::replace(&mut unit.alarms, alarms);
        if !self.effects.fits.is_empty() {
            output.fits.extend(self.effects.fits.drain(..).map(|job| FitRequest {
                series: SeriesId(slot),
                defined: unit.defined,
                epoch: unit.state.fit_epoch(),
                job,
            }));
        }
        // Most readings end here.
        let effects = &self.effects;
        let quiet = effects.closed.is_empty() && effects.events.is_empty() && !effects.slot_closed;
        if quiet && self.effects.details.is_none() {
            return;
        }
        let Some(name) = self.registry.name(SeriesId(slot)) else { return };
        let source = unit.state.kind_of_unit();
        if let Some(details) = &mut self.effects.details
            && !(details.readings.is_empty() && details.slots.is_empty() && details.rows.is_empty())
        {
            output.details.push(Detail {
                name: name.clone(),
                plan: unit.plan.clone(),
                details: std::mem::take(&mut **details),
            });
        }
        for pane in self.effects.closed.drain(..) {
            let mut record = Box::new(aggregate(&name.device, &name.metric, &unit.plan, &pane));
            record.source = source;
            output.records.push(Record::Aggregate(record));
        }
        for pane in self.effects.views.drain(..) {
            let record = view(&name.device, &name.metric, &unit.plan, &pane);
            output.records.push(Record::View(Box::new(Aggregate { source, ..record })));
        }
        for event in self.effects.events.drain(..) {
            output.records.push(alarm_record(&name.device, &name.metric, event));
        }
        if std::mem::take(&mut self.effects.slot_closed) {
            output.records.extend(forecast(
                &name.device,
                &name.metric,
                &unit.plan,
                &unit.state,
                None,
            ));
        }
    }

    /// Keeps an entry in the timer heap that is not later than the unit's deadline. Deadlines
    /// mostly move a little later; a stale entry then costs one look, not one update a batch.
    pub(super) fn schedule(&mut self, slot: u32) {
        let Some(Some(unit)) = self.units.get_mut(slot as usize) else { return };
        let next = unit.state.next_deadline(&unit.plan);
        unit.enter(slot, next, &mut self.timers);
    }
}

pub(super) fn context<'a>(config: &CoreConfig, zone: &'a Zone, frame: &Frame) -> StepContext<'a> {
    StepContext {
        pane: PaneContext {
            batch: frame.batch,
            now: frame.processing_time,
            attended: frame.attended,
            clock_trusted: frame.clock_trusted,
            max_ahead: config.max_ahead,
            zone,
            max_panes: config.max_panes,
        },
        max_recent: config.max_recent,
        fits: FitMode::default(),
        stagger: 0,
    }
}
