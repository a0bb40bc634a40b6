//! The increase of a counter over a pane: [`Increase`], the sum of [`CounterStep`]s.
//!
//! Pure. A step leads from one reading in order to the next and belongs whole to the pane of the
//! later one, so that the steps of neighbouring panes add up to the steps of both: nothing is
//! extrapolated to the pane's bounds, nothing counts twice. (`increase()` of Prometheus
//! extrapolates; the sums of its windows do not add up.) A counter that drops was reset: what it
//! shows now, it has counted from zero since (Prometheus, "Querying: functions", `increase`).

use serde::{Deserialize, Serialize};

use crate::batch::double::{DoubleDouble, two_sum};
use crate::reading::{Finite, SECOND};

/// Where a counter begins and where it wraps, in the unit of its readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CounterRange {
    /// What it shows after a reset.
    pub zero: f64,
    /// The number of units after which it begins again, > 0; `None`: each drop is a reset.
    pub wrap: Option<f64>,
}

/// What a counter counted from one reading to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CounterStep {
    increase: DoubleDouble,
    reset: bool,
}

impl CounterStep {
    /// From the reading `before` to the one `after` it.
    ///
    /// A drop is taken for a wrap where `wrap` is given and the way around is less than half of it,
    /// which no reset to zero of a counter in its lower half looks like; else for a reset.
    pub fn between(before: Finite, after: Finite, range: &CounterRange) -> CounterStep {
        let (before, after) = (before.get(), after.get());
        if after >= before {
            return CounterStep { increase: difference(after, before), reset: false };
        }
        if let Some(wrap) = range.wrap {
            let around = difference(after, before).plus_reading(wrap);
            if around.hi >= 0.0 && around.hi < wrap / 2.0 {
                return CounterStep { increase: around, reset: false };
            }
        }
        let since =
            if after > range.zero { difference(after, range.zero) } else { DoubleDouble::ZERO };
        CounterStep { increase: since, reset: true }
    }

    /// The increase, ≥ 0, in the unit of the readings.
    pub fn increase(&self) -> f64 {
        self.increase.hi
    }

    /// Increase per second over `nanos`; `None` for readings of one instant, or beyond all floats.
    pub fn rate(&self, nanos: u64) -> Option<Finite> {
        per_second(self.increase, nanos).and_then(Finite::new)
    }
}

/// Increase, resets and time of the steps of one pane. Exactly mergeable: in any order and tree the
/// same but beyond 2⁻¹⁰⁰ of the sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Increase {
    #[serde(rename = "s")]
    sum: DoubleDouble,
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    resets: u64,
    /// Between the readings of the steps.
    #[serde(rename = "t")]
    nanos: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Default for Increase {
    fn default() -> Self {
        Increase { sum: DoubleDouble::ZERO, resets: 0, nanos: 0 }
    }
}

impl Increase {
    /// Adds a step that took `nanos`.
    pub fn add(&mut self, step: &CounterStep, nanos: u64) {
        self.sum = self.sum.plus(step.increase).or_saturated(self.sum, step.increase);
        self.resets = self.resets.saturating_add(u64::from(step.reset));
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// Adds all steps of `other`.
    pub fn merge(&mut self, other: &Increase) {
        self.sum = self.sum.plus(other.sum).or_saturated(self.sum, other.sum);
        self.resets = self.resets.saturating_add(other.resets);
        self.nanos = self.nanos.saturating_add(other.nanos);
    }

    /// Sum of the steps, ≥ 0, rounded once.
    pub fn increase(&self) -> f64 {
        self.sum.hi
    }

    /// How often the counter was reset.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Seconds between the readings of the steps. Gaps are in it, since what was counted in them is.
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / SECOND as f64
    }

    /// Increase per second; `None` where no time passed, or beyond all floats.
    pub fn rate(&self) -> Option<f64> {
        per_second(self.sum, self.nanos).filter(|rate| rate.is_finite())
    }
}

/// a − b, a ≥ b; at most the largest float.
fn difference(a: f64, b: f64) -> DoubleDouble {
    let (hi, lo) = two_sum(a, -b);
    if hi.is_finite() && lo.is_finite() { DoubleDouble { hi, lo } } else { DoubleDouble::MAX }
}

fn per_second(increase: DoubleDouble, nanos: u64) -> Option<f64> {
    (nanos > 0).then(|| increase.hi / (nanos as f64 / SECOND as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finite(x: f64) -> Finite {
        Finite::new(x).unwrap()
    }

    #[track_caller]
    fn check(before: f64, after: f64, wrap: Option<f64>, increase: f64, reset: bool) {
        let range = CounterRange { zero: 0.0, wrap };
        let step = CounterStep::between(finite(before), finite(after), &range);
        assert_eq!((step.increase(), step.reset), (increase, reset), "{before} to {after}");
    }

    #[test]
    fn steps() {
        let wrap = Some(65536.0);
        check(10.0, 10.0, None, 0.0, false);
        check(10.0, 17.0, None, 7.0, false);
        check(10.0, 3.0, None, 3.0, true);
        check(10.0, 0.0, None, 0.0, true);
        check(10.0, -5.0, None, 0.0, true);
        check(65530.0, 4.0, wrap, 10.0, false);
        // Half of the range and more is no wrap: the device began again.
        check(40_000.0, 9_000.0, wrap, 9_000.0, true);
        check(32_768.0, 0.0, wrap, 0.0, true);
        check(32_769.0, 0.0, wrap, 32_767.0, false);
        // Beyond what it can show: not that counter.
        check(70_000.0, 4_000.0, wrap, 4_000.0, true);
        check(-f64::MAX, f64::MAX, None, f64::MAX, false);
    }

    #[test]
    fn a_reset_counts_from_the_counters_zero() {
        let range = CounterRange { zero: 1000.0, wrap: None };
        let step = CounterStep::between(finite(5000.0), finite(1007.0), &range);
        assert_eq!((step.increase(), step.reset), (7.0, true));
    }

    #[test]
    fn rates_need_time_and_are_finite() {
        let step = CounterStep { increase: DoubleDouble { hi: 30.0, lo: 0.0 }, reset: false };
        assert_eq!(step.rate(60_000_000_000).map(Finite::get), Some(0.5));
        assert_eq!(step.rate(0), None);
        let huge = CounterStep { increase: DoubleDouble::MAX, reset: false };
        assert_eq!(huge.rate(1), None);
        let mut sum = Increase::default();
        assert_eq!(sum.rate(), None);
        sum.add(&huge, 1);
        sum.add(&huge, 1);
        assert_eq!((sum.increase(), sum.rate()), (f64::MAX, None));
    }

    proptest! {
        /// However readings are cut into panes and these merged, the increase is that of the whole;
        /// the model adds in whole numbers.
        #[test]
        fn parts_add_up_to_the_whole(
            readings in prop::collection::vec((0u32..1_000_000, 1u64..1_000_000), 2..60),
            cuts in prop::collection::vec(0usize..4, 60),
            tree in prop::collection::vec(0usize..4, 4),
        ) {
            let range = CounterRange { zero: 0.0, wrap: None };
            let mut whole = Increase::default();
            let mut parts = vec![Increase::default(); 4];
            let (mut increase, mut resets, mut nanos) = (0u64, 0u64, 0u64);
            for (pair, cut) in readings.windows(2).zip(&cuts) {
                // A quarter: fractions that floats hold.
                let value = |n: u32| finite(f64::from(n) / 4.0);
                let step = CounterStep::between(value(pair[0].0), value(pair[1].0), &range);
                whole.add(&step, pair[1].1);
                parts[*cut].add(&step, pair[1].1);
                let reset = pair[1].0 < pair[0].0;
                increase += u64::from(if reset { pair[1].0 } else { pair[1].0 - pair[0].0 });
                resets += u64::from(reset);
                nanos += pair[1].1;
            }
            for at in tree {
                let part = parts.remove(at % parts.len());
                match parts.first_mut() {
                    Some(first) => first.merge(&part),
                    None => parts.push(part),
                }
            }
            prop_assert_eq!(&parts[0], &whole);
            prop_assert_eq!(whole.increase(), increase as f64 / 4.0);
            prop_assert_eq!((whole.resets(), whole.nanos), (resets, nanos));
            let stored = serde_cbor::to_vec(&whole).unwrap();
            prop_assert_eq!(crate::cbor::from_slice::<Increase>(&stored).unwrap(), whole);
        }

        /// Small increments of a large counter lose nothing.
        #[test]
        fn large_counters_keep_their_digits(steps in prop::collection::vec(0u32..1000, 1..200)) {
            let range = CounterRange { zero: 0.0, wrap: None };
            let (mut value, mut sum, mut expected) = (4.0e15, Increase::default(), 0u64);
            for step in steps {
                let next = value + f64::from(step);
                sum.add(&CounterStep::between(finite(value), finite(next), &range), 1);
                (value, expected) = (next, expected + u64::from(step));
            }
            prop_assert_eq!(sum.increase(), expected as f64);
        }
    }
}
