//! The exactly mergeable aggregate of a pane: [`Moments`].
//!
//! Pure. Invariants:
//! - `count >= 1`; `first` is the least and `last` the greatest of all readings by (time, value), so
//!   neither depends on the order of arrival;
//! - `sum` and `squares` are double-doubles: unevaluated sums of two floats, about 106 bits;
//! - `squares` is Σ(x − first)². The shift by a reading of the pane makes the deviations exact or
//!   nearly so; the 106 bits then pay for `first` being itself far from the mean. Welford's
//!   recurrence would need a division for every reading and reaches 2e-5 on readings of
//!   1e9 ± 1e-3, where this form reaches 1e-15.
//!
//! Everything in [`Moments`] is finite: what would overflow stays at the largest float.

use serde::{Deserialize, Serialize};

use crate::batch::double::{DoubleDouble, two_product, two_sum};
use crate::reading::{EventTime, Finite, SECOND};

/// Count, sum, spread, extremes and ends of the readings of one pane, at least one reading.
///
/// Adding readings in any order, or splitting them, aggregating the parts and merging these in any
/// tree, gives the same `count`, `min`, `max`, `first`, `last`, `covered_s` and `outliers`, and the
/// same `sum` as long as no total is 2¹⁰⁴ times as large as the lowest bit of any of its terms: with
/// readings around 20 in full double precision, 10¹⁵ of them. `mean` and `m2` agree to 1e-14.
///
/// Size in memory: 104 bytes, no allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Moments {
    count: u64,
    sum: DoubleDouble,
    squares: DoubleDouble,
    min: f64,
    max: f64,
    first: f64,
    first_time: EventTime,
    last: f64,
    last_time: EventTime,
    covered_ns: u64,
    outliers: u64,
}

impl Moments {
    /// The aggregate of one reading.
    pub fn new(time: EventTime, value: Finite) -> Moments {
        let x = value.get();
        Moments {
            count: 1,
            sum: DoubleDouble { hi: x, lo: 0.0 },
            squares: DoubleDouble::ZERO,
            min: x,
            max: x,
            first: x,
            first_time: time,
            last: x,
            last_time: time,
            covered_ns: 0,
            outliers: 0,
        }
    }

    /// Takes in one reading; readings may come in any order of time.
    #[inline]
    pub fn add(&mut self, time: EventTime, value: Finite) {
        let x = value.get();
        if time < self.first_time || (time == self.first_time && x < self.first) {
            self.shift_to(x);
            self.first_time = time;
        } else if time > self.last_time || (time == self.last_time && x > self.last) {
            self.last = x;
            self.last_time = time;
        }
        self.count += 1;
        self.sum = self.sum.plus_reading(x);
        self.squares = self.squares.plus_square(two_sum(x, -self.first));
        self.min = if x < self.min { x } else { self.min };
        self.max = if x > self.max { x } else { self.max };
    }

    /// Takes in all of `other`, as if its readings had been added here.
    ///
    /// Source of the shift: Σ(x − a)² = Σ(x − b)² + 2(b − a)·Σ(x − b) + n(b − a)²; with a and b the
    /// means it is Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance",
    /// equation 2.1b.
    pub fn merge(&mut self, other: &Moments) {
        // Both sums of squares must be about the same point: the earlier first reading of the two.
        let mut other = other.clone();
        if (other.first_time, Ordered(other.first)) < (self.first_time, Ordered(self.first)) {
            self.shift_to(other.first);
            self.first_time = other.first_time;
        } else {
            other.shift_to(self.first);
        }
        if (other.last_time, Ordered(other.last)) > (self.last_time, Ordered(self.last)) {
            self.last = other.last;
            self.last_time = other.last_time;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.plus(other.sum).or_saturated(self.sum, other.sum);
        self.squares = self.squares.plus(other.squares).or_saturated(self.squares, other.squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.covered_ns = self.covered_ns.saturating_add(other.covered_ns);
        self.outliers = self.outliers.saturating_add(other.outliers);
    }

    /// Notes that one of the readings was rejected by the filter's gate.
    pub fn count_outlier(&mut self) {
        self.outliers = self.outliers.saturating_add(1);
    }

    /// Adds to the time for which the pane has readings to speak of, in whole nanoseconds, so that it
    /// too is the same in every order.
    pub fn cover(&mut self, nanos: u64) {
        self.covered_ns = self.covered_ns.saturating_add(nanos);
    }

    /// Number of readings, at least 1.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the readings, rounded once. A sum that passes ±`f64::MAX` on the way stays there.
    pub fn sum(&self) -> f64 {
        self.sum.hi
    }

    /// Arithmetic mean, rounded once; never outside [`min`](Self::min) to [`max`](Self::max).
    pub fn mean(&self) -> f64 {
        let mean = self.sum.divided_by(self.count as f64);
        // Beyond 2^996 the error term of the quotient cannot be formed; the plain one must do.
        let mean = if mean.lo.is_finite() { mean.hi } else { self.sum.hi / self.count as f64 };
        mean.clamp(self.min, self.max)
    }

    /// Sum of squared deviations from the mean, ≥ 0 and exactly 0 when all readings are equal; what
    /// overflows is `f64::MAX`. Population variance: `m2 / count`; sample variance: `m2 / (count - 1)`.
    pub fn m2(&self) -> f64 {
        if self.min == self.max {
            return 0.0;
        }
        if self.sum.is_saturated() || self.squares.is_saturated() {
            return f64::MAX;
        }
        // Σ(x − x̄)² = Σ(x − f)² − (Σ(x − f))²/n. Multiplying by the quotient avoids the square of
        // the sum, which may overflow where the result does not.
        let sum = self.sum_about_first();
        let excess = sum.times(sum.divided_by(self.count as f64));
        let m2 = self.squares.plus(excess.negated());
        if m2.lo.is_finite() { m2.hi.max(0.0) } else { f64::MAX }
    }

    /// Sample standard deviation, `sqrt(m2 / (count - 1))`; `None` for a single reading, which says
    /// nothing about spread (0 would read as certainty).
    pub fn stddev(&self) -> Option<f64> {
        self.stddev_of(self.m2())
    }

    /// The same, [`m2`](Self::m2) being known.
    pub fn stddev_of(&self, m2: f64) -> Option<f64> {
        (self.count > 1).then(|| (m2 / (self.count - 1) as f64).sqrt())
    }

    /// Smallest reading.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// Largest reading.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// Reading with the smallest event time; of several, the smallest.
    pub fn first(&self) -> f64 {
        self.first
    }

    /// Smallest event time.
    pub fn first_time(&self) -> EventTime {
        self.first_time
    }

    /// Reading with the largest event time; of several, the largest.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Largest event time.
    pub fn last_time(&self) -> EventTime {
        self.last_time
    }

    /// Seconds given to [`cover`](Self::cover).
    pub fn covered_s(&self) -> f64 {
        self.covered_ns as f64 / SECOND as f64
    }

    /// The same in nanoseconds.
    pub fn covered_ns(&self) -> u64 {
        self.covered_ns
    }

    /// Number of readings that the filter's gate rejected.
    pub fn outliers(&self) -> u64 {
        self.outliers
    }

    /// Moves the point that the squares are about to `first`, before it is counted itself.
    #[cold]
    fn shift_to(&mut self, first: f64) {
        let distance = two_sum(self.first, -first);
        if distance.0 != 0.0 && !self.squares.is_saturated() {
            let distance = DoubleDouble { hi: distance.0, lo: distance.1 };
            let n = DoubleDouble { hi: self.count as f64, lo: 0.0 };
            let cross = distance.times(self.sum_about_first());
            let squares = self
                .squares
                .plus(DoubleDouble { hi: 2.0 * cross.hi, lo: 2.0 * cross.lo })
                .plus(distance.times(distance).times(n));
            self.squares = if !squares.lo.is_finite() {
                DoubleDouble::MAX
            } else if squares.hi < 0.0 {
                DoubleDouble::ZERO
            } else {
                squares
            };
        }
        self.first = first;
    }

    /// Σ(x − first). Not finite where readings beyond 2⁹⁹⁶ cannot be split; if they differ at all, the
    /// squares of their differences overflow anyway.
    fn sum_about_first(&self) -> DoubleDouble {
        let (hi, lo) = two_product(self.count as f64, self.first);
        self.sum.plus(DoubleDouble { hi: -hi, lo: -lo })
    }
}

/// Floats known to be finite, in their order.
#[derive(PartialEq, PartialOrd)]
struct Ordered(f64);

/// [`Moments`] as stored: short names, zeros left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    n: u64,
    s: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    sl: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    q: f64,
    #[serde(default, skip_serializing_if = "is_zero")]
    ql: f64,
    lo: f64,
    hi: f64,
    f: f64,
    ft: i64,
    l: f64,
    lt: i64,
    #[serde(default, skip_serializing_if = "is_none")]
    c: u64,
    #[serde(default, skip_serializing_if = "is_none")]
    o: u64,
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

fn is_none(n: &u64) -> bool {
    *n == 0
}

impl From<Moments> for Stored {
    fn from(m: Moments) -> Stored {
        Stored {
            n: m.count,
            s: m.sum.hi,
            sl: m.sum.lo,
            q: m.squares.hi,
            ql: m.squares.lo,
            lo: m.min,
            hi: m.max,
            f: m.first,
            ft: m.first_time.nanos(),
            l: m.last,
            lt: m.last_time.nanos(),
            c: m.covered_ns,
            o: m.outliers,
        }
    }
}

impl TryFrom<Stored> for Moments {
    type Error = &'static str;

    /// Refuses what no readings can have led to; the store's checksum found it whole, so the
    /// writer was at fault.
    fn try_from(s: Stored) -> Result<Moments, Self::Error> {
        let floats = [s.s, s.sl, s.q, s.ql, s.lo, s.hi, s.f, s.l];
        if floats.iter().any(|x| !x.is_finite()) {
            return Err("moments: a number is not finite");
        }
        let (Some(first_time), Some(last_time)) =
            (EventTime::from_nanos(s.ft), EventTime::from_nanos(s.lt))
        else {
            return Err("moments: a time lies outside the years 1900 to 2200");
        };
        let within = |x: f64| s.lo <= x && x <= s.hi;
        if s.n == 0 || s.q < 0.0 || !within(s.f) || !within(s.l) || first_time > last_time {
            return Err("moments: count, squares, extremes or ends contradict each other");
        }
        Ok(Moments {
            count: s.n,
            sum: DoubleDouble { hi: s.s, lo: s.sl },
            squares: DoubleDouble { hi: s.q, lo: s.ql },
            min: s.lo,
            max: s.hi,
            first: s.f,
            first_time,
            last: s.l,
            last_time,
            covered_ns: s.c,
            outliers: s.o,
        })
    }
}

#[cfg(test)]
mod tests;
