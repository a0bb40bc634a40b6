//! Reads the settings of series: what `[[profile]]` and `[[device]]` tables have in common.

use super::keys;
use super::reader::{At, Spot, TableReader};
use super::tree::Value;
use crate::analytics::settings::*;
use crate::reading::SECOND;

const DAY: i64 = 86_400 * SECOND;
/// Longest season and horizon: EventTime's range leaves room for more.
const FAR: i64 = 20 * 366 * DAY;
/// Most windows of a series, most quantiles of a window.
const WINDOWS_MAX: usize = 8;
const QUANTILES_MAX: usize = 16;

/// Where keys of a patch stand, by their dotted names.
pub(super) type KeySpots = Vec<(&'static str, Spot)>;

/// What a table sets; the places of the keys that can clash with other tables' go to `spots`.
pub(super) fn patch(r: &TableReader<'_, '_>, spots: &mut KeySpots) -> Patch {
    let mut note = |key: &'static str, spot: &Spot| spots.push((key, spot.clone()));
    let unit = r.text("unit", "\"°C\"").filter(|at| {
        let good = at.value.chars().count() <= 64 && !at.value.contains(char::is_control);
        if !good {
            r.cx.fault(&at.spot, "must have at most 64 characters", "write e.g. \"°C\"");
        }
        good
    });
    let valid = r.numbers("valid", "[-40, 125]").and_then(|at| match at.value.as_slice() {
        [low, high] if low.value < high.value => Some((low.value, high.value)),
        _ => {
            let what = "must be two numbers, the lower one first";
            r.cx.fault(&at.spot, what, "write e.g. [-40, 125]");
            None
        }
    });
    let lateness = r.duration("lateness", 0..=30 * DAY, "5s");
    let hold = r.duration("hold", 0..=30 * DAY, "2s");
    for (key, at) in [("lateness", &lateness), ("hold", &hold)] {
        if let Some(at) = at {
            note(key, &at.spot);
        }
    }
    Patch {
        unit: unit.map(|at| at.value),
        valid,
        lateness: lateness.map(|at| at.value),
        hold: hold.map(|at| at.value),
        kalman: kalman(r, &mut note),
        windows: windows(r),
        forecast: forecast(r, &mut note),
    }
}

fn kalman(r: &TableReader<'_, '_>, note: &mut impl FnMut(&'static str, &Spot)) -> KalmanPatch {
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

fn numbers(list: Vec<At<f64>>) -> Vec<f64> {
    list.into_iter().map(|at| at.value).collect()
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

fn windows(r: &TableReader<'_, '_>) -> Option<Vec<WindowSettings>> {
    const EXAMPLE: &str = "[{ size = \"1m\" }]";
    let at = r.any("windows")?;
    let Value::Array(nodes) = &at.value.value else {
        r.wrong(&at, "a list of tables", EXAMPLE);
        return None;
    };
    if !(1..=WINDOWS_MAX).contains(&nodes.len()) {
        let what = "must have 1 to 8 windows";
        r.cx.fault(&at.spot, what, format!("write e.g. {EXAMPLE}"));
    }
    let mut windows: Vec<WindowSettings> = Vec::new();
    for node in nodes {
        let spot = Spot { place: node.place, path: at.spot.path.clone() };
        let element = At { value: node, spot };
        let Some(w) = r.table_of(&element, &keys::WINDOW, "{ size = \"1m\" }") else { continue };
        let Some(window) = window(&w) else { continue };
        if windows.iter().any(|other| other.size == window.size) {
            // Aligned or not, their panes could have equal bounds, and with them one identity.
            let what =
                "another window has this size, and receivers tell panes apart by their bounds";
            r.cx.fault(w.here(), what, "keep one of the two");
        }
        windows.push(window);
    }
    Some(windows)
}

fn window(r: &TableReader<'_, '_>) -> Option<WindowSettings> {
    if !r.has("size") {
        r.missing("size", "\"1m\"");
    }
    let size = r.duration("size", SECOND..=366 * DAY, "1m");
    let align = r.choice("align", &[("epoch", Align::Epoch), ("local", Align::Local)], &[]);
    let align = align.map_or(Align::Epoch, |at| at.value);
    let quantiles = r.numbers("quantiles", "[0.5, 0.95]");
    if let Some(at) = &quantiles {
        let inside = |at: &At<f64>| at.value > 0.0 && at.value < 1.0;
        if let Some(bad) = at.value.iter().find(|at| !inside(at)) {
            let what = "quantiles are probabilities, more than 0 and less than 1";
            r.cx.fault(&bad.spot, what, "write e.g. [0.5, 0.95]; min and max are always there");
        }
        if at.value.len() > QUANTILES_MAX {
            r.cx.fault(&at.spot, "has more than 16 quantiles", "remove some");
        }
    }
    let size = size?;
    if align == Align::Local && size.value % DAY != 0 {
        let what = "a window with align = \"local\" must be whole days";
        r.cx.fault(&size.spot, what, "write e.g. \"1d\", or align = \"epoch\"");
        return None;
    }
    let mut quantiles = quantiles.map(|at| numbers(at.value)).unwrap_or_default();
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    Some(WindowSettings { size: size.value, align, quantiles })
}

fn forecast(r: &TableReader<'_, '_>, note: &mut impl FnMut(&'static str, &Spot)) -> ForecastPatch {
    let Some(at) = r.any("forecast") else { return ForecastPatch::default() };
    if let Value::Boolean(enabled) = at.value.value {
        note("forecast", &at.spot);
        return ForecastPatch { enabled: Some(enabled), ..ForecastPatch::default() };
    }
    if !matches!(at.value.value, Value::Table(_)) {
        r.wrong(&at, "a table or false", "{ step = \"1h\" }");
        return ForecastPatch::default();
    }
    let Some(r) = r.table("forecast", &keys::FORECAST) else { return ForecastPatch::default() };
    let step = r.duration("step", SECOND..=366 * DAY, "1h");
    let season = season(&r);
    let trend = r.choice(
        "trend",
        &[("damped", Trend::Damped), ("additive", Trend::Additive), ("none", Trend::None)],
        &[],
    );
    let seasonal = r.choice(
        "seasonal",
        &[("additive", Seasonal::Additive), ("none", Seasonal::None)],
        &[("multiplicative", "write \"additive\"")],
    );
    let horizon = r.duration("horizon", SECOND..=FAR, "24h");
    let nominal = r.number("nominal", |p| p > 0.0 && p < 1.0, "in (0, 1)", "0.95");
    let smoothing = smoothing(&r);
    let initial = forecast_initial(&r);
    for (key, spot) in [
        ("forecast.step", step.as_ref().map(|at| &at.spot)),
        ("forecast.season", season.as_ref().map(|at| &at.spot)),
        ("forecast.seasonal", seasonal.as_ref().map(|at| &at.spot)),
        ("forecast.horizon", horizon.as_ref().map(|at| &at.spot)),
        ("forecast.initial", initial.as_ref().map(|at| &at.spot)),
        ("forecast", Some(&at.spot)),
    ] {
        if let Some(spot) = spot {
            note(key, spot);
        }
    }
    ForecastPatch {
        enabled: Some(true),
        step: step.map(|at| at.value),
        season: season.map(|at| at.value),
        trend: trend.map(|at| at.value),
        seasonal: seasonal.map(|at| at.value),
        horizon: horizon.map(|at| at.value),
        nominal: nominal.map(|at| at.value),
        smoothing,
        initial: initial.map(|at| at.value),
    }
}

fn season(r: &TableReader<'_, '_>) -> Option<At<Vec<i64>>> {
    let at = r.any("season")?;
    let Value::Array(nodes) = &at.value.value else {
        r.wrong(&at, "a list of durations", "[\"1d\"]");
        return None;
    };
    if nodes.len() > 1 {
        let what = "two seasons are not in this version";
        r.cx.fault(&at.spot, what, "keep the stronger one, e.g. [\"1d\"]");
        return None;
    }
    let mut seasons = Vec::new();
    for node in nodes {
        let spot = Spot { place: node.place, path: at.spot.path.clone() };
        let element = At { value: node, spot };
        seasons.push(r.duration_of(&element, 2 * SECOND..=FAR, "1d")?);
    }
    Some(At { value: seasons, spot: at.spot })
}

fn smoothing(r: &TableReader<'_, '_>) -> Option<Smoothing> {
    let r = r.table("smoothing", &keys::SMOOTHING)?;
    if !r.has("alpha") {
        r.missing("alpha", "0.3");
    }
    let alpha = r.number("alpha", |a| a > 0.0 && a < 1.0, "in (0, 1)", "0.3");
    let limit = alpha.as_ref().map_or(1.0, |at| at.value);
    let beta = r.number(
        "beta",
        |b| (0.0..=limit).contains(&b),
        "in [0, alpha] (it is alpha·beta* of the books)",
        "0.05",
    );
    let gamma = r.number(
        "gamma",
        // 1 - alpha is rounded; a gamma written as its decimals must still pass.
        |g| g >= 0.0 && g + limit <= 1.0 + 1e-12 || alpha.is_none() && (0.0..=1.0).contains(&g),
        "in [0, 1 - alpha]",
        "0.1",
    );
    let phi = r.number("phi", |p| p > 0.0 && p <= 1.0, "in (0, 1]", "0.98");
    let or = |at: Option<At<f64>>, default| at.map_or(default, |at| at.value);
    Some(Smoothing {
        alpha: alpha?.value,
        beta: or(beta, 0.0),
        gamma: or(gamma, 0.0),
        phi: or(phi, 1.0),
    })
}

fn forecast_initial(r: &TableReader<'_, '_>) -> Option<At<ForecastInitial>> {
    let r = r.table("initial", &keys::FORECAST_INITIAL)?;
    if !r.has("level") {
        r.missing("level", "20.0");
    }
    let level = r.number("level", |_| true, "a number", "20.0");
    let trend = r.number("trend", |_| true, "a number", "0.0");
    let season = r.numbers("season", "[0.5, -0.5]");
    let value = ForecastInitial {
        level: level?.value,
        trend: trend.map_or(0.0, |at| at.value),
        season: season.map(|at| numbers(at.value)).unwrap_or_default(),
    };
    Some(At { value, spot: r.here().clone() })
}
