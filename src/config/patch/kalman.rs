//! Reads `kalman = { … }`.

use super::super::keys;
use super::super::reader::{At, Spot, TableReader};
use super::super::tree::Value;
use super::numbers;
use crate::analytics::settings::*;

pub(super) fn kalman(
    r: &TableReader<'_, '_>,
    note: &mut impl FnMut(&'static str, &Spot),
) -> KalmanPatch {
    let Some(r) = r.table("kalman", &keys::KALMAN) else { return KalmanPatch::default() };
    const LATER: &str = "write \"level\" or \"trend\"";
    let model = r.choice(
        "model",
        &[("level", KalmanModel::Level), ("trend", KalmanModel::Trend), ("off", KalmanModel::Off)],
        &[("acceleration", LATER), ("decay", LATER), ("custom", LATER)],
    );
    let positive = |sd: f64| sd > 0.0;
    let not_negative = |sd: f64| sd >= 0.0;
    let observation_sd = r.number("observation_sd", positive, "more than 0", "0.5");
    let level_sd = r.number("level_sd", not_negative, "0 or more", "1.0");
    let trend_sd = r.number("trend_sd", not_negative, "0 or more", "0.1");
    let gate = r.number("gate", |p| (0.5..=1.0).contains(&p), "in [0.5, 1] (1: off)", "0.9999");
    let outliers = r.choice(
        "outliers",
        &[("gate", KalmanOutliers::Gate), ("huber", KalmanOutliers::Huber)],
        &[],
    );
    let initial = kalman_initial(&r);
    if let Some(at) = &model {
        note("kalman.model", &at.spot);
    }
    if let Some(at) = &trend_sd {
        note("kalman.trend_sd", &at.spot);
    }
    if let Some(at) = &initial {
        note("kalman.initial", &at.spot);
    }
    KalmanPatch {
        model: model.map(|at| at.value),
        observation_sd: observation_sd.map(|at| at.value),
        level_sd: level_sd.map(|at| at.value),
        trend_sd: trend_sd.map(|at| at.value),
        gate: gate.map(|at| at.value),
        outliers: outliers.map(|at| at.value),
        initial: initial.map(|at| at.value),
    }
}

fn kalman_initial(r: &TableReader<'_, '_>) -> Option<At<KalmanInitial>> {
    let r = r.table("initial", &keys::KALMAN_INITIAL)?;
    for (key, example) in [("state", "[20.0]"), ("covariance", "[[1.0]]")] {
        if !r.has(key) {
            r.missing(key, example);
        }
    }
    let state = r.numbers("state", "[20.0]");
    let covariance = r.any("covariance")?;
    let Value::Array(rows) = &covariance.value.value else {
        r.wrong(&covariance, "a list of rows", "[[1.0]]");
        return None;
    };
    let row = |node| {
        let spot = Spot { place: covariance.spot.place, path: covariance.spot.path.clone() };
        r.numbers_of(&At { value: node, spot }, "[[1.0, 0.0], [0.0, 1.0]]")
    };
    let rows: Option<Vec<Vec<f64>>> =
        rows.iter().map(|node| Some(row(node)?.into_iter().map(|at| at.value).collect())).collect();
    let (state, covariance_rows) = (state?.map(numbers).value, rows?);
    if !is_covariance(&covariance_rows, state.len()) {
        let what = "must be symmetric, positive semidefinite, with a row for each number of state";
        r.cx.fault(&covariance.spot, what, "write e.g. [[1.0]] for state = [20.0]");
        return None;
    }
    let value = KalmanInitial { state, covariance: covariance_rows };
    Some(At { value, spot: r.here().clone() })
}

/// Square, symmetric, positive semidefinite; for the one or two states that models have.
fn is_covariance(rows: &[Vec<f64>], states: usize) -> bool {
    match rows {
        [row] => states == 1 && matches!(row.as_slice(), [v] if *v >= 0.0),
        [first, second] => match (first.as_slice(), second.as_slice()) {
            ([a, b], [c, d]) => states == 2 && b == c && *a >= 0.0 && *d >= 0.0 && b * c <= a * d,
            _ => false,
        },
        _ => false,
    }
}
