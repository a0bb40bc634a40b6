use proptest::prelude::*;

use super::*;
use crate::analytics::holt_winters::calendar::{Calendar, UTC};
use crate::batch::window::Zone;
use crate::reading::SECOND;

/// Class 1 at 95 %.
const Z: f64 = 1.959_963_984_540_054;
const NOMINAL: f64 = 0.95;
const ALPHA: f64 = 0.05;

/// Marsaglia's xorshift, and nearly normal numbers from it.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// What was seen of intervals over a run.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    n: f64,
    below: f64,
    above: f64,
    score: f64,
    class1: f64,
}

impl Seen {
    fn coverage(&self) -> f64 {
        1.0 - (self.below + self.above) / self.n
    }
}

/// Forecasts of a series from h slots before, each with its true mean; `error(slot, noise)` makes the
/// deviation, the same for every horizon but for a factor √h, of which forecasts say `claimed`.
/// Returns what slots from `from` on showed at one step and at 24.
fn run(
    seed: u64,
    slots: i64,
    from: i64,
    claimed: f64,
    mut error: impl FnMut(i64, &mut Noise) -> f64,
) -> [Seen; 2] {
    let mut noise = Noise(seed);
    let mut calibration = Calibration::new(24, 24);
    let mut issued = std::collections::BTreeMap::new();
    let mut seen = [Seen::default(); 2];
    for slot in 0..slots {
        let y = error(slot, &mut noise);
        for (h, seen) in [1, 24].into_iter().zip(&mut seen) {
            let Some((lower, upper)) = issued.remove(&(h, slot)) else { continue };
            if slot < from {
                continue;
            }
            let outside = |(l, u): (f64, f64)| f64::max(l - y, 0.0) + f64::max(y - u, 0.0);
            let score = |(l, u): (f64, f64)| u - l + 2.0 / ALPHA * outside((l, u));
            seen.n += 1.0;
            seen.below += f64::from(u8::from(y < lower));
            seen.above += f64::from(u8::from(y > upper));
            seen.score += score((lower, upper));
            seen.class1 += score((-Z * claimed, Z * claimed));
        }
        calibration.observe(UTC.slot(slot), Some(y), NOMINAL);
        let points = [(0.0, claimed); 24];
        calibration.issued(UTC.slot(slot + 1), Z, false, &points);
        for h in [1, 24] {
            let target = slot + h as i64;
            issued.insert(
                (h, target),
                calibration.interval(h, UTC.slot(target), Z, false, points[h - 1]),
            );
        }
    }
    seen
}

#[test]
fn knots_reach_to_the_horizon() {
    for (horizon, expected) in [
        (0, vec![1]),
        (1, vec![1]),
        (2, vec![1, 2]),
        (12, vec![1, 2, 4, 8, 12]),
        (24, vec![1, 2, 4, 8, 16, 24]),
        (36, vec![1, 2, 4, 8, 16, 24, 36]),
        (48, vec![1, 2, 4, 8, 16, 24, 48]),
        (1000, vec![1, 2, 4, 8, 16, 24, 48]),
    ] {
        assert_eq!(knots(horizon).collect::<Vec<_>>(), expected, "{horizon}");
    }
}

#[test]
fn nothing_learned_is_class_1() {
    let calibration = Calibration::new(24, 24);
    for h in [1, 3, 24, 100] {
        let (lower, upper) = calibration.interval(h, UTC.slot(7), Z, false, (10.0, 2.0));
        assert_eq!((lower, upper), (10.0 - Z * 2.0, 10.0 + Z * 2.0), "{h}");
    }
}

/// One error of three standard deviations, by hand. Without a season P has one bin: P = (5 + 9)/6.
/// V = 1 + (9 − 1)·(1 − 2^(−1/3)), β = 0.3. Upper end missed, η = 0.1, its stretch e^(0.1·0.975) and the lower one's
/// e^(−0.1·0.025), to the second order.
#[test]
fn one_error_by_hand() {
    let mut calibration = Calibration::new(0, 1);
    calibration.issued(UTC.slot(5), Z, false, &[(10.0, 2.0)]);
    calibration.observe(UTC.slot(5), Some(16.0), NOMINAL);
    let first = 14.0 / 6.0_f64;
    let profile = first.sqrt();
    let volatility = (1.0 + 0.3 * 8.0 * (1.0 - 2.0_f64.powf(-1.0 / 3.0))).sqrt();
    let exp2 = |x: f64| 1.0 + x + 0.5 * x * x;
    let (lower, upper) = calibration.interval(1, UTC.slot(6), Z, false, (0.0, 1.0));
    let low = -Z * profile * volatility * exp2(-0.1 * 0.025);
    let high = Z * profile * volatility * exp2(0.1 * 0.975);
    assert!((lower / low - 1.0).abs() < 1e-6, "{lower} {low}");
    assert!((upper / high - 1.0).abs() < 1e-6, "{upper} {high}");

    // The next error is smaller than thought usual: β = (20·0.3 + x·(u²/P − 1))/(20 + x²), x = V − 1.
    let x = 8.0 * (1.0 - 2.0_f64.powf(-1.0 / 3.0));
    calibration.issued(UTC.slot(6), Z, false, &[(0.0, 1.0)]);
    calibration.observe(UTC.slot(6), Some(-1.0), NOMINAL);
    let burst = (6.0 + x * (1.0 / first - 1.0)) / (20.0 + x * x);
    let v = 1.0 + x + (1.0 / first - 1.0 - x) * (1.0 - 2.0_f64.powf(-1.0 / 3.0));
    let eta = 0.1 / 2.0_f64.sqrt();
    let stretch = exp2(-0.1 * 0.025) * exp2(-eta * 0.025);
    let p = first + (1.0 - first) / 7.0;
    let low = -Z * (p * (1.0 + burst * (v - 1.0))).sqrt() * stretch;
    let (lower, _) = calibration.interval(1, UTC.slot(7), Z, false, (0.0, 1.0));
    assert!((lower / low - 1.0).abs() < 1e-5, "{lower} {low}");
}

/// Three bins of very different noise are believed, bins that differ by chance are not.
#[test]
fn the_profile_is_believed_as_far_as_it_shows_something() {
    let belief = |loud: f64| {
        let mut noise = Noise(17);
        let mut calibration = Calibration::new(3, 1);
        for slot in 0..600 {
            let y = noise.normal() * if slot % 3 == 0 { loud } else { 1.0 };
            calibration.observe(UTC.slot(slot), Some(y), NOMINAL);
            calibration.issued(UTC.slot(slot + 1), Z, false, &[(0.0, 1.0)]);
        }
        calibration.knots[0].belief
    };
    assert!(belief(3.0) > 0.9, "{}", belief(3.0));
    assert!(belief(1.0) < 0.6, "{}", belief(1.0));
}

/// A wrong sigma, too small or too large, noise that is larger by day, a skew: each end is passed in
/// 2.5 % of the slots all the same, and the intervals score better than class 1.
#[test]
fn each_end_is_passed_as_often_as_it_should_be() {
    type Shape = fn(i64, &mut Noise) -> f64;
    let plain: Shape = |_, noise| noise.normal();
    let day: Shape = |slot, noise| noise.normal() * if slot % 24 < 12 { 0.2 } else { 2.0 };
    let skewed: Shape = |_, noise| noise.normal().exp() - 1.6;
    for (name, claimed, better, shape) in [
        ("too small", 0.4, 0.75, plain),
        ("too large", 3.0, 0.55, plain),
        ("right", 1.0, 1.03, plain),
        ("by day", 1.4, 0.8, day),
        ("skewed", 2.2, 0.95, skewed),
    ] {
        for (h, seen) in [1, 24].into_iter().zip(run(7, 6000, 3000, claimed, shape)) {
            let (below, above) = (seen.below / seen.n, seen.above / seen.n);
            let text = format!("{name} at {h}: {below:.4} {above:.4} {}", seen.score / seen.class1);
            assert!((seen.coverage() - NOMINAL).abs() < 0.01, "{text}");
            assert!((0.015..0.035).contains(&below) && (0.015..0.035).contains(&above), "{text}");
            assert!(seen.score < better * seen.class1, "{text}");
        }
    }
}

/// After four weeks of hourly slots the intervals are right within the goal.
#[test]
fn four_weeks_are_enough() {
    let mut misses = [0.0; 2];
    for seed in 1..=20 {
        let runs = run(seed * 7919, 1344, 672, 0.5, |slot, noise| {
            noise.normal() * if slot % 24 < 8 { 0.5 } else { 1.0 }
        });
        for (misses, seen) in misses.iter_mut().zip(runs) {
            *misses += (seen.below + seen.above) / seen.n / 20.0;
        }
    }
    for misses in misses {
        assert!((misses - ALPHA).abs() < 0.01, "{misses}");
    }
}

/// Errors that come in bursts: the intervals are wide in them and narrow outside.
#[test]
fn bursts_widen_the_next_intervals_only() {
    let burst = |slot: i64, noise: &mut Noise| {
        noise.normal() * if slot.rem_euclid(100) < 15 { 4.0 } else { 1.0 }
    };
    let [one, _] = run(3, 6000, 3000, 1.8, burst);
    assert!((one.coverage() - NOMINAL).abs() < 0.01, "{one:?}");
    assert!(one.score < 0.92 * one.class1, "{}", one.score / one.class1);
}

/// Errors that grow tenfold and shrink again: the guarantee of conformal inference, that holds whatever they do.
#[test]
fn coverage_holds_while_the_errors_drift() {
    let drifting = |slot: i64, noise: &mut Noise| {
        let phase = (slot % 4000) as f64 / 2000.0;
        noise.normal() * 10.0_f64.powf(if phase < 1.0 { phase } else { 2.0 - phase })
    };
    for (h, seen) in [1, 24].into_iter().zip(run(11, 12_000, 1000, 1.0, drifting)) {
        assert!((seen.coverage() - NOMINAL).abs() < 0.012, "{h}: {}", seen.coverage());
    }
}

/// A jump of the level, which the forecasts follow after a while, and a gap: what comes later is as good as before.
#[test]
fn recovers_from_level_shifts_and_gaps() {
    let jump = |slot: i64, noise: &mut Noise| {
        noise.normal() + if (2000..2012).contains(&slot) { 60.0 } else { 0.0 }
    };
    for (h, seen) in [1, 24].into_iter().zip(run(5, 4000, 2036, 1.0, jump)) {
        assert!((seen.coverage() - NOMINAL).abs() < 0.02, "{h}: {seen:?}");
        assert!(seen.score < 1.25 * seen.class1, "{h}: {}", seen.score / seen.class1);
    }

    let mut calibration = Calibration::new(24, 24);
    calibration.issued(UTC.slot(1), Z, false, &[(0.0, 1.0); 24]);
    calibration.shift(50.0);
    calibration.observe(UTC.slot(1), Some(50.5), NOMINAL);
    let stretch = calibration.knots[0].stretch;
    assert!(stretch[0] < 1.0 && stretch[1] > 1.0, "the end that was issued was passed");
    assert!(calibration.volatility < 1.0, "and the error from the new level was small");
    let mut logs = Calibration::new(24, 24);
    logs.issued(UTC.slot(1), Z, true, &[(100.0, 0.1); 24]);
    logs.shift(100.0);
    logs.observe(UTC.slot(1), Some(201.0), NOMINAL);
    assert!(logs.knots[0].stretch[1] > 1.0 && logs.volatility < 1.0, "{logs:?}");
    logs.shift(-1000.0);
    logs.observe(UTC.slot(2), Some(201.0), NOMINAL);
    assert_eq!(logs.knots[1].scored, 0, "its level has no logarithm");
    calibration.observe(UTC.slot(2), None, NOMINAL);
    calibration.interrupt();
    calibration.observe(UTC.slot(4), Some(1e9), NOMINAL);
    assert!(calibration.knots.iter().skip(1).all(|knot| knot.scored == 0), "{calibration:?}");
}

/// What is forecast for a slot is forgotten when it has closed, missing or not.
#[test]
fn a_ring_entry_is_judged_once() {
    let mut calibration = Calibration::new(24, 24);
    calibration.issued(UTC.slot(0), Z, false, &[(0.0, 1.0); 24]);
    for slot in 0..24 {
        calibration.observe(UTC.slot(slot), (slot != 7).then_some(0.1), NOMINAL);
    }
    let scored: Vec<u32> = calibration.knots.iter().map(|knot| knot.scored).collect();
    assert_eq!(scored, [1, 1, 1, 0, 1, 1], "slot 7 is the one eight ahead");
    for slot in 24..100 {
        calibration.observe(UTC.slot(slot), Some(0.1), NOMINAL);
    }
    let again: Vec<u32> = calibration.knots.iter().map(|knot| knot.scored).collect();
    assert_eq!(scored, again);
}

#[test]
fn a_value_often_at_its_extreme_is_a_bound() {
    let mut calibration = Calibration::new(24, 24);
    let mut noise = Noise(9);
    for slot in 0..200 {
        let y = if slot % 4 == 0 { 0.0 } else { 1.0 + noise.uniform() };
        calibration.observe(UTC.slot(slot), Some(y), NOMINAL);
    }
    let (lower, upper) = calibration.interval(1, UTC.slot(200), Z, false, (0.5, 1.0));
    assert_eq!(lower, 0.0);
    assert!((upper - (0.5 + Z)).abs() < 1e-12, "the largest value was seen once");
    assert_eq!(calibration.within(-3.0), 0.0);
    // Passed once: no bound any more.
    calibration.observe(UTC.slot(200), Some(-0.5), NOMINAL);
    assert_eq!(calibration.within(-3.0), -3.0);

    let mut constant = Calibration::new(24, 24);
    (0..200).for_each(|slot| constant.observe(UTC.slot(slot), Some(5.0), NOMINAL));
    assert_eq!(constant.within(9.0), 9.0, "one value is no range");
}

/// Errors of the logarithm: the ends are factors of the mean, and no value is below zero.
#[test]
fn logarithms_are_judged_as_logarithms() {
    let mut noise = Noise(33);
    let mut calibration = Calibration::new(0, 1);
    let (mut inside, mut n) = (0.0, 0.0);
    for slot in 0..4000 {
        let y = 100.0 * (0.8 * noise.normal()).exp();
        let (lower, upper) = calibration.interval(1, UTC.slot(slot), Z, true, (100.0, 0.4));
        assert!(lower > 0.0);
        if slot >= 2000 {
            inside += f64::from(u8::from((lower..=upper).contains(&y)));
            n += 1.0;
        }
        calibration.observe(UTC.slot(slot), Some(y), NOMINAL);
        calibration.issued(UTC.slot(slot + 1), Z, true, &[(100.0, 0.4)]);
    }
    assert!((inside / n - NOMINAL).abs() < 0.01, "{}", inside / n);
    let (lower, upper) = calibration.interval(1, UTC.slot(4000), Z, true, (100.0, 0.4));
    let skew = (upper / 100.0).ln() / (100.0 / lower).ln();
    assert!((0.8..1.25).contains(&skew), "symmetric in the logarithm: {lower} {upper}");
    // Another scale: what was issued in the old one is not judged.
    let scored = calibration.knots[0].scored;
    calibration.issued(UTC.slot(4000), Z, false, &[(100.0, 40.0)]);
    calibration.issued(UTC.slot(4000), Z, true, &[(100.0, 0.4)]);
    calibration.observe(UTC.slot(4000), Some(0.0), NOMINAL);
    assert_eq!(calibration.knots[0].scored, scored + 1);
    assert!(calibration.knots[0].level.is_finite());
}

#[test]
fn goes_on_bit_identically_wherever_it_was_stored() {
    let mut noise = Noise(21);
    let mut whole = Calibration::new(24, 24);
    let mut resumed = whole.clone();
    for slot in 0..400 {
        let y = noise.normal() * 3.0 + 1e6;
        let points: Vec<_> =
            (1..=24).map(|h| (1e6 + noise.normal(), f64::from(h).sqrt())).collect();
        for calibration in [&mut whole, &mut resumed] {
            calibration.observe(UTC.slot(slot), (slot % 17 != 0).then_some(y), NOMINAL);
            calibration.issued(UTC.slot(slot + 1), Z, false, &points);
        }
        let bytes = serde_cbor::ser::to_vec_packed(&resumed).unwrap();
        assert!(bytes.len() < 2048, "{}", bytes.len());
        resumed = crate::cbor::from_slice(&bytes).unwrap();
        assert_eq!(whole, resumed, "{slot}");
    }
    assert!(size_of::<Calibration>() + whole.heap_bytes() < 2048 + 96, "{}", whole.heap_bytes());
    assert!(whole.fits(24, 24) && !whole.fits(24, 48) && !whole.fits(168, 24));
}

#[test]
fn stored_numbers_that_are_none_are_refused() {
    let store = |calibration: &Calibration| serde_cbor::to_vec(calibration).unwrap();
    let mut calibration = Calibration::new(2, 1);
    let good = store(&calibration);
    calibration.means[0] = f64::NAN;
    let bad = store(&calibration);
    assert!(crate::cbor::from_slice::<Calibration>(&good).is_ok());
    let error = crate::cbor::from_slice::<Calibration>(&bad).unwrap_err().to_string();
    assert!(error.contains("finite"), "{error}");
}

fn hostile() -> impl Strategy<Value = f64> {
    prop_oneof![
        -10.0..10.0,
        Just(0.0),
        Just(1e300),
        Just(-1e300),
        Just(1e-300),
        Just(f64::NAN),
        Just(f64::INFINITY),
    ]
}

proptest! {
    /// Whatever is forecast and whatever comes: finite, ordered, of the same shape.
    #[test]
    fn intervals_stay_finite(
        season in prop_oneof![Just(0_usize), 1..30_usize, Just(2016)],
        horizon in 1..60_usize,
        steps in prop::collection::vec((hostile(), hostile(), hostile(), any::<bool>(), hostile()), 1..80),
    ) {
        let mut calibration = Calibration::new(season, horizon);
        for (slot, (y, mean, sigma, seen, by)) in (-5..).zip(steps) {
            let y = if y.is_finite() { y } else { 0.0 };
            calibration.observe(UTC.slot(slot), seen.then_some(y), NOMINAL);
            calibration.issued(UTC.slot(slot + 1), Z, false, &vec![(mean, sigma.abs()); horizon]);
            if by.is_finite() {
                calibration.shift(by);
            }
            for h in [1, 3, horizon, 2 * horizon] {
                let (lower, upper) = calibration.interval(h, UTC.slot(slot + h as i64), Z, false, (0.5, 2.0));
                prop_assert!(lower.is_finite() && upper.is_finite() && lower <= upper);
            }
        }
        prop_assert!(calibration.fits(season, horizon));
        let bytes = serde_cbor::to_vec(&calibration).unwrap();
        prop_assert_eq!(crate::cbor::from_slice::<Calibration>(&bytes).unwrap(), calibration);
    }
}

/// The profile belongs to the hours of the clock, as the season does.
#[test]
fn bins_follow_the_calendar() {
    let berlin = Zone::get("Europe/Berlin").unwrap();
    let calendar = Calendar::new(3600 * SECOND, [24, 0], &berlin);
    let calibration = Calibration::new(24, 24);
    // 07:00 in Berlin on the days before and after 2025-03-30.
    for hour in [1_743_228_000 / 3600, 1_743_397_200 / 3600] {
        assert_eq!(calibration.bin(calendar.slot(hour)), 7, "{hour}");
    }
    assert_eq!(calibration.bin(UTC.slot(1_743_397_200 / 3600)), 5);
}
