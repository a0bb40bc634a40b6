//! Reads `kalman = { … }`.

use super::super::keys;
use super::super::reader::{At, Spot, TableReader};
use super::super::tree::{Node, Value};
use super::{FAR, numbers, vector};
use crate::analytics::settings::*;

const MILLISECOND: i64 = crate::reading::SECOND / 1000;

/// What the table sets of the series that match, or, with several metrics, a filter of its own.
pub(super) fn kalman(
    r: &TableReader<'_, '_>,
    note: &mut impl FnMut(&'static str, &Spot),
) -> (KalmanPatch, Option<VectorSettings>) {
    let Some(r) = r.table("kalman", &keys::KALMAN) else { return Default::default() };
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
    if has_several(&r) {
        let vector = vector::vector(
            &r,
            model.map(|at| at.value),
            custom,
            gate.map(|at| at.value),
            initial,
            note,
        );
        return (KalmanPatch::default(), vector);
    }
    if let Some(at) = r.text("name", "\"motion\"") {
        let what = "names a filter over several metrics, and there are not several";
        r.cx.fault(&at.spot, what, "remove it, or write metrics = [\"flow\", \"pressure\"]");
    }
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
    let patch = KalmanPatch {
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
    };
    (patch, None)
}

/// Whether the table is of a filter over several metrics, good or faulty.
fn has_several(r: &TableReader<'_, '_>) -> bool {
    let metrics = r.any("metrics");
    metrics.is_some_and(|at| matches!(&at.value.value, Value::Array(list) if list.len() > 1))
}

/// The matrices of a custom model: all four, or none. The spot is that of F.
fn custom(r: &TableReader<'_, '_>) -> Option<At<CustomSettings>> {
    const MATRICES: [(&str, &str); 4] =
        [("F", "[[1.0]]"), ("H", "[[1.0]]"), ("Q", "[[0.01]]"), ("R", "[[0.25]]")];
    let metrics = r.texts("metrics", "[\"flow\", \"pressure\"]");
    let per_second = r.boolean("per_second").is_some_and(|at| at.value);
    let step = r.duration("step", MILLISECOND..=FAR, "1s");
    let any = per_second
        || step.is_some()
        || metrics.is_some()
        || MATRICES.iter().any(|(key, _)| r.has(key));
    let [f, h, q, rr] = MATRICES.map(|(key, example)| {
        if any && !r.has(key) {
            r.missing(key, example);
        }
        let at = r.any(key)?;
        rows_of(r, &at, example).map(|value| At { value, spot: at.spot })
    });
    let (f, h, q, rr) = (f?, h?, q?, rr?);
    let mut spots = vec![("F", f.spot.clone()), ("H", h.spot), ("Q", q.spot), ("R", rr.spot)];
    spots.extend(metrics.as_ref().map(|at| ("metrics", at.spot.clone())));
    spots.extend(step.as_ref().map(|at| ("step", at.spot.clone())));
    let value = CustomSettings {
        metrics: metrics
            .map(|at| at.value.into_iter().map(|at| at.value).collect())
            .unwrap_or_default(),
        f: f.value,
        h: h.value,
        q: q.value,
        r: rr.value,
        per_second,
        step: step.map(|at| at.value),
    };
    if let Some((key, what)) = value.fault() {
        let spot = spots.iter().find(|(name, _)| *name == key).map_or(&f.spot, |(_, spot)| spot);
        r.cx.fault(spot, what, mend(key, value.metrics.len()));
        return None;
    }
    // With several metrics it is the filter over them that the faults of other tables are about.
    let several = value.metrics.len() > 1;
    let spot = spots.into_iter().find(|(name, _)| several && *name == "metrics");
    Some(At { value, spot: spot.map_or(f.spot, |(_, spot)| spot) })
}

/// Matrices of the smallest model there is.
fn mend(key: &str, metrics: usize) -> String {
    match (key, metrics) {
        ("metrics", _) => "name each metric once, e.g. [\"flow\", \"pressure\"]".to_owned(),
        ("step", _) => "remove one of the two".to_owned(),
        (_, 0 | 1) => "write e.g. F = [[1.0]], H = [[1.0]], Q = [[0.01]], R = [[0.25]]".to_owned(),
        _ => {
            let diagonal = |x: f64| {
                let entry = |i, j| if i == j { format!("{x:?}") } else { "0.0".to_owned() };
                let row = |i| {
                    let row: Vec<String> = (0..metrics).map(|j| entry(i, j)).collect();
                    format!("[{}]", row.join(", "))
                };
                format!("[{}]", (0..metrics).map(row).collect::<Vec<_>>().join(", "))
            };
            let [one, q, r] = [1.0, 0.01, 0.25].map(diagonal);
            format!(
                "with one state for each metric write e.g. F = {one}, H = {one}, Q = {q}, R = {r}"
            )
        }
    }
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
