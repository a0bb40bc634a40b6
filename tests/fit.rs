//! `weir fit` through the real command: what it prints is a configuration, and finds what made the series.

#[path = "fit/synthetic.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use synthetic::{INTERVAL, Random, csv, values};
use weir::analytics::holt_winters::{ForecastPlan, Forecaster, learn};
use weir::analytics::settings::{
    ForecastSettings, KalmanModel, KindSetting, Seasonal, Settings, Trend,
};
use weir::batch::window::Zone;
use weir::config::Config;
use weir::reading::{EventTime, Finite};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");
const HOUR: i64 = 3600;
const DAY_NANOS: i64 = 86_400_000_000_000;

fn weir(folder: &Path, args: &[&str]) -> Output {
    Command::new(WEIR).current_dir(folder).args(args).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The printed profile, and the settings that it gives the series.
fn fitted(series: &str, args: &[&str]) -> (String, Settings) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("recorded.csv"), series).unwrap();
    std::fs::write(folder.path().join("weir.toml"), "").unwrap();
    let args = [&["fit", "recorded.csv", "--config", "weir.toml"], args].concat();
    let output = weir(folder.path(), &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let toml = text(&output.stdout);
    let settings = Config::from_text(&toml).unwrap_or_else(|f| panic!("{f}\n{toml}"));
    (toml, settings.settings("d", "m"))
}

/// Hourly values.
fn hourly(make: impl FnMut(usize) -> f64, count: usize) -> String {
    csv("d", "m", HOUR, &(0..count).map(make).collect::<Vec<f64>>())
}

/// `/started` is the geometric mean of a row's errors and interval scores over the first row's: so the columns
/// are in one unit, whatever the model.
fn rows_compare_as_they_are_told(table: &str) {
    let rows = table.lines().skip_while(|line| !line.contains("next slot, horizon")).skip(1);
    let rows: Vec<Vec<f64>> = rows
        .map(|row| row.split_whitespace().rev().map_while(|word| word.parse().ok()).collect())
        .filter(|row: &Vec<f64>| row.len() >= 8)
        .collect();
    assert!(rows.len() > 5, "{table}");
    for row in &rows {
        // From the right: /seen, /started, two scores, two coverages, two errors.
        let ratio: f64 = [2, 3, 6, 7].map(|i| row[i] / rows[0][i]).into_iter().product();
        assert!((ratio.powf(0.25) / row[1] - 1.0).abs() < 0.01, "{row:?}\n{table}");
    }
}

#[test]
fn the_profile_is_a_configuration_and_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let series = csv("boiler \"3\"", "water.temp", INTERVAL, &values("daily", 1, 96 * 14));
    let series = series.replace("boiler \"3\"", "\"boiler \"\"3\"\"\"");
    std::fs::write(at.join("recorded.csv"), series).unwrap();
    std::fs::write(at.join("weir.toml"), "[http]\nlisten = \"off\"\n").unwrap();
    std::fs::create_dir(at.join("conf.d")).unwrap();
    let fit = || weir(at, &["fit", "recorded.csv", "--config", "weir.toml"]);
    let first = fit();
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), text(&fit().stdout));
    let table = text(&first.stderr);
    assert!(table.contains("log density"), "{table}");
    rows_compare_as_they_are_told(&table);

    std::fs::write(at.join("conf.d/10-fit.toml"), &first.stdout).unwrap();
    let check = weir(at, &["check", "--config", "weir.toml"]);
    assert!(check.status.success(), "{}\n{}", text(&check.stderr), text(&first.stdout));
    let args = ["explain", "--config", "weir.toml", "boiler \"3\"", "water.temp"];
    let explained = text(&weir(at, &args).stdout);
    for key in ["kalman.observation_sd", "forecast.season", "forecast.initial"] {
        let from_fit = |line: &str| line.contains(key) && line.contains("10-fit.toml");
        assert!(explained.lines().any(from_fit), "{key}\n{explained}");
    }
    let again = weir(at, &["fit", "recorded.csv", "--config", "weir.toml", "-q", "-o", "out.toml"]);
    assert!(again.status.success() && again.stdout.is_empty() && again.stderr.is_empty());
    // The configuration now has what was found, so the table is another; the file is a profile all the same.
    Config::from_text(&std::fs::read_to_string(at.join("out.toml")).unwrap()).unwrap();
}

#[test]
fn the_noise_of_a_local_level_is_found() {
    // r = 1, q = 0.1 a reading: the ratio is known.
    let (toml, settings) = fitted(&csv("d", "m", INTERVAL, &values("level", 5, 8000)), &[]);
    let kalman = &settings.kalman;
    assert_eq!(kalman.model, KalmanModel::Level, "{toml}");
    let (r, q) = (kalman.observation_sd.unwrap(), kalman.level_sd.unwrap());
    let ratio = q * q * INTERVAL as f64 / 3600.0 / (r * r);
    assert!((ratio / 0.1 - 1.0).abs() < 0.15, "q/r {ratio}\n{toml}");
    assert!((r - 1.0).abs() < 0.05, "{r}");
}

#[test]
fn a_level_that_returns_to_its_mean_is_found() {
    let (toml, settings) = fitted(&csv("d", "m", INTERVAL, &values("decay", 3, 6000)), &[]);
    let kalman = &settings.kalman;
    assert_eq!(kalman.model, KalmanModel::Decay, "{toml}");
    // φ = 0.97 a reading is τ = 29,548 s; the grid is of factors of two.
    let tau = kalman.tau.unwrap() as f64 / 1e9;
    assert!((15_000.0..60_000.0).contains(&tau), "{tau}");
    assert!((kalman.mean.unwrap() - 20.0).abs() < 1.0, "{toml}");
}

#[test]
fn day_and_week_are_found() {
    let series = csv("d", "m", INTERVAL, &values("daily-weekly", 2, 96 * 42));
    let (toml, settings) = fitted(&series, &[]);
    let forecast = settings.forecast.unwrap();
    assert_eq!(forecast.season, [DAY_NANOS, 7 * DAY_NANOS], "{toml}");
    assert!(!forecast.season_auto && forecast.seasonal != Seasonal::None);
    let initial = forecast.initial.expect("states to go on from");
    assert_eq!((initial.season.len(), initial.longer().len()), (24, 168));
}

#[test]
fn a_daily_season_is_found() {
    let (toml, settings) = fitted(&csv("d", "m", INTERVAL, &values("daily", 3, 96 * 21)), &[]);
    assert_eq!(settings.forecast.unwrap().season[0], DAY_NANOS, "{toml}");
}

#[test]
fn a_damped_trend_is_found() {
    // Innovations form: alpha 0.6, beta 0.3, phi 0.9, for which the level goes on as it went.
    let mut random = Random(11);
    let (mut level, mut trend) = (100.0, 0.0);
    let make = |_| {
        let e = random.normal();
        let y = level + 0.9 * trend + e;
        level += 0.9 * trend + 0.6 * e;
        trend = 0.9 * trend + 0.3 * e;
        y
    };
    let (toml, settings) = fitted(&hourly(make, 1500), &[]);
    let forecast = settings.forecast.unwrap();
    assert_eq!(forecast.trend, Trend::Damped, "{toml}");
    let smoothing = forecast.initial.unwrap().resumed.unwrap().smoothing.unwrap();
    assert!((0.8..0.97).contains(&smoothing.phi), "{toml}");
}

#[test]
fn a_counter_and_a_door_are_found() {
    let (toml, settings) = fitted(&csv("d", "m", INTERVAL, &values("counter", 4, 96 * 14)), &[]);
    assert_eq!(settings.kind, KindSetting::Counter, "{toml}");
    assert!(settings.forecast.unwrap().initial.is_some(), "its rate is forecast\n{toml}");
    let (toml, settings) = fitted(&hourly(|t| f64::from(t % 7 == 0), 400), &[]);
    assert_eq!(settings.kind, KindSetting::State, "{toml}");
}

#[test]
fn the_horizon_is_what_was_asked_for() {
    let series = csv("d", "m", INTERVAL, &values("daily", 6, 96 * 14));
    let (toml, settings) = fitted(&series, &["--horizon", "48h"]);
    assert_eq!(settings.forecast.unwrap().horizon, 2 * DAY_NANOS, "{toml}");
}

#[test]
fn series_are_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let one = csv("a", "m", INTERVAL, &values("daily", 6, 960));
    let two = csv("b", "n", INTERVAL, &values("daily", 7, 960));
    let both = format!("{one}{}", two.split_once('\n').unwrap().1);
    std::fs::write(folder.path().join("r.csv"), both).unwrap();
    std::fs::write(folder.path().join("weir.toml"), "").unwrap();
    let fit = |args: &[&str]| {
        let args = [&["fit", "r.csv", "-q", "--config", "weir.toml"], args].concat();
        weir(folder.path(), &args)
    };
    let only = text(&fit(&["--only", "b*"]).stdout);
    assert!(only.contains("device = \"b\"") && !only.contains("device = \"a\""), "{only}");
    let metric = text(&fit(&["--metric", "m"]).stdout);
    assert!(metric.contains("device = \"a\"") && !metric.contains("device = \"b\""), "{metric}");
    let none = fit(&["--metric", "x"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("--metric"), "{}", text(&none.stderr));
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let constant = hourly(|_| 5.0, 300);
    let short = hourly(|t| t as f64 * 0.37, 40);
    let one = hourly(|_| 1.5, 1);
    let cases = [
        (short.as_str(), "too short: 40 readings, at least 80 are needed"),
        (constant.as_str(), "The defaults stand"),
        (one.as_str(), "at least 80 are needed"),
        ("time,value\n", "has no reading"),
        ("", "is empty"),
        ("time,value\nyesterday,1\n", "has no reading"),
        ("rubbish\n1,2,3\n", "time"),
    ];
    for (series, says) in cases {
        std::fs::write(folder.path().join("r.csv"), series).unwrap();
        std::fs::write(folder.path().join("weir.toml"), "").unwrap();
        let output = weir(folder.path(), &["fit", "r.csv", "--config", "weir.toml"]);
        let err = text(&output.stderr);
        let out = text(&output.stdout);
        assert!(err.contains(says) || out.contains(says), "{says}\n{err}\n{out}");
        assert!(!err.contains("panicked"), "{err}");
    }
    let missing = weir(folder.path(), &["fit", "none.csv", "--config", "weir.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(weir(folder.path(), &["fit"]).status.code(), Some(2));
}

#[test]
fn extreme_values_and_times_do_not_panic() {
    let mut random = Random(2);
    let wild = |t: usize| match t % 5 {
        0 => 1e300 * random.normal(),
        1 => -1e-300,
        2 => 0.0,
        3 => f64::MAX,
        _ => random.normal(),
    };
    let values: Vec<f64> = (0..400).map(wild).collect();
    let mut series = "time,device,metric,value\n".to_owned();
    for (t, value) in values.iter().enumerate() {
        // Back and forth, with gaps of years.
        let time = (t as i64 % 3) * 100_000_000 + t as i64 * 10 - (t as i64 % 2) * 5000 + 1_000_000;
        series.push_str(&format!("{time},d,m,{value:e}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.csv"), series).unwrap();
    std::fs::write(folder.path().join("weir.toml"), "").unwrap();
    let output = weir(folder.path(), &["fit", "r.csv", "--config", "weir.toml"]);
    let err = text(&output.stderr);
    assert!(!err.contains("panicked"), "{err}");
    if output.status.success() {
        Config::from_text(&text(&output.stdout)).unwrap();
    }
}

#[test]
fn a_resumed_forecast_knows_its_season_wherever_it_begins() {
    resumed("UTC", synthetic::START / HOUR);
    // Berlin's clocks are put forward three weeks later, and back before the last that follows.
    resumed("Europe/Berlin", 1_743_289_200 / HOUR - 21 * 24);
    resumed("Europe/Berlin", 1_743_289_200 / HOUR - 28 * 24 - 20);
}

/// A series that keeps to the clocks of `zone`, learned over four weeks from slot `first` on.
fn resumed(zone: &str, first: i64) {
    const SLOT: i64 = HOUR * 1_000_000_000;
    let clock = jiff::tz::TimeZone::get(zone).unwrap();
    let y = |slot: i64| {
        let at = jiff::Timestamp::from_second(slot * HOUR).unwrap();
        let slot = slot + i64::from(clock.to_offset(at).seconds()) / HOUR;
        10.0 + 3.0 * libm::sin(std::f64::consts::TAU * (slot % 24) as f64 / 24.0)
            + if (slot / 24) % 7 >= 5 { 2.0 } else { 0.0 }
    };
    let zone = Zone::get(zone).unwrap();
    let history: Vec<f64> = (first..first + 24 * 28).map(y).collect();
    let settings = ForecastSettings {
        season: vec![DAY_NANOS, 7 * DAY_NANOS],
        season_auto: false,
        seasonal: Seasonal::Additive,
        trend: Trend::None,
        ..ForecastSettings::default()
    };
    let initial = learn(&settings, &zone, first, &history).unwrap();
    let plan = ForecastPlan::new(&ForecastSettings { initial: Some(initial), ..settings }, &zone);
    // 5 hours later, 40 later, and after so long that the level counts for nothing: then it is another one.
    for (away, shift) in [(5, 0.0), (40, 0.0), (24 * 7 * 20 + 3, 50.0)] {
        let mut forecaster = Forecaster::new();
        let begin = first + 24 * 28 + away;
        for slot in begin..begin + 3 {
            let time = EventTime::clamped(slot * SLOT);
            forecaster.observe(&plan, time, Finite::new(y(slot) + shift).unwrap());
            // A state written and read back goes on the same.
            let bytes = serde_cbor::to_vec(&forecaster).unwrap();
            let back: Forecaster = weir::cbor::from_slice(&bytes).unwrap();
            assert_eq!(back, forecaster);
        }
        let forecast = forecaster.forecast(&plan).expect("after two slots");
        assert_eq!(forecast.model, "double-seasonal");
        let next = forecast.origin.nanos() / SLOT;
        for (h, mean) in forecast.mean.iter().enumerate() {
            let truth = y(next + h as i64) + shift;
            // The weekly terms are learned from four weeks, shrunk.
            assert!((mean - truth).abs() < 0.5, "{away}, {h} ahead: {mean}, not {truth}");
        }
        assert!(forecaster.take_fit_job(&plan, 0).is_none(), "no search before it has seen enough");
    }
}

#[test]
fn a_recording_too_short_for_a_season_leaves_it_to_be_found() {
    const SLOT: i64 = HOUR * 1_000_000_000;
    let mut random = Random(17);
    let all: Vec<f64> = (0..24 * 14)
        .map(|t| {
            let day = libm::sin(std::f64::consts::TAU * f64::from(t % 24) / 24.0);
            20.0 + 5.0 * day + 0.2 * random.normal()
        })
        .collect();
    // Three readings an hour; less than two days of them are learned from.
    let recorded = 62;
    let readings: Vec<f64> =
        (0..3 * recorded).map(|i| all[i / 3] + 0.2 * random.normal()).collect();
    let (toml, settings) = fitted(&csv("d", "m", HOUR / 3, &readings), &[]);
    let settings = settings.forecast.unwrap();
    let initial = settings.initial.as_ref().expect("states to go on from");
    assert!(initial.is_without_season() && settings.season_auto, "{toml}");
    assert_eq!(settings.seasonal, Seasonal::Auto, "{toml}");

    let plan = ForecastPlan::new(&settings, &Zone::get("UTC").unwrap());
    let mut forecaster = Forecaster::new();
    let begin = synthetic::START / HOUR + recorded as i64;
    let mut first = None;
    for (slot, y) in (begin..).zip(&all[recorded..]) {
        let time = EventTime::clamped(slot * SLOT);
        forecaster.observe(&plan, time, Finite::new(*y).unwrap());
        let bytes = serde_cbor::to_vec(&forecaster).unwrap();
        assert_eq!(weir::cbor::from_slice::<Forecaster>(&bytes).unwrap(), forecaster);
        let model = forecaster.forecast(&plan).map(|forecast| forecast.model);
        first = first.or(model);
        if let Some(fit) = forecaster.take_fit_job(&plan, 0).and_then(|job| job.run()) {
            assert!(slot >= begin + 7 * 24, "not before it has seen a week of its own");
            assert!(forecaster.offer(fit));
        }
    }
    assert_eq!(first, Some("ses"), "the recording's");
    let forecast = forecaster.forecast(&plan).unwrap();
    for (h, mean) in forecast.mean.iter().enumerate() {
        let hour = (forecast.origin.nanos() / SLOT - synthetic::START / HOUR + h as i64) % 24;
        let truth = 20.0 + 5.0 * libm::sin(std::f64::consts::TAU * hour as f64 / 24.0);
        assert!((mean - truth).abs() < 0.6, "{h} ahead: {mean}, not {truth}");
    }
}

#[test]
fn states_to_go_on_from_are_checked() {
    let check = |initial: &str, says: &str| {
        let text = format!(
            "[[profile]]\nmatch = {{}}\nforecast.season = [\"2h\"]\nforecast.seasonal = \"additive\"\n\
             forecast.initial = {{ level = 1.0, season = [1.0, -1.0], {initial} }}\n"
        );
        match Config::from_text(&text) {
            Ok(_) => assert!(says.is_empty(), "{text}"),
            Err(faults) => {
                let faults = faults.to_string();
                assert!(!says.is_empty() && faults.contains(says), "{says}\n{faults}");
            }
        }
    };
    check("at = \"2026-01-01T00:00:00Z\", sd = 0.5", "");
    check("at = \"2026-01-01T00:00:00Z\", sd = 0.5, smoothing = { alpha = 0.2 }", "");
    check("at = \"yesterday\", sd = 0.5", "must be a time (RFC 3339)");
    check("at = \"2026-01-01T00:00:00Z\"", "sd");
    check("at = \"2026-01-01T00:00:00Z\", sd = 0.0", "above 0");
    check("at = \"2026-01-01T00:00:00Z\", sd = 0.5, longer = [1.0]", "initial.longer has 1 terms");
    check("sd = 0.5", "only together with at");
}

/// The example of README's section on recorded data, as it stands there.
#[test]
fn readmes_example_works_as_pasted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("weir fit ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("10-fit.toml");
    let line = lines[0].replace("tests/data", &root.join("tests/data").display().to_string());
    let line = line.replacen("weir", WEIR, 1).replace("10-fit.toml", profile.to_str().unwrap());
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let check = weir(folder.path(), &["check", "--config", "10-fit.toml"]);
    assert!(check.status.success(), "{}", text(&check.stderr));
    assert!(std::fs::read_to_string(profile).unwrap().contains("[[profile]]"));
}

/// Profiles against defaults on what they were not fitted to: every recorded series of the repository and two
/// synthetic ones of every kind. `make judge-fit` shows the table.
#[test]
#[ignore = "minutes; make judge-fit"]
fn judge() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/series");
    for entry in std::fs::read_dir(recorded).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.retain(|path| path.extension().is_some_and(|ending| ending == "csv"));
    files.sort();
    for kind in synthetic::KINDS {
        for seed in [1, 2] {
            let path = folder.path().join(format!("{kind}-{seed}.csv"));
            let series =
                csv(&format!("{kind}-{seed}"), "m", INTERVAL, &values(kind, seed, 96 * 56));
            std::fs::write(&path, series).unwrap();
            files.push(path);
        }
    }
    std::fs::write(folder.path().join("weir.toml"), "").unwrap();
    let mut args = vec!["fit", "--judge", "--config", "weir.toml"];
    args.extend(files.iter().map(|path| path.to_str().unwrap()));
    let output = weir(folder.path(), &args);
    let table = text(&output.stdout);
    println!("{table}");
    assert!(output.status.success(), "{}", text(&output.stderr));
    // … series: cold 40 wins (… %), …
    let last = table.lines().last().unwrap();
    let mut numbers = last.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let (series, wins): (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(wins * 5 >= series * 4, "{last}");
}
