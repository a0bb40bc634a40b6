//! Phases of the season at which the series rests: solar power at night, a machine that is off until six.
//!
//! A smoothed season is never exactly zero at night, and its intervals have the day's width. Where the same slot of
//! the season has had the same value for some seasons in a row, that value is the forecast; and where it is
//! the least (or the greatest) of all, nothing is forecast below (above) it.
//!
//! After n equal values in a row the next is equal again with probability (n + 1)/(n + 2): Laplace's rule of
//! succession. (Jaynes 2003, *Probability Theory*, equation 6.73.)

use serde::{Deserialize, Serialize};

use super::recursion::phase;

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
    pub fn observe(&mut self, slot: i64, y: f64) {
        let at = phase(slot, self.values.len().max(1));
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
    pub fn at(&self, slot: i64) -> Option<(f64, f64)> {
        let at = phase(slot, self.values.len().max(1));
        let repeats = *self.repeats.get(at)?;
        let rests = repeats >= REPEATS && !self.broken;
        let n = f64::from(repeats) + 1.0;
        rests.then(|| Some((self.values[at]?, (n + 1.0) / (n + 2.0))))?
    }

    /// The least and the greatest that is forecast: values at which it rests and that are the least or
    /// the greatest of the last season.
    pub fn bounds(&self) -> (f64, f64) {
        let none = (f64::NEG_INFINITY, f64::INFINITY);
        if self.broken || !self.repeats.iter().any(|&repeats| repeats >= REPEATS) {
            return none;
        }
        let values = || self.values.iter().flatten().copied();
        let (least, greatest) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let rests = |extreme: f64| {
            let mut phases = self.values.iter().zip(&self.repeats);
            phases.any(|(value, &repeats)| *value == Some(extreme) && repeats >= REPEATS)
        };
        // A series that only rests has bounds of no width: it may begin to move.
        if least >= greatest {
            return none;
        }
        (if rests(least) { least } else { none.0 }, if rests(greatest) { greatest } else { none.1 })
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<f64>>() + self.repeats.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four slots a day: dark, dawn, noon, dusk.
    fn days(rest: &mut Rest, days: std::ops::Range<i64>, night: f64) {
        for day in days {
            for (slot, y) in [night, 3.0, 9.0, 4.0].into_iter().enumerate() {
                let y = if slot == 0 { y } else { y + day as f64 * 0.1 };
                rest.observe(4 * day + slot as i64, y);
            }
        }
    }

    #[test]
    fn the_night_rests_after_four_of_them_and_bounds_the_day() {
        let mut rest = Rest::new(4);
        days(&mut rest, 0..3, 0.0);
        assert_eq!((rest.at(12), rest.bounds()), (None, (f64::NEG_INFINITY, f64::INFINITY)));
        days(&mut rest, 3..4, 0.0);
        // Four in a row: five of six.
        assert_eq!(rest.at(16), Some((0.0, 5.0 / 6.0)));
        assert_eq!(rest.at(17), None);
        assert_eq!(rest.bounds(), (0.0, f64::INFINITY));
    }

    #[test]
    fn a_night_that_does_not_rest_ends_it() {
        let mut rest = Rest::new(4);
        days(&mut rest, 0..9, 0.0);
        days(&mut rest, 9..10, 2.0);
        assert_eq!((rest.at(40), rest.bounds().0), (None, f64::NEG_INFINITY));
        days(&mut rest, 10..13, 0.0);
        assert_eq!(rest.at(52), None, "broken, and too few since");
        days(&mut rest, 13..16, 0.0);
        assert_eq!(rest.at(64).map(|(value, _)| value), Some(0.0));
        rest.doubt();
        assert_eq!(rest.at(64), None);
        days(&mut rest, 16..17, 0.0);
        assert_eq!(rest.at(68).map(|(value, _)| value), Some(0.0));
    }

    #[test]
    fn a_series_that_never_moves_has_no_bounds() {
        let mut rest = Rest::new(2);
        (0..20).for_each(|slot| rest.observe(slot, 5.0));
        assert_eq!(rest.at(20).map(|(value, _)| value), Some(5.0));
        assert_eq!(rest.bounds(), (f64::NEG_INFINITY, f64::INFINITY));
        let mut none = Rest::new(0);
        none.observe(3, 1.0);
        assert_eq!(none.at(4), None);
    }
}
