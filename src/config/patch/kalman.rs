//! Reads `kalman = { … }`.

use super::super::keys;
use super::super::reader::{At, Spot, TableReader};
use super::super::tree::{Node, Value};
use super::{FAR, numbers};
use crate::analytics::settings::*;

const MILLISECOND: i64 = crate::reading::SECOND / 1000;

pub(super) fn kalman(
    r: &TableReader<'_, '_>,
    note: &mut impl FnMut(&'static str, &Spot),
) -> KalmanPatch {
    let Some(r) = r.table("kalman", &keys::KALMAN) else { return KalmanPatch::default() };
    let model = r.choice(
        "model",
        &[
            ("level", KalmanModel::Level),
            ("trend", KalmanModel::Trend),
            ("acceleration", KalmanModel::Acceleration),
            ("decay", KalmanModel::Decay),
            ("custom", KalmanModel::Custom),
            ("off", KalmanModel::Off),
        ],
        &[],
    );
    let positive = |sd: f64| sd > 0.0;
    let not_negative = |sd: f64| sd >= 0.0;
    let observation_sd = r.number("observation_sd", positive, "more than 0", "0.5");
    let level_sd = r.number("level_sd", not_negative, "0 or more", "1.0");
    let trend_sd = r.number("trend_sd", not_negative, "0 or more", "0.1");
    let acceleration_sd = r.number("acceleration_sd", not_negative, "0 or more", "0.01");
    let tau = r.duration("tau", MILLISECOND..=FAR, "2h");
    let mean = r.number("mean", |_| true, "a number", "20.0");
    let custom = custom(&r);
    let gate = r.number("gate", |p| (0.5..=1.0).contains(&p), "in [0.5, 1] (1: off)", "0.9999");
    let outliers = r.choice(
        "outliers",
        &[("gate", KalmanOutliers::Gate), ("huber", KalmanOutliers::Huber)],
        &[],
    );
    let initial = kalman_initial(&r);
    for (key, spot) in [
        ("kalman.model", model.as_ref().map(|at| &at.spot)),
        ("kalman.observation_sd", observation_sd.as_ref().map(|at| &at.spot)),
        ("kalman.level_sd", level_sd.as_ref().map(|at| &at.spot)),
        ("kalman.trend_sd", trend_sd.as_ref().map(|at| &at.spot)),
        ("kalman.acceleration_sd", acceleration_sd.as_ref().map(|at| &at.spot)),
        ("kalman.tau", tau.as_ref().map(|at| &at.spot)),
        ("kalman.mean", mean.as_ref().map(|at| &at.spot)),
        ("kalman.F", custom.as_ref().map(|at| &at.spot)),
        ("kalman.initial", initial.as_ref().map(|at| &at.spot)),
    ] {
        if let Some(spot) = spot {
            note(key, spot);
        }
    }
    KalmanPatch {
        model: model.map(|at| at.value),
        observation_sd: observation_sd.map(|at| at.value),
        level_sd: level_sd.map(|at| at.value),
        trend_sd: trend_sd.map(|at| at.value),
        acceleration_sd: acceleration_sd.map(|at| at.value),
        tau: tau.map(|at| at.value),
        mean: mean.map(|at| at.value),
        custom: custom.map(|at| at.value),
        gate: gate.map(|at| at.value),
        outliers: outliers.map(|at| at.value),
        initial: initial.map(|at| at.value),
    }
}

/// The matrices of a custom model: all four, or none. The spot is that of F.
fn custom(r: &TableReader<'_, '_>) -> Option<At<CustomSettings>> {
    const MATRICES: [(&str, &str); 4] =
        [("F", "[[1.0]]"), ("H", "[[1.0]]"), ("Q", "[[0.01]]"), ("R", "[[0.25]]")];
    let metrics = r.texts("metrics", "[\"flow\", \"pressure\"]");
    let per_second = r.boolean("per_second").is_some_and(|at| at.value);
    let any = per_second || metrics.is_some() || MATRICES.iter().any(|(key, _)| r.has(key));
    let [f, h, q, rr] = MATRICES.map(|(key, example)| {
        if any && !r.has(key) {
            r.missing(key, example);
        }
        let at = r.any(key)?;
        rows_of(r, &at, example).map(|value| At { value, spot: at.spot })
    });
    let (f, h, q, rr) = (f?, h?, q?, rr?);
    let spots = [("F", f.spot.clone()), ("H", h.spot), ("Q", q.spot), ("R", rr.spot)];
    let value = CustomSettings {
        metrics: metrics
            .map(|at| at.value.into_iter().map(|at| at.value).collect())
            .unwrap_or_default(),
        f: f.value,
        h: h.value,
        q: q.value,
        r: rr.value,
        per_second,
    };
    if let Some((key, what)) = value.fault() {
        let spot = spots.iter().find(|(name, _)| *name == key).map_or(&f.spot, |(_, spot)| spot);
        r.cx.fault(spot, what, "write e.g. F = [[1.0]], H = [[1.0]], Q = [[0.01]], R = [[0.25]]");
        return None;
    }
    if value.metrics.len() > 1 {
        let what = "rows of several metrics are not in this version";
        r.cx.fault(&f.spot, what, "remove metrics, with one row in H");
        return None;
    }
    Some(At { value, spot: f.spot })
}

/// A list of rows of finite numbers.
fn rows_of(r: &TableReader<'_, '_>, at: &At<&Node>, example: &str) -> Option<Vec<Vec<f64>>> {
    let Value::Array(rows) = &at.value.value else {
        r.wrong(at, "a list of rows", example);
        return None;
    };
    let row = |node| {
        let spot = Spot { place: at.spot.place, path: at.spot.path.clone() };
        let row = r.numbers_of(&At { value: node, spot }, "[[1.0, 0.0], [0.0, 1.0]]")?;
        Some(row.into_iter().map(|at| at.value).collect())
    };
    rows.iter().map(row).collect()
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
    let rows = rows_of(&r, &covariance, "[[1.0]]");
    let (state, covariance_rows) = (state?.map(numbers).value, rows?);
    if covariance_rows.len() != state.len() || !is_covariance(&covariance_rows) {
        let what = "must be symmetric, positive semidefinite, with a row for each number of state";
        r.cx.fault(&covariance.spot, what, "write e.g. [[1.0]] for state = [20.0]");
        return None;
    }
    let value = KalmanInitial { state, covariance: covariance_rows };
    Some(At { value, spot: r.here().clone() })
}
