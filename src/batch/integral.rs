//! The integral of a series over the covered time of a pane: [`Integral`], for its time-weighted
//! mean.
//!
//! Pure. Between two readings in order the earlier value is taken to last (last observation carried
//! forward; TimescaleDB Toolkit, `time_weight('LOCF', …)`): a series that reports on change is
//! then integrated exactly, one sampled evenly is off by at most half an interval of delay, and a
//! stretch that crosses the bound of two panes is split without inventing a value there. The
//! trapezoid would be closer for smooth series that are sampled unevenly, and wrong by half of each
//! jump for all that report on change.

use serde::{Deserialize, Serialize};

use crate::batch::double::{DoubleDouble, two_product};
use crate::reading::Finite;

/// Σ value · nanoseconds, to about 106 bits: exactly mergeable.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Integral(DoubleDouble);

impl Default for Integral {
    fn default() -> Self {
        Integral(DoubleDouble::ZERO)
    }
}

impl Integral {
    /// Adds a stretch of `nanos` at `value`.
    pub fn cover(&mut self, value: Finite, nanos: u64) {
        // Exact below 2⁵³ nanoseconds, 104 days.
        let (hi, lo) = two_product(value.get(), nanos as f64);
        let product = if lo.is_finite() {
            DoubleDouble { hi, lo }
        } else {
            DoubleDouble { hi: f64::MAX.copysign(value.get()), lo: 0.0 }
        };
        self.merge(&Integral(product));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Integral) {
        self.0 = self.0.plus(other.0).or_saturated(self.0, other.0);
    }

    /// The mean over `nanos` of covered time; `None` over none, or where the integral overflowed.
    pub fn mean(&self, nanos: u64) -> Option<f64> {
        if nanos == 0 || self.0.is_saturated() {
            return None;
        }
        let mean = self.0.divided_by(nanos as f64);
        Some(if mean.lo.is_finite() { mean.hi } else { self.0.hi / nanos as f64 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integral(stretches: &[(f64, u64)]) -> Integral {
        let mut integral = Integral::default();
        for &(value, nanos) in stretches {
            integral.cover(Finite::new(value).unwrap(), nanos);
        }
        integral
    }

    #[test]
    fn means() {
        assert_eq!(integral(&[]).mean(0), None);
        assert_eq!(integral(&[(10.0, 1), (40.0, 2)]).mean(3), Some(30.0));
        // What lasts tells, not how often it is said.
        assert_eq!(
            integral(&[(0.1, 3_600_000_000_000), (0.1, 1)]).mean(3_600_000_000_001),
            Some(0.1)
        );
        assert_eq!(integral(&[(f64::MAX, 2), (-1.0, 1)]).mean(3), None);
        assert_eq!(integral(&[(-1e-300, 1 << 40)]).mean(1 << 40), Some(-1e-300));
    }

    proptest! {
        /// Against whole numbers, with an offset that a plain sum would drown in.
        #[test]
        fn merging_is_exact_whatever_the_offset(
            stretches in prop::collection::vec((-1000i64..1000, 1u64..10_000_000_000), 1..100),
            offset in prop::sample::select(vec![0i64, 1_000_000_000, -1_000_000_000]),
            cut in 0usize..100,
        ) {
            let stretches: Vec<(i64, u64)> =
                stretches.iter().map(|&(v, n)| (v + offset * 1000, n)).collect();
            let nanos: u64 = stretches.iter().map(|s| s.1).sum();
            let exact: i128 = stretches.iter().map(|&(v, n)| i128::from(v) * i128::from(n)).sum();
            let floats: Vec<(f64, u64)> = stretches.iter().map(|&(v, n)| (v as f64, n)).collect();
            let whole = integral(&floats);
            let (a, b) = floats.split_at(cut.min(floats.len()));
            let mut merged = integral(b);
            merged.merge(&integral(a));
            prop_assert_eq!(merged, whole);
            let expected = exact as f64 / nanos as f64;
            let mean = whole.mean(nanos).unwrap();
            prop_assert!((mean - expected).abs() <= 4e-16 * expected.abs(), "{mean} {expected}");
            let stored = serde_cbor::to_vec(&whole).unwrap();
            prop_assert_eq!(crate::cbor::from_slice::<Integral>(&stored).unwrap(), whole);
        }
    }
}
