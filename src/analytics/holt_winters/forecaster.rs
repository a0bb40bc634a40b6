//! From readings to slots, from the model to forecasts: the state of one series.

use serde::{Deserialize, Serialize};

use super::model::Model;
use super::plan::{ForecastPlan, HORIZON_MAX, VALUE_MAX};
use super::{Fit, FitJob, Forecast, SlotsClosed};
use crate::reading::{EventTime, Finite};

/// Slot end of a forecaster that has seen nothing: every time lies past it.
const NEVER: i64 = i64::MIN;

/// The forecaster of one series: the open slot (small, touched by every reading) and the model
/// behind it (touched once a slot).
///
/// The fields' short names are those of the stored form; a change of meaning needs a new format version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    /// End of the open slot, nanoseconds since the epoch; [`NEVER`] before the first reading.
    #[serde(rename = "e")]
    slot_end: i64,
    /// Mean of the open slot's readings.
    #[serde(rename = "y")]
    mean: f64,
    /// Their number; ≥ 1 once a slot is open.
    #[serde(rename = "n")]
    count: u32,
    /// Boxed so that the hot fields of many series lie close together.
    #[serde(rename = "m")]
    model: Box<Model>,
}

impl Default for Forecaster {
    fn default() -> Self {
        Forecaster::new()
    }
}

impl Forecaster {
    /// A forecaster that has seen nothing.
    pub fn new() -> Forecaster {
        Forecaster { slot_end: NEVER, mean: 0.0, count: 0, model: Box::default() }
    }

    /// Takes in an accepted reading, in event order. Returns what it closed, `None` while it falls
    /// into the open slot (or opens the first one).
    ///
    /// A time before the open slot counts as inside it. Up to [`ForecastPlan::gap_limit`] missing
    /// slots are stepped through one by one; after a longer gap the trend is zero, the season
    /// stays, and the level is taken from the first slot after it (a history still being
    /// gathered begins again there). A plan with another step, season length or zone of the seasons than
    /// the one before it starts the forecaster afresh.
    #[inline]
    pub fn observe(
        &mut self,
        plan: &ForecastPlan,
        time: EventTime,
        value: Finite,
    ) -> Option<SlotsClosed> {
        let value = value.get().clamp(-VALUE_MAX, VALUE_MAX);
        if time.nanos() < self.slot_end {
            self.count = self.count.saturating_add(1);
            self.mean += (value - self.mean) / f64::from(self.count);
            return None;
        }
        self.advance(plan, time.nanos(), value)
    }

    /// Closes the open slot and the missing ones, and opens the slot of `nanos` with `value`.
    #[inline(never)]
    fn advance(&mut self, plan: &ForecastPlan, nanos: i64, value: f64) -> Option<SlotsClosed> {
        let slot = nanos.div_euclid(plan.step);
        let closed = if self.slot_end == NEVER || !self.model.fits(plan) {
            *self.model = Model::new(plan, plan.slot(slot));
            None
        } else {
            let open = self.slot_end.div_euclid(plan.step) - 1;
            let missing = u32::try_from(slot - open - 1).unwrap_or(u32::MAX);
            let outcome = self.model.close(plan, plan.slot(open), Some(self.mean));
            if missing >= plan.gap_limit {
                self.model.interrupt(plan);
            } else {
                for k in 1..=i64::from(missing) {
                    self.model.close(plan, plan.slot(open + k), None);
                }
            }
            self.model.remember(plan, plan.slot(slot));
            Some(SlotsClosed {
                closed: missing.saturating_add(1),
                missing,
                start: EventTime::clamped(open * plan.step),
                mean: self.mean,
                count: self.count,
                expected: outcome.expected,
                restarted: outcome.restarted,
            })
        };
        self.slot_end = (slot + 1).saturating_mul(plan.step);
        self.count = 1;
        self.mean = value;
        closed
    }

    /// The filter has confirmed a level shift by `delta` (in the series' unit) by the readings from `first` to `last`, to be
    /// observed next. One that is not finite is ignored.
    ///
    /// A filter of the level alone takes a steep rise at the same hour of each day for a shift. The season has
    /// it already: moved by `delta`, the forecast would rise twice, and fall short of the evening. So a whole slot behind
    /// the shift decides how much of it was not expected; by that the level moves. Season, trend and the size of the errors stay.
    ///
    /// Half of it is taken at once, the rest when it has lasted for a season (without one 12 slots), and then
    /// what was seen before moves along; a shift that takes back one that has not lasted puts the level back.
    pub fn confirm_shift(
        &mut self,
        plan: &ForecastPlan,
        (first, last): (EventTime, EventTime),
        delta: f64,
    ) {
        if self.slot_end == NEVER || !self.model.fits(plan) || !delta.is_finite() {
            return;
        }
        let open = self.slot_end.div_euclid(plan.step) - 1;
        let behind = |time: EventTime| (time.nanos().div_euclid(plan.step) - open).max(0) as u64;
        self.model.expect_shift(delta, (behind(first), behind(last)));
    }

    /// Forecast of the plan's horizon; see [`forecast_steps`](Self::forecast_steps).
    pub fn forecast(&self, plan: &ForecastPlan) -> Option<Forecast> {
        self.forecast_steps(plan, plan.horizon)
    }

    /// Forecast of `steps` slots (limited to 1 … 100,000) from the end of the last closed slot.
    ///
    /// `None` before the first one-step error is known, as no interval could be told: that is until
    /// the second slot with readings has closed (with `initial`: the first). Also `None` when the plan has another
    /// step, season length or zone than the state, until the next reading.
    ///
    /// After missing slots the variance is that of the last observed slot's forecast: k slots
    /// missed, element h has the variance of k + h slots ahead.
    pub fn forecast_steps(&self, plan: &ForecastPlan, steps: usize) -> Option<Forecast> {
        self.forecast_class1(plan, steps).map(|(forecast, _)| forecast)
    }

    /// The same, and beside it each interval's ends by class 1 alone, before calibration.
    pub fn forecast_class1(
        &self,
        plan: &ForecastPlan,
        steps: usize,
    ) -> Option<(Forecast, Vec<[f64; 2]>)> {
        if self.slot_end == NEVER || !self.model.fits(plan) {
            return None;
        }
        let next = self.slot_end.div_euclid(plan.step) - 1;
        let steps = steps.clamp(1, HORIZON_MAX);
        let mut points = Vec::with_capacity(steps);
        let basis = self.model.project(plan, plan.slot(next), steps, |mean, variance| {
            points.push((mean, variance));
        })?;
        let score = self.model.score(basis.rung);
        let [mut mean, mut lower, mut upper] = [(); 3].map(|()| Vec::with_capacity(steps));
        let mut class1 = Vec::with_capacity(steps);
        for (index, &point) in points.iter().enumerate() {
            let at = (index + 1, plan.slot(next).after(index as i64));
            let expected = self.model.calibrated(plan, &basis, at, point);
            mean.push(expected.mean);
            lower.push(expected.lower);
            upper.push(expected.upper);
            class1.push(expected.class1);
        }
        let forecast = Forecast {
            origin: EventTime::clamped(next * plan.step),
            step: plan.step,
            nominal: plan.nominal,
            mean,
            lower,
            upper,
            model: basis.rung.name(),
            coverage: score.coverage(),
            skill: score.skill(),
        };
        Some((forecast, class1))
    }

    /// A fit, when one is due: once for each point of the schedule (with a season of m slots after 2, 3,
    /// 7, 14, 21, 28 seasons, then every 28; without one after 30, 100, 300, 1000 slots, then every 1000).
    /// Ask whenever [`observe`](Self::observe) has closed slots. `None` where the settings leave nothing to fit.
    /// `stagger`, always the same for a series, puts all these points off by up to a season, lest series
    /// that began together all ask at once; 0: by nothing.
    pub fn take_fit_job(&mut self, plan: &ForecastPlan, stagger: u32) -> Option<FitJob> {
        if self.slot_end == NEVER {
            return None;
        }
        let open = self.slot_end.div_euclid(plan.step) - 1;
        self.model.take_fit_job(plan, open, stagger)
    }

    /// Hands in what a job found. It is adopted when exactly M slots more than [`Fit::at`] have
    /// closed (M: as many as five minutes have, at least one), and until then kept; one that comes later,
    /// or that was not asked for last, is not taken: `false`. A fit that did not come in time is
    /// asked for again a season later.
    pub fn offer(&mut self, fit: Fit) -> bool {
        self.model.offer(fit)
    }

    /// Bytes on the heap, roughly; at most [`ForecastPlan::state_bytes`].
    pub fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }

    #[cfg(test)]
    pub(super) fn model(&self) -> &Model {
        &self.model
    }
}
