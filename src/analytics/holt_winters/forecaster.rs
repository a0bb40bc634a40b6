//! From readings to slots, from slots to models: the state of one series.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::plan::{ForecastPlan, HORIZON_MAX};
use super::recursion::{Components, Season, phase, variance_factors};
use super::score::{ErrorScale, Score};
use super::start::{self, History};
use super::{Expected, Forecast, SlotsClosed};
use crate::analytics::settings::Trend;
use crate::reading::{EventTime, Finite};

/// Readings and shifted levels are limited to ± this, so that their differences and means are finite.
const VALUE_MAX: f64 = 1e300;
/// One-step errors beyond this start the model afresh: their squares, summed, would overflow.
const ERROR_MAX: f64 = 1e140;
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
    /// gathered begins again there). A plan with another step or season length than
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
            *self.model = Model::new(plan, slot);
            None
        } else {
            let open = self.slot_end.div_euclid(plan.step) - 1;
            let missing = u32::try_from(slot - open - 1).unwrap_or(u32::MAX);
            let outcome = self.model.close(plan, open, Some(self.mean));
            if missing >= plan.gap_limit {
                self.model.interrupt(plan);
            } else {
                for k in 1..=i64::from(missing) {
                    self.model.close(plan, open + k, None);
                }
            }
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

    /// Moves the level by `delta` (in the series' unit): a confirmed level shift. Call it before the
    /// readings from after the shift are observed.
    ///
    /// Season, trend and the size of the errors stay. What was seen before the shift (the open
    /// slot's readings so far, the history of the start, the last season of the naive
    /// forecast) moves along, as if it had been seen at the new level. A `delta` that is not finite is ignored.
    pub fn shift_level(&mut self, _plan: &ForecastPlan, delta: f64) {
        if !delta.is_finite() {
            return;
        }
        let shift = |value: &mut f64| *value = (*value + delta).clamp(-VALUE_MAX, VALUE_MAX);
        if self.count > 0 {
            shift(&mut self.mean);
        }
        match &mut self.model.stage {
            Stage::Start { level, history } => {
                level.iter_mut().for_each(shift);
                history.iter_mut().flatten().for_each(shift);
            }
            Stage::Running { components, last } => {
                shift(&mut components.level);
                last.iter_mut().flatten().for_each(shift);
            }
        }
    }

    /// Forecast of the plan's horizon; see [`forecast_steps`](Self::forecast_steps).
    pub fn forecast(&self, plan: &ForecastPlan) -> Option<Forecast> {
        self.forecast_steps(plan, plan.horizon)
    }

    /// Forecast of `steps` slots (limited to 1 … 100,000) from the end of the last closed slot.
    ///
    /// `None` before the first one-step error is known, as no interval could be told: that is until
    /// the second slot with readings has closed (with `initial`: the first). Also `None` when the plan has another
    /// step or season length than the state, until the next reading.
    ///
    /// After missing slots the variance is that of the last observed slot's forecast: k slots
    /// missed, element h has the variance of k + h slots ahead.
    pub fn forecast_steps(&self, plan: &ForecastPlan, steps: usize) -> Option<Forecast> {
        if self.slot_end == NEVER || !self.model.fits(plan) {
            return None;
        }
        let next = self.slot_end.div_euclid(plan.step) - 1;
        let steps = steps.clamp(1, HORIZON_MAX);
        let mut points = Vec::with_capacity(steps);
        let rung = self.model.project(plan, next, steps, |mean, variance| {
            points.push((mean, variance));
        })?;
        let quantile = plan.quantile.at(rung.errors);
        let bounded = |value: f64| value.clamp(-f64::MAX, f64::MAX);
        let ends = |sign: f64| {
            points.iter().map(|&(mean, v)| bounded(mean + sign * quantile * v.sqrt())).collect()
        };
        Some(Forecast {
            origin: EventTime::clamped(next * plan.step),
            step: plan.step,
            nominal: plan.nominal,
            lower: ends(-1.0),
            upper: ends(1.0),
            mean: points.iter().map(|&(mean, _)| bounded(mean)).collect(),
            model: rung.name,
            coverage: self.model.score.coverage(),
            skill: self.model.score.skill(),
        })
    }

    #[cfg(test)]
    pub(super) fn components(&self) -> Option<&Components> {
        match &self.model.stage {
            Stage::Running { components, .. } => Some(components),
            Stage::Start { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> ErrorScale {
        self.model.errors
    }
}

/// Everything behind the open slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Model {
    /// The plan's step and season length when it began; another plan begins afresh.
    #[serde(rename = "t")]
    step: i64,
    #[serde(rename = "m")]
    season_length: usize,
    /// Missing slots since the last observed one; at most the plan's gap limit, which means that
    /// the level is no longer believed.
    #[serde(rename = "g")]
    missed: u32,
    #[serde(rename = "e")]
    errors: ErrorScale,
    #[serde(rename = "c")]
    score: Score,
    #[serde(rename = "k")]
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    /// Rungs `level` and `seasonal-naive`.
    #[serde(rename = "s")]
    Start {
        /// Exponentially smoothed; `None` before the first observed slot.
        #[serde(rename = "l")]
        level: Option<f64>,
        /// Ends with the last closed slot; at most three seasons.
        #[serde(rename = "h")]
        history: History,
    },
    /// Rungs `holt-winters`, `holt`, `ses`.
    #[serde(rename = "r")]
    Running {
        #[serde(rename = "c")]
        components: Components,
        /// Last observed slot mean by phase (without a season: one element): the naive forecast.
        #[serde(rename = "y")]
        last: Vec<Option<f64>>,
    },
}

impl Default for Stage {
    fn default() -> Self {
        Stage::Start { level: None, history: VecDeque::new() }
    }
}

/// Which rung made a projection, and how many errors its sigma2 rests on.
struct Rung {
    name: &'static str,
    errors: f64,
}

/// What closing a slot showed.
struct Outcome {
    expected: Option<Expected>,
    restarted: bool,
}

impl Model {
    /// For a series whose first slot is `slot`.
    fn new(plan: &ForecastPlan, slot: i64) -> Model {
        let m = plan.season_length;
        let stage = plan.initial.as_ref().map_or_else(Stage::default, |initial| {
            let season = if m == 0 {
                Season::None
            } else {
                let mut factors = initial.season.clone();
                factors.rotate_right(phase(slot, m));
                Season::Additive(factors)
            };
            let components = Components { level: initial.level, trend: initial.trend, season };
            Stage::Running { components, last: vec![None; m.max(1)] }
        });
        Model { step: plan.step, season_length: m, stage, ..Model::default() }
    }

    /// True when this state can go on under `plan`; also guards every index taken by phase.
    fn fits(&self, plan: &ForecastPlan) -> bool {
        let m = plan.season_length;
        self.step == plan.step
            && self.season_length == m
            && match &self.stage {
                Stage::Start { history, .. } => history.len() <= start::capacity(m),
                Stage::Running { components, last } => {
                    components.season.length() == m && last.len() == m.max(1)
                }
            }
    }

    /// Takes in `slot`, the one after the last closed.
    fn close(&mut self, plan: &ForecastPlan, slot: i64, observed: Option<f64>) -> Outcome {
        let Some(y) = observed else {
            self.miss(plan, slot);
            return Outcome { expected: None, restarted: false };
        };
        if self.missed >= plan.gap_limit {
            self.resume(slot, y);
            return Outcome { expected: None, restarted: false };
        }
        let expected = self.expect(plan, slot);
        let naive = self.naive(slot);
        let error = match &mut self.stage {
            Stage::Start { level, history } => {
                push(history, plan, Some(y));
                let error = level.map(|level| y - level);
                *level = level.map_or(Some(y), |level| {
                    Some(level + plan.parameters.alpha * error.unwrap_or_default())
                });
                error
            }
            Stage::Running { components, last } => {
                let error = components.step(&plan.parameters, slot, Some(y)).error;
                let m = last.len();
                last[phase(slot, m)] = Some(y);
                error.map(|e| if components.is_finite_at(slot) { e } else { f64::INFINITY })
            }
        };
        if error.is_some_and(|e| e.abs() > ERROR_MAX || e.is_nan()) {
            self.restart(y);
            return Outcome { expected, restarted: true };
        }
        if let Some(e) = error {
            self.errors.add(plan.memory, e * e / self.spread(plan));
        }
        self.missed = 0;
        if let Some(expected) = expected {
            self.score.cover((expected.lower..=expected.upper).contains(&y));
            if let Some(naive) = naive {
                self.score.compare((y - expected.mean).abs(), (y - naive).abs());
            }
        }
        let restarted = self.climb(plan, slot, y);
        Outcome { expected, restarted }
    }

    /// A missing slot: predicted through.
    fn miss(&mut self, plan: &ForecastPlan, slot: i64) {
        self.missed = self.missed.saturating_add(1).min(plan.gap_limit);
        match &mut self.stage {
            Stage::Start { history, .. } => push(history, plan, None),
            Stage::Running { components, .. } => {
                components.step(&plan.parameters, slot, None);
            }
        }
    }

    /// A gap too long to predict through.
    fn interrupt(&mut self, plan: &ForecastPlan) {
        self.missed = plan.gap_limit;
        match &mut self.stage {
            Stage::Start { history, .. } => history.clear(),
            Stage::Running { components, .. } => components.trend = 0.0,
        }
    }

    /// The first slot after such a gap: its level is taken as it is and not held against the model.
    fn resume(&mut self, slot: i64, y: f64) {
        self.missed = 0;
        match &mut self.stage {
            Stage::Start { level, history } => {
                *level = Some(y);
                history.push_back(Some(y));
            }
            Stage::Running { components, last } => {
                components.level = components.season.level_of(y, slot);
                components.trend = 0.0;
                let m = last.len();
                last[phase(slot, m)] = Some(y);
            }
        }
    }

    /// Afresh from a slot of mean `y`, without `initial`, which led here.
    fn restart(&mut self, y: f64) {
        *self = Model {
            step: self.step,
            season_length: self.season_length,
            stage: Stage::Start { level: Some(y), history: VecDeque::from([Some(y)]) },
            ..Model::default()
        };
    }

    /// By how much the variance of the next slot's forecast exceeds sigma2, for the slots missed
    /// before it. Errors after a gap are divided by it, lest one gap widen the intervals for
    /// weeks. Runs from `initial` keep plain errors: sigma2 = SSE/n.
    fn spread(&self, plan: &ForecastPlan) -> f64 {
        match &self.stage {
            _ if self.missed == 0 || plan.initial.is_some() => 1.0,
            Stage::Start { .. } => f64::from(self.missed) + 1.0,
            Stage::Running { .. } => {
                let mut factors = variance_factors(&plan.parameters, plan.season_length);
                factors.nth(self.missed as usize).unwrap_or(1.0)
            }
        }
    }

    /// Starts Holt-Winters when the history carries it, after the slot of mean `y`. True when its
    /// numbers would have overflowed, so that everything starts afresh.
    fn climb(&mut self, plan: &ForecastPlan, slot: i64, y: f64) -> bool {
        let Stage::Start { history, .. } = &self.stage else { return false };
        if !start::is_ready(history, plan.season_length) {
            return false;
        }
        let first = slot + 1 - history.len() as i64;
        let states = start::states(history, first, plan.season_length, plan.trend);
        let Some((mut components, fitted)) = states else { return false };
        let mut last = vec![None; plan.season_length.max(1)];
        let m = last.len();
        let (mut sum, mut n) = (0.0, 0.0);
        for (slot, observed) in (first..).zip(history) {
            let error = components.step(&plan.parameters, slot, *observed).error;
            if let Some(e) = error {
                sum += e * e;
                n += 1.0;
                last[phase(slot, m)] = *observed;
            }
            if !(sum.is_finite() && components.is_finite_at(slot)) {
                self.restart(y);
                return true;
            }
        }
        // The states were fitted to the same slots: count the errors that were free.
        let free = f64::max(n - fitted as f64, 1.0);
        self.errors = ErrorScale { sum, weight: free };
        self.score = Score::default();
        self.stage = Stage::Running { components, last };
        false
    }

    /// The naive one-step forecast of `slot`: one season before, without a season (or before one
    /// was seen) the last observed slot. With `initial` and a season: `None` before that phase was seen.
    fn naive(&self, slot: i64) -> Option<f64> {
        match &self.stage {
            Stage::Running { last, .. } => last[phase(slot, last.len())],
            Stage::Start { history, .. } => {
                let seasonal = match self.season_length {
                    0 => None,
                    m => history.iter().rev().skip(m - 1).step_by(m).flatten().next(),
                };
                seasonal.or_else(|| history.iter().rev().flatten().next()).copied()
            }
        }
    }

    /// The one-step forecast of `slot` with its interval.
    fn expect(&self, plan: &ForecastPlan, slot: i64) -> Option<Expected> {
        let (mut mean, mut variance) = (0.0, 0.0);
        let rung = self.project(plan, slot, 1, |m, v| (mean, variance) = (m, v))?;
        let half = plan.quantile.at(rung.errors) * variance.sqrt();
        Some(Expected { mean, lower: mean - half, upper: mean + half })
    }

    /// Calls `each` with mean and variance of the `steps` slots from `slot` (the next) on. `None`,
    /// and no call, while no error is known.
    fn project(
        &self,
        plan: &ForecastPlan,
        slot: i64,
        steps: usize,
        mut each: impl FnMut(f64, f64),
    ) -> Option<Rung> {
        match &self.stage {
            Stage::Running { components, .. } => {
                let sigma2 = self.errors.sigma2()?;
                let factors = variance_factors(&plan.parameters, plan.season_length);
                let points = components.points(&plan.parameters, slot);
                for (mean, factor) in points.zip(factors.skip(self.missed as usize)).take(steps) {
                    each(mean, sigma2 * factor);
                }
                let name = match (&components.season, plan.trend) {
                    (Season::Additive(_), _) => "holt-winters",
                    (Season::None, Trend::None) => "ses",
                    (Season::None, Trend::Additive | Trend::Damped) => "holt",
                };
                Some(Rung { name, errors: self.errors.weight })
            }
            Stage::Start { level, history } => {
                if let Some(naive) = SeasonalNaive::new(history, plan.season_length) {
                    for h in 0..steps {
                        let (mean, variance) = naive.at(h);
                        each(mean, variance);
                    }
                    return Some(Rung { name: "seasonal-naive", errors: naive.errors });
                }
                let (level, sigma2) = ((*level)?, self.errors.sigma2()?);
                for h in 1..=steps {
                    each(level, sigma2 * (h as f64 + f64::from(self.missed)));
                }
                Some(Rung { name: "level", errors: self.errors.weight })
            }
        }
    }
}

/// Appends to the history, forgetting the oldest beyond its capacity.
fn push(history: &mut History, plan: &ForecastPlan, slot: Option<f64>) {
    if history.len() >= start::capacity(plan.season_length) {
        history.pop_front();
    }
    history.push_back(slot);
}

/// The slot one season before, from a history of at least one season.
struct SeasonalNaive {
    /// By position in the season after the history's end: the value, and how many seasons older
    /// than the one before it is.
    season: Vec<(f64, f64)>,
    sigma2: f64,
    errors: f64,
}

impl SeasonalNaive {
    /// `None` without a season, before one has passed, or when fewer than half its phases were seen.
    ///
    /// sigma2 = (SSE + 2·s²)/(n + 1) over the n pairs one season apart: the spread s² of all slots
    /// stands in as one error (two unrelated slots differ by 2·s²) until seasons can be compared.
    fn new(history: &History, m: usize) -> Option<SeasonalNaive> {
        if m == 0 || history.len() < m {
            return None;
        }
        let end = history.len();
        let mut latest = vec![None; m];
        let mut age = vec![0.0; m];
        for (t, &observed) in history.iter().enumerate() {
            let position = (t + 3 * m - end) % m;
            match observed {
                Some(_) => (latest[position], age[position]) = (observed, 0.0),
                None => age[position] += 1.0,
            }
        }
        if 2 * latest.iter().flatten().count() < m {
            return None;
        }
        start::fill_circular(&mut latest);
        let season = latest.into_iter().flatten().zip(age).collect();

        let values = || history.iter().flatten();
        let n = values().count() as f64;
        let reference = *values().next()?;
        let mean = values().map(|y| y - reference).sum::<f64>() / n;
        let spread = values().map(|y| (y - reference - mean) * (y - reference - mean)).sum::<f64>()
            / f64::max(n - 1.0, 1.0);
        let (mut sse, mut pairs) = (2.0 * spread, 1.0);
        for (before, after) in history.iter().zip(history.iter().skip(m)) {
            if let (Some(before), Some(after)) = (before, after) {
                sse += (after - before) * (after - before);
                pairs += 1.0;
            }
        }
        Some(SeasonalNaive { season, sigma2: sse / pairs, errors: pairs })
    }

    /// Mean and variance `h` + 1 slots ahead: sigma2·(⌊h/m⌋ + 1), and once more for each season that
    /// the value is older.
    /// Source: Hyndman, Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, table 5.2.
    fn at(&self, h: usize) -> (f64, f64) {
        let m = self.season.len();
        let (value, age) = self.season[h % m];
        (value, self.sigma2 * ((h / m) as f64 + 1.0 + age))
    }
}
