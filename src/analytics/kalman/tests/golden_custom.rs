//! `custom` models, rows of several metrics and the smoother against the reference files.

use nalgebra::DMatrix;
use serde_json::Value;

use super::golden::{Check, flat, load, numbers};
use super::*;
use crate::analytics::kalman::plan::Noise;
use crate::analytics::kalman::smoother::smoothed;

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().expect("rows").iter().map(numbers).collect()
}

/// The matrices of a file whose F and Q do not change, or those given, per second.
fn settings(file: &Value, continuous: Option<Rates>) -> CustomSettings {
    let model = &file["model"];
    let per_second = continuous.is_some();
    assert_eq!(model["time_varying"], per_second);
    let (f, q) = continuous.unwrap_or_else(|| (rows(&model["F"]), rows(&model["Q"])));
    let metrics = model["dim_y"].as_u64().expect("a count");
    CustomSettings {
        metrics: (0..metrics).map(|i| format!("y{i}")).collect(),
        f,
        h: rows(&model["H"]),
        q,
        r: rows(&model["R"]),
        per_second,
        step: None,
    }
}

fn initial(file: &Value) -> KalmanInitial {
    let model = &file["model"];
    KalmanInitial { state: numbers(&model["a1"]), covariance: rows(&model["P1"]) }
}

fn times(file: &Value) -> Vec<f64> {
    let count = file["y"].as_array().expect("readings").len();
    match &file["time_s"] {
        Value::Null => (0..count).map(|t| t as f64).collect(),
        times => numbers(times),
    }
}

fn readings(file: &Value) -> Vec<(EventTime, Vec<Option<Finite>>)> {
    let rows = file["y"].as_array().expect("readings").iter();
    let reading = |y: &Value| y.as_f64().map(finite);
    let row = |row: &Value| row.as_array().expect("a row").iter().map(reading).collect();
    times(file).into_iter().map(at).zip(rows.map(row)).collect()
}

/// Exactly symmetric, no negative eigenvalue.
#[track_caller]
fn assert_covariance(rows: &[Vec<f64>]) {
    let n = rows.len();
    let matrix = DMatrix::from_row_iterator(n, n, rows.iter().flatten().copied());
    assert_eq!(matrix, matrix.transpose());
    let least = matrix.clone().symmetric_eigenvalues().min();
    assert!(least >= -1e-15 * matrix.norm(), "eigenvalue {least}");
}

#[track_caller]
fn filter_matches(name: &str, continuous: Option<Rates>) {
    let file = load(name);
    let expected = &file["expected"];
    let plan = VectorPlan::new(&settings(&file, continuous), 1.0, Some(&initial(&file))).unwrap();
    let mut filter = VectorFilter::new(&plan);
    let (mut states, mut covariances, mut logliks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut innovations, mut innovations_expected) = (Vec::new(), Vec::new());
    let (mut variances, mut variances_expected) = (Vec::new(), Vec::new());
    let (mut nis, mut nis_expected) = (Vec::new(), Vec::new());
    for (t, (time, row)) in readings(&file).into_iter().enumerate() {
        let update = filter.update(&plan, time, &row);
        assert_eq!(update.verdict, VectorVerdict::Accepted);
        states.extend(filter.state().unwrap());
        let covariance = filter.covariance().unwrap();
        assert_covariance(&covariance);
        covariances.extend(covariance.concat());
        logliks.push(update.loglik.unwrap_or(0.0));
        let present = row.iter().flatten().count();
        assert_eq!((update.dof, update.nis.is_some()), (present, present > 0));
        for i in 0..row.len() {
            let expected_innovation = expected["innov"][t][i].as_f64();
            assert_eq!(update.innovations[i].is_some(), expected_innovation.is_some());
            if let (Some(value), Some(variance)) = (update.innovations[i], update.variances[i]) {
                innovations.push(value);
                innovations_expected.extend(expected_innovation);
                variances.push(variance);
                variances_expected.push(expected["innov_cov"][t][i][i].as_f64().unwrap());
            }
        }
        if let Some(value) = update.nis {
            nis.push(value);
            nis_expected.push(expected["nis"][t].as_f64().unwrap());
        }
        // Stored and read back, it goes on to the same bits.
        let bytes = serde_cbor::to_vec(&filter).unwrap();
        assert_eq!(crate::cbor::from_slice::<VectorFilter>(&bytes).unwrap(), filter);
    }
    let mut check = Check::new(name);
    if let Some(tolerance) = file["tolerance"]["innov_abs"].as_f64() {
        for (a, e) in innovations.iter().zip(&innovations_expected) {
            assert!((a - e).abs() <= tolerance, "{name}: innovation {a}, not {e}");
        }
    } else {
        check.all("innov", &innovations, &innovations_expected, 1e-9);
        check.all("nis", &nis, &nis_expected, 1e-8);
        check.all("loglik_obs", &logliks, &flat(&expected["loglik_obs"]), 1e-9);
    }
    check.all("innov_cov", &variances, &variances_expected, 1e-8);
    check.all("filt_state", &states, &flat(&expected["filt_state"]), 1e-9);
    check.all("filt_cov", &covariances, &flat(&expected["filt_cov"]), 1e-8);
    let total: f64 = logliks.iter().sum();
    let tolerance = file["tolerance"]["loglik_rel"].as_f64().unwrap_or(1e-9);
    check.all("loglik", &[total], &[expected["loglik"].as_f64().unwrap()], tolerance);
    println!("{name}: worst relative error {:e}", check.worst);
}

type Rates = (Vec<Vec<f64>>, Vec<Vec<f64>>);

/// Generators and spectral densities of the files with irregular time.
fn rates(name: &str) -> Rates {
    let chain = |n: usize, q: f64| -> Rates {
        let mut a = vec![vec![0.0; n]; n];
        let mut noise = vec![vec![0.0; n]; n];
        for i in 1..n {
            a[i - 1][i] = 1.0;
        }
        noise[n - 1][n - 1] = q;
        (a, noise)
    };
    match name {
        "level_irregular_dt" => chain(1, 0.04),
        "const_velocity_irregular_dt" => chain(2, 1e-3),
        "const_accel_irregular_dt" => chain(3, 1e-6),
        // s² = q·τ/2 = 2.25, τ = 60 s.
        "ou_irregular_dt" => (vec![vec![-1.0 / 60.0]], vec![vec![2.0 * 2.25 / 60.0]]),
        _ => panic!("{name} has fixed matrices"),
    }
}

const FIXED: [&str; 10] = [
    "nile_local_level",
    "nile_local_level_missing",
    "large_offset_level",
    "local_linear_trend",
    "random_n2_m1",
    "random_n2_m2_partial",
    "random_n4_m2",
    "random_n4_m3_partial",
    "random_n6_m3",
    "ukgas_basic_structural",
];
const IRREGULAR: [&str; 4] = [
    "level_irregular_dt",
    "const_velocity_irregular_dt",
    "const_accel_irregular_dt",
    "ou_irregular_dt",
];

#[test]
fn custom_filter_matches_the_reference_files() {
    FIXED.into_iter().for_each(|name| filter_matches(name, None));
    IRREGULAR.into_iter().for_each(|name| filter_matches(name, Some(rates(name))));
}

/// At the tolerance of square-root forms.
#[test]
fn custom_filter_keeps_the_digits_of_an_ill_conditioned_start() {
    let file = load("ill_conditioned_diffuse");
    let expected = &file["expected"];
    // What an array square-root form is said to reach there; the file itself asks for 1e-8.
    assert_eq!(file["tolerance"]["slope_rel_from_step_2_square_root_form"], 1e-8);
    let tolerance = 1e-10;
    let plan = VectorPlan::new(&settings(&file, None), 1.0, Some(&initial(&file))).unwrap();
    let mut filter = VectorFilter::new(&plan);
    let mut check = Check::new("ill_conditioned_diffuse");
    for (t, (time, row)) in readings(&file).into_iter().enumerate() {
        filter.update(&plan, time, &row);
        let covariance = filter.covariance().unwrap();
        assert_covariance(&covariance);
        if t >= 2 {
            let state = filter.state().unwrap();
            let expected_state = numbers(&expected["filt_state"][t]);
            check.all("slope", &state[1..], &expected_state[1..], tolerance);
            check.all("level", &state[..1], &expected_state[..1], tolerance);
            for (a, e) in covariance.concat().iter().zip(flat(&expected["filt_cov"][t])) {
                check.all("filt_cov", &[*a], &[e], tolerance);
            }
        }
    }
    println!("ill_conditioned_diffuse: worst relative error {:e}", check.worst);
}

fn smoother_matches(name: &str, states: &[SmoothedState]) {
    let file = load(name);
    let expected = &file["expected"];
    let (mut means, mut covariances) = (Vec::new(), Vec::new());
    for smoothed in states {
        let (mean, covariance) = smoothed.state.as_ref().expect("all is known");
        assert_covariance(covariance);
        means.extend(mean);
        covariances.extend(covariance.concat());
    }
    let mut check = Check::new(name);
    check.all("smooth_state", &means, &flat(&expected["smooth_state"]), 1e-9);
    let states_worst = std::mem::take(&mut check.worst);
    check.all("smooth_cov", &covariances, &flat(&expected["smooth_cov"]), 1e-8);
    println!("{name}: smoothed, worst relative error {states_worst:e}, {:e}", check.worst);
}

#[test]
fn custom_smoother_matches_the_reference_files() {
    let mut compared = 0;
    for name in FIXED.into_iter().chain(IRREGULAR) {
        let file = load(name);
        if file["expected"]["smooth_state"].is_null() {
            continue;
        }
        let continuous = IRREGULAR.contains(&name).then(|| rates(name));
        let plan =
            VectorPlan::new(&settings(&file, continuous), 1.0, Some(&initial(&file))).unwrap();
        smoother_matches(name, &plan.smooth(&readings(&file), true));
        compared += 1;
    }
    assert_eq!(compared, 8);
}

/// The models with names of their own.
#[test]
fn smoother_matches_the_reference_files() {
    let none = Noise { observation: 1.0, level: 0.0, trend: 0.0, acceleration: 0.0 };
    let cases = [
        (
            "level_irregular_dt",
            KalmanModel::Level,
            Noise { observation: 0.81, level: 0.04, ..none },
        ),
        (
            "nile_local_level_missing",
            KalmanModel::Level,
            Noise { observation: 15099.0, level: 1469.1, ..none },
        ),
        (
            "const_velocity_irregular_dt",
            KalmanModel::Trend,
            Noise { observation: 0.5, trend: 1e-3, ..none },
        ),
        (
            "const_accel_irregular_dt",
            KalmanModel::Acceleration,
            Noise { observation: 0.8, acceleration: 1e-6, ..none },
        ),
    ];
    for (name, model, noise) in cases {
        let file = load(name);
        let plan = KalmanPlan::new(&KalmanSettings {
            model,
            initial: Some(initial(&file)),
            ..KalmanSettings::default()
        });
        let readings: Vec<_> =
            readings(&file).into_iter().map(|(time, row)| (time, row[0])).collect();
        smoother_matches(name, &smoothed(&plan, &noise, &readings, true));
    }
}
