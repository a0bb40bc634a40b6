//! The core: all units, stepped by frames. `step(state, frame) -> (state, records)`.
//!
//! Pure: no clock, no I/O, no randomness, no hash order. Everything that a step depends on is in
//! the frame or in the state, so replaying the frames gives the same bits.
//!
//! Invariants:
//! - a unit's chunk says through which batch it includes the frames ([`Unit::included`]); older
//!   frames are not applied to it again. Units do not see each other, so chunks may be of different
//!   batches;
//! - what concerns no single unit (configuration, clock, counts) is in [`Meta`], which is of one batch;
//! - units are visited in slot order, so records leave in canonical order;
//! - a unit that a step changed is dirty until its chunk is written.

pub mod admission;
mod checkpoint;
mod members;
mod meta;
mod output;
pub mod registry;
mod unit;
mod unmade;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::analytics::derive::DerivePlan;
use crate::analytics::fit::{Fit, FitMode};
use crate::analytics::members::UnitKind;
use crate::analytics::settings::{DeviceVector, Settings};
use crate::analytics::step::{
    Effects, Origins, Plan, StepContext, UnitCounts, UnitState, aggregate, alarm_record, forecast,
    view,
};
use crate::analytics::vector::VectorUnitPlan;
use crate::batch::pane::PaneContext;
use crate::batch::window::Zone;
use crate::journal::frame::{Define, Frame};
use crate::output::{Aggregate, Record};
use crate::reading::{AttendedTime, DropCounts, DropReason, EventTime, SeriesId};
pub use checkpoint::{Dirty, UnitChunk};
pub use meta::{ConfigError, CoreConfig, Meta};
pub use output::{Detail, FitRequest, StepOutput};
use registry::{Name, Registry};
pub use unit::Unit;
use unit::{Timers, stagger};
pub use unmade::{Unmade, WhyUnmade};

/// All units.
#[derive(Debug)]
pub struct Engine {
    meta: Meta,
    zone: Zone,
    registry: Registry,
    units: Vec<Option<Unit>>,
    plans: Vec<Arc<Plan>>,
    timers: Timers,
    /// Slots in the order in which they became dirty, with the batch that made them so.
    dirty: VecDeque<(u64, u32)>,
    /// Slots whose stored chunk must go, with the batch at which the series left.
    deleted: BTreeMap<u32, u64>,
    /// Counts of the series that left since the last checkpoint, with the last one's batch, by slot.
    departed: BTreeMap<u32, (u64, UnitCounts)>,
    /// The batch of the last checkpoint's meta: the next checkpoint begins only when it is stored.
    checkpointed: u64,
    /// Active alarms of all units.
    alarms: usize,
    /// Totals over the living units.
    totals: UnitCounts,
    /// Replay met readings of series that it does not know (their chunk was lost).
    orphans: u64,
    fits: FitMode,
    /// Slots of units that other series feed.
    fed: BTreeSet<u32>,
    /// Which of them a series feeds, by its slot.
    routes: BTreeMap<u32, Vec<u32>>,
    effects: Effects,
}

impl Engine {
    /// With nothing stored.
    ///
    /// # Errors
    /// When the time zone is not known.
    pub fn new(config: CoreConfig) -> Result<Engine, ConfigError> {
        Engine::restore(Meta::new(config), [])
    }

    /// What concerns no single unit.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The names in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A unit.
    pub fn unit(&self, series: SeriesId) -> Option<(&Name, &Unit)> {
        let unit = self.units.get(series.0 as usize)?.as_ref()?;
        Some((self.registry.name(series)?, unit))
    }

    /// All units in slot order.
    pub fn units(&self) -> impl Iterator<Item = (SeriesId, &Name, &Unit)> {
        (0..self.units.len() as u32).map(SeriesId).filter_map(|series| {
            let (name, unit) = self.unit(series)?;
            Some((series, name, unit))
        })
    }

    /// Counts of all readings, of series that left too.
    pub fn totals(&self) -> UnitCounts {
        let mut totals = self.meta.retired;
        totals.merge(&self.totals);
        totals
    }

    /// All drops by reason: of frames and of units.
    pub fn drops(&self) -> DropCounts {
        let mut drops = self.meta.drops;
        let totals = self.totals();
        drops.add(DropReason::Invalid, totals.invalid);
        drops.add(DropReason::Future, totals.future);
        drops.add(DropReason::Duplicate, totals.duplicate);
        drops
    }

    /// How many alarms are active.
    pub fn alarms_active(&self) -> usize {
        self.alarms
    }

    /// Forgets what only time could still raise: a recording ended, and its end is no silence.
    pub fn forget_waiting(&mut self) {
        for unit in self.units.iter_mut().flatten() {
            unit.state.forget_waiting();
        }
    }

    /// Readings of unknown series met in replay.
    pub fn orphans(&self) -> u64 {
        self.orphans
    }

    /// After loss of state: batch numbers up to `batch` were used and must not come again.
    pub fn continue_after(&mut self, batch: u64) {
        self.meta.batch = self.meta.batch.max(batch);
    }

    /// When something is due without further input.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.timers.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Applies one frame. Frames come in batch order; in replay they may begin before
    /// [`Meta::batch`], and are then applied to the units whose chunk is older.
    ///
    /// # Errors
    /// When the frame carries a configuration that cannot be used; the state is as before.
    pub fn step(&mut self, frame: &Frame) -> Result<StepOutput, ConfigError> {
        let mut output = StepOutput::default();
        let fresh = frame.batch > self.meta.batch;
        let configuration = match &frame.configuration {
            Some(bytes) if fresh => Some(
                serde_cbor::from_slice::<CoreConfig>(bytes)
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

    /// From now on each step's output carries its [`Detail`]s (`replay`, tests). Costs a copy of
    /// the filter's state a reading.
    pub fn keep_details(&mut self) {
        self.effects.details = Some(Box::default());
    }

    /// From now on searches run where they arise ([`FitMode::InPlace`]).
    pub fn fit_in_place(&mut self) {
        self.fits = FitMode::InPlace;
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

    /// Details from now on include the forecasts made at these origins.
    pub fn keep_outlooks(&mut self, origins: Origins) {
        self.keep_details();
        self.effects.origins = Some(origins);
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
        (readings, timer): (&[crate::journal::frame::FrameReading], bool),
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
    fn changed(&mut self, slot: u32, batch: u64, output: &mut StepOutput) {
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

    fn reconfigure(&mut self, config: CoreConfig, frame: &Frame, output: &mut StepOutput) {
        self.meta.config = config;
        self.plans.clear();
        for slot in 0..self.units.len() as u32 {
            let Some(name) = self.registry.name(SeriesId(slot)).cloned() else { continue };
            let Some(Some(unit)) = self.units.get(slot as usize) else { continue };
            let kind = unit.state.kind_of_unit();
            let plan = self.plan_for(kind, &name.device, &name.metric);
            let Some(Some(unit)) = self.units.get_mut(slot as usize) else { continue };
            let old = std::mem::replace(&mut unit.plan, plan);
            if unit.included < frame.batch && !old.is_like(&unit.plan) {
                let now = EventTime::clamped(frame.processing_time.0);
                unit.state.change_plan(&old, &unit.plan, now, &mut self.effects);
                self.changed(slot, frame.batch, output);
                self.schedule(slot);
            }
        }
    }

    fn rewind(&mut self, frame: &Frame, output: &mut StepOutput) {
        let now = EventTime::clamped(frame.processing_time.0);
        let limit = EventTime::clamped(frame.processing_time.0 + self.meta.config.max_ahead);
        let zone = self.zone.clone();
        let config = self.meta.config.clone();
        let context = context(&config, &zone, frame);
        for slot in 0..self.units.len() as u32 {
            let Some(Some(unit)) = self.units.get_mut(slot as usize) else { continue };
            if unit.included >= frame.batch {
                continue;
            }
            let mut changed = unit.state.rewind_members(limit, now);
            changed |= unit.state.is_beyond(limit)
                && unit.state.rewind(&unit.plan, &context, now, &mut self.effects);
            if changed {
                self.changed(slot, frame.batch, output);
                self.schedule(slot);
            }
        }
    }

    fn evict(&mut self, series: SeriesId, frame: &Frame, fresh: bool, output: &mut StepOutput) {
        let slot = series.0;
        let Some(Some(unit)) = self.units.get_mut(slot as usize) else { return };
        if unit.included >= frame.batch {
            if let Some(predecessor) = &unit.predecessor
                && fresh
                && predecessor.0 == frame.batch
            {
                self.meta.retired.merge(&predecessor.1);
            }
            return;
        }
        let context = context(&self.meta.config, &self.zone, frame);
        unit.state.leave(&unit.plan, &context, &mut self.effects);
        let is_series = unit.state.kind_of_unit().is_series();
        let counts = if is_series { *unit.state.counts() } else { UnitCounts::default() };
        let mut departed = counts;
        if let Some(before) = &unit.predecessor
            && before.0 > self.checkpointed
        {
            departed.merge(&before.1);
        }
        self.changed(slot, frame.batch, output);
        output.touched.retain(|&touched| touched != series);
        if fresh {
            self.meta.retired.merge(&counts);
        }
        self.units[slot as usize] = None;
        self.fed.remove(&slot);
        self.registry.remove(series);
        // Until its chunk is gone, its frames are needed from where it became dirty.
        let dirty_since = self.dirty.iter().find(|&&(_, dirty)| dirty == slot);
        let since = dirty_since.map_or(frame.batch, |&(batch, _)| batch);
        self.dirty.retain(|&(_, dirty)| dirty != slot);
        self.deleted.entry(slot).or_insert(since);
        self.departed.insert(slot, (frame.batch, departed));
        self.recount();
    }

    fn define(&mut self, define: &Define, frame: &Frame) {
        let Define { series, device, metric, kind } = define;
        let (series, kind) = (*series, *kind);
        if let Some(Some(unit)) = self.units.get(series.0 as usize)
            && (unit.included >= frame.batch || unit.defined == frame.batch)
        {
            return;
        }
        let plan = self.plan_for(kind, device, metric);
        let state = match kind {
            UnitKind::Series => UnitState::new(&plan, frame.attended),
            UnitKind::Group => UnitState::new_group(&plan, frame.attended),
            UnitKind::Derived => UnitState::new_derived(&plan, frame.attended),
            UnitKind::Vector => UnitState::new_vector(&plan, frame.attended),
        };
        let predecessor = self.departed.get(&series.0).copied().map(Box::new);
        self.registry.insert(series, device, metric);
        self.put(
            series,
            Unit {
                state,
                plan,
                included: frame.batch - 1,
                defined: frame.batch,
                predecessor,
                dirty: true,
                alarms: 0,
                timer: AttendedTime(i64::MAX),
                stagger: stagger(device, metric),
            },
        );
        self.dirty.push_back((frame.batch, series.0));
    }

    fn put(&mut self, series: SeriesId, unit: Unit) {
        let slot = series.0 as usize;
        if self.units.len() <= slot {
            self.units.resize_with(slot + 1, || None);
        }
        if unit.state.kind_of_unit().is_series() {
            self.fed.remove(&series.0);
        } else {
            self.fed.insert(series.0);
        }
        self.units[slot] = Some(unit);
    }

    /// Totals are sums over the living units; rare events just sum again.
    fn recount(&mut self) {
        let mut totals = UnitCounts::default();
        let units = self.units.iter().flatten();
        for unit in units.filter(|unit| unit.state.kind_of_unit().is_series()) {
            totals.merge(unit.state.counts());
        }
        self.totals = totals;
    }

    /// Series with equal settings share one plan.
    fn plan_for(&mut self, kind: UnitKind, device: &str, metric: &str) -> Arc<Plan> {
        let CoreConfig { layers, groups, derives, .. } = &self.meta.config;
        let (mut derive, mut vector) = (None, None);
        let settings = match kind {
            UnitKind::Series => Settings::resolve(layers, device, metric),
            UnitKind::Group => {
                let group = groups.iter().find(|group| group.makes(device));
                Settings::of_group(layers, group, device, metric)
            }
            UnitKind::Derived => {
                derive = derives.iter().find(|d| d.name == metric && d.is_of(device));
                Settings::resolve(layers, device, metric)
            }
            UnitKind::Vector => {
                let (settings, found) = DeviceVector::resolve(layers, device, metric);
                vector = found;
                settings
            }
        };
        let is_it = |plan: &&Arc<Plan>| plan.is_of(&settings, derive, vector.as_ref());
        if let Some(plan) = self.plans.iter().find(is_it) {
            return plan.clone();
        }
        let plan = Plan::new(settings, &self.zone);
        let derive = derive.and_then(DerivePlan::new);
        let vector = vector.and_then(VectorUnitPlan::new);
        let plan = Arc::new(Plan { derive, vector, ..plan });
        self.plans.push(plan.clone());
        plan
    }

    /// Keeps an entry in the timer heap that is not later than the unit's deadline. Deadlines
    /// mostly move a little later; a stale entry then costs one look, not one update a batch.
    fn schedule(&mut self, slot: u32) {
        let Some(Some(unit)) = self.units.get_mut(slot as usize) else { return };
        let next = unit.state.next_deadline(&unit.plan);
        unit.enter(slot, next, &mut self.timers);
    }
}

fn context<'a>(config: &CoreConfig, zone: &'a Zone, frame: &Frame) -> StepContext<'a> {
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

#[cfg(test)]
mod departed_tests;
#[cfg(test)]
mod fit_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod vector_tests;
#[cfg(test)]
mod world;
