//! Gate, level shift, diffuse start, learning the noise, changes of the plan.

use super::*;

/// Feeds `values` a second apart from `start`; the verdicts.
fn feed(
    kalman: &mut Kalman,
    plan: &KalmanPlan,
    start: f64,
    values: impl IntoIterator<Item = f64>,
) -> Vec<Verdict> {
    values
        .into_iter()
        .enumerate()
        .map(|(i, value)| kalman.update(plan, at(start + i as f64), finite(value)).verdict)
        .collect()
}

/// A level filter after 40 readings of a steady 20 with noise of 0.5.
fn settled() -> (KalmanPlan, Kalman) {
    let plan = KalmanPlan::new(&level_settings(0.25, 1e-4));
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(1);
    let verdicts = feed(&mut kalman, &plan, 0.0, (0..40).map(|_| 20.0 + 0.5 * normal.next()));
    assert!(verdicts.iter().all(|v| *v == Verdict::Accepted));
    (plan, kalman)
}

#[test]
fn outlier_changes_nothing_but_the_frontier() {
    let (plan, mut kalman) = settled();
    let before = kalman.estimate();
    let update = kalman.update(&plan, at(40.0), finite(30.0));
    assert_eq!(update.verdict, Verdict::Gated);
    assert!(update.nis.unwrap() > plan.gate_threshold());
    assert_eq!(kalman.estimate(), before);
    assert_eq!(kalman.frontier(), Some(at(40.0)));
    // The next step runs from the last accepted reading: variance grown by two seconds.
    let next = kalman.update(&plan, at(41.0), finite(20.0));
    let expected = before.unwrap().variance.unwrap() + 2e-4 + 0.25;
    assert!((next.innovation_variance.unwrap() - expected).abs() < 1e-12);
}

#[test]
fn gate_is_off_for_the_first_thirty() {
    let plan = KalmanPlan::new(&level_settings(0.25, 1e-4));
    for (accepted, verdict) in [(29, Verdict::Accepted), (30, Verdict::Gated)] {
        let mut kalman = Kalman::new(&plan);
        feed(&mut kalman, &plan, 0.0, (0..accepted).map(|_| 20.0));
        assert_eq!(kalman.update(&plan, at(100.0), finite(40.0)).verdict, verdict, "{accepted}");
    }
}

#[test]
fn gate_of_one_is_off() {
    let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, ..level_settings(0.25, 1e-4) });
    assert_eq!(plan.gate_threshold(), f64::INFINITY);
    let mut kalman = Kalman::new(&plan);
    let verdicts = feed(&mut kalman, &plan, 0.0, (0..50).map(|i| f64::from(i / 40) * 1e6));
    assert!(verdicts.iter().all(|v| *v == Verdict::Accepted));
}

#[test]
fn five_on_one_side_are_a_shift() {
    let (plan, mut kalman) = settled();
    let before = kalman.estimate().unwrap().level;
    let verdicts = feed(&mut kalman, &plan, 40.0, [30.0, 30.2, 29.9, 30.1, 29.8]);
    assert_eq!(verdicts[..4], [Verdict::Gated; 4]);
    let level = kalman.estimate().unwrap().level;
    assert_eq!(verdicts[4], Verdict::Shift { delta: level - before, since: at(40.0) });
    assert!((level - 30.0).abs() < 0.2, "{level}");
    // As a new filter that has seen these five.
    let mut fresh = Kalman::new(&plan);
    feed(&mut fresh, &plan, 40.0, [30.0, 30.2, 29.9, 30.1, 29.8]);
    fresh.watch = kalman.watch;
    assert_eq!(kalman, fresh);
}

#[test]
fn other_side_or_acceptance_restarts_the_run() {
    for between in [10.0, 20.0] {
        let (plan, mut kalman) = settled();
        let verdicts =
            feed(&mut kalman, &plan, 40.0, [30.0, 30.0, 30.0, 30.0, between, 30.0, 30.0, 30.0]);
        assert!(
            !verdicts.iter().any(|v| matches!(v, Verdict::Shift { .. })),
            "{between}: {verdicts:?}"
        );
        let verdicts = feed(&mut kalman, &plan, 48.0, [30.0, 30.0]);
        assert_eq!(verdicts[0], Verdict::Gated);
        let Verdict::Shift { since, .. } = verdicts[1] else { panic!("{verdicts:?}") };
        assert_eq!(since, at(45.0));
    }
}

#[test]
fn shift_of_a_trend_is_against_its_course() {
    let plan = KalmanPlan::new(&trend_settings(0.01, 0.0, 1e-12));
    let mut kalman = Kalman::new(&plan);
    feed(&mut kalman, &plan, 0.0, (0..100).map(f64::from));
    let verdicts = feed(&mut kalman, &plan, 100.0, (100..105).map(|i| f64::from(i) + 50.0));
    let Verdict::Shift { delta, since } = verdicts[4] else { panic!("{verdicts:?}") };
    assert!((delta - 50.0).abs() < 0.5, "{delta}");
    assert_eq!(since, at(100.0));
    let trend = kalman.estimate().unwrap().trend.unwrap();
    assert!((trend - 1.0).abs() < 0.1, "{trend}");
}

#[test]
fn diffuse_start_of_a_trend() {
    let plan = KalmanPlan::new(&trend_settings(0.04, 1e-3, 1e-4));
    let mut kalman = Kalman::new(&plan);
    assert_eq!(kalman.estimate(), None);
    assert_eq!(kalman.update(&plan, at(0.0), finite(5.0)).nis, None);
    let estimate = kalman.estimate().unwrap();
    assert_eq!((estimate.level, estimate.variance), (5.0, plan.given.observation));
    assert_eq!((estimate.trend, kalman.state_and_covariance()), (None, None));
    // The same instant: F∞ = 0, the level is judged and averaged, the trend stays diffuse.
    let update = kalman.update(&plan, at(0.0), finite(6.0));
    assert!((update.innovation_variance.unwrap() - 0.08).abs() < 1e-15);
    let estimate = kalman.estimate().unwrap();
    assert!((estimate.level - 5.5).abs() < 1e-15 && estimate.trend.is_none());
    assert!((estimate.variance.unwrap() - 0.02).abs() < 1e-15);
    // Another instant: the trend is seen.
    assert_eq!(kalman.update(&plan, at(2.0), finite(7.5)).nis, None);
    let estimate = kalman.estimate().unwrap();
    assert!((estimate.level - 7.5).abs() < 1e-15);
    assert!((estimate.trend.unwrap() - 1.0).abs() < 1e-15);
    // var((y2 − mean of the two − noise on the way)/2): (r + r/2 + q_l·2 + q_t·8/3)/4, and the
    // trend itself moved on; by hand: with w the noise of level and trend on the way, the trend at
    // the end is b + w_t and (x2 − x0)/2 = b + w_l/2, so the extra is var(w_t − w_l/2).
    let extra = 1e-4 * 2.0 - 1e-4 * 2.0 + (1e-3 * 2.0 + 1e-4 * 8.0 / 3.0) / 4.0;
    let expected = (0.04 + 0.02) / 4.0 + extra;
    assert!((estimate.trend_variance.unwrap() / expected - 1.0).abs() < 1e-12);
    assert!(kalman.update(&plan, at(3.0), finite(8.5)).nis.is_some());
}

#[test]
fn off_estimates_nothing_but_keeps_the_frontier() {
    let off = KalmanSettings { model: KalmanModel::Off, ..KalmanSettings::default() };
    let plan = KalmanPlan::new(&off);
    let mut kalman = Kalman::new(&plan);
    assert!(!kalman.is_on(&plan));
    let update = kalman.update(&plan, at(7.0), finite(1e9));
    assert_eq!((update, kalman.estimate()), (Update::UNJUDGED, None));
    assert_eq!(kalman.frontier(), Some(at(7.0)));
}

#[test]
fn first_readings_give_estimates_at_once() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let mut kalman = Kalman::new(&plan);
    kalman.update(&plan, at(0.0), finite(21.5));
    let estimate = kalman.estimate().unwrap();
    assert_eq!((estimate.level, estimate.variance), (21.5, None));
    kalman.update(&plan, at(60.0), finite(21.7));
    let estimate = kalman.estimate().unwrap();
    assert!(estimate.level > 21.5 && estimate.level < 21.7);
    let sd = estimate.variance.unwrap().sqrt();
    assert!(sd > 0.03 && sd < 0.2, "{sd}");
}

/// Noise learned from a simulated level: within what 50 readings can tell, over many series.
#[test]
fn learned_noise_is_near_the_truth() {
    for (r, q) in [(1.0_f64, 0.0_f64), (1.0, 0.1), (1.0, 1.0), (0.01, 1.0)] {
        let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, ..KalmanSettings::default() });
        let mut nis = 0.0;
        let (series, scored) = (200, 50);
        for seed in 0..series {
            let mut kalman = Kalman::new(&plan);
            let mut normal = Normal(seed);
            let mut level = 100.0;
            for i in 0..50 + scored {
                level += q.sqrt() * normal.next();
                let reading = finite(level + r.sqrt() * normal.next());
                let update = kalman.update(&plan, at(f64::from(i)), reading);
                if i >= 50 {
                    nis += update.nis.unwrap();
                }
            }
        }
        let mean_nis = nis / (series as f64 * f64::from(scored));
        assert!(mean_nis > 0.9 && mean_nis < 1.25, "r = {r}, q = {q}: mean NIS {mean_nis}");
    }
}

#[test]
fn an_outlier_hardly_moves_the_learned_noise() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let learned = |outlier: f64| {
        let mut kalman = Kalman::new(&plan);
        let mut normal = Normal(3);
        feed(
            &mut kalman,
            &plan,
            0.0,
            (0..50).map(|i| 20.0 + normal.next() + if i == 20 { outlier } else { 0.0 }),
        );
        match kalman.source {
            super::super::state::Source::Learned(noise) => noise.observation,
            other => panic!("{other:?}"),
        }
    };
    let ratio = learned(1000.0) / learned(0.0);
    assert!(ratio < 1.6, "{ratio}");
}

#[test]
fn noise_changes_by_fits_alone_after_fifty() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(5);
    feed(&mut kalman, &plan, 0.0, (0..50).map(|_| normal.next()));
    let frozen = kalman.source.clone();
    assert!(matches!(frozen, super::super::state::Source::Learned(_)));
    feed(&mut kalman, &plan, 50.0, (0..50).map(|_| 3.0 * normal.next()));
    assert_eq!(kalman.source, frozen);
}

/// One step of a coarse sensor is never an outlier, whatever the readings before it.
#[test]
fn a_step_of_a_coarse_sensor_passes_the_gate() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let mut kalman = Kalman::new(&plan);
    let values = (0..400).map(|i| if (i / 13) % 2 == 0 { 20.0 } else { 20.5 });
    let verdicts = feed(&mut kalman, &plan, 0.0, values);
    assert!(verdicts.iter().all(|v| *v == Verdict::Accepted));
}

#[test]
fn a_constant_series_follows_when_it_moves() {
    for model in [KalmanModel::Level, KalmanModel::Trend] {
        for value in [0.0, 20.0, -1e9] {
            let plan = KalmanPlan::new(&KalmanSettings { model, ..KalmanSettings::default() });
            let mut kalman = Kalman::new(&plan);
            let verdicts = feed(&mut kalman, &plan, 0.0, (0..330).map(|_| value));
            assert!(verdicts.iter().all(|v| *v == Verdict::Accepted));
            assert_eq!(kalman.estimate().unwrap().level, value);
            let mut normal = Normal(9);
            let moved = (0..200).map(|_| value + 5.0 + 0.1 * normal.next());
            let verdicts = feed(&mut kalman, &plan, 330.0, moved);
            // Nothing was known of its noise, so there was nothing to judge by.
            assert_eq!(verdicts[..3], [Verdict::Accepted; 3]);
            let estimate = kalman.estimate().unwrap();
            let error = (estimate.level - value - 5.0).abs();
            assert!(error < 0.3, "{model:?} {value}: {estimate:?}");
        }
    }
}

#[test]
fn a_glitch_in_a_constant_series_does_not_fix_the_noise() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let mut kalman = Kalman::new(&plan);
    feed(&mut kalman, &plan, 0.0, (0..60).map(|i| if i == 30 { 999.0 } else { 20.0 }));
    assert!(matches!(kalman.source, super::super::state::Source::Learning(_)));
    let mut normal = Normal(17);
    feed(&mut kalman, &plan, 60.0, (0..100).map(|_| 20.0 + 0.1 * normal.next()));
    let sd = kalman.estimate().unwrap().variance.unwrap().sqrt();
    assert!(sd < 0.1, "{sd}");
}

#[test]
fn unsound_stored_states_are_refused() {
    use serde_json::json;
    let (_, mut kalman) = settled();
    let plan = KalmanPlan::new(&level_settings(0.25, 1e-4));
    feed(&mut kalman, &plan, 40.0, [30.0, 30.0]);
    let stored = serde_json::to_value(&kalman).unwrap();
    assert_eq!(serde_json::from_value::<Kalman>(stored.clone()).unwrap(), kalman);
    let noise = json!({ "r": 1.0, "q": 0.0, "t": 0.0 });
    let too_many: Vec<_> = (0..50).map(|_| json!([0, 1.0])).collect();
    for (pointer, value) in [
        ("/b/l/p", json!(-1.0)),
        ("/n", json!(31)),
        ("/a", json!(i64::MAX)),
        ("/f", json!(0)),
        ("/r", json!([[42_000_000_000_i64, 1.0]])),
        ("/r", json!([[3, 1.0], [2, 1.0]])),
        ("/r", json!([[1, 1.0], [1, 1.0], [1, 1.0], [1, 1.0], [1, 1.0]])),
        ("/w", json!({ "r": 0.0, "q": 0.0, "t": 0.0 })),
        ("/l", json!({ "r": too_many })),
        ("/l", json!({ "r": [[0, 1.0]], "x": 2 })),
        ("/l", json!({ "r": [[0, 1.0]], "s": 2 })),
        ("/l", json!({ "r": [] })),
        ("/z", json!(0)),
    ] {
        let mut unsound = stored.clone();
        if pointer == "/l" || pointer == "/w" {
            unsound["w"] = noise.clone();
        }
        match unsound.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => unsound[&pointer[1..]] = value.clone(),
        }
        assert!(
            serde_json::from_value::<Kalman>(unsound).is_err(),
            "{pointer} = {value} was taken"
        );
    }
}

#[test]
fn given_variances_are_honoured() {
    let settings = KalmanSettings { observation_sd: Some(0.3), ..KalmanSettings::default() };
    let plan = KalmanPlan::new(&settings);
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(11);
    for i in 0..80 {
        let before = kalman.clone();
        let time = at(f64::from(i));
        let update = kalman.update(&plan, time, finite(normal.next()));
        if let Some(s) = update.innovation_variance {
            let expected = before.predicted(&plan, time).unwrap().variance.unwrap() + 0.3 * 0.3;
            assert!((s / expected - 1.0).abs() < 1e-12, "reading {i}: {s}, not {expected}");
        }
    }
}

#[test]
fn a_shift_while_learning_is_told_once() {
    let plan = KalmanPlan::new(&KalmanSettings::default());
    let mut kalman = Kalman::new(&plan);
    let mut normal = Normal(13);
    let values = (0..120).map(|i| if i < 38 { 0.0 } else { 100.0 } + normal.next());
    let verdicts = feed(&mut kalman, &plan, 0.0, values);
    let shifts: Vec<_> = verdicts
        .iter()
        .filter_map(|v| match v {
            Verdict::Shift { delta, since } => Some((*delta, *since)),
            _ => None,
        })
        .collect();
    assert_eq!(shifts.len(), 1, "{verdicts:?}");
    assert!((shifts[0].0 - 100.0).abs() < 3.0 && shifts[0].1 == at(38.0), "{shifts:?}");
    assert!((kalman.estimate().unwrap().level - 100.0).abs() < 2.0);
}

#[test]
fn plan_changes_are_followed() {
    let auto = KalmanPlan::new(&KalmanSettings::default());
    let given = KalmanPlan::new(&level_settings(0.25, 1e-4));
    let trend = KalmanPlan::new(&trend_settings(0.25, 0.0, 1e-9));
    let mut kalman = Kalman::new(&auto);
    feed(&mut kalman, &auto, 0.0, (0..10).map(|i| 20.0 + f64::from(i % 3)));
    let level = kalman.estimate().unwrap().level;
    let update = kalman.update(&given, at(10.0), finite(20.0));
    assert_eq!(update.innovation, Some(20.0 - level), "the estimate goes on");
    feed(&mut kalman, &auto, 11.0, [21.0]);
    assert_eq!(kalman.estimate().unwrap().variance, None, "learning starts anew");
    feed(&mut kalman, &trend, 12.0, [21.0, 22.0]);
    assert_eq!(kalman.estimate().unwrap().trend, Some(1.0), "another model starts anew");
    assert_eq!(kalman.frontier(), Some(at(13.0)));
}

#[test]
fn unfit_initial_states_count_as_not_given() {
    let initial = |state: &[f64], covariance: &[&[f64]]| {
        Some(KalmanInitial {
            state: state.to_vec(),
            covariance: covariance.iter().map(|row| row.to_vec()).collect(),
        })
    };
    for unfit in [
        initial(&[1.0, 2.0], &[&[1.0]]),
        initial(&[1.0], &[&[-1.0]]),
        initial(&[1.0], &[&[f64::NAN]]),
        initial(&[f64::INFINITY], &[&[1.0]]),
    ] {
        let plan = KalmanPlan::new(&KalmanSettings { initial: unfit, ..level_settings(1.0, 1.0) });
        assert_eq!(plan.start, Belief::Level(Level::DIFFUSE));
    }
}
