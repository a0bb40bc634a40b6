//! Against `tests/data/reference/kalman` (60-digit arithmetic; conventions in
//! `tests/data/README.md`).

use nalgebra::{DMatrix, SMatrix, SVector};
use serde_json::Value;

use super::super::linear::{Factors, Gaussian, Observation, Transition};
use super::*;

pub(super) fn load(name: &str) -> Value {
    let path = format!("{}/tests/data/reference/kalman/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    serde_json::from_str(&text).expect(&path)
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn vector<const N: usize>(value: &Value) -> SVector<f64, N> {
    SVector::from_column_slice(&numbers(value))
}

fn matrix<const N: usize>(value: &Value) -> SMatrix<f64, N, N> {
    let rows: Vec<f64> = value.as_array().expect("rows").iter().flat_map(numbers).collect();
    SMatrix::from_row_slice(&rows)
}

/// Compares against max(|value|, 1e-6 × the largest in the file), as the README has it.
pub(super) struct Check {
    file: String,
    pub worst: f64,
}

impl Check {
    pub fn new(file: &str) -> Check {
        Check { file: file.to_owned(), worst: 0.0 }
    }

    pub fn all(&mut self, what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(actual.len(), expected.len(), "{}: {what}: count", self.file);
        assert!(!expected.is_empty(), "{}: {what}: nothing compared", self.file);
        let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
            let error = (a - e).abs() / e.abs().max(1e-6 * largest).max(f64::MIN_POSITIVE);
            assert!(error <= tolerance, "{}: {what}[{i}]: {a}, not {e} ({error:e})", self.file);
            self.worst = self.worst.max(error);
        }
    }
}

/// What a run of the generic core gives, flattened as the files' `expected`.
#[derive(Default)]
struct Run {
    pred_state: Vec<f64>,
    pred_cov: Vec<f64>,
    filt_state: Vec<f64>,
    filt_cov: Vec<f64>,
    innov: Vec<Option<f64>>,
    innov_cov: Vec<Option<f64>>,
    nis: Vec<Option<f64>>,
    loglik: Vec<f64>,
}

fn run_generic<const N: usize>(file: &Value) -> Run {
    let model = &file["model"];
    assert_eq!(model["dim_x"], N as u64);
    assert_eq!(model["dim_y"], 1);
    let time_varying = model["time_varying"].as_bool().expect("a flag");
    let transition = |t: usize| {
        let (f, q) = if time_varying {
            (&model["F"][t], &model["Q"][t])
        } else {
            (&model["F"], &model["Q"])
        };
        Transition::<N> {
            matrix: matrix(f),
            offset: SVector::zeros(),
            noise: Factors::new(&matrix(q)),
        }
    };
    let observation = Observation::<N> {
        row: vector(&model["H"][0]),
        variance: model["R"][0][0].as_f64().expect("a number"),
    };
    let mut state = Gaussian::<N>::new(vector(&model["a1"]), &matrix(&model["P1"]));
    let mut run = Run::default();
    for (t, y) in file["y"].as_array().expect("readings").iter().enumerate() {
        if t > 0 {
            state.predict(&transition(t));
        }
        run.pred_state.extend(state.mean().iter());
        run.pred_cov.extend(state.covariance().iter());
        let innovation = y[0]
            .as_f64()
            .map(|y| state.update(&observation, y).expect("the prior of these files is proper"));
        run.filt_state.extend(state.mean().iter());
        let covariance = state.covariance();
        assert_eq!(covariance, covariance.transpose());
        let eigenvalues = DMatrix::from_column_slice(N, N, covariance.as_slice());
        let eigenvalues = eigenvalues.symmetric_eigenvalues();
        assert!(eigenvalues.min() >= -1e-15 * covariance.norm());
        run.filt_cov.extend(covariance.iter());
        run.innov.push(innovation.map(|i| i.value));
        run.innov_cov.push(innovation.map(|i| i.variance));
        run.nis.push(innovation.map(|i| i.nis()));
        run.loglik.push(innovation.map_or(0.0, |i| i.loglik()));
    }
    run
}

pub(super) fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

/// The entries of `expected` that are not null, and the matching ones of `actual`.
fn observed(actual: &[Option<f64>], expected: &Value) -> (Vec<f64>, Vec<f64>) {
    let expected = expected.as_array().expect("an array");
    assert_eq!(actual.len(), expected.len());
    actual
        .iter()
        .zip(expected)
        .filter_map(|(actual, expected)| {
            let expected = if expected.is_array() { &expected[0] } else { expected };
            let expected = if expected.is_array() { &expected[0] } else { expected };
            match (actual, expected.as_f64()) {
                (Some(actual), Some(expected)) => Some((*actual, expected)),
                // `innov_cov` is there for missing readings too.
                (None, _) => None,
                (Some(_), None) => panic!("an innovation where none is expected"),
            }
        })
        .unzip()
}

#[track_caller]
fn generic_matches<const N: usize>(name: &str) {
    let file = load(name);
    let run = run_generic::<N>(&file);
    let expected = &file["expected"];
    let mut check = Check::new(name);
    let (innov, innov_expected) = observed(&run.innov, &expected["innov"]);
    if name == "large_offset_level" {
        let tolerance = file["tolerance"]["innov_abs"].as_f64().expect("a number");
        for (a, e) in innov.iter().zip(&innov_expected) {
            assert!((a - e).abs() <= tolerance, "innovation {a}, not {e}");
        }
    } else {
        check.all("innov", &innov, &innov_expected, 1e-9);
        let (nis, nis_expected) = observed(&run.nis, &expected["nis"]);
        check.all("nis", &nis, &nis_expected, 1e-8);
        check.all("loglik_obs", &run.loglik, &flat(&expected["loglik_obs"]), 1e-9);
    }
    check.all("pred_state", &run.pred_state, &flat(&expected["pred_state"]), 1e-9);
    check.all("filt_state", &run.filt_state, &flat(&expected["filt_state"]), 1e-9);
    check.all("pred_cov", &run.pred_cov, &flat(&expected["pred_cov"]), 1e-8);
    check.all("filt_cov", &run.filt_cov, &flat(&expected["filt_cov"]), 1e-8);
    let (s, s_expected) = observed(&run.innov_cov, &expected["innov_cov"]);
    check.all("innov_cov", &s, &s_expected, 1e-8);
    let total: f64 = run.loglik.iter().sum();
    let tolerance = file["tolerance"]["loglik_rel"].as_f64().unwrap_or(1e-9);
    check.all("loglik", &[total], &[expected["loglik"].as_f64().expect("a number")], tolerance);
    println!("{name}: worst relative error {:e}", check.worst);
}

#[test]
fn generic_core_matches_the_reference_files() {
    generic_matches::<1>("nile_local_level");
    generic_matches::<1>("nile_local_level_missing");
    generic_matches::<1>("level_irregular_dt");
    generic_matches::<1>("ou_irregular_dt");
    generic_matches::<1>("large_offset_level");
    generic_matches::<2>("const_velocity_irregular_dt");
    generic_matches::<2>("local_linear_trend");
    generic_matches::<2>("random_n2_m1");
    generic_matches::<3>("const_accel_irregular_dt");
    generic_matches::<5>("ukgas_basic_structural");
}

/// The tolerance of square-root forms: factored covariances keep what covariance forms lose.
#[test]
fn generic_core_keeps_the_digits_of_an_ill_conditioned_start() {
    let file = load("ill_conditioned_diffuse");
    let run = run_generic::<2>(&file);
    let expected = &file["expected"];
    let tolerance = file["tolerance"]["slope_rel_from_step_2_square_root_form"].as_f64().unwrap();
    let mut check = Check::new("ill_conditioned_diffuse");
    check.all("filt_state", &run.filt_state[2..], &flat(&expected["filt_state"])[2..], tolerance);
    check.all("loglik", &run.loglik, &flat(&expected["loglik_obs"]), tolerance);
    let (nis, nis_expected) = observed(&run.nis, &expected["nis"]);
    check.all("nis", &nis[2..], &nis_expected[2..], tolerance);
    // Each entry for itself: beside the first steps' 1e12 anything would do.
    let cov = flat(&expected["filt_cov"]);
    for (i, (a, e)) in run.filt_cov.iter().zip(&cov).enumerate().skip(4) {
        assert!((a - e).abs() <= tolerance * e.abs(), "filt_cov[{i}]: {a}, not {e}");
    }
    println!("ill_conditioned_diffuse: worst relative error {:e}", check.worst);
}

fn steady<const N: usize>(case: &Value) {
    let (f, q, h, r) = if case["F"].is_null() {
        let scalar = |x: &Value| SMatrix::<f64, N, N>::identity() * x.as_f64().unwrap();
        let h = SVector::<f64, N>::repeat(1.0);
        (SMatrix::identity(), scalar(&case["q"]), h, case["r"].as_f64().unwrap())
    } else {
        let r = case["R"][0][0].as_f64().unwrap();
        (matrix(&case["F"]), matrix(&case["Q"]), vector(&case["H"][0]), r)
    };
    let transition = Transition { matrix: f, offset: SVector::zeros(), noise: Factors::new(&q) };
    let observation = Observation { row: h, variance: r };
    let mut state = Gaussian::<N>::diffuse();
    let mut predicted = state.covariance();
    for _ in 0..20_000 {
        state.predict(&transition);
        predicted = state.covariance();
        state.update(&observation, 1.0);
    }
    let mut check = Check::new(&case["kind"].to_string());
    check.all("pred_cov", predicted.as_slice(), &flat(&case["pred_cov"]), 1e-9);
    check.all("filt_cov", state.covariance().as_slice(), &flat(&case["filt_cov"]), 1e-9);
    let gain = predicted * h / (h.dot(&(predicted * h)) + r);
    check.all("gain", gain.as_slice(), &flat(&case["gain"]), 1e-9);
}

#[test]
fn generic_core_reaches_the_steady_state() {
    let file = load("steady_state");
    for case in file.as_array().expect("cases") {
        if case["F"].as_array().is_some_and(|f| f.len() == 2) {
            steady::<2>(case);
        } else {
            steady::<1>(case);
        }
    }
}

/// Through the public filter: `times` in seconds, a missing reading is not shown to it.
#[track_caller]
fn public_matches(name: &str, settings: KalmanSettings, times: Option<Vec<f64>>) {
    let file = load(name);
    let model = &file["model"];
    let initial = KalmanInitial {
        state: numbers(&model["a1"]),
        covariance: model["P1"].as_array().unwrap().iter().map(numbers).collect(),
    };
    let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, initial: Some(initial), ..settings });
    let mut kalman = Kalman::new(&plan);
    let expected = &file["expected"];
    let (mut states, mut states_expected) = (Vec::new(), Vec::new());
    let (mut covariances, mut covariances_expected) = (Vec::new(), Vec::new());
    let (mut innovations, mut innovations_expected) = (Vec::new(), Vec::new());
    let (mut logliks, mut logliks_expected) = (Vec::new(), Vec::new());
    for (t, y) in file["y"].as_array().expect("readings").iter().enumerate() {
        let Some(y) = y[0].as_f64() else { continue };
        let time = at(times.as_ref().map_or(t as f64, |times| times[t]));
        let update = kalman.update(&plan, time, finite(y));
        assert_eq!(update.verdict, Verdict::Accepted);
        innovations.push(update.innovation.expect("the start is proper"));
        innovations_expected.push(expected["innov"][t][0].as_f64().unwrap());
        logliks.push(update.loglik().expect("the start is proper"));
        logliks_expected.push(expected["loglik_obs"][t].as_f64().unwrap());
        let (state, covariance) = kalman.state_and_covariance().expect("the start is proper");
        states.extend(state);
        states_expected.extend(flat(&expected["filt_state"][t]));
        covariances.extend(covariance.concat());
        covariances_expected.extend(flat(&expected["filt_cov"][t]));
    }
    let mut check = Check::new(name);
    check.all("filt_state", &states, &states_expected, 1e-9);
    check.all("filt_cov", &covariances, &covariances_expected, 1e-8);
    if let Some(tolerance) = file["tolerance"]["innov_abs"].as_f64() {
        for (a, e) in innovations.iter().zip(&innovations_expected) {
            assert!((a - e).abs() <= tolerance, "{name}: innovation {a}, not {e}");
        }
    } else {
        check.all("innov", &innovations, &innovations_expected, 1e-9);
        check.all("loglik_obs", &logliks, &logliks_expected, 1e-9);
    }
    let total: f64 = logliks.iter().sum();
    let tolerance = file["tolerance"]["loglik_rel"].as_f64().unwrap_or(1e-9);
    check.all("loglik", &[total], &[expected["loglik"].as_f64().unwrap()], tolerance);
    println!("{name}: worst relative error {:e}", check.worst);
}

#[test]
fn public_filter_matches_the_reference_files() {
    let times = |name: &str| Some(numbers(&load(name)["time_s"]));
    let name = "level_irregular_dt";
    public_matches(name, level_settings(0.81, 0.04), times(name));
    let name = "const_velocity_irregular_dt";
    public_matches(name, trend_settings(0.5, 0.0, 1e-3), times(name));
    public_matches("nile_local_level", level_settings(15099.0, 1469.1), None);
    public_matches("nile_local_level_missing", level_settings(15099.0, 1469.1), None);
    public_matches("large_offset_level", level_settings(1e-4, 1e-6), None);
    let name = "const_accel_irregular_dt";
    let hours = 3600.0_f64;
    let acceleration = KalmanSettings {
        model: KalmanModel::Acceleration,
        observation_sd: Some(0.8_f64.sqrt()),
        acceleration_sd: Some((1e-6 * hours * hours * hours * hours * hours).sqrt()),
        ..KalmanSettings::default()
    };
    public_matches(name, acceleration, times(name));
    // s² = q·τ/2 = 2.25, τ = 60 s.
    let decay = KalmanSettings {
        model: KalmanModel::Decay,
        tau: Some(60 * SECOND),
        mean: Some(0.0),
        ..level_settings(0.25, 2.0 * 2.25 / 60.0)
    };
    public_matches("ou_irregular_dt", decay, times("ou_irregular_dt"));
}

/// Exact diffuse start: the log-likelihood of readings 2 to 100 at the published variances.
#[test]
fn diffuse_likelihood_of_the_nile() {
    let file = load("nile_mle");
    let plan = KalmanPlan::new(&KalmanSettings { gate: 1.0, ..level_settings(15099.0, 1469.1) });
    let mut kalman = Kalman::new(&plan);
    let mut total = 0.0;
    for (year, flow) in numbers(&file["y"]).into_iter().enumerate() {
        let update = kalman.update(&plan, at(year as f64), finite(flow));
        assert_eq!(update.loglik().is_none(), year == 0);
        total += update.loglik().unwrap_or(0.0);
    }
    let expected = file["loglik_at_published"]["diffuse_obs_2_100"].as_f64().unwrap();
    assert!((total - expected).abs() < 1e-8, "{total}, not {expected}");
    let variance = kalman.estimate().unwrap().variance.unwrap();
    let limit = file["steady_state"]["filt_var"].as_f64().unwrap();
    assert!((variance / limit - 1.0).abs() < 1e-3, "{variance}, not {limit}");
}
