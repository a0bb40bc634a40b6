//! Sums to about 106 bits: [`DoubleDouble`], which the mergeable aggregates of panes are made of.
//!
//! Pure. Finite terms give finite sums: what would overflow stays at the largest float.

use serde::{Deserialize, Serialize};

/// The unevaluated sum of two floats, `hi` being the sum rounded to one float.
///
/// Algorithms: Joldes, Muller, Popescu 2017, "Tight and rigorous error bounds for basic building
/// blocks of double-word arithmetic", ACM TOMS 44(2), by number below. Products are split (Dekker
/// 1971) rather than fused: not every board has the fused instruction. A result that overflows has
/// a `lo` that is not finite, which the callers test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(f64, f64)", into = "(f64, f64)")]
pub(crate) struct DoubleDouble {
    pub(super) hi: f64,
    pub(super) lo: f64,
}

impl DoubleDouble {
    pub(super) const ZERO: DoubleDouble = DoubleDouble { hi: 0.0, lo: 0.0 };
    pub(super) const MAX: DoubleDouble = DoubleDouble { hi: f64::MAX, lo: 0.0 };

    pub(super) fn is_saturated(self) -> bool {
        self.hi.abs() == f64::MAX
    }

    /// The sum with a reading (algorithm 4), or the largest float once that is passed.
    #[inline]
    pub(super) fn plus_reading(self, x: f64) -> DoubleDouble {
        let (s, e) = two_sum(self.hi, x);
        let sum = fast_two_sum(s, self.lo + e);
        if sum.lo.is_finite() && !self.is_saturated() {
            return sum;
        }
        sum.or_saturated(self, DoubleDouble { hi: x, lo: 0.0 })
    }

    /// The sum with (d + e)². All terms have one sign, which is where the short sum (algorithm 5)
    /// is accurate.
    #[inline]
    pub(super) fn plus_square(self, (d, e): (f64, f64)) -> DoubleDouble {
        let (high, low) = split(d);
        let square = d * d;
        let error = ((high * high - square) + 2.0 * (high * low)) + low * low;
        let (s, rest) = two_sum(self.hi, square);
        let sum = fast_two_sum(s, rest + (self.lo + (error + 2.0 * (d * e))));
        if sum.lo.is_finite() { sum } else { DoubleDouble::MAX }
    }

    /// `self` where it is a sum of `a` and `b` to rely on, else the largest float of its sign; a
    /// term that is saturated already stays so.
    pub(super) fn or_saturated(self, a: DoubleDouble, b: DoubleDouble) -> DoubleDouble {
        if a.is_saturated() {
            a
        } else if b.is_saturated() {
            b
        } else if self.lo.is_finite() {
            self
        } else {
            // Only terms of one sign overflow.
            DoubleDouble { hi: f64::MAX.copysign(a.hi), lo: 0.0 }
        }
    }

    /// Sum (algorithm 6). The same with the terms exchanged.
    pub(super) fn plus(self, other: DoubleDouble) -> DoubleDouble {
        let (s, s_rest) = two_sum(self.hi, other.hi);
        let (t, t_rest) = two_sum(self.lo, other.lo);
        let v = fast_two_sum(s, s_rest + t);
        fast_two_sum(v.hi, t_rest + v.lo)
    }

    /// Product (algorithm 10).
    pub(super) fn times(self, other: DoubleDouble) -> DoubleDouble {
        let (p, rest) = two_product(self.hi, other.hi);
        fast_two_sum(p, rest + (self.hi * other.lo + self.lo * other.hi))
    }

    /// Quotient (algorithm 14).
    pub(super) fn divided_by(self, n: f64) -> DoubleDouble {
        let quotient = self.hi / n;
        let (p, rest) = two_product(quotient, n);
        fast_two_sum(quotient, (((self.hi - p) - rest) + self.lo) / n)
    }

    pub(super) fn negated(self) -> DoubleDouble {
        DoubleDouble { hi: -self.hi, lo: -self.lo }
    }
}

/// a + b = sum + error exactly (Knuth).
#[inline]
pub(super) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let b_part = s - a;
    let a_part = s - b_part;
    (s, (a - a_part) + (b - b_part))
}

/// The same for |a| ≥ |b| or a = 0 (Dekker).
#[inline]
fn fast_two_sum(a: f64, b: f64) -> DoubleDouble {
    let hi = a + b;
    DoubleDouble { hi, lo: b - (hi - a) }
}

/// a as a sum of two numbers of at most 26 bits, for |a| < 2⁹⁹⁶ (Veltkamp).
#[inline]
fn split(a: f64) -> (f64, f64) {
    let scaled = 134_217_729.0 * a; // 2^27 + 1
    let high = scaled - (scaled - a);
    (high, a - high)
}

/// a · b = product + error exactly, unless it over- or underflows (Dekker).
pub(super) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let error = ((a_high * b_high - product) + (a_high * b_low + a_low * b_high)) + a_low * b_low;
    (product, error)
}

impl From<DoubleDouble> for (f64, f64) {
    fn from(sum: DoubleDouble) -> (f64, f64) {
        (sum.hi, sum.lo)
    }
}

impl TryFrom<(f64, f64)> for DoubleDouble {
    type Error = &'static str;

    fn try_from((hi, lo): (f64, f64)) -> Result<DoubleDouble, Self::Error> {
        if hi.is_finite() && lo.is_finite() {
            Ok(DoubleDouble { hi, lo })
        } else {
            Err("a sum is not finite")
        }
    }
}
