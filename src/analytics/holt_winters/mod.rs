//! Forecasts of one series: Holt-Winters over slot means, with what leads up to it.
//!
//! Pure. Accepted readings come in event order and are averaged into **slots**: disjoint spans of
//! `step`, aligned to multiples of it since the Unix epoch. A slot closes when a reading lies past
//! its end; only closed slots reach the models, and slots without a reading are *missing*: the
//! models predict through them.
//!
//! A forecaster climbs a ladder, each rung as soon as the history carries it:
//!
//! | model | from | forecast | variance h slots ahead |
//! |---|---|---|---|
//! | `level` | the second slot | exponentially smoothed level | sigma2·h (random walk: nothing is known of a season yet) |
//! | `seasonal-naive` | one season | the slot one season before | sigma2·(⌊(h-1)/m⌋+1) |
//! | `holt-winters` | two seasons, or the first slot with `initial` | level, trend, season | class 1 ([`recursion::variance_factors`]) |
//! | `ses`, `holt` | without a season: ten slots, or the first with `initial` | level (and trend) | class 1 |
//!
//! sigma2 is the mean square of the one-step errors. Live runs forget: the weight of an error halves in
//! about seven seasons (140 slots without a season); intervals use Student's quantile for the number
//! of errors behind sigma2, and class 1 is extended by the correlation of successive errors. Runs
//! from given states (`initial`) use the textbook's: sigma2 = SSE/n, the normal quantile, plain class 1.
//!
//! Season factors are kept by **phase**, the slot's number since the epoch (in seasons of whole days: by
//! local time, [`calendar`]) modulo the season length: gaps of any length cannot shift them.
//!
//! Invariants: no number in the state is NaN or infinite; every buffer is bounded (three seasons
//! until the start, two numbers a phase after it); the same readings give the same bits, however
//! often the state was written and read between.

pub mod calendar;
mod calibration;
mod contest;
mod fit;
mod forecaster;
mod member;
mod model;
mod naive;
mod plan;
mod recorded;
pub mod recursion;
mod rest;
mod ring;
mod schedule;
mod score;
mod search;
mod start;

#[cfg(test)]
mod tests;

pub use fit::{Fit, FitJob};
pub use forecaster::Forecaster;
pub use plan::ForecastPlan;
pub use recorded::{learn, slots_needed};

use crate::reading::EventTime;

/// What a series is expected to do, with intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// End of the last closed slot.
    pub origin: EventTime,
    /// Length of a slot in nanoseconds.
    pub step: i64,
    /// Probability that each interval is to cover, in (0, 1).
    pub nominal: f64,
    /// Element h-1 is the mean of the slot that starts at `origin + (h-1)·step`, in the series' unit.
    pub mean: Vec<f64>,
    /// Lower ends of the intervals.
    pub lower: Vec<f64>,
    /// Upper ends of the intervals.
    pub upper: Vec<f64>,
    /// The rung: `level`, `seasonal-naive`, `holt-winters`, `holt` or `ses`.
    pub model: &'static str,
    /// Share of the observed slots that fell into the one-step interval issued before them, since
    /// this model took over; `None` before 20 of them.
    pub coverage: Option<f64>,
    /// 1 − (mean absolute one-step error) / (the same of the naive forecast on the same slots),
    /// since this model took over. Naive is the slot one season before, without a season (or
    /// before one was seen) the last slot. `None` before 20 slots, or while the naive forecast made no error.
    pub skill: Option<f64>,
}

/// What a reading closed: the slot that was open, and the missing ones up to its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotsClosed {
    /// Slots that ended, missing ones included; ≥ 1. Saturates.
    pub closed: u32,
    /// Those of them without a reading. Saturates.
    pub missing: u32,
    /// Start of the first of them, which is the one that held readings.
    pub start: EventTime,
    /// Its mean, in the series' unit.
    pub mean: f64,
    /// How many readings it held. Saturates.
    pub count: u32,
    /// What was forecast for it one step before; `None` while nothing could be said.
    pub expected: Option<Expected>,
    /// The model was started afresh from this slot, because its numbers would have overflowed.
    pub restarted: bool,
}

/// The one-step forecast of a slot, issued before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Point forecast, in the series' unit.
    pub mean: f64,
    /// Lower end of the interval with the plan's nominal probability.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Lower and upper end by class 1 alone, before calibration.
    pub class1: [f64; 2],
}
