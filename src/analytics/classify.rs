//! What a series is, found from its readings: [`Classifier`].
//!
//! Pure. A series is a gauge until its readings show otherwise. They are looked at after every
//! [`LOOK_EVERY`] in event order, as decoded (before `scale` and `offset`, which would hide whole
//! numbers):
//!
//! - **Counter**: whole numbers from 0 that never fall except to less than half (a reset; at most one
//!   in ten readings, in fifty from [`SMALL_COUNTER`] on), and
//!   - large ones (from 2²⁰ on: no 16-bit register shows that, nor an air pressure in pascal) of which
//!     at least half rise, or, from [`SMALL_COUNTER`] readings on, at least twenty;
//!   - or, from [`SMALL_COUNTER`] readings on, of any size of which nine in ten rise. An oven that
//!     heats up may rise 50 times in a row in whole tenths; it will have stopped by then, or its
//!     sensor's noise will have shown.
//! - **State**: whole numbers from 0 to 15, one of them 0 or 1, at least two of them and at most
//!   eight, and
//!   - none but 0 and 1;
//!   - or codes: four in five readings repeat the one before, and at least a quarter of the
//!     changes (and two) pass over a number. A coarse thermometer goes through all of them.
//! - **Undecided**: constant so far, or rising like a counter that is not large enough yet. It is
//!   treated as a gauge and looked at again.
//! - **Gauge**: all else, for good.
//!
//! A counter or state found this way is given up for good, for a gauge, when it cannot be one: the
//! counter falls three times without resetting, the state shows something that is no number from 0
//! to 15, or a ninth value. What no readings can tell (an integer thermometer that has shown nothing
//! but 0 and 1 yet, a counter that has not counted) `kind` must.
//!
//! The thresholds were chosen on the synthetic series of this file's tests, not on recorded data.

use serde::{Deserialize, Serialize};

use crate::analytics::settings::Kind;
use crate::reading::Finite;

/// Readings between looks, and before the first.
pub const LOOK_EVERY: u64 = 50;
/// Readings before a counter is believed that shows no large numbers.
pub const SMALL_COUNTER: u64 = 400;
/// Larger than what 16-bit registers and most gauges show.
const LARGE: f64 = 1_048_576.0;
/// Rises that a large counter which mostly stands still must show.
const RISES_MIN: u64 = 20;
/// Falls without reset that no counter has.
const FALLS_MAX: u8 = 3;
/// Most states of a series that is taken for one.
const STATES_MAX: u32 = 8;

/// What the readings have shown so far; no allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Classifier {
    /// Not decided yet.
    #[serde(rename = "e")]
    Undecided(Evidence),
    /// A gauge, for good.
    #[serde(rename = "g")]
    Gauge,
    /// A counter, until it falls too often: the last value and the falls so far.
    #[serde(rename = "c")]
    Counter(Finite, u8),
    /// A state, until it shows something else: bit i is set when i was seen.
    #[serde(rename = "s")]
    State(u16),
}

impl Default for Classifier {
    fn default() -> Self {
        Classifier::Undecided(Evidence::default())
    }
}

/// What readings have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    #[serde(rename = "n")]
    readings: u64,
    #[serde(rename = "l")]
    last: Option<Finite>,
    #[serde(rename = "m")]
    max: f64,
    /// Changes upwards, downwards to less than half, otherwise downwards, by more than one.
    #[serde(rename = "u")]
    rises: u64,
    #[serde(rename = "r")]
    resets: u64,
    #[serde(rename = "f")]
    falls: u64,
    #[serde(rename = "j")]
    jumps: u64,
    /// Bit i: the value i was seen.
    #[serde(rename = "s")]
    seen: u16,
    /// Something was seen that is no whole number from 0 to 15; from 0.
    #[serde(rename = "b")]
    not_small: bool,
    #[serde(rename = "w")]
    not_whole: bool,
}

impl Classifier {
    /// What the series is taken for.
    pub fn kind(&self) -> Kind {
        match self {
            Classifier::Undecided(_) | Classifier::Gauge => Kind::Gauge,
            Classifier::Counter(..) => Kind::Counter,
            Classifier::State(_) => Kind::State,
        }
    }

    /// Whether it may still become something else than a gauge.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Classifier::Undecided(_))
    }

    /// Takes in the decoded value of the next reading in event order; `true` when the series is
    /// from now on taken for another kind.
    #[inline]
    pub fn observe(&mut self, value: Finite) -> bool {
        // Most series are that.
        !matches!(self, Classifier::Gauge) && self.look(value)
    }

    fn look(&mut self, value: Finite) -> bool {
        let next = match self {
            Classifier::Gauge => None,
            Classifier::Undecided(evidence) => {
                evidence.add(value);
                evidence.readings.is_multiple_of(LOOK_EVERY).then(|| evidence.verdict()).flatten()
            }
            Classifier::Counter(last, falls) => {
                let fell = value < *last && !is_reset(last.get(), value.get());
                *last = value;
                *falls += u8::from(fell);
                (*falls >= FALLS_MAX).then_some(Classifier::Gauge)
            }
            Classifier::State(seen) => match small(value.get()) {
                Some(bit) => {
                    *seen |= bit;
                    (seen.count_ones() > STATES_MAX).then_some(Classifier::Gauge)
                }
                None => Some(Classifier::Gauge),
            },
        };
        let Some(next) = next else { return false };
        let changed = next.kind() != self.kind();
        *self = next;
        changed
    }
}

impl Evidence {
    fn add(&mut self, value: Finite) {
        let x = value.get();
        self.readings += 1;
        match small(x) {
            Some(bit) => self.seen |= bit,
            None => self.not_small = true,
        }
        self.not_whole |= x < 0.0 || x != libm::trunc(x);
        self.max = self.max.max(x);
        if let Some(last) = self.last.replace(value).map(Finite::get) {
            self.rises += u64::from(x > last);
            self.resets += u64::from(is_reset(last, x));
            self.falls += u64::from(x < last && !is_reset(last, x));
            self.jumps += u64::from((x - last).abs() > 1.0);
        }
    }

    /// `None`: undecided.
    fn verdict(&self) -> Option<Classifier> {
        let last = self.last?;
        let (n, changes) = (self.readings, self.rises + self.resets + self.falls);
        if changes == 0 {
            return None;
        }
        let states = self.seen.count_ones();
        if !self.not_small && self.seen & 0b11 != 0 && (2..=STATES_MAX).contains(&states) {
            let codes =
                changes * 5 <= n && self.jumps >= 2 && self.jumps.saturating_mul(4) >= changes;
            if self.seen == 0b11 || codes {
                return Some(Classifier::State(self.seen));
            }
        }
        let settled = n >= SMALL_COUNTER;
        let often = self.resets * if settled { 50 } else { 10 } > n;
        if self.not_whole || self.falls > 0 || often {
            return Some(Classifier::Gauge);
        }
        let large =
            self.max >= LARGE && (self.rises * 2 >= n - 1 || settled && self.rises >= RISES_MIN);
        if large || settled && self.rises * 10 >= (n - 1) * 9 {
            return Some(Classifier::Counter(last, 0));
        }
        None
    }
}

/// Bit i for the whole numbers i from 0 to 15.
fn small(x: f64) -> Option<u16> {
    ((0.0..=15.0).contains(&x) && x == libm::trunc(x)).then(|| 1 << x as u16)
}

/// Whether a counter that showed `last` and now `x` began again.
fn is_reset(last: f64, x: f64) -> bool {
    x < last / 2.0 && x >= 0.0
}

#[cfg(test)]
mod tests;
