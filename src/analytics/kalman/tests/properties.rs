//! What must hold for any input.

use nalgebra::{Matrix1, SMatrix, SVector, Vector1, Vector2};
use proptest::prelude::*;

use super::super::linear::{Factors, Gaussian, Observation, Transition};
use super::*;
use crate::analytics::kalman::plan::Noise;
use crate::analytics::kalman::trend;
use crate::analytics::settings::KalmanOutliers;

const MODELS: [KalmanModel; 5] = [
    KalmanModel::Level,
    KalmanModel::Trend,
    KalmanModel::Acceleration,
    KalmanModel::Decay,
    KalmanModel::Custom,
];

/// Nearly three hundred years in nanoseconds: the range of event time itself is more than an `i64`.
const CENTURIES: i64 = i64::MAX;

/// Intervals in nanoseconds: none, ordinary, and anything.
fn interval() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => Just(0),
        6 => 1_000_000..3_600 * SECOND,
        1 => 1..1000_i64,
        1 => 0..CENTURIES,
    ]
}

/// Values: ordinary ones, a few equal ones, and anything up to 1e300.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -50.0..50.0,
        2 => prop::sample::select(vec![0.0, 20.0, 20.5, 85.0]),
        1 => (-300..300, -10.0..10.0).prop_map(|(e, m): (i32, f64)| m * libm::pow(10.0, f64::from(e - 1))),
        1 => prop::sample::select(vec![1e300, -1e300, 5e-324, 1e-300]),
    ]
}

fn settings() -> impl Strategy<Value = KalmanSettings> {
    let sd = || prop::option::of(prop::sample::select(vec![1e-200, 1e-3, 0.5, 10.0, 1e140]));
    let or_zero = || prop_oneof![5 => sd(), 1 => Just(Some(0.0))];
    let gate = prop::sample::select(vec![0.5, 0.99, 0.9999, 1.0]);
    let outliers = prop::sample::select(vec![KalmanOutliers::Gate, KalmanOutliers::Huber]);
    (prop::sample::select(MODELS.to_vec()), sd(), or_zero(), or_zero(), gate, outliers).prop_map(
        |(model, observation_sd, level_sd, trend_sd, gate, outliers)| KalmanSettings {
            model,
            observation_sd,
            level_sd,
            trend_sd,
            gate,
            acceleration_sd: trend_sd,
            tau: Some(90 * SECOND),
            mean: Some(20.0),
            custom: Some(oscillator()),
            outliers,
            initial: None,
        },
    )
}

/// Readings in event order, as many as fit into the range of event time.
fn readings(count: usize) -> impl Strategy<Value = Vec<(EventTime, Finite)>> {
    prop::collection::vec((interval(), value()), 1..count).prop_map(|steps| {
        let mut time = EventTime::EARLIEST.nanos();
        steps
            .into_iter()
            .map(|(dt, value)| {
                time = time.saturating_add(dt).min(EventTime::LATEST.nanos());
                (EventTime::clamped(time), finite(value))
            })
            .collect()
    })
}

fn assert_sound(kalman: &Kalman, update: &Update) {
    assert!(kalman.belief.is_sound(), "{kalman:?}");
    for number in [update.innovation, update.innovation_variance, update.nis].into_iter().flatten()
    {
        assert!(number.is_finite(), "{update:?}");
    }
    if let Verdict::Shift { delta, .. } = update.verdict {
        assert!(delta.is_finite());
    }
    if let Some(estimate) = kalman.estimate() {
        let variances = [estimate.variance, estimate.trend_variance];
        assert!(variances.iter().flatten().all(|v| v.is_finite() && *v >= 0.0), "{estimate:?}");
        assert!(estimate.level.is_finite() && estimate.trend.is_none_or(f64::is_finite));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stays_finite(settings in settings(), readings in readings(120)) {
        let plan = KalmanPlan::new(&settings);
        let mut kalman = Kalman::new(&plan);
        for (time, value) in readings {
            let update = kalman.update(&plan, time, value);
            assert_sound(&kalman, &update);
            prop_assert_eq!(kalman.frontier(), Some(time));
        }
    }

    /// Stored and restored anywhere, the filter goes on to the same bits.
    #[test]
    fn stored_state_goes_on_alike(
        settings in settings(),
        readings in readings(120),
        cut in 0..120_usize,
    ) {
        let plan = KalmanPlan::new(&settings);
        let mut whole = Kalman::new(&plan);
        let mut resumed = Kalman::new(&plan);
        for (i, &(time, value)) in readings.iter().enumerate() {
            if i % 40 == cut % 40 {
                let bytes = serde_cbor::to_vec(&resumed).unwrap();
                resumed = crate::cbor::from_slice(&bytes).unwrap();
                prop_assert_eq!(&resumed, &whole);
            }
            let expected = whole.update(&plan, time, value);
            prop_assert_eq!(resumed.update(&plan, time, value), expected);
        }
        let stored = |kalman: &Kalman| serde_cbor::to_vec(kalman).unwrap();
        prop_assert_eq!(stored(&resumed), stored(&whole));
    }

    #[test]
    fn level_is_the_generic_filter(
        steps in prop::collection::vec((0.0..1e4, -50.0..50.0), 1..60),
        r in 1e-3..10.0,
        q in 0.0..1.0,
    ) {
        let mut level = Level::DIFFUSE;
        let mut generic = Gaussian::<1>::diffuse();
        for (dt, reading) in steps {
            level.predict(q, dt);
            generic.predict(&Transition {
                matrix: Matrix1::identity(),
                offset: Vector1::zeros(),
                noise: Factors::new(&Matrix1::new(q * dt)),
            });
            let expected = generic.update(&Observation { row: Vector1::new(1.0), variance: r }, reading);
            let actual = level.innovation(r, reading);
            level.update(r, reading);
            prop_assert_eq!(actual.is_some(), expected.is_some());
            if let (Some(a), Some(e)) = (actual, expected) {
                close(&[a.value], &[e.value], 1e-9 * 50.0)?;
                close(&[a.variance / e.variance], &[1.0], 1e-12)?;
            }
            close(&[level.mean], &[generic.mean()[0]], 1e-9)?;
            close(&[level.variance / generic.covariance()[0]], &[1.0], 1e-12)?;
        }
    }

    #[test]
    fn trend_is_the_generic_filter(
        steps in prop::collection::vec((prop_oneof![Just(0.0), 0.01..1e3], -50.0..50.0), 1..60),
        r in 1e-3..10.0,
        q_level in prop_oneof![Just(0.0), 0.0..1.0],
        q_trend in prop_oneof![Just(0.0), 0.0..1.0],
    ) {
        let mut trend = Trend::DIFFUSE;
        let mut generic = Gaussian::<2>::diffuse();
        let observation = Observation { row: Vector2::new(1.0, 0.0), variance: r };
        // Largest level that the run went through, a trend of thousands a second times a thousand seconds: what
        // its rounding leaves stays in the mean, of either form. Covariances agree to 1e-9 without exception.
        let mut reached = 50.0_f64;
        for (dt, reading) in steps {
            trend.predict(q_level, q_trend, dt);
            // Q in factors: the subtraction that would find them costs digits of its own.
            generic.predict(&trend::transition(
                &Noise { observation: r, level: q_level, trend: q_trend, acceleration: 0.0 }, dt,
            ));
            reached = reached.max(trend.level.abs()).max(trend.trend.abs());
            let rounding = 256.0 * f64::EPSILON * reached;
            let expected = generic.update(&observation, reading);
            let actual = trend.innovation(r, reading);
            trend.update(r, reading);
            prop_assert_eq!(actual.is_some(), expected.is_some());
            prop_assert_eq!(trend.diffuse != Diffuse::Nothing, generic.is_diffuse());
            if let (Some(a), Some(e)) = (actual, expected) {
                close(&[a.value], &[e.value], 1e-9 * (1.0 + e.variance.sqrt()) + rounding)?;
                close(&[a.variance / e.variance], &[1.0], 1e-9)?;
            }
            if generic.is_diffuse() {
                // P* means nothing in a diffuse direction, and the two differ there.
                continue;
            }
            let covariance = generic.covariance();
            let sd = covariance.diagonal().map(f64::sqrt);
            for (i, (a, e)) in [trend.level, trend.trend].iter().zip(generic.mean()).enumerate() {
                close(&[*a], &[*e], 1e-9 * (1.0 + sd[i]) + rounding)?;
            }
            for (i, row) in trend.covariance().iter().enumerate() {
                for (j, actual) in row.iter().enumerate() {
                    close(&[*actual], &[covariance[(i, j)]], 1e-9 * sd[i] * sd[j] + 1e-300)?;
                }
            }
        }
    }

    /// The exact diffuse start is the limit of a large proper one: three states, one seen.
    #[test]
    fn diffuse_start_is_the_limit_of_large_variances(
        readings in prop::collection::vec(-50.0..50.0, 6),
        dt in 0.5..2.0,
    ) {
        let transition = Transition::<3> {
            matrix: SMatrix::from_row_slice(&[1.0, dt, dt * dt / 2.0, 0.0, 1.0, dt, 0.0, 0.0, 1.0]),
            offset: SVector::zeros(),
            noise: Factors::new(&(SMatrix::<f64, 3, 3>::identity() * 0.01)),
        };
        let observation = Observation::<3> { row: SVector::from([1.0, 0.0, 0.0]), variance: 0.25 };
        let mut exact = Gaussian::<3>::diffuse();
        let mut large = Gaussian::<3>::new(SVector::zeros(), &(SMatrix::identity() * 1e14));
        for (i, reading) in readings.into_iter().enumerate() {
            prop_assert_eq!(exact.is_diffuse(), i < 3);
            prop_assert_eq!(exact.update(&observation, reading).is_some(), i >= 3);
            large.update(&observation, reading);
            if i >= 2 {
                close(exact.mean().as_slice(), large.mean().as_slice(), 1e-6)?;
                close(exact.covariance().as_slice(), large.covariance().as_slice(), 1e-6)?;
            }
            exact.predict(&transition);
            large.predict(&transition);
        }
    }

    #[test]
    fn factors_give_the_covariance_back(a in prop::array::uniform9(-10.0..10.0)) {
        let a = SMatrix::<f64, 3, 3>::from_row_slice(&a);
        let covariance = a * a.transpose();
        let back = Factors::new(&covariance).covariance();
        close(back.as_slice(), covariance.as_slice(), 1e-9)?;
    }

    /// Whatever bytes come back from storage: an error or a sound state, never a panic.
    #[test]
    fn damaged_state_is_refused_or_sound(
        readings in readings(60),
        position in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let plan = KalmanPlan::new(&KalmanSettings::default());
        let mut kalman = Kalman::new(&plan);
        for (time, value) in readings {
            kalman.update(&plan, time, value);
        }
        let mut bytes = serde_cbor::to_vec(&kalman).unwrap();
        let index = position.index(bytes.len());
        bytes[index] ^= 1 << bit;
        if let Ok(mut damaged) = crate::cbor::from_slice::<Kalman>(&bytes) {
            let time = damaged.frontier().unwrap_or(EventTime::EARLIEST);
            let update = damaged.update(&plan, time, finite(20.0));
            assert_sound(&damaged, &update);
        }
    }
}

fn close(actual: &[f64], expected: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    for (a, e) in actual.iter().zip(expected) {
        prop_assert!((a - e).abs() <= tolerance, "{} is not {} within {}", a, e, tolerance);
    }
    Ok(())
}
