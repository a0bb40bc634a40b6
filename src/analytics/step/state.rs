//! [`UnitState`]: all that is remembered of one series, and what can be asked of it.

use serde::{Deserialize, Serialize};

use super::plan::{forecasts, kind};
use super::{Plan, UnitCounts};
use crate::analytics::alarm::{Active, Detectors, Thresholds};
use crate::analytics::classify::Classifier;
use crate::analytics::derive::Derived;
use crate::analytics::fit::Fit;
use crate::analytics::holt_winters::{Forecast, Forecaster};
use crate::analytics::kalman::{Kalman, Update};
use crate::analytics::members::{Members, UnitKind};
use crate::analytics::settings::Kind;
use crate::analytics::vector::VectorUnit;
use crate::batch::order::Order;
use crate::batch::pane::Panes;
use crate::batch::view::Views;
use crate::reading::{AttendedTime, EventTime, Finite};

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
    pub(super) order: Order,
    #[serde(rename = "k")]
    pub(super) kalman: Kalman,
    #[serde(rename = "p")]
    pub(super) panes: Panes,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) forecaster: Option<Forecaster>,
    #[serde(rename = "c")]
    pub(super) counts: UnitCounts,
    #[serde(rename = "l")]
    pub(super) last: Option<Last>,
    /// Usual seconds between readings in order (exponentially weighted mean), 0: not known yet.
    #[serde(rename = "i")]
    pub(super) interval: f64,
    /// Attended time of the last reading.
    #[serde(rename = "a")]
    pub(super) seen: AttendedTime,
    /// The configured alarms.
    #[serde(rename = "t", default, skip_serializing_if = "Thresholds::is_empty")]
    pub(super) thresholds: Thresholds,
    /// The statistical detectors.
    #[serde(rename = "d", default)]
    pub(super) detectors: Detectors,
    /// All active alarms, whoever raised them.
    #[serde(rename = "e", default, skip_serializing_if = "Active::is_empty")]
    pub(super) alarms: Active,
    /// Of a unit that other series feed: who they are.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<Box<Members>>,
    /// Of a metric that is computed from others: their join.
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    pub(super) derived: Option<Box<Derived>>,
    /// Of a filter over several metrics: their join, and the filter.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) vector: Option<Box<VectorUnit>>,
    /// Raised when what was asked for before must not be adopted any more.
    #[serde(rename = "z", default, skip_serializing_if = "is_zero")]
    pub(super) fit_epoch: u32,
    /// What the readings are found to be, where the settings leave it open.
    #[serde(rename = "y", default, skip_serializing_if = "is_default")]
    pub(super) classifier: Classifier,
    /// The scale changed after the last reading, so that its value does not carry on.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub(super) severed: bool,
    /// Panes of the sliding windows' latest views.
    #[serde(rename = "v", default, skip_serializing_if = "Views::is_empty")]
    pub(super) views: Views,
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
            forecaster: forecasts.then(Forecaster::new),
            counts: UnitCounts::default(),
            last: None,
            interval: 0.0,
            seen: attended,
            classifier,
            severed: false,
            views: Views::default(),
            thresholds: Thresholds::default(),
            detectors: Detectors::new(),
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
    pub fn forecast(&self, plan: &Plan, steps: Option<usize>) -> Option<Forecast> {
        let (forecaster, plan) = (self.forecaster.as_ref()?, plan.forecast.as_ref()?);
        match steps {
            Some(steps) => forecaster.forecast_steps(plan, steps),
            None => forecaster.forecast(plan),
        }
    }

    /// The forecast of `steps` slots as if the series had ended: the open slot counts with what it
    /// has, so the first element is the slot after the last reading's.
    pub fn forecast_after_end(&self, plan: &Plan, steps: usize) -> Option<Forecast> {
        let (forecaster, plan) = (self.forecaster.as_ref()?, plan.forecast.as_ref()?);
        let last = self.last?;
        let mut forecaster = forecaster.clone();
        // A reading beyond the slot's end closes it; of the slot that it opens nothing is looked at.
        let next = (last.time.nanos().div_euclid(plan.step()) + 1) * plan.step();
        forecaster.observe(plan, EventTime::clamped(next), last.value);
        forecaster.forecast_steps(plan, steps)
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.order.heap_bytes()
            + self.panes.heap_bytes()
            + self.kalman.heap_bytes()
            + self.thresholds.heap_bytes()
            + self.alarms.heap_bytes()
            + self.detectors.heap_bytes()
            + self.views.heap_bytes()
            + self.members.as_ref().map_or(0, |members| members.heap_bytes())
            + self.derived.as_ref().map_or(0, |derived| derived.heap_bytes())
            + self.vector.as_ref().map_or(0, |vector| vector.heap_bytes())
            + self.forecaster.as_ref().map_or(0, Forecaster::heap_bytes)
    }
}
