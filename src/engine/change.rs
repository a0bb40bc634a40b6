//! Units come and go, settings change, the gateway's clock steps back.

use std::sync::Arc;

use super::step::context;
use super::unit::stagger;
use super::{CoreConfig, Engine, StepOutput, Unit};
use crate::analytics::derive::DerivePlan;
use crate::analytics::members::UnitKind;
use crate::analytics::settings::{DeviceVector, Settings};
use crate::analytics::step::{Plan, UnitCounts, UnitState};
use crate::analytics::vector::VectorUnitPlan;
use crate::journal::frame::{Define, Frame};
use crate::reading::{AttendedTime, EventTime, SeriesId};

impl Engine {
    pub(super) fn reconfigure(
        &mut self,
        config: CoreConfig,
        frame: &Frame,
        output: &mut StepOutput,
    ) {
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

    pub(super) fn rewind(&mut self, frame: &Frame, output: &mut StepOutput) {
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

    pub(super) fn evict(
        &mut self,
        series: SeriesId,
        frame: &Frame,
        fresh: bool,
        output: &mut StepOutput,
    ) {
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

    pub(super) fn define(&mut self, define: &Define, frame: &Frame) {
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

    pub(super) fn put(&mut self, series: SeriesId, unit: Unit) {
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
    pub(super) fn plan_for(&mut self, kind: UnitKind, device: &str, metric: &str) -> Arc<Plan> {
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
}
