//! What the models on the generic core do beyond the reference files: equivalences, exact starts,
//! any interval, and the smoother against the textbook.

use nalgebra::{DMatrix, DVector, Matrix2, Matrix3, SMatrix, SVector, Vector2};
use proptest::prelude::*;

use super::*;
use crate::analytics::kalman::continuous::Generator;
use crate::analytics::kalman::linear::{Factors, Gaussian, Observation, Transition};
use crate::analytics::kalman::plan::Noise;
use crate::analytics::kalman::{acceleration, decay, trend};

const NONE: Noise = Noise { observation: 1.0, level: 0.0, trend: 0.0, acceleration: 0.0 };

fn row(values: &[Option<f64>]) -> Vec<Option<Finite>> {
    values.iter().map(|value| value.map(finite)).collect()
}

/// Largest difference of two matrices, each entry against the geometric mean of its diagonals.
fn apart<const N: usize>(a: &SMatrix<f64, N, N>, b: &SMatrix<f64, N, N>) -> f64 {
    let mut worst = 0.0_f64;
    for i in 0..N {
        for j in 0..N {
            let scale = (b[(i, i)] * b[(j, j)]).sqrt().max(1e-300);
            worst = worst.max((a[(i, j)] - b[(i, j)]).abs() / scale);
        }
    }
    worst
}

/// The factors that [`acceleration`] has in closed form give the published matrix.
#[test]
fn noise_of_the_acceleration_is_the_published_matrix() {
    for dt in [1e-3, 1.0, 7.3, 1e7] {
        let (q, q_level, q_trend) = (0.7, 0.2, 0.05);
        let (d2, d3, d4, d5) = (dt * dt, dt * dt * dt, dt * dt * dt * dt, dt * dt * dt * dt * dt);
        let jerk = Matrix3::new(
            d5 / 20.0,
            d4 / 8.0,
            d3 / 6.0,
            d4 / 8.0,
            d3 / 3.0,
            d2 / 2.0,
            d3 / 6.0,
            d2 / 2.0,
            dt,
        ) * q;
        let noise = Noise { acceleration: q, ..NONE };
        let alone = acceleration::transition(&noise, dt).noise.covariance();
        assert!(apart(&alone, &jerk) < 1e-14, "{dt}: {alone} {jerk}");
        let lower = Matrix3::new(
            q_level * dt + q_trend * d3 / 3.0,
            q_trend * d2 / 2.0,
            0.0,
            q_trend * d2 / 2.0,
            q_trend * dt,
            0.0,
            0.0,
            0.0,
            0.0,
        );
        let noise = Noise { level: q_level, trend: q_trend, ..noise };
        let all = acceleration::transition(&noise, dt).noise.covariance();
        assert!(apart(&all, &(jerk + lower)) < 1e-14, "{dt}");
        let linear = Matrix2::new(d3 / 3.0, d2 / 2.0, d2 / 2.0, dt) * q;
        let found = trend::transition(&Noise { trend: q, ..NONE }, dt).noise.covariance();
        assert!(apart(&found, &linear) < 1e-14, "{dt}");
    }
}

/// Against closed forms: integrators, a decay over many time constants, a damped oscillation.
#[test]
fn continuous_systems_are_brought_to_any_interval() {
    for dt in [1e-9, 0.1, 1.0, 1e3, 1e7] {
        let chain = Matrix3::new(0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0);
        let spectral = Factors::new(&Matrix3::from_diagonal(&[0.0, 0.0, 0.3].into()));
        let found = Generator::new(&chain, spectral).transition(dt);
        let expected = acceleration::transition(&Noise { acceleration: 0.3, ..NONE }, dt);
        let relative = (found.matrix - expected.matrix)
            .abs()
            .component_div(&expected.matrix.map(|x| if x == 0.0 { 1.0 } else { x }));
        assert!(relative.max() < 1e-13, "{dt}");
        let apart_by = apart(&found.noise.covariance(), &expected.noise.covariance());
        assert!(apart_by < 1e-12, "{dt}: {apart_by:e}");

        let pull = decay::Pull { tau: 50.0, mean: 0.0 };
        let one = SMatrix::<f64, 1, 1>::new;
        let found = Generator::new(&one(-1.0 / 50.0), Factors::new(&one(0.3))).transition(dt);
        let expected = pull.transition(0.3, dt);
        assert!(
            (found.matrix[0] - expected.matrix[0]).abs() <= 1e-13 * expected.matrix[0]
                || expected.matrix[0] < 1e-100,
            "{dt}"
        );
        assert!(apart(&found.noise.covariance(), &expected.noise.covariance()) < 1e-13, "{dt}");

        // exp(A·t) of a damped rotation; its noise is isotropic, so Q is the decay's.
        let (damping, w) = (1e-2, 0.5);
        let a = Matrix2::new(-damping, w, -w, -damping);
        let found = Generator::new(&a, Factors::new(&(Matrix2::identity() * 0.3))).transition(dt);
        let (sin, cos) = (libm::sin(w * dt), libm::cos(w * dt));
        let expected = Matrix2::new(cos, sin, -sin, cos) * libm::exp(-damping * dt);
        assert!((found.matrix - expected).abs().max() < 1e-13 * (1.0 + dt), "{dt}");
        let variance = -0.3 * libm::expm1(-2.0 * damping * dt) / (2.0 * damping);
        let expected = Matrix2::identity() * variance;
        assert!(apart(&found.noise.covariance(), &expected) < 1e-12, "{dt}");
    }
}

/// The start of `decay` is its stationary distribution, and long gaps return to it.
#[test]
fn decay_starts_from_and_returns_to_its_mean() {
    let settings = KalmanSettings {
        model: KalmanModel::Decay,
        tau: Some(60 * SECOND),
        mean: Some(20.0),
        ..level_settings(0.25, 2.0 * 4.0 / 60.0)
    };
    let plan = KalmanPlan::new(&settings);
    let mut kalman = Kalman::new(&plan);
    let update = kalman.update(&plan, at(0.0), finite(25.0));
    let variance = update.innovation_variance.unwrap();
    assert!((variance - 4.25).abs() < 1e-12, "{variance}");
    assert_eq!(update.innovation, Some(5.0));
    let after = kalman.estimate().unwrap();
    assert!((after.level - (20.0 + 5.0 * 4.0 / 4.25)).abs() < 1e-12, "{after:?}");
    let far = kalman.predicted(&plan, at(1e7)).unwrap();
    assert!((far.level - 20.0).abs() < 1e-12 && (far.variance.unwrap() - 4.0).abs() < 1e-12);
    let near = kalman.predicted(&plan, at(60.0)).unwrap().level;
    assert!((near - (20.0 + (after.level - 20.0) * libm::exp(-1.0))).abs() < 1e-12);
}

/// Levels of 10⁹ with noise of 0.01 keep their digits in every model.
#[test]
fn large_offsets_keep_their_digits() {
    let matrices = |f: f64| CustomSettings {
        f: vec![vec![f]],
        h: vec![vec![1.0]],
        q: vec![vec![1e-6]],
        r: vec![vec![1e-4]],
        per_second: true,
        ..CustomSettings::default()
    };
    let base = level_settings(1e-4, 1e-6);
    let trending = trend_settings(1e-4, 1e-6, 1e-12);
    for settings in [
        base.clone(),
        trending.clone(),
        KalmanSettings {
            model: KalmanModel::Acceleration,
            acceleration_sd: Some(1e-6),
            ..base.clone()
        },
        KalmanSettings {
            model: KalmanModel::Decay,
            tau: Some(60 * SECOND),
            mean: Some(1e9),
            ..base.clone()
        },
        KalmanSettings { model: KalmanModel::Custom, custom: Some(matrices(0.0)), ..base },
    ] {
        let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, ..settings });
        let (mut far, mut near) = (Kalman::new(&plan), Kalman::new(&plan));
        let mut normal = Normal(7);
        if let crate::analytics::kalman::plan::Dynamics::Decay(_) = plan.dynamics {
            continue; // its mean is not at zero: see the other tests
        }
        for i in 0..300 {
            let noise = 0.01 * normal.next();
            let noise = (noise * 1e6).round() / 1e6;
            let a = far.update(&plan, at(f64::from(i)), finite(1e9 + noise));
            let b = near.update(&plan, at(f64::from(i)), finite(noise));
            if let (Some(a), Some(b)) = (a.innovation, b.innovation) {
                assert!((a - b).abs() < 5e-6, "{:?} {i}: {a} {b}", plan.model);
            }
        }
    }
}

/// A row of two metrics without correlation is two readings of the same instant.
#[test]
fn missing_components_and_empty_rows() {
    let custom = CustomSettings {
        metrics: vec!["a".into(), "b".into()],
        f: vec![vec![0.0]],
        h: vec![vec![1.0], vec![2.0]],
        q: vec![vec![0.01]],
        r: vec![vec![0.5, 0.3], vec![0.3, 0.8]],
        per_second: true,
        step: None,
    };
    let plan = VectorPlan::new(&custom, 1.0, None).unwrap();
    let mut filter = VectorFilter::new(&plan);
    let update = filter.update(&plan, at(0.0), &row(&[None, None]));
    assert_eq!((update.dof, update.nis, filter.state()), (0, None, None));
    // The first component that is there is used up by the diffuse start.
    let update = filter.update(&plan, at(1.0), &row(&[None, Some(4.0)]));
    assert_eq!((update.dof, update.innovations), (0, vec![None, None]));
    assert_eq!(filter.state().unwrap(), [2.0]);
    assert_eq!(filter.covariance().unwrap(), [[0.2]]);
    let level = filter.estimate(&plan)[1].unwrap();
    assert_eq!((level.level, level.variance), (4.0, Some(0.8)));
    let update = filter.update(&plan, at(11.0), &row(&[Some(2.0), None]));
    assert_eq!((update.dof, update.innovations), (1, vec![Some(0.0), None]));
    assert!((update.variances[0].unwrap() - 0.8).abs() < 1e-12);
    // Both, correlated: against the information form in two dimensions.
    let p = filter.covariance().unwrap()[0][0];
    let update = filter.update(&plan, at(11.0), &row(&[Some(2.5), Some(3.0)]));
    let s = Matrix2::new(p + 0.5, 2.0 * p + 0.3, 2.0 * p + 0.3, 4.0 * p + 0.8);
    let v = Vector2::new(0.5, -1.0);
    let inverse = s.try_inverse().unwrap();
    let nis = (v.transpose() * inverse * v)[0];
    assert_eq!(update.dof, 2);
    assert!((update.nis.unwrap() - nis).abs() < 1e-10, "{update:?}, not {nis}");
    let two_pi = 2.0 * std::f64::consts::PI;
    let loglik = -0.5 * (2.0 * libm::log(two_pi) + libm::log(s.determinant()) + nis);
    assert!((update.loglik.unwrap() - loglik).abs() < 1e-10);
    let gain = inverse * Vector2::new(p, 2.0 * p);
    let state = filter.state().unwrap()[0];
    assert!((state - (2.0 + gain.dot(&v))).abs() < 1e-10);
}

/// With fixed matrices every reading is a step, also one that the gate refuses.
#[test]
fn a_gated_reading_is_a_step_of_fixed_matrices() {
    let custom = CustomSettings {
        f: vec![vec![0.5]],
        h: vec![vec![1.0]],
        q: vec![vec![1.0]],
        r: vec![vec![1.0]],
        ..CustomSettings::default()
    };
    let settings = KalmanSettings {
        model: KalmanModel::Custom,
        custom: Some(custom.clone()),
        ..KalmanSettings::default()
    };
    let plan = KalmanPlan::new(&settings);
    let vector_plan = VectorPlan::new(&custom, 0.9999, None).unwrap();
    let (mut kalman, mut vector) = (Kalman::new(&plan), VectorFilter::new(&vector_plan));
    let mut normal = Normal(3);
    let mut gated = 0;
    for i in 0..200 {
        let y = if i % 40 == 35 { 100.0 } else { normal.next() };
        let before = kalman.estimate();
        let a = kalman.update(&plan, at(f64::from(i)), finite(y));
        let b = vector.update(&vector_plan, at(f64::from(i)), &row(&[Some(y)]));
        assert_eq!(a.nis.is_some(), b.nis.is_some());
        if let (Some(a), Some(b)) = (a.nis, b.nis) {
            assert!((a - b).abs() <= 1e-12 * a, "{a} {b}");
        }
        if a.verdict == Verdict::Gated {
            gated += 1;
            assert_eq!(b.verdict, VectorVerdict::Gated);
            let (before, after) = (before.unwrap().level, kalman.estimate().unwrap().level);
            assert_eq!(after, 0.5 * before);
            assert_eq!(kalman.predicted(&plan, at(f64::from(i))).unwrap().level, after);
        }
        assert_eq!(kalman.state_and_covariance().map(|(x, _)| x), vector.state());
    }
    assert_eq!(gated, 5);
}

#[test]
fn five_surprising_rows_of_one_kind_are_a_shift() {
    let custom = CustomSettings {
        metrics: vec!["a".into(), "b".into()],
        f: vec![vec![0.0, 0.0], vec![0.0, 0.0]],
        h: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        q: vec![vec![1e-4, 0.0], vec![0.0, 1e-4]],
        r: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        per_second: true,
        step: None,
    };
    let plan = VectorPlan::new(&custom, 0.9999, None).unwrap();
    let mut filter = VectorFilter::new(&plan);
    let mut normal = Normal(11);
    let mut shift = None;
    for i in 0..200 {
        let step = if i >= 150 { 20.0 } else { 0.0 };
        let values = [Some(5.0 + normal.next()), Some(-3.0 + step + normal.next())];
        let update = filter.update(&plan, at(f64::from(i)), &row(&values));
        match update.verdict {
            VectorVerdict::Accepted => {}
            VectorVerdict::Gated => assert!((150..154).contains(&i), "{i}"),
            VectorVerdict::Shift { deltas, since } => {
                assert_eq!((i, since), (154, at(150.0)));
                assert!(deltas[0].abs() < 3.0 && (deltas[1] - 20.0).abs() < 3.0, "{deltas:?}");
                shift = Some(i);
            }
        }
        let bytes = serde_cbor::to_vec(&filter).unwrap();
        assert_eq!(crate::cbor::from_slice::<VectorFilter>(&bytes).unwrap(), filter);
    }
    assert_eq!(shift, Some(154));
    let levels = filter.estimate(&plan);
    assert!((levels[1].unwrap().level - 17.0).abs() < 1.0, "{levels:?}");
}

#[test]
fn custom_settings_that_do_not_fit_are_refused() {
    let good = oscillator();
    assert_eq!(good.fault(), None);
    let fault = |change: &dyn Fn(&mut CustomSettings)| {
        let mut custom = oscillator();
        change(&mut custom);
        assert!(VectorPlan::new(&custom, 1.0, None).is_err());
        custom.fault().map(|(key, _)| key)
    };
    assert_eq!(fault(&|c| c.f.clear()), Some("F"));
    assert_eq!(fault(&|c| c.f[1][2] = 1e7), Some("F"));
    assert_eq!(fault(&|c| c.h[0].push(1.0)), Some("H"));
    assert_eq!(fault(&|c| c.h.push(vec![0.0; 3])), Some("H"));
    assert_eq!(fault(&|c| c.q[0][1] = 1e-5), Some("Q"));
    assert_eq!(fault(&|c| (c.q[0][1], c.q[1][0]) = (1.0, 1.0)), Some("Q"));
    assert_eq!(fault(&|c| c.r[0][0] = 0.0), Some("R"));
    assert_eq!(fault(&|c| c.h[0][0] = f64::INFINITY), Some("H"));
    assert_eq!(fault(&|c| c.metrics = vec!["a".into(), "b".into()]), Some("H"));
}

/// All states at once by generalised least squares, the first one free: what an exact diffuse start
/// and a smoother must give. (The textbook's P + C·(P̂' − P')·Cᵀ behind a large prior is no
/// reference: with 1e5 it gets the first acceleration's variance wrong by a factor of 50.)
fn least_squares<const N: usize>(
    readings: &[Option<f64>],
    transition: &Transition<N>,
    observation: &Observation<N>,
) -> Vec<(SVector<f64, N>, SMatrix<f64, N, N>)> {
    let n = readings.len();
    let mut precision = DMatrix::<f64>::zeros(N * n, N * n);
    let mut weighted = DVector::<f64>::zeros(N * n);
    let noise = transition.noise.covariance().try_inverse().unwrap();
    for t in 1..n {
        let mut step = SMatrix::<f64, N, N>::zeros();
        for (from, left) in [(t - 1, -transition.matrix), (t, SMatrix::identity())] {
            for (to, right) in [(t - 1, -transition.matrix), (t, SMatrix::identity())] {
                step.copy_from(&(left.transpose() * noise * right));
                let mut block = precision.fixed_view_mut::<N, N>(N * from, N * to);
                block += step;
            }
        }
    }
    let h = observation.row;
    for (t, reading) in readings.iter().enumerate() {
        if let Some(y) = reading {
            let mut block = precision.fixed_view_mut::<N, N>(N * t, N * t);
            block += h * h.transpose() / observation.variance;
            let mut rows = weighted.fixed_rows_mut::<N>(N * t);
            rows += h * (*y / observation.variance);
        }
    }
    let covariance = precision.cholesky().unwrap().inverse();
    let mean = &covariance * weighted;
    (0..n)
        .map(|t| {
            let block = covariance.fixed_view::<N, N>(N * t, N * t).into_owned();
            (mean.fixed_rows::<N>(N * t).into_owned(), block)
        })
        .collect()
}

/// The exact diffuse start, smoothed, also with nothing seen first and readings missing.
#[test]
fn diffuse_smoother_is_generalised_least_squares() {
    let noise = Noise { level: 0.02, trend: 1e-3, acceleration: 1e-4, ..NONE };
    let transition = acceleration::transition(&noise, 1.0);
    let observation = acceleration::observation(&noise);
    let mut normal = Normal(5);
    let readings: Vec<Option<f64>> = (0..40)
        .map(|t| {
            let y = 0.05 * f64::from(t * t) + normal.next();
            (t != 0 && t != 3 && t % 7 != 5).then_some(y)
        })
        .collect();
    let mut state = Gaussian::<3>::diffuse();
    let filtered: Vec<_> = readings
        .iter()
        .enumerate()
        .map(|(t, reading)| {
            if t > 0 {
                state.predict(&transition);
            }
            if let Some(y) = reading {
                state.update(&observation, *y);
            }
            state
        })
        .collect();
    let smoothed = crate::analytics::kalman::backward::smooth(&filtered, |_| transition);
    let expected = least_squares(&readings, &transition, &observation);
    for (t, (state, (x, p))) in smoothed.iter().zip(expected).enumerate() {
        assert!(!state.is_diffuse(), "{t}");
        assert!((state.mean() - x).abs().max() < 1e-7, "{t}: {} {x}", state.mean());
        assert!(apart(&state.covariance(), &p) < 1e-7, "{t}: {} {p}", state.covariance());
    }
    // Two readings do not tell an acceleration.
    let few = crate::analytics::kalman::backward::smooth(&filtered[..3], |_| transition);
    assert!(few.iter().all(Gaussian::is_diffuse));
    // The last state, smoothed, is the filtered one.
    assert_eq!(smoothed.last(), filtered.last());
}

/// The public smoother: never less certain than the filter, equal to it at the end.
#[test]
fn smoothing_never_widens() {
    let plan = KalmanPlan::new(&trend_settings(1.0, 1e-3, 1e-6));
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(23);
    let mut readings = Vec::new();
    let mut filtered = Vec::new();
    for i in 0..300 {
        let y = (i % 9 != 4).then(|| finite(0.01 * f64::from(i) + normal.next()));
        let time = at(f64::from(i) * 3.0);
        if let Some(y) = y {
            kalman.update(&plan, time, y);
        }
        readings.push((time, y));
        filtered.push(kalman.predicted(&plan, time));
    }
    let smoothed = smooth(&plan, &kalman, &readings, true);
    assert_eq!(smoothed.len(), readings.len());
    let mut narrower = 0;
    for (i, (smoothed, filtered)) in smoothed.iter().zip(&filtered).enumerate() {
        let (level, variance) = smoothed.unwrap();
        let truth = 0.01 * i as f64;
        assert!((level - truth).abs() < 5.0 * variance.sqrt(), "{i}: {level} ± {variance}");
        if let Some(before) = filtered.unwrap().variance.filter(|_| i > 1) {
            assert!(variance <= before * (1.0 + 1e-9), "{i}");
            narrower += usize::from(variance < 0.7 * before);
        }
    }
    assert!(narrower > 200, "{narrower}");
    let (last, end) = (smoothed.last().unwrap().unwrap(), kalman.estimate().unwrap());
    assert!((last.0 - end.level).abs() < 1e-9);
    assert!((last.1 / end.variance.unwrap() - 1.0).abs() < 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A custom model with the matrices of `level` is `level`.
    #[test]
    fn custom_with_the_matrices_of_level_is_level(
        steps in prop::collection::vec((prop_oneof![Just(0.0), 1e-3..1e7], -50.0..50.0), 1..60),
        offset in prop::sample::select(vec![0.0_f64, 1e6, -1e9]),
        r in 1e-3..10.0,
        q in 0.0..1.0,
    ) {
        let level = KalmanPlan::new(&level_settings(r, q));
        let (r, q) = (level.noise.unwrap().observation, level.noise.unwrap().level);
        let custom = CustomSettings {
            f: vec![vec![0.0]], h: vec![vec![1.0]], q: vec![vec![q]], r: vec![vec![r]],
            per_second: true, ..CustomSettings::default()
        };
        let custom = KalmanPlan::new(&KalmanSettings {
            model: KalmanModel::Custom, custom: Some(custom), ..KalmanSettings::default()
        });
        let (mut a, mut b) = (Kalman::new(&level), Kalman::new(&custom));
        let mut time = 0.0;
        for (dt, y) in steps {
            time += dt;
            let x = a.update(&level, at(time), finite(offset + y));
            let y = b.update(&custom, at(time), finite(offset + y));
            prop_assert_eq!(x.nis.is_some(), y.nis.is_some());
            let (a, b) = (a.estimate().unwrap(), b.estimate().unwrap());
            prop_assert!((a.level - b.level).abs() <= 1e-12 * (100.0 + offset.abs()));
            let (a, b) = (a.variance.unwrap(), b.variance.unwrap());
            prop_assert!((a - b).abs() <= 1e-11 * a, "{} {}", a, b);
        }
    }

    /// Whatever the intervals and values: symmetric, no negative variance, finite.
    #[test]
    fn covariance_stays_sound(
        steps in prop::collection::vec(
            (prop_oneof![Just(0.0), 1e-6..1.0, 1.0..1e7],
             prop_oneof![-50.0..50.0, -1e12..1e12], any::<bool>(), any::<bool>()), 1..80),
        a in prop::array::uniform9(-2.0..2.0),
        per_second in any::<bool>(),
        offset in prop::sample::select(vec![0.0, 1e9, -1e15]),
    ) {
        let rows = |m: &Matrix3<f64>| -> Vec<Vec<f64>> {
            m.row_iter().map(|row| row.iter().copied().collect()).collect()
        };
        let a: Matrix3<f64> = Matrix3::from_row_slice(&a);
        let q = a * a.transpose();
        // Exactly symmetric, as it must be written.
        let q = (q + q.transpose()) / 2.0;
        let custom = CustomSettings {
            metrics: vec!["a".into(), "b".into()],
            f: rows(&if per_second { a - Matrix3::identity() } else { a }),
            h: vec![vec![1.0, 0.0, 0.5], vec![0.0, 1.0, -0.3]],
            q: rows(&q),
            r: vec![vec![0.5, 0.2], vec![0.2, 0.4]],
            per_second,
            step: None,
        };
        let plan = VectorPlan::new(&custom, 0.99, None).unwrap();
        let mut filter = VectorFilter::new(&plan);
        let mut time = 0.0;
        for (dt, y, first, second) in steps {
            time += dt;
            let values = row(&[first.then_some(offset + y), second.then_some(y - offset)]);
            let update = filter.update(&plan, at(time), &values);
            for x in update.innovations.iter().chain(&update.variances).flatten()
                .chain(update.nis.iter()).chain(update.loglik.iter())
            {
                prop_assert!(x.is_finite());
            }
            if let (Some(state), Some(covariance)) = (filter.state(), filter.covariance()) {
                prop_assert!(state.iter().all(|x| x.is_finite()));
                for i in 0..3 {
                    prop_assert!(covariance[i][i] >= 0.0);
                    for j in 0..3 {
                        prop_assert_eq!(covariance[i][j], covariance[j][i]);
                        prop_assert!(covariance[i][j].is_finite());
                        let most = (covariance[i][i].sqrt() * covariance[j][j].sqrt()) * (1.0 + 1e-9);
                        prop_assert!(covariance[i][j].abs() <= most, "{:?}", covariance);
                    }
                }
            }
            let bytes = serde_cbor::to_vec(&filter).unwrap();
            prop_assert_eq!(crate::cbor::from_slice::<VectorFilter>(&bytes).unwrap(), filter.clone());
        }
    }
}
