//! How lively a series is of late, against its own usual.
//!
//! Pure. Noise often comes and goes: with the sun, with a machine's shifts, with the wind. Two exponentially weighted means of the
//! innovations' sizes, of about fifty and of 4000 readings (an ARCH model's idea, Engle 1982, with mean sizes instead
//! of squares, since outliers weigh less in them), give a factor of what is usual. It must show itself: fifty sizes of constant noise
//! scatter by 8 %, so what is within 30 % counts as 1, and beyond that the part beyond.

use serde::{Deserialize, Serialize};

/// Weight of the latest size in the mean of late.
const LATE: f64 = 0.02;
/// Readings that the usual mean remembers.
const USUAL: u32 = 4000;
/// Readings before anything is said.
const WARM_UP: u32 = 100;
/// A size counts as at most so many mean ones, from the ninth on.
const CLIP: f64 = 4.0;
/// What counts as constant.
const BAND: f64 = 1.3;
/// The least factor: of a coarse series innovations are next to nothing for hours.
const LEAST: f64 = 0.5;
/// The largest.
const MOST: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Volatility {
    #[serde(rename = "u")]
    usual: f64,
    #[serde(rename = "l")]
    late: f64,
    /// Up to [`USUAL`].
    #[serde(rename = "n")]
    seen: u32,
}

impl Volatility {
    /// The present volatility over the usual one, in [0.5, 100]; 1 for constant noise, and while little is known.
    #[inline]
    pub fn factor(&self) -> f64 {
        if self.seen < WARM_UP || self.usual <= 0.0 {
            return 1.0;
        }
        if self.late > BAND * self.usual {
            (self.late / (BAND * self.usual)).min(MOST)
        } else if BAND * self.late < self.usual {
            (BAND * self.late / self.usual).max(LEAST)
        } else {
            1.0
        }
    }

    /// Takes in the size of an innovation, ≥ 0.
    #[inline]
    pub fn observe(&mut self, size: f64) {
        let known = self.usual.max(self.late);
        let size = if self.seen < 8 || known == 0.0 { size } else { size.min(CLIP * known) };
        if self.seen < USUAL {
            self.seen += 1;
        }
        let weight = match self.seen {
            USUAL => 1.0 / USUAL as f64,
            seen => 1.0 / f64::from(seen),
        };
        self.usual += weight * (size - self.usual);
        self.late += weight.max(LATE) * (size - self.late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After 2000 sizes of 1 and `n` of `size`.
    fn after(n: u32, size: f64) -> f64 {
        let mut volatility = Volatility::default();
        (0..2000).for_each(|_| volatility.observe(1.0));
        (0..n).for_each(|_| volatility.observe(size));
        volatility.factor()
    }

    /// Means worked by hand: of late 1 + (size − 1)(1 − 0.98ⁿ), usual (2000 + n·size)/(2000 + n).
    #[test]
    fn what_lasts_shows_and_trifles_do_not() {
        assert_eq!(after(0, 1.0), 1.0);
        assert_eq!(after(5, 3.0), 1.0);
        assert_eq!(after(1000, 1.25), 1.0);
        let (late, usual) = (1.0 + 2.0 * (1.0 - 0.98f64.powi(50)), 2150.0 / 2050.0);
        assert!((after(50, 3.0) - late / usual / 1.3).abs() < 1e-12);
        let (late, usual) = (1.0 - 0.7 * (1.0 - 0.98f64.powi(50)), 2015.0 / 2050.0);
        assert!((after(50, 0.3) - late / usual * 1.3).abs() < 1e-12);
        assert_eq!(after(1000, 0.0), 0.5);
    }

    #[test]
    fn a_spike_counts_as_four() {
        assert!((after(1, 1e9) - 1.0).abs() < 1e-12);
        assert!(after(50, 1e9) <= 100.0);
    }

    #[test]
    fn a_series_that_begins_without_any_has_its_own_later() {
        let mut volatility = Volatility::default();
        (0..500).for_each(|_| volatility.observe(0.0));
        assert_eq!(volatility.factor(), 1.0);
        (0..40_000).for_each(|_| volatility.observe(1.0));
        assert_eq!(volatility.factor(), 1.0);
        (0..200).for_each(|_| volatility.observe(0.3));
        assert!(volatility.factor() < 0.6);
    }
}
