//! Numbers from outside, through the production recursion and through the whole forecaster.
//! Conventions: `tests/data/README.md`.

use serde_json::Value;

use crate::analytics::holt_winters::calendar::{UTC, phase};
use crate::analytics::holt_winters::recursion::{Components, Parameters, Season, variance_factors};
use crate::analytics::holt_winters::search::minimise;
use crate::analytics::holt_winters::{Forecast, ForecastPlan, Forecaster};
use crate::analytics::settings::{
    ForecastInitial, ForecastSettings, Log, Seasonal, Smoothing, Trend,
};
use crate::batch::window::Zone;
use crate::reading::{EventTime, Finite, SECOND};

const ADDITIVE_SEASON_OR_NONE: [&str; 7] = [
    "aaa_co2",
    "aaa_co2_missing",
    "aada_co2",
    "ana_ldeaths",
    "holt_www",
    "holt_damped_www",
    "ses_nile",
];

const MULTIPLICATIVE: [&str; 3] = ["aam_airpassengers", "aadm_airpassengers", "anm_ukgas"];

fn read(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference/holt_winters");
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list(value: &Value) -> Vec<Option<f64>> {
    value.as_array().map(|a| a.iter().map(Value::as_f64).collect()).unwrap_or_default()
}

/// A list without holes.
fn numbers(value: &Value) -> Vec<f64> {
    list(value).into_iter().map(Option::unwrap).collect()
}

/// Compares two lists, relative to max(|value|, 1e-6 × the largest |value|).
fn assert_close(what: &str, got: &[Option<f64>], expected: &[Option<f64>], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    assert!(!got.is_empty(), "{what}");
    let largest = expected.iter().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
    for (i, pair) in got.iter().zip(expected).enumerate() {
        match pair {
            (None, None) => {}
            (Some(got), Some(expected)) => {
                let scale = expected.abs().max(1e-6 * largest);
                let difference = (got - expected).abs();
                assert!(
                    difference <= tolerance * scale,
                    "{what}[{i}]: {got}, expected {expected}, {:e}",
                    difference / scale
                );
            }
            _ => panic!("{what}[{i}]: {pair:?}"),
        }
    }
}

fn some(values: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
    values.into_iter().map(Some).collect()
}

/// A run of the recursion over `y`, slot numbers from `first` on.
#[derive(Default)]
struct Path {
    predicted: Vec<Option<f64>>,
    error: Vec<Option<f64>>,
    level: Vec<Option<f64>>,
    trend: Vec<Option<f64>>,
    season: Vec<Option<f64>>,
    /// Season factor before each slot.
    season_used: Vec<Option<f64>>,
}

fn factor(states: &Components, slot: i64) -> f64 {
    match &states.season {
        Season::None => 0.0,
        Season::Additive(factors) | Season::Multiplicative(factors) => {
            factors[phase(slot, factors.len())]
        }
        Season::Double(..) => unreachable!("no reference has two seasons"),
    }
}

fn run(states: &mut Components, p: &Parameters, first: i64, y: &[Option<f64>]) -> Path {
    let mut path = Path::default();
    for (slot, &y) in (first..).zip(y) {
        path.season_used.push(Some(factor(states, slot)));
        let step = states.step(p, UTC.slot(slot), y);
        path.predicted.push(Some(step.predicted));
        path.error.push(step.error);
        path.level.push(Some(states.level));
        path.trend.push(Some(states.trend));
        path.season.push(Some(factor(states, slot)));
    }
    path
}

/// Factors rotated so that `list[0]` belongs to slot `first`.
fn season(mut list: Vec<f64>, first: i64, multiplicative: bool) -> Season {
    if list.is_empty() {
        return Season::None;
    }
    let m = list.len();
    list.rotate_right(phase(first, m));
    if multiplicative { Season::Multiplicative(list) } else { Season::Additive(list) }
}

/// Parameters and start states of an ETS file.
fn ets(file: &Value, first: i64) -> (Parameters, Components, usize) {
    let number = |v: &Value| v.as_f64().unwrap_or(0.0);
    let p = &file["params"];
    let has_trend = file["trend"].is_string();
    let parameters = Parameters {
        alpha: number(&p["alpha"]),
        beta: number(&p["beta"]),
        gamma: number(&p["gamma"]),
        phi: if has_trend { number(&p["phi"]) } else { 0.0 },
        ..Parameters::default()
    };
    let initial = &file["initial"];
    let factors = numbers(&initial["season"]);
    let m = factors.len();
    let states = Components {
        level: number(&initial["level"]),
        trend: number(&initial["trend"]),
        season: season(factors, first, file["seasonal"] == "multiplicative"),
        residual: 0.0,
    };
    (parameters, states, m)
}

#[test]
fn recursion_follows_the_reference_path() {
    for name in ADDITIVE_SEASON_OR_NONE.into_iter().chain(MULTIPLICATIVE) {
        for first in [0, 5, -7] {
            let file = read(name);
            let (p, mut states, m) = ets(&file, first);
            let y = list(&file["y"]);
            let expected = &file["expected"];
            let path = run(&mut states, &p, first, &y);
            let compare = |what: &str, got: &[Option<f64>]| {
                assert_close(&format!("{name} {what}"), got, &list(&expected[what]), 1e-10);
            };
            compare("one_step", &path.predicted);
            compare("level", &path.level);
            if p.phi > 0.0 {
                compare("trend", &path.trend);
            }
            if m > 0 {
                compare("season", &path.season);
            }
            // Errors are differences of nearly equal numbers: against the size of these.
            let largest = y.iter().flatten().fold(0.0_f64, |a, v| a.max(v.abs()));
            let errors = list(&expected["error"]);
            assert_eq!(path.error.len(), errors.len());
            for (got, expected) in path.error.iter().zip(&errors) {
                assert_eq!(got.is_some(), expected.is_some());
                let difference = got.unwrap_or(0.0) - expected.unwrap_or(0.0);
                assert!(difference.abs() <= 1e-12 * largest, "{name}: {difference}");
            }

            let horizon = file["horizon"].as_u64().unwrap() as usize;
            let next = first + y.len() as i64;
            let points = some(states.points(&p, UTC.slot(next)).take(horizon));
            compare("forecast", &points);
            let sse: f64 = path.error.iter().flatten().map(|e| e * e).sum();
            let n = path.error.iter().flatten().count() as f64;
            assert_close("sse", &[Some(sse)], &[expected["sse"].as_f64()], 1e-10);
            assert_eq!(Some(n), expected["n_obs"].as_f64());
            if file["seasonal"] == "multiplicative" {
                continue;
            }
            let variances = variance_factors(&p, (m, 0), 0.0).take(horizon).map(|v| v * sse / n);
            compare("forecast_variance", &some(variances));
        }
    }
}

/// Feeds `y` with one reading per slot and closes the last slot.
fn feed(plan: &ForecastPlan, first: i64, y: &[Option<f64>]) -> Forecaster {
    let mut forecaster = Forecaster::new();
    let close_last = Some(0.0);
    for (slot, y) in (first..).zip(y.iter().chain([&close_last])) {
        if let Some(y) = y {
            let time = EventTime::from_nanos(slot * plan.step() + slot.rem_euclid(7)).unwrap();
            forecaster.observe(plan, time, Finite::new(*y).unwrap());
        }
    }
    forecaster
}

fn settings(file: &Value) -> ForecastSettings {
    let (p, _, m) = ets(file, 0);
    let initial = &file["initial"];
    let damped = file["damped"].as_bool().unwrap();
    ForecastSettings {
        step: 60 * SECOND,
        season: if m > 0 { vec![m as i64 * 60 * SECOND] } else { Vec::new() },
        trend: match (p.phi > 0.0, damped) {
            (false, _) => Trend::None,
            (true, false) => Trend::Additive,
            (true, true) => Trend::Damped,
        },
        seasonal: match (m, file["seasonal"] == "multiplicative") {
            (0, _) => Seasonal::None,
            (_, true) => Seasonal::Multiplicative,
            (_, false) => Seasonal::Additive,
        },
        horizon: file["horizon"].as_i64().unwrap() * 60 * SECOND,
        nominal: 0.95,
        smoothing: Some(Smoothing {
            alpha: p.alpha,
            beta: p.beta,
            gamma: p.gamma,
            omega: 0.0,
            rho: 0.0,
            phi: if damped { p.phi } else { 1.0 },
        }),
        season_auto: false,
        log: Log::Never,
        robust: true,
        initial: Some(ForecastInitial {
            level: initial["level"].as_f64().unwrap(),
            trend: initial["trend"].as_f64().unwrap_or(0.0),
            season: numbers(&initial["season"]),
            resumed: None,
        }),
    }
}

#[test]
fn forecaster_from_given_states_gives_the_reference_forecast() {
    for name in ADDITIVE_SEASON_OR_NONE.into_iter().chain(MULTIPLICATIVE) {
        for first in [28_000_000, -3] {
            let file = read(name);
            let plan = ForecastPlan::new(&settings(&file), &Zone::utc());
            let y = list(&file["y"]);
            let forecaster = feed(&plan, first, &y);
            let expected = &file["expected"];

            let sum = forecaster.model().errors().sum;
            assert_close(name, &[Some(sum)], &[expected["sse"].as_f64()], 1e-10);
            assert_eq!(Some(forecaster.model().errors().weight), expected["n_obs"].as_f64());
            let level = forecaster.model().components().unwrap().level;
            assert_close(name, &[Some(level)], &list(&expected["level"])[y.len() - 1..], 1e-10);

            let Forecast { origin, step, nominal, mean, lower, upper, model, .. } =
                forecaster.forecast(&plan).unwrap();
            assert_eq!(origin.nanos(), (first + y.len() as i64) * step);
            assert_eq!((step, nominal), (60 * SECOND, 0.95));
            let seasonal = file["seasonal"].is_string();
            let trend = file["trend"].is_string();
            assert_eq!(
                model,
                match (seasonal, trend) {
                    (true, _) => "holt-winters",
                    (false, true) => "holt",
                    (false, false) => "ses",
                }
            );
            assert_close(name, &some(mean), &list(&expected["forecast"]), 1e-10);
            if file["seasonal"] == "multiplicative" {
                continue;
            }
            assert_close(name, &some(lower), &list(&expected["lower95"]), 1e-10);
            assert_close(name, &some(upper), &list(&expected["upper95"]), 1e-10);
        }
    }
}

/// R's stats::HoltWinters, additive entries: beta = alpha·beta*, gamma = gamma_R·(1 − alpha).
#[test]
fn recursion_follows_r_holtwinters() {
    let file = read("r_holtwinters_optimised");
    let mut checked = 0;
    for entry in file.as_array().unwrap() {
        let variant = entry["variant"].as_str().unwrap();
        if variant == "multiplicative" {
            continue;
        }
        let name = format!("{} {variant}", entry["series"]);
        let alpha = entry["alpha"].as_f64().unwrap();
        let has_trend = entry["beta"].is_number();
        let p = Parameters {
            alpha,
            beta: alpha * entry["beta"].as_f64().unwrap_or(0.0),
            gamma: entry["gamma"].as_f64().unwrap_or(0.0) * (1.0 - alpha),
            phi: if has_trend { 1.0 } else { 0.0 },
            ..Parameters::default()
        };
        let start = &entry["start"];
        let index = start["first_scored_index"].as_u64().unwrap() as usize;
        let factors = numbers(&start["season"]);
        let m = factors.len();
        let mut states = Components {
            level: start["level"].as_f64().unwrap(),
            trend: start["trend"].as_f64().unwrap(),
            season: season(factors, index as i64, false),
            residual: 0.0,
        };
        let before = states.clone();
        let y = list(&entry["y"]);
        let path = run(&mut states, &p, index as i64, &y[index..]);
        assert_close(&name, &path.predicted, &list(&entry["xhat"]), 1e-9);
        // R lists the states used for each forecast: one slot before those after it.
        let used = |first: f64, after: &[Option<f64>]| -> Vec<Option<f64>> {
            [Some(first)].into_iter().chain(after[..after.len() - 1].iter().copied()).collect()
        };
        assert_close(&name, &used(before.level, &path.level), &list(&entry["level"]), 1e-9);
        if has_trend {
            assert_close(&name, &used(before.trend, &path.trend), &list(&entry["trend"]), 1e-9);
        }
        if m > 0 {
            assert_close(&name, &path.season_used, &list(&entry["season"]), 1e-9);
        }
        let sse: f64 = path.error.iter().flatten().map(|e| e * e).sum();
        assert_close(&name, &[Some(sse)], &[entry["SSE"].as_f64()], 1e-9);
        let points = some(states.points(&p, UTC.slot(y.len() as i64)).take(12));
        assert_close(&name, &points, &list(&entry["forecast"]), 1e-9);
        checked += 1;
    }
    assert_eq!(checked, 5);
}

/// R's forecast::ets: additive error, and the path of the models with multiplicative
/// error and season. The error's kind changes what the parameters multiply, which for
/// M,*,M comes to the same recursion.
#[test]
fn recursion_follows_r_ets() {
    let file = read("r_ets_optimised");
    let mut checked = 0;
    for entry in file.as_array().unwrap() {
        let model = entry["model"].as_str().unwrap();
        let name = format!("{} {model}", entry["series"]);
        let (par, start) = (&entry["par"], &entry["initstate"]);
        let has_trend = start["b"].is_number();
        let p = Parameters {
            alpha: par["alpha"].as_f64().unwrap(),
            beta: par["beta"].as_f64().unwrap_or(0.0),
            gamma: par["gamma"].as_f64().unwrap_or(0.0),
            phi: if has_trend { par["phi"].as_f64().unwrap_or(1.0) } else { 0.0 },
            ..Parameters::default()
        };
        // s1 is the newest factor: the first observation uses the last of the list.
        let factors: Vec<f64> =
            (1..).map_while(|i| start[format!("s{i}")].as_f64()).collect::<Vec<_>>();
        let m = factors.len();
        let mut states = Components {
            level: start["l"].as_f64().unwrap(),
            trend: start["b"].as_f64().unwrap_or(0.0),
            season: season(factors.into_iter().rev().collect(), 0, model.ends_with("M)")),
            residual: 0.0,
        };
        let y = list(&entry["y"]);
        let path = run(&mut states, &p, 0, &y);
        assert_close(&name, &path.predicted, &list(&entry["fitted"]), 1e-9);

        checked += 1;
        if model.starts_with("ETS(M") {
            // R's forecast there is the mean of a product of random variables, not the path's end.
            let last = &entry["states_last"];
            assert_close(&name, &[Some(states.level)], &[last["l"].as_f64()], 1e-9);
            continue;
        }
        let points: Vec<f64> = states.points(&p, UTC.slot(y.len() as i64)).take(24).collect();
        assert_close(&name, &some(points.iter().copied()), &list(&entry["forecast"])[..24], 1e-9);
        // forecast 8.20 adds gamma one slot early in A,N,A intervals.
        let tolerance = if model == "ETS(A,N,A)" { 1e-3 } else { 1e-8 };
        let sigma2 = entry["sigma2"].as_f64().unwrap();
        let z = 1.959_963_984_540_054_3;
        for (bound, sign) in [("lower95", -1.0), ("upper95", 1.0)] {
            let ends = points.iter().zip(variance_factors(&p, (m, 0), 0.0));
            let ends = ends.map(|(mean, v)| mean + sign * z * (sigma2 * v).sqrt());
            assert_close(&name, &some(ends), &list(&entry[bound])[..24], tolerance);
        }
    }
    assert_eq!(checked, file.as_array().unwrap().len());
}

/// R's stats::HoltWinters from its own start states with (alpha, beta\*, gamma): one-step forecasts and their
/// sum of squared errors. A filter of its own for the multiplicative season (the factor is updated from
/// y/l'), so it stands here and not in the product.
fn r_holt_winters(entry: &Value, y: &[f64], parameters: &[f64; 3]) -> (Vec<f64>, f64) {
    let [alpha, beta, gamma] = *parameters;
    let start = &entry["start"];
    let multiplicative = entry["variant"] == "multiplicative";
    let has_trend = entry["beta"].is_number();
    let mut factors = numbers(&start["season"]);
    let neutral = if multiplicative { 1.0 } else { 0.0 };
    if factors.is_empty() {
        factors.push(neutral);
    }
    let seasonal = entry["gamma"].is_number();
    let m = factors.len();
    let (mut l, mut b) = (start["level"].as_f64().unwrap(), start["trend"].as_f64().unwrap());
    let index = start["first_scored_index"].as_u64().unwrap() as usize;
    let (mut predicted, mut sse) = (Vec::new(), 0.0);
    for (t, &y) in y[index..].iter().enumerate() {
        let s = factors[t % m];
        let yhat = if multiplicative { (l + b) * s } else { l + b + s };
        predicted.push(yhat);
        sse += (y - yhat) * (y - yhat);
        let adjusted = if multiplicative { y / s } else { y - s };
        let level = alpha * adjusted + (1.0 - alpha) * (l + b);
        if has_trend {
            b = beta * (level - l) + (1.0 - beta) * b;
        }
        l = level;
        if seasonal {
            let now = if multiplicative { y / l } else { y - l };
            factors[t % m] = gamma * now + (1.0 - gamma) * s;
        }
    }
    (predicted, sse)
}

#[test]
fn own_search_finds_the_best_known_errors() {
    let file = read("r_holtwinters_optimised");
    for entry in file.as_array().unwrap() {
        let name = format!("{} {}", entry["series"], entry["variant"]);
        let y = numbers(&entry["y"]);
        let number = |key: &str| entry[key].as_f64().unwrap_or(0.0);
        // The recursion here is R's: its parameters give its path.
        let (path, sse) =
            r_holt_winters(entry, &y, &[number("alpha"), number("beta"), number("gamma")]);
        assert_close(&name, &some(path), &list(&entry["xhat"]), 1e-9);
        assert_close(&name, &[Some(sse)], &[entry["SSE"].as_f64()], 1e-9);
        let free = |key: &str| if entry[key].is_number() { (0.0, 1.0) } else { (0.0, 0.0) };
        let bounds = [(0.0, 1.0), free("beta"), free("gamma")];
        let (at, found) = minimise(&bounds, &STARTS, 200, |p| r_holt_winters(entry, &y, p).1);
        let best = entry["best_known"]["SSE"].as_f64().unwrap();
        assert!(found <= 1.001 * best, "{name}: {found} at {at:?}, best known {best}");
    }
}

/// Quick and slow level, trend and season.
const STARTS: [[f64; 3]; 3] = [[0.3, 0.1, 0.1], [0.8, 0.5, 0.5], [0.05, 0.05, 0.5]];
