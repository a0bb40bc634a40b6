//! Phases of the season at which the series rests: solar power at night, a machine that is off until six.
//!
//! A smoothed season is never exactly zero at night, and its intervals have the day's width. Where the same slot of
//! the season has had the same value for some seasons in a row, that value is the forecast.
//!
//! After n equal values in a row the next is equal again with probability (n + 1)/(n + 2): Laplace's rule of
//! succession. (Jaynes 2003, *Probability Theory*, chapter 18.)

use serde::{Deserialize, Serialize};

use super::calendar::Slot;

/// Repeats that make a rest.
const REPEATS: u8 = 3;

/// The value of each phase, and how often it has come again without another between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rest {
    #[serde(rename = "v")]
    values: Vec<Option<f64>>,
    /// Up to 255.
    #[serde(rename = "n")]
    repeats: Vec<u8>,
    /// The last phase that should have rested did not: nothing is said until one does.
    #[serde(rename = "b")]
    broken: bool,
}

impl Rest {
    /// For a season of `m` slots; without one (0) there is none.
    pub fn new(m: usize) -> Rest {
        Rest { values: vec![None; m], repeats: vec![0; m], broken: false }
    }

    /// Whether it is one of a season of `m` slots.
    pub fn fits(&self, m: usize) -> bool {
        self.values.len() == m && self.repeats.len() == m
    }

    /// Takes in the mean of `slot`.
    pub fn observe(&mut self, slot: Slot<'_>, y: f64) {
        let at = slot.phase(self.values.len().max(1));
        let (Some(value), Some(repeats)) = (self.values.get_mut(at), self.repeats.get_mut(at))
        else {
            return;
        };
        let same = *value == Some(y);
        if *repeats >= REPEATS {
            self.broken = !same;
        }
        *repeats = if same { repeats.saturating_add(1) } else { 0 };
        *value = Some(y);
    }

    /// The level has shifted: nothing is said until a phase rests as before.
    pub fn doubt(&mut self) {
        self.broken = true;
    }

    /// The value at which `slot` rests, and how probably it will.
    pub fn at(&self, slot: Slot<'_>) -> Option<(f64, f64)> {
        let at = slot.phase(self.values.len().max(1));
        let repeats = *self.repeats.get(at)?;
        let rests = repeats >= REPEATS && !self.broken;
        let n = f64::from(repeats) + 1.0;
        let value = (*self.values.get(at)?).filter(|_| rests)?;
        Some((value, (n + 1.0) / (n + 2.0)))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<f64>>() + self.repeats.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::holt_winters::calendar::UTC;

    /// Four slots a day: dark, dawn, noon, dusk.
    fn days(rest: &mut Rest, days: std::ops::Range<i64>, night: f64) {
        for day in days {
            for (slot, y) in [night, 3.0, 9.0, 4.0].into_iter().enumerate() {
                let y = if slot == 0 { y } else { y + day as f64 * 0.1 };
                rest.observe(UTC.slot(4 * day + slot as i64), y);
            }
        }
    }

    #[test]
    fn the_night_rests_after_four_of_them() {
        let mut rest = Rest::new(4);
        days(&mut rest, 0..3, 0.0);
        assert_eq!(rest.at(UTC.slot(12)), None);
        days(&mut rest, 3..4, 0.0);
        // Four in a row: five of six.
        assert_eq!(rest.at(UTC.slot(16)), Some((0.0, 5.0 / 6.0)));
        assert_eq!(rest.at(UTC.slot(17)), None);
    }

    #[test]
    fn a_night_that_does_not_rest_ends_it() {
        let mut rest = Rest::new(4);
        days(&mut rest, 0..9, 0.0);
        days(&mut rest, 9..10, 2.0);
        assert_eq!(rest.at(UTC.slot(40)), None);
        days(&mut rest, 10..13, 0.0);
        assert_eq!(rest.at(UTC.slot(52)), None, "broken, and too few since");
        days(&mut rest, 13..16, 0.0);
        assert_eq!(rest.at(UTC.slot(64)).map(|(value, _)| value), Some(0.0));
        rest.doubt();
        assert_eq!(rest.at(UTC.slot(64)), None);
        days(&mut rest, 16..17, 0.0);
        assert_eq!(rest.at(UTC.slot(68)).map(|(value, _)| value), Some(0.0));
    }

    #[test]
    fn a_series_may_rest_for_ever_or_have_no_season() {
        let mut rest = Rest::new(2);
        (0..20).for_each(|slot| rest.observe(UTC.slot(slot), 5.0));
        assert_eq!(rest.at(UTC.slot(20)).map(|(value, _)| value), Some(5.0));
        let mut none = Rest::new(0);
        none.observe(UTC.slot(3), 1.0);
        assert_eq!(none.at(UTC.slot(4)), None);
    }
}
