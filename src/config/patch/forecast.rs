//! Reads `forecast = { … }`.

use super::super::keys;
use super::super::reader::{At, Spot, TableReader};
use super::super::tree::Value;
use super::{DAY, FAR, numbers};
use crate::analytics::settings::*;
use crate::decoder::settings::TimeUnit;
use crate::decoder::time;
use crate::reading::SECOND;

pub(super) fn forecast(
    r: &TableReader<'_, '_>,
    note: &mut impl FnMut(&'static str, &Spot),
) -> ForecastPatch {
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
        &[
            ("auto", Seasonal::Auto),
            ("additive", Seasonal::Additive),
            ("multiplicative", Seasonal::Multiplicative),
            ("none", Seasonal::None),
        ],
        &[],
    );
    let horizon = r.duration("horizon", SECOND..=FAR, "24h");
    let nominal = r.number("nominal", |p| p > 0.0 && p < 1.0, "in (0, 1)", "0.95");
    let (smoothing, smoothing_auto) = match is_auto(&r, "smoothing") {
        true => (None, Some(true)),
        false => (smoothing(&r), None),
    };
    let log = log(&r);
    let robust = r.boolean("robust");
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
        season_auto: season.as_ref().map(|at| at.value.1),
        season: season.map(|at| at.value.0),
        trend: trend.map(|at| at.value),
        seasonal: seasonal.map(|at| at.value),
        horizon: horizon.map(|at| at.value),
        nominal: nominal.map(|at| at.value),
        smoothing,
        smoothing_auto,
        log,
        robust: robust.map(|at| at.value),
        initial: initial.map(|at| at.value),
    }
}

/// True for `key = "auto"`.
fn is_auto(r: &TableReader<'_, '_>, key: &'static str) -> bool {
    r.has(key)
        && r.any(key).is_some_and(|at| matches!(&at.value.value, Value::Text(t) if t == "auto"))
}

fn log(r: &TableReader<'_, '_>) -> Option<Log> {
    let at = r.any("log")?;
    match &at.value.value {
        Value::Boolean(true) => Some(Log::Always),
        Value::Boolean(false) => Some(Log::Never),
        Value::Text(text) if text == "auto" => Some(Log::Auto),
        _ => {
            r.wrong(&at, "true, false or \"auto\"", "\"auto\"");
            None
        }
    }
}

/// The seasons, and whether they are only considered.
fn season(r: &TableReader<'_, '_>) -> Option<At<(Vec<i64>, bool)>> {
    let at = r.any("season")?;
    if matches!(&at.value.value, Value::Text(text) if text == "auto") {
        let seasons = ForecastSettings::default().season;
        return Some(At { value: (seasons, true), spot: at.spot });
    }
    let Value::Array(nodes) = &at.value.value else {
        r.wrong(&at, "a list of durations, or \"auto\"", "[\"1d\"]");
        return None;
    };
    if nodes.len() > 2 {
        let what = "at most two seasons can be modelled";
        r.cx.fault(&at.spot, what, "keep the strongest, e.g. [\"1d\", \"7d\"]");
        return None;
    }
    let mut seasons = Vec::new();
    for node in nodes {
        let spot = Spot { place: node.place, path: at.spot.path.clone() };
        let element = At { value: node, spot };
        seasons.push(r.duration_of(&element, 2 * SECOND..=FAR, "1d")?);
    }
    Some(At { value: (seasons, false), spot: at.spot })
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
    let used = limit + gamma.as_ref().map_or(0.0, |at| at.value);
    let omega = r.number(
        "omega",
        |o| o >= 0.0 && o + used <= 1.0 + 1e-12,
        "in [0, 1 - alpha - gamma]",
        "0.1",
    );
    let rho = r.number("rho", |p| (0.0..1.0).contains(&p), "in [0, 1)", "0.5");
    let phi = r.number("phi", |p| p > 0.0 && p <= 1.0, "in (0, 1]", "0.98");
    let or = |at: Option<At<f64>>, default| at.map_or(default, |at| at.value);
    Some(Smoothing {
        alpha: alpha?.value,
        beta: or(beta, 0.0),
        gamma: or(gamma, 0.0),
        omega: or(omega, 0.0),
        phi: or(phi, 1.0),
        rho: or(rho, 0.0),
    })
}

fn resumed(r: &TableReader<'_, '_>) -> Option<ForecastResumed> {
    let example = "\"2026-03-01T00:00:00Z\"";
    let text = r.text("at", example)?;
    let at = time::parse(&text.value, TimeUnit::Rfc3339);
    if at.is_none() {
        r.cx.fault(&text.spot, "must be a time (RFC 3339)", format!("write e.g. {example}"));
    }
    if !r.has("sd") {
        r.missing("sd", "0.5");
    }
    let sd = r.number("sd", |sd| (1e-150..=1e140).contains(&sd), "above 0", "0.5");
    let longer = r.numbers("longer", "[0.5, -0.5]");
    Some(ForecastResumed {
        at: at?.nanos(),
        longer: longer.map(|at| numbers(at.value)).unwrap_or_default(),
        sd: sd?.value,
        smoothing: smoothing(r),
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
    let resumed = match r.has("at") {
        true => Some(resumed(&r)?),
        false => {
            for key in ["longer", "sd", "smoothing"] {
                if let Some(at) = r.has(key).then(|| r.any(key)).flatten() {
                    let what = "says something only together with at";
                    r.cx.fault(&at.spot, what, "write e.g. at = \"2026-03-01T00:00:00Z\"");
                }
            }
            None
        }
    };
    let value = ForecastInitial {
        resumed,
        level: level?.value,
        trend: trend.map_or(0.0, |at| at.value),
        season: season.map(|at| numbers(at.value)).unwrap_or_default(),
    };
    Some(At { value, spot: r.here().clone() })
}
