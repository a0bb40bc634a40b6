//! What a unit's step leaves behind.

use crate::analytics::alarm;
use crate::analytics::fit::Job;
use crate::analytics::holt_winters::{Forecast, ForecastPlan, Forecaster, SlotsClosed};
use crate::analytics::kalman::{Kalman, Update};
use crate::batch::pane::Pane;
use crate::reading::{EventTime, Finite};

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
    pub forecast: Forecast,
    /// The ends of its intervals by class 1 alone, before calibration.
    pub class1: Vec<[f64; 2]>,
}

/// The forecast now that `slots` have closed, if an origin lies at their ends.
pub(super) fn outlook(
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
