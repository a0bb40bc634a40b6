//! `residual`: slot means that the forecast does not allow.
//!
//! Pure. The error of each one-step forecast, in half-widths of its interval, goes into an
//! exponentially weighted mean (Roberts 1959; Montgomery 2012, *Statistical Quality Control*, section
//! 9.2), so that one slot far out shows as well as several that err the same way; how large that mean
//! gets in this series is its [`Tail`]'s to say. An interval of 95 % alone is left once in 20 slots
//! by right.

use serde::{Deserialize, Serialize};

use super::Event;
use super::latch::{Evidence, Kind, Latch};
use super::tail::Tail;
use crate::analytics::holt_winters::SlotsClosed;
use crate::reading::EventTime;

/// Weight of the latest error.
const WEIGHT: f64 = 0.4;
/// An error counts as at most so many half-widths.
const CLIP: f64 = 50.0;
/// Slots judged before any alarm: with the usual slots of an hour, eight days, a weekend among them.
const WARM_UP: u32 = 192;
/// Least mean error, in units of its 98 % quantile.
const LEAST: f64 = 1.8;
/// Slots in a row with an ordinary error that end it.
const CALM: u8 = 2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Residual {
    #[serde(rename = "e")]
    mean: f64,
    #[serde(rename = "t")]
    tail: Tail,
    #[serde(rename = "l")]
    latch: Latch,
    #[serde(rename = "c")]
    calm: u8,
}

impl Residual {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    /// Takes in what a reading closed. Returns log10 of the return period of the error, in slots.
    pub fn slot(
        &mut self,
        slot: &SlotsClosed,
        time: EventTime,
        (on, refractory, log10_target): (bool, i64, f64),
        events: &mut Vec<Event>,
    ) -> f64 {
        let Some(expected) = slot.expected else { return 0.0 };
        let half = 0.5 * (expected.upper - expected.lower);
        let error = slot.mean - expected.mean;
        if !(half > 0.0 && half.is_finite() && error.is_finite()) {
            return 0.0;
        }
        self.mean += WEIGHT * ((error / half).clamp(-CLIP, CLIP) - self.mean);
        let x = self.mean.abs();
        let period = if self.tail.seen() >= WARM_UP { self.tail.log10_period(x) } else { 0.0 };
        let threshold = self.tail.threshold().unwrap_or(f64::INFINITY);
        let evidence = Evidence {
            value: Some(slot.mean),
            expected: Some(expected.mean),
            lower: Some(expected.lower),
            upper: Some(expected.upper),
        };
        if self.latch.is_active() {
            self.calm = if x <= threshold { self.calm + 1 } else { 0 };
            if self.calm >= CALM || !on {
                self.calm = 0;
                let why = "the forecast fits again";
                self.latch.clear(Kind::Residual, time, refractory, evidence, why, events);
            }
        } else if on
            && x > LEAST * threshold
            && period >= log10_target + self.latch.surplus(time)
            && error.abs() > half
            && self.latch.is_ready(time)
        {
            let reason = format!(
                "slot mean {} where {} to {} was forecast; errors of the last slots this large once in {} slots",
                super::number(slot.mean),
                super::number(expected.lower),
                super::number(expected.upper),
                super::count(period),
            );
            self.latch.raise(Kind::Residual, time, evidence, reason, events);
        }
        self.tail.observe(x, x);
        period
    }
}
