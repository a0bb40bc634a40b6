//! One unit's step: the readings of one series in one batch, through order, gate and filter, panes
//! and forecaster.
//!
//! Pure: state and batch in, state and records out. A unit looks at nothing but its own state and
//! the batch, so units can be checkpointed and replayed each on its own, and no device can change
//! another one's results.

mod rows;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::analytics::alarm::{self, Active, DetectorPlan, Detectors, ReadingSeen, Thresholds};
use crate::analytics::classify::Classifier;
use crate::analytics::derive::{DerivePlan, Derived, Evaluated};
use crate::analytics::fit::{Fit, FitMode, Job};
use crate::analytics::holt_winters::{ForecastPlan, Forecaster, SlotsClosed};
use crate::analytics::kalman::{Kalman, KalmanPlan, Update, Verdict};
use crate::analytics::members::{Members, UnitKind};
use crate::analytics::settings::{
    DeriveSettings, DeviceVector, KalmanModel, Kind, SLOTS_MAX, Settings,
};
use crate::analytics::vector::{FilteredRow, VectorUnit, VectorUnitPlan};
use crate::batch::counter::CounterStep;
use crate::batch::order::{Held, Order, Watermark};
use crate::batch::pane::{Pane, PaneContext, Panes, Stretch};
use crate::batch::states::States;
use crate::batch::view::Views;
use crate::journal::frame::FrameReading;
use crate::output::{Aggregate, Alarm, Estimate, Forecast, Record, step_seconds};
use crate::reading::{AttendedTime, EventTime, Finite, SECOND, SeriesId};

const SECONDS_PER_HOUR: f64 = 3600.0;
/// For how many usual intervals a reading speaks when no other follows.
const COVERED_INTERVALS: f64 = 3.0;
/// Why the alarms of a series end with it.
const LEFT: &str = "the series was silent for so long that it was given up";

/// Settings of a series with all that can be computed from them once; shared by equal series.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings.
    pub settings: Settings,
    /// The filter's constants.
    pub kalman: KalmanPlan,
    /// The forecaster's constants.
    pub forecast: Option<ForecastPlan>,
    /// The detectors' constants.
    pub alarms: DetectorPlan,
    /// Of a metric that is computed from others.
    pub derive: Option<DerivePlan>,
    /// Of a filter over several metrics.
    pub vector: Option<VectorUnitPlan>,
}

impl Plan {
    /// Computes the constants.
    pub fn new(settings: Settings) -> Plan {
        let kalman = KalmanPlan::new(&settings.kalman);
        let forecast = settings.forecast.as_ref().map(ForecastPlan::new);
        let alarms = DetectorPlan::new(&settings.alarms, forecast.as_ref().map(ForecastPlan::step));
        Plan { settings, kalman, forecast, alarms, derive: None, vector: None }
    }

    /// Whether it is the plan for these settings.
    pub fn is_of(
        &self,
        settings: &Settings,
        derive: Option<&DeriveSettings>,
        vector: Option<&DeviceVector>,
    ) -> bool {
        self.settings == *settings
            && self.derive.as_ref().map(|plan| &plan.settings) == derive
            && self.vector.as_ref().map(|plan| &plan.vector) == vector
    }

    /// Whether both are for the same settings.
    pub fn is_like(&self, other: &Plan) -> bool {
        let derive = other.derive.as_ref().map(|plan| &plan.settings);
        self.is_of(&other.settings, derive, other.vector.as_ref().map(|plan| &plan.vector))
    }
}

/// What one step needs beside the unit: of the batch and of the core's limits.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// For the panes.
    pub pane: PaneContext<'a>,
    /// Most readings remembered or held for each series.
    pub max_recent: usize,
    /// What becomes of the jobs that arise.
    pub fits: FitMode,
}

/// Counts of one series since it came; the totals are their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounts {
    /// Readings, whatever became of them.
    #[serde(rename = "r")]
    pub readings: u64,
    /// Dropped: outside `valid`.
    #[serde(rename = "i")]
    pub invalid: u64,
    /// Dropped: too far ahead of the clock.
    #[serde(rename = "f")]
    pub future: u64,
    /// Dropped: repeated by the device.
    #[serde(rename = "d")]
    pub duplicate: u64,
    /// Counted in panes but skipped by the filter, being behind it.
    #[serde(rename = "u")]
    pub unordered: u64,
    /// Rejected by the gate.
    #[serde(rename = "o")]
    pub outliers: u64,
    /// Level shifts.
    #[serde(rename = "s")]
    pub shifts: u64,
    /// Readings forgotten by duplicate recognition because the series is too fast for its bound.
    #[serde(rename = "g")]
    pub forgotten: u64,
}

impl UnitCounts {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &UnitCounts) {
        self.readings += other.readings;
        self.invalid += other.invalid;
        self.future += other.future;
        self.duplicate += other.duplicate;
        self.unordered += other.unordered;
        self.outliers += other.outliers;
        self.shifts += other.shifts;
        self.forgotten += other.forgotten;
    }

    /// What was counted after `before`.
    pub fn since(&self, before: &UnitCounts) -> UnitCounts {
        UnitCounts {
            readings: self.readings - before.readings,
            invalid: self.invalid - before.invalid,
            future: self.future - before.future,
            duplicate: self.duplicate - before.duplicate,
            unordered: self.unordered - before.unordered,
            outliers: self.outliers - before.outliers,
            shifts: self.shifts - before.shifts,
            forgotten: self.forgotten - before.forgotten,
        }
    }
}

/// The latest reading that reached the filter, for estimates and the page.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Event time.
    #[serde(rename = "t")]
    pub time: EventTime,
    /// The reading.
    #[serde(rename = "v")]
    pub value: Finite,
    /// What of it the filter saw, where that is not the reading: a counter's rate per second.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Finite>,
    /// What the filter made of it.
    #[serde(skip)]
    pub update: Option<Update>,
}

impl Last {
    /// What the filter saw of it.
    pub fn signal(&self) -> Finite {
        self.rate.unwrap_or(self.value)
    }
}

/// The state of one unit. What is not serialised is derived or cosmetic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitState {
    #[serde(rename = "o")]
    order: Order,
    #[serde(rename = "k")]
    kalman: Kalman,
    #[serde(rename = "p")]
    panes: Panes,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    forecaster: Option<Box<Forecaster>>,
    #[serde(rename = "c")]
    counts: UnitCounts,
    #[serde(rename = "l")]
    last: Option<Last>,
    /// Usual seconds between readings in order (exponentially weighted mean), 0: not known yet.
    #[serde(rename = "i")]
    interval: f64,
    /// Attended time of the last reading.
    #[serde(rename = "a")]
    seen: AttendedTime,
    /// The configured alarms.
    #[serde(rename = "t", default, skip_serializing_if = "Thresholds::is_empty")]
    thresholds: Thresholds,
    /// The statistical detectors.
    #[serde(rename = "d", default)]
    detectors: Box<Detectors>,
    /// All active alarms, whoever raised them.
    #[serde(rename = "e", default, skip_serializing_if = "Active::is_empty")]
    alarms: Active,
    /// Of a unit that other series feed: who they are.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    members: Option<Box<Members>>,
    /// Of a metric that is computed from others: their join.
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    derived: Option<Box<Derived>>,
    /// Of a filter over several metrics: their join, and the filter.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    vector: Option<Box<VectorUnit>>,
    /// Raised when what was asked for before must not be adopted any more.
    #[serde(rename = "z", default, skip_serializing_if = "is_zero")]
    fit_epoch: u32,
    /// What the readings are found to be, where the settings leave it open.
    #[serde(rename = "y", default, skip_serializing_if = "is_default")]
    classifier: Classifier,
    /// The scale changed after the last reading, so that its value does not carry on.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    severed: bool,
    /// Panes of the sliding windows' latest views.
    #[serde(rename = "v", default, skip_serializing_if = "Views::is_empty")]
    views: Views,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl UnitState {
    /// The state of a series that has just come.
    pub fn new(plan: &Plan, attended: AttendedTime) -> UnitState {
        let classifier = Classifier::default();
        let forecasts = forecasts(kind(plan, &classifier), plan);
        UnitState {
            order: Order::default(),
            kalman: Kalman::new(&plan.kalman),
            panes: Panes::default(),
            forecaster: forecasts.then(|| Box::new(Forecaster::new())),
            counts: UnitCounts::default(),
            last: None,
            interval: 0.0,
            seen: attended,
            classifier,
            severed: false,
            views: Views::default(),
            thresholds: Thresholds::default(),
            detectors: Box::default(),
            alarms: Active::default(),
            members: None,
            derived: None,
            vector: None,
            fit_epoch: 0,
        }
    }

    /// The state of a group that has no members yet.
    pub fn new_group(plan: &Plan, attended: AttendedTime) -> UnitState {
        UnitState { members: Some(Box::default()), ..UnitState::new(plan, attended) }
    }

    /// The state of a metric computed from others, which it does not know yet.
    pub fn new_derived(plan: &Plan, attended: AttendedTime) -> UnitState {
        UnitState { derived: Some(Box::default()), ..UnitState::new_group(plan, attended) }
    }

    /// What the unit is.
    pub fn kind_of_unit(&self) -> UnitKind {
        match (&self.members, &self.derived, &self.vector) {
            (None, ..) => UnitKind::Series,
            (Some(_), None, None) => UnitKind::Group,
            (Some(_), Some(_), _) => UnitKind::Derived,
            (Some(_), None, Some(_)) => UnitKind::Vector,
        }
    }

    /// Its members' part in [`rewind`](Self::rewind); `true` when that concerned any.
    pub fn rewind_members(&mut self, limit: EventTime, to: EventTime) -> bool {
        let concerned = self.members.as_mut().is_some_and(|members| members.rewind(limit, to));
        if let Some(derived) = &mut self.derived
            && concerned
        {
            derived.rewind(to);
        }
        if concerned {
            self.rewind_vector(to);
        }
        concerned
    }

    /// Who feeds the unit; `None`: it is a series that is read.
    pub fn members(&self) -> Option<&Members> {
        self.members.as_deref()
    }

    /// Who feeds the unit, to be changed.
    pub fn members_mut(&mut self) -> Option<&mut Members> {
        self.members.as_deref_mut()
    }

    /// Goes with each job: a fit for another epoch is not taken.
    pub fn fit_epoch(&self) -> u32 {
        self.fit_epoch
    }

    /// Takes the result of a background fit: the model that asked for it keeps it until the reading
    /// at which it is to be adopted, and does not take one that comes later. `true` when the unit
    /// took it.
    pub fn offer(&mut self, epoch: u32, fit: Fit) -> bool {
        epoch == self.fit_epoch
            && match fit {
                Fit::Noise(fit) => self.kalman.offer(fit),
                Fit::Forecast(fit) => self.forecaster.as_mut().is_some_and(|f| f.offer(fit)),
            }
    }

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

    /// What the series is taken for: by its settings, else by its readings.
    pub fn kind(&self, plan: &Plan) -> Kind {
        kind(plan, &self.classifier)
    }

    /// Whether the readings have not said yet what the series is; it is taken for a gauge.
    pub fn is_undecided(&self, plan: &Plan) -> bool {
        plan.settings.kind.fixed().is_none() && self.classifier.is_undecided()
    }

    /// Counts since the series came.
    pub fn counts(&self) -> &UnitCounts {
        &self.counts
    }

    /// Attended time of the last reading.
    pub fn seen(&self) -> AttendedTime {
        self.seen
    }

    /// The open panes.
    pub fn panes(&self) -> &Panes {
        &self.panes
    }

    /// How many readings wait for their turn.
    pub fn held(&self) -> usize {
        self.order.held()
    }

    /// The filter.
    pub fn kalman(&self) -> &Kalman {
        &self.kalman
    }

    /// The active alarms.
    pub fn alarms(&self) -> &Active {
        &self.alarms
    }

    /// Usual seconds between readings; `None` before two were seen.
    pub fn usual_interval(&self) -> Option<f64> {
        (self.interval > 0.0).then_some(self.interval)
    }

    /// The latest reading that reached the filter.
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// The forecaster's present forecast of `steps` slots, or as many as the settings say.
    pub fn forecast(
        &self,
        plan: &Plan,
        steps: Option<usize>,
    ) -> Option<crate::analytics::holt_winters::Forecast> {
        let (forecaster, plan) = (self.forecaster.as_ref()?, plan.forecast.as_ref()?);
        match steps {
            Some(steps) => forecaster.forecast_steps(plan, steps),
            None => forecaster.forecast(plan),
        }
    }

    /// The forecast of `steps` slots as if the series had ended: the open slot counts with what it
    /// has, so the first element is the slot after the last reading's.
    pub fn forecast_after_end(
        &self,
        plan: &Plan,
        steps: usize,
    ) -> Option<crate::analytics::holt_winters::Forecast> {
        let (forecaster, plan) = (self.forecaster.as_ref()?, plan.forecast.as_ref()?);
        let last = self.last?;
        let mut forecaster = forecaster.clone();
        // A reading beyond the slot's end closes it; of the slot that it opens nothing is looked at.
        let next = (last.time.nanos().div_euclid(plan.step()) + 1) * plan.step();
        forecaster.observe(plan, EventTime::clamped(next), last.value);
        forecaster.forecast_steps(plan, steps)
    }

    /// When something must happen without further readings.
    pub fn next_deadline(&self, plan: &Plan) -> Option<AttendedTime> {
        let pending = self.order.pending_watermark(plan.settings.lateness);
        let deadlines = [
            self.derived.as_ref().and_then(|derived| derived.next_deadline()),
            self.vector.as_ref().and_then(|vector| vector.next_deadline()),
            self.panes.next_deadline(pending),
            self.order.next_deadline(),
            self.thresholds.next_deadline(),
            self.detectors.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.order.heap_bytes()
            + self.panes.heap_bytes()
            + self.kalman.heap_bytes()
            + self.thresholds.heap_bytes()
            + self.alarms.heap_bytes()
            + size_of::<Detectors>()
            + self.detectors.heap_bytes()
            + self.views.heap_bytes()
            + self.members.as_ref().map_or(0, |members| members.heap_bytes())
            + self.derived.as_ref().map_or(0, |derived| derived.heap_bytes())
            + self.vector.as_ref().map_or(0, |vector| vector.heap_bytes())
            + self.forecaster.as_ref().map_or(0, |f| size_of::<Forecaster>() + f.heap_bytes())
    }

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
                if self.vector.is_some() {
                    return self.take_rows(plan, context, &readings, effects);
                }
                if let Some(derived) = &mut self.derived {
                    readings = join(derived, members, plan, context, &readings);
                }
                self.take_own(plan, context, &readings, effects);
            }
        }
    }

    /// Evaluates rows that have waited long enough for the rest of their inputs.
    fn take_due(&mut self, plan: &Plan, context: &StepContext<'_>, effects: &mut Effects) {
        self.take_due_rows(plan, context, effects);
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
    fn watermark(&self, plan: &Plan) -> Watermark {
        let lateness = plan.settings.lateness;
        self.last.map_or(Watermark::START, |last| Watermark::behind(last.time, lateness))
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
    fn follow(&mut self, effects: &Effects, seen: usize) {
        self.alarms.follow(effects.events.get(seen..).unwrap_or_default());
    }

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
        if let Some(derived) = &mut self.derived
            && old.derive.as_ref().map(|plan| &plan.settings)
                != new.derive.as_ref().map(|plan| &plan.settings)
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
        if rescaled || before != kind {
            self.restart_models(new, now, effects);
            self.follow(effects, events);
        } else if old.settings.forecast != new.settings.forecast
            || forecasts(before, old) != forecasts(kind, new)
        {
            self.forecaster = forecasts(kind, new).then(|| Box::new(Forecaster::new()));
        }
        if old.settings.forecast != new.settings.forecast
            || old.settings.kalman != new.settings.kalman
        {
            self.fit_epoch = self.fit_epoch.wrapping_add(1);
        }
    }

    /// Starts filter, forecaster and detectors anew, since what they are to see is not what they saw.
    fn restart_models(&mut self, plan: &Plan, now: EventTime, effects: &mut Effects) {
        self.detectors.restart(now, &mut effects.events);
        self.kalman = Kalman::new(&plan.kalman);
        self.fit_epoch = self.fit_epoch.wrapping_add(1);
        self.forecaster = forecasts(self.kind(plan), plan).then(|| Box::new(Forecaster::new()));
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
        self.forecaster = forecasts(self.kind(plan), plan).then(|| Box::new(Forecaster::new()));
        if let Some(last) = &mut self.last {
            last.time = last.time.min(to);
        }
        self.view(plan, context, effects, closed);
        self.views.rewind(to);
        true
    }

    fn release(&mut self, plan: &Plan, context: &StepContext<'_>, effects: &mut Effects) {
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

    /// A reading in order: filter, pane, forecaster. `raw`: as decoded.
    fn accept(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        time: EventTime,
        (raw, value): (Finite, Finite),
        effects: &mut Effects,
    ) {
        let kind = self.kind(plan);
        let before = self.last.filter(|_| !self.severed);
        let since = before.map_or(0, |last| time.nanos().abs_diff(last.time.nanos()));
        let step = match (kind, before) {
            (Kind::Counter, Some(last)) => {
                Some(CounterStep::between(last.value, value, &plan.settings.counter_range()))
            }
            _ => None,
        };
        // What filter and forecaster see.
        let signal = match kind {
            Kind::Gauge | Kind::State => Some(value),
            Kind::Counter => step.and_then(|step| step.rate(since)),
        };
        let update = match signal {
            Some(signal) if filters(kind, plan) => self.kalman.update(&plan.kalman, time, signal),
            _ => Update::UNJUDGED,
        };
        if let Some(job) = self.kalman.take_fit_job(&plan.kalman) {
            self.begin_fit(Job::Noise(Box::new(job)), context.fits, effects);
        }
        let gated = matches!(update.verdict, Verdict::Gated);
        self.counts.outliers += u64::from(gated);
        let stretch = self.stretch(plan, Some(time));
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
        if kind == Kind::State && before.is_some_and(|last| last.value != value) {
            self.panes.count_transition(time);
        }
        let settings = &plan.settings;
        let unit = unit_of(kind, settings);
        let moment = alarm::Moment {
            attended: context.pane.attended,
            now: context.pane.now,
            max_ahead: context.pane.max_ahead,
            patience: settings.lateness + settings.hold,
            unit: unit.as_deref(),
        };
        if let Some(signal) = signal {
            let (thresholds, events) = (&settings.thresholds, &mut effects.events);
            self.thresholds.on_reading(thresholds, &moment, time, signal.get(), events);
        }
        if let Verdict::Shift { .. } = update.verdict {
            self.counts.shifts += 1;
        }
        let mut slot_closed = false;
        let mut closed = None;
        if let (Some(forecaster), Some(plan), Some(signal)) =
            (&mut self.forecaster, &plan.forecast, signal)
            && !gated
        {
            if let Verdict::Shift { delta, .. } = update.verdict {
                forecaster.shift_level(plan, delta);
            }
            if let Some(slots) = forecaster.observe(plan, time, signal) {
                effects.slot_closed = true;
                slot_closed = true;
                closed = Some(slots);
                if let Some(details) = &mut effects.details {
                    details.slots.push(slots);
                    if let Some(origins) = &effects.origins {
                        details.outlooks.extend(outlook(forecaster, plan, &slots, origins));
                    }
                }
                if let Some(job) = forecaster.take_fit_job(plan) {
                    self.begin_fit(Job::Forecast(Box::new(job)), context.fits, effects);
                }
            }
        }
        if slot_closed && let Some(signal) = signal {
            self.look_ahead(plan, time, signal, effects);
        }
        self.detect(plan, context, (time, signal, &update, closed), kind, effects);
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

    /// The detectors look at a reading in order. Of a state they only see that it comes.
    fn detect(
        &mut self,
        plan: &Plan,
        context: &StepContext<'_>,
        (time, signal, update, closed): (EventTime, Option<Finite>, &Update, Option<SlotsClosed>),
        kind: Kind,
        effects: &mut Effects,
    ) {
        let (plan, attended, events) = (&plan.alarms, context.pane.attended, &mut effects.events);
        let Some(value) = signal.filter(|_| kind != Kind::State) else {
            self.detectors.heard(plan, attended, time, events);
            return;
        };
        if let Some(slots) = &closed {
            self.detectors.slot(plan, slots, time, events);
        }
        let reading = ReadingSeen { time, value, attended, update };
        self.detectors.reading(plan, &reading, events);
    }

    /// A slot closed: alarms that look ahead see what is expected now.
    fn look_ahead(&mut self, plan: &Plan, time: EventTime, value: Finite, effects: &mut Effects) {
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
    fn fill(
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
            self.last.map(|last| last.time),
            &mut effects.closed,
        );
    }

    /// Learns the usual interval.
    fn learn_interval(&mut self, time: EventTime) {
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
    fn stretch(&self, plan: &Plan, until: Option<EventTime>) -> Option<Stretch> {
        let last = self.last.filter(|_| !self.severed && self.interval > 0.0)?;
        let most = (COVERED_INTERVALS * self.interval * SECOND as f64) as i64;
        let far = EventTime::clamped(last.time.nanos().saturating_add(most));
        Some(Stretch {
            from: last.time,
            to: until.map_or(far, |until| until.min(far)),
            value: last.value,
            is_state: self.kind(plan) == Kind::State,
        })
    }

    /// Credits panes that closed before the next reading in order; see [`Pane::cover`].
    fn carry(&self, plan: &Plan, closed: &mut [Pane]) {
        if !closed.is_empty()
            && let Some(stretch) = self.stretch(plan, None)
        {
            closed.iter_mut().for_each(|pane| pane.cover(&stretch));
        }
    }

    /// Turns the panes that closed, `from` this one on, into views.
    fn view(&mut self, plan: &Plan, context: &StepContext<'_>, effects: &mut Effects, from: usize) {
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

/// What a series is taken for.
fn kind(plan: &Plan, classifier: &Classifier) -> Kind {
    plan.settings.kind.fixed().unwrap_or_else(|| classifier.kind())
}

/// A state is filtered only where that was asked of a series set to be one …
fn filters(kind: Kind, plan: &Plan) -> bool {
    kind != Kind::State || plan.settings.kind.fixed() == Some(kind) && plan.settings.kalman_asked
}

/// … and so with the forecast.
fn forecasts(kind: Kind, plan: &Plan) -> bool {
    plan.forecast.is_some()
        && (kind != Kind::State
            || plan.settings.kind.fixed() == Some(kind) && plan.settings.forecast_asked)
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

/// The forecast now that `slots` have closed, if an origin lies at their ends.
fn outlook(
    forecaster: &Forecaster,
    plan: &ForecastPlan,
    slots: &SlotsClosed,
    origins: &Origins,
) -> Option<Outlook> {
    let (start, every) = (slots.start.nanos(), origins.every.max(1));
    let origin = start.saturating_add(i64::from(slots.closed).saturating_mul(plan.step()));
    if origin.div_euclid(every) == start.div_euclid(every) {
        return None;
    }
    let (forecast, class1) = forecaster.forecast_class1(plan, (origins.steps)(plan))?;
    Some(Outlook { forecast, class1 })
}

/// The unit of what filter, forecaster and alarms see: of a counter the rate per second.
fn unit_of(kind: Kind, settings: &Settings) -> Option<Cow<'_, str>> {
    let unit = settings.unit.as_deref()?;
    // Only alarms' words ask for it.
    let rate = kind == Kind::Counter && !settings.thresholds.is_empty();
    Some(if rate { Cow::Owned(format!("{unit}/s")) } else { Cow::Borrowed(unit) })
}

/// What a unit's step leaves behind for the engine to turn into records.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Panes that closed, in order.
    pub closed: Vec<Pane>,
    /// Views that end with them, in order.
    pub views: Vec<Pane>,
    /// A slot closed, so there is a new forecast.
    pub slot_closed: bool,
    /// Alarms that began or ended, in order.
    pub events: Vec<alarm::Event>,
    /// A reading reached the filter, so there is a new estimate.
    pub filtered: bool,
    /// Searches that its models ask for.
    pub fits: Vec<Job>,
    /// Where wanted ([`Engine::keep_details`](crate::engine::Engine::keep_details)): what a live
    /// run does not look at.
    pub details: Option<Box<Details>>,
    /// Of the details: where forecasts are wanted.
    pub origins: Option<Origins>,
}

/// What the step went through, reading by reading and slot by slot.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Each reading that reached the filter, with what the filter made of it, its state after, and
    /// the anomaly score.
    pub readings: Vec<(EventTime, Finite, Update, Kalman, f64)>,
    /// Each row of a filter over several metrics.
    pub rows: Vec<FilteredRow>,
    /// Each slot that closed, with what had been forecast for it.
    pub slots: Vec<SlotsClosed>,
    /// Forecasts made at the origins asked for, in order.
    pub outlooks: Vec<Outlook>,
}

/// Asks for forecasts to be judged later: at the end of the first slot to close at or behind each multiple of a time.
#[derive(Clone, Copy, Debug)]
pub struct Origins {
    /// That time, nanoseconds; ≥ 1.
    pub every: i64,
    /// How many steps a series' forecast takes.
    pub steps: fn(&ForecastPlan) -> usize,
}

/// A forecast with what it would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// As it is published.
    pub forecast: crate::analytics::holt_winters::Forecast,
    /// The ends of its intervals by class 1 alone, before calibration.
    pub class1: Vec<[f64; 2]>,
}

/// The record of a closed pane.
pub fn aggregate(device: &str, metric: &str, plan: &Plan, pane: &Pane) -> Aggregate {
    let m = &pane.moments;
    let quantiles = match (&pane.sketch, plan.settings.windows.get(usize::from(pane.window))) {
        (Some(sketch), Some(window)) => {
            window.quantiles.iter().filter_map(|&p| Some((p, sketch.quantile(p)?))).collect()
        }
        _ => Vec::new(),
    };
    Aggregate {
        device: device.to_owned(),
        metric: metric.to_owned(),
        start: pane.start,
        end: pane.end,
        part: pane.part,
        count: m.count(),
        sum: m.sum(),
        mean: m.mean(),
        min: m.min(),
        max: m.max(),
        m2: m.m2(),
        stddev: m.stddev(),
        first: m.first(),
        first_time: m.first_time(),
        last: m.last(),
        last_time: m.last_time(),
        covered_s: m.covered_s(),
        outliers: m.outliers(),
        time_mean: pane.time_mean(),
        increase: pane.increase.as_ref().map(|i| i.increase()),
        increase_s: pane.increase.as_ref().map(|i| i.seconds()),
        resets: pane.increase.as_ref().map(|i| i.resets()),
        rate: pane.increase.as_ref().and_then(|i| i.rate()),
        durations: pane.states.as_ref().map(|states| durations(states)),
        transitions: pane.states.as_ref().map(|states| states.transitions()),
        quantiles,
        sketch: pane.sketch.as_ref().map(|sketch| hex(&sketch.to_bytes())),
        slide_s: None,
        source: UnitKind::Series,
        clock_untrusted: pane.clock_untrusted,
    }
}

/// The record of an alarm's begin or end.
pub fn alarm_record(device: &Arc<str>, metric: &Arc<str>, event: alarm::Event) -> Record {
    let alarm::Event { alarm, state, time, value, expected, lower, upper, reason, severity } =
        event;
    let (device, metric) = (device.clone(), metric.clone());
    Record::Alarm(Box::new(Alarm {
        device,
        metric,
        alarm,
        state,
        time,
        value,
        expected,
        lower,
        upper,
        reason,
        severity,
    }))
}

/// The record of a view.
pub fn view(device: &str, metric: &str, plan: &Plan, view: &Pane) -> Aggregate {
    let slide = plan.settings.windows.get(usize::from(view.window)).and_then(|w| w.slide);
    Aggregate {
        slide_s: Some(slide.map_or(0.0, step_seconds)),
        ..aggregate(device, metric, plan, view)
    }
}

/// Seconds by value, as text.
fn durations(states: &States) -> BTreeMap<String, f64> {
    let other = Some(("other".to_owned(), states.other())).filter(|(_, seconds)| *seconds > 0.0);
    states.durations().map(|(value, seconds)| (format!("{value}"), seconds)).chain(other).collect()
}

/// The record of the present forecast.
pub fn forecast(
    device: &Arc<str>,
    metric: &Arc<str>,
    plan: &Plan,
    unit: &UnitState,
    steps: Option<usize>,
) -> Option<Record> {
    Some(forecast_record(device, metric, unit.forecast(plan, steps)?))
}

/// The record of a forecast.
pub fn forecast_record(
    device: &Arc<str>,
    metric: &Arc<str>,
    f: crate::analytics::holt_winters::Forecast,
) -> Record {
    Record::Forecast(Box::new(Forecast {
        device: device.clone(),
        metric: metric.clone(),
        origin: f.origin,
        step_s: step_seconds(f.step),
        nominal: f.nominal,
        mean: f.mean,
        lower: f.lower,
        upper: f.upper,
        model: f.model,
        coverage: f.coverage,
        skill: f.skill,
    }))
}

/// The estimate after a reading; `None` for a series without a filter or before its first reading.
pub fn estimate(
    device: &Arc<str>,
    metric: &Arc<str>,
    plan: &Plan,
    (time, value, update, kalman): (EventTime, Finite, Option<Update>, &Kalman),
    clock_trusted: bool,
) -> Option<Estimate> {
    if plan.settings.kalman.model == KalmanModel::Off {
        return None;
    }
    let e = kalman.estimate()?;
    Some(Estimate {
        device: device.clone(),
        metric: metric.clone(),
        time,
        reading: value.get(),
        level: e.level,
        variance: e.variance,
        innovation: update.and_then(|u| u.innovation),
        nis: update.and_then(|u| u.nis),
        unit: plan.settings.unit.clone(),
        trend: e.trend.map(|t| t * SECONDS_PER_HOUR),
        trend_variance: e.trend_variance.map(|v| v * SECONDS_PER_HOUR * SECONDS_PER_HOUR),
        gated: update.is_some_and(|u| matches!(u.verdict, Verdict::Gated)),
        clock_untrusted: !clock_trusted,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
