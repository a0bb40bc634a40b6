//! `weir replay` through the real command: numbers from outside (`tests/data/README.md`), real
//! series, faulty files.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;
#[path = "replay/shifts.rs"]
mod shifts;
#[path = "replay/vector.rs"]
mod vector;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn json(path: &str) -> Value {
    let path = data(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

struct Replayed {
    lines: Vec<Value>,
    summary: String,
}

impl Replayed {
    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["kind"] == kind).collect()
    }
}

fn command(folder: &Path, csv: &str, config: &str, args: &[&str]) -> Output {
    std::fs::write(folder.join("recorded.csv"), csv).unwrap();
    std::fs::write(folder.join("weir.toml"), config).unwrap();
    program::weir()
        .current_dir(folder)
        .args(["replay", "recorded.csv", "--config", "weir.toml"])
        .args(args)
        .output()
        .expect("the command starts")
}

fn parsed(output: &Output) -> Replayed {
    let summary = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert!(output.status.success(), "{summary}");
    let lines = std::str::from_utf8(&output.stdout).expect("UTF-8").lines();
    let lines = lines.map(|line| {
        assert!(line.starts_with(r#"{"kind":""#), "kind comes first: {line}");
        serde_json::from_str(line).expect("JSON")
    });
    Replayed { lines: lines.collect(), summary }
}

fn replay(csv: &str, config: &str, args: &[&str]) -> Replayed {
    let folder = tempfile::tempdir().unwrap();
    parsed(&command(folder.path(), csv, config, args))
}

/// Numbers of nested lists, in order; `None` for null.
fn flat(value: &Value) -> Vec<Option<f64>> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64()],
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    flat(value).into_iter().map(|number| number.expect("a number")).collect()
}

/// Relative to max(|value|, 1e-6 × the largest |value| of the quantity), as the README has it.
fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    assert!(!expected.is_empty(), "{what}: nothing compared");
    let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = (a - e).abs() / e.abs().max(1e-6 * largest);
        assert!(error <= tolerance, "{what}[{i}]: {a}, not {e} ({error:e})");
    }
}

/// A file of `tests/data/reference/kalman` through the command. `kalman`: the model and its noise
/// as TOML; `step_s`: seconds between readings where the file has no times.
fn kalman(name: &str, kalman: &str, step_s: f64) {
    let file = json(&format!("reference/kalman/{name}.json"));
    let readings: Vec<Option<f64>> = flat(&file["y"]);
    let times = match &file["time_s"] {
        Value::Null => (0..readings.len()).map(|t| t as f64 * step_s).collect(),
        times => numbers(times),
    };
    let mut csv = "time,device,metric,value\n".to_owned();
    let mut observed = Vec::new();
    for (t, (time, reading)) in times.iter().zip(&readings).enumerate() {
        if let Some(reading) = reading {
            csv.push_str(&format!("{time:.3},d,m,{reading:?}\n"));
            observed.push(t);
        }
    }
    let (state, covariance) = (&file["model"]["a1"], &file["model"]["P1"]);
    let config = format!(
        "[[profile]]\nmatch = {{ device = \"*\" }}\nforecast = false\n\
         kalman = {{ {kalman}, gate = 1, initial = {{ state = {state}, covariance = {covariance} }} }}\n"
    );
    let replayed = replay(&csv, &config, &["--every-reading", "--full"]);
    let estimates = replayed.of_kind("estimate");
    assert_eq!(estimates.len(), observed.len(), "{name}: an estimate a reading");
    let expected = &file["expected"];
    for (quantity, field, tolerance) in [
        ("filt_state", "state", 1e-9),
        ("filt_cov", "covariance", 1e-8),
        ("innov", "innovation", 1e-9),
        ("nis", "nis", 1e-8),
        ("loglik_obs", "loglik", 1e-9),
    ] {
        let actual: Vec<f64> = estimates.iter().flat_map(|line| numbers(&line[field])).collect();
        let wanted: Vec<f64> =
            observed.iter().flat_map(|&t| numbers(&expected[quantity][t])).collect();
        assert_close(&format!("{name}: {field}"), &actual, &wanted, tolerance);
    }
    let total: f64 = estimates.iter().map(|line| line["loglik"].as_f64().expect("a number")).sum();
    assert_close(name, &[total], &[expected["loglik"].as_f64().expect("a number")], 1e-9);
    for line in estimates {
        assert_eq!(line["level"], line["state"][0], "{name}");
        assert_eq!(line["variance"], line["covariance"][0][0], "{name}");
        let score = line["score"].as_f64().expect("a number");
        assert!((0.0..=1.0).contains(&score), "{name}: score {score}");
    }
}

#[test]
fn level_with_irregular_readings_matches_the_reference() {
    let file = json("reference/kalman/level_irregular_dt.json");
    let number = |key: &str| file["params"][key].as_f64().expect("a number");
    let (q, r) = (number("q"), number("r"));
    // level_sd is of an hour's change.
    let (observation_sd, level_sd) = (r.sqrt(), (q * 3600.0).sqrt());
    let settings =
        format!("model = \"level\", observation_sd = {observation_sd:?}, level_sd = {level_sd:?}");
    kalman("level_irregular_dt", &settings, 1.0);
}

#[test]
fn nile_matches_durbin_and_koopman() {
    let (observation_sd, level_sd) = (15099.0_f64.sqrt(), 1469.1_f64.sqrt());
    let settings =
        format!("model = \"level\", observation_sd = {observation_sd:?}, level_sd = {level_sd:?}");
    // A year is an hour here, so that level_sd is of a year's change.
    kalman("nile_local_level", &settings, 3600.0);
    kalman("nile_local_level_missing", &settings, 3600.0);
}

#[test]
fn trend_with_irregular_readings_matches_the_reference() {
    let file = json("reference/kalman/const_velocity_irregular_dt.json");
    let number = |key: &str| file["params"][key].as_f64().expect("a number");
    let (q, r) = (number("q"), number("r"));
    let (observation_sd, trend_sd) = (r.sqrt(), (q * 3600.0_f64.powi(3)).sqrt());
    let settings = format!(
        "model = \"trend\", observation_sd = {observation_sd:?}, level_sd = 0, trend_sd = {trend_sd:?}"
    );
    kalman("const_velocity_irregular_dt", &settings, 1.0);
}

/// A file of `tests/data/reference/holt_winters`, one reading an hourly slot; a season of twelve
/// months is one of twelve hours.
/// Matrices of the operator in TOML, and the smoother, through the command.
#[test]
fn custom_matrices_and_smoothing_match_the_reference() {
    let file = json("reference/kalman/local_linear_trend.json");
    let mut csv = "time,device,metric,value\n".to_owned();
    let mut present = Vec::new();
    for (t, y) in file["y"].as_array().unwrap().iter().enumerate() {
        // Matrices are a second's, so a missing reading is a longer gap.
        if let Some(y) = y[0].as_f64() {
            present.push(t);
            csv += &format!("{t},a,b,{y}\n");
        }
    }
    let model = &file["model"];
    // The first reading is missing: what is predicted for the second one is the file's.
    assert_eq!(present[0], 1);
    let (state, covariance) =
        (&file["expected"]["pred_state"][1], &file["expected"]["pred_cov"][1]);
    // Of F = [[1, 1], [0, 1]] and Q = [[0.3, 0], [0, 0.02]] in discrete time there is an exact
    // continuous counterpart: A = [[0, 1], [0, 0]], and Q = [[0.3 + q/6, −q/2], [−q/2, q]], q = 0.02.
    let config = format!(
        "[[profile]]\nmatch = {{}}\nforecast = false\nkalman = {{ model = 'custom', gate = 1, \
         F = [[0, 1], [0, 0]], H = {}, Q = [[{}, -0.01], [-0.01, 0.02]], R = {}, \
         per_second = true, initial = {{ state = {state}, covariance = {covariance} }} }}\n",
        model["H"],
        0.3 + 0.02 / 6.0,
        model["R"],
    );
    let replayed = replay(&csv, &config, &["--every-reading", "--full", "--smooth"]);
    let expected = &file["expected"];
    let estimates = replayed.of_kind("estimate");
    let smoothed = replayed.of_kind("smoothed");
    assert_eq!((estimates.len(), smoothed.len()), (present.len(), present.len()));
    for ((estimate, smoothed), &t) in estimates.iter().zip(&smoothed).zip(&present) {
        let state = numbers(&estimate["state"]);
        assert_close("state", &state, &numbers(&expected["filt_state"][t]), 1e-9);
        let loglik = [estimate["loglik"].as_f64().unwrap()];
        assert_close("loglik", &loglik, &[expected["loglik_obs"][t].as_f64().unwrap()], 1e-9);
        let found = ["smoothed", "smoothed_variance"].map(|key| smoothed[key].as_f64().unwrap());
        let mean = expected["smooth_state"][t][0].as_f64().unwrap();
        let variance = expected["smooth_cov"][t][0][0].as_f64().unwrap();
        assert_close("smoothed", &found, &[mean, variance], 1e-8);
        assert_eq!(smoothed["time"], estimate["time"]);
    }
}

fn holt_winters(name: &str) {
    let file = json(&format!("reference/holt_winters/{name}.json"));
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let mut csv = "time,device,metric,value\n".to_owned();
    let readings = flat(&file["y"]);
    // Not at the epoch: the first slot's phase must not be taken for granted.
    let begin = 1_700_000_000 / 3600 * 3600;
    for (t, reading) in readings.iter().enumerate() {
        if let Some(reading) = reading {
            csv.push_str(&format!("{},d,m,{reading:?}\n", begin + t * 3600 + 600));
        }
    }
    let (p, initial) = (&file["params"], &file["initial"]);
    let phi = if p["phi"].is_null() { 1.0 } else { number(&p["phi"]) };
    let (trend, seasonal) = match (file["trend"].is_null(), file["damped"] == true) {
        (true, _) => ("none", &file["seasonal"]),
        (false, true) => ("damped", &file["seasonal"]),
        (false, false) => ("additive", &file["seasonal"]),
    };
    let (seasonal, season, length) = match seasonal.as_str() {
        Some(seasonal) => (seasonal, initial["season"].to_string(), "[\"12h\"]"),
        None => ("none", "[]".to_owned(), "[]"),
    };
    let config = format!(
        "[[profile]]\nmatch = {{ device = \"*\" }}\nkalman = {{ model = \"off\" }}\n\
         [profile.forecast]\nstep = \"1h\"\nseason = {length}\ntrend = \"{trend}\"\n\
         seasonal = \"{seasonal}\"\nhorizon = \"1h\"\nnominal = 0.95\n\
         smoothing = {{ alpha = {:?}, beta = {:?}, gamma = {:?}, phi = {phi:?} }}\n\
         initial = {{ level = {:?}, trend = {:?}, season = {season} }}\n",
        number(&p["alpha"]),
        number(&p["beta"]),
        number(&p["gamma"]),
        number(&initial["level"]),
        number(&initial["trend"]),
    );
    let horizon = file["horizon"].to_string();
    let replayed = replay(&csv, &config, &["--every-reading", "--horizon", &horizon]);
    assert!(replayed.of_kind("estimate").is_empty(), "{name}: there is no filter");
    let forecast = replayed.lines.last().expect("a forecast");
    let expected = &file["expected"];
    assert_close(
        &format!("{name}: mean"),
        &numbers(&forecast["mean"]),
        &numbers(&expected["forecast"]),
        1e-10,
    );
    for (field, quantity) in [("lower", "lower95"), ("upper", "upper95")] {
        let (actual, wanted) = (numbers(&forecast[field]), numbers(&expected[quantity]));
        assert_close(&format!("{name}: {field}"), &actual, &wanted, 1e-10);
    }
    let origin: jiff::Timestamp =
        forecast["origin"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(origin.as_second(), (begin + readings.len() * 3600) as i64, "{name}");
    // The forecasts that were made on the way: each slot's, made at the end of the one before.
    let made = replayed.of_kind("forecast");
    let one_step = numbers(&expected["one_step"]);
    for line in &made[..made.len() - 1] {
        let origin: jiff::Timestamp =
            line["origin"].as_str().expect("a time").parse().expect("a time");
        let slot = (origin.as_second() as usize - begin) / 3600;
        let actual = line["mean"][0].as_f64().expect("a number");
        assert_close(&format!("{name}: slot {slot}"), &[actual], &[one_step[slot]], 1e-10);
    }
    assert!(made.len() > readings.len() / 2, "{name}: {} forecasts", made.len());
}

#[test]
fn forecasts_match_the_reference() {
    for name in [
        "aaa_co2",
        "aaa_co2_missing",
        "aada_co2",
        "ana_ldeaths",
        "holt_www",
        "holt_damped_www",
        "ses_nile",
    ] {
        holt_winters(name);
    }
}

/// Terms are the hours of Berlin's clocks (`tests/data/reference/calendar`): each slot of the days on which these are
/// changed is forecast with its own, with the zone set, and an hour off behind the change without.
#[test]
fn seasons_keep_to_the_clocks_of_the_gateways_zone() {
    let cases = json("reference/calendar/local_phases.json");
    let season: Vec<String> = (0..24).map(|hour| format!("{hour}.0")).collect();
    let profile = "[[profile]]\nmatch = { device = \"*\" }\nkalman = { model = \"off\" }\n\
         [profile.forecast]\nseason = [\"1d\"]\ntrend = \"none\"\nseasonal = \"additive\"\n\
         smoothing = { alpha = 0.1, gamma = 0.1 }\n";
    for case in &cases.as_array().unwrap()[..2] {
        let (hours, start) = (numbers(&case["day"]), case["start"].as_i64().unwrap());
        let mut terms = season.clone();
        terms.rotate_left(hours[0] as usize);
        let profile = format!(
            "{profile}initial = {{ level = 0.0, trend = 0.0, season = [{}] }}\n",
            terms.join(", ")
        );
        let csv = format!(
            "time,device,metric,value\n{start},d,m,{}\n{},d,m,{}\n",
            hours[0],
            start + 3600,
            hours[1]
        );
        let ahead = |config: &str| {
            let replayed = replay(&csv, config, &["--horizon", "34"]);
            numbers(&replayed.lines.last().expect("a forecast")["mean"])
        };
        // The last reading's slot counts too.
        let local = format!("gateway.time_zone = \"Europe/Berlin\"\n{profile}");
        assert_eq!(ahead(&local), hours[2..]);
        let by_utc: Vec<f64> = (2..36).map(|k| (hours[0] + f64::from(k)) % 24.0).collect();
        assert_eq!(ahead(&profile), by_utc);
    }
}

#[test]
fn real_series_replay_without_faults() {
    for (name, readings, series) in [
        ("sf_temps_2010_hourly", 8759, 1),
        ("nab_ambient_temperature_system_failure", 7267, 1),
        ("nab_occupancy_6005", 2380, 1),
        ("nab_speed_7578", 1127, 1),
        ("water_flow_2022_hourly", 1268, 1),
    ] {
        let output = program::weir()
            .arg("replay")
            .arg(data(&format!("series/{name}.csv")))
            .arg("--every-reading")
            .output()
            .expect("the command starts");
        let replayed = parsed(&output);
        let summary = &replayed.summary;
        let counted = format!("readings    {readings} in {series} series, ");
        assert!(summary.starts_with(&counted), "{name}: {summary}");
        assert!(summary.contains("\ndropped     none\n"), "{name}: {summary}");
        let models =
            ["combination", "holt-winters", "seasonal-naive", "damped", "ses", "holt", "level"];
        assert!(models.iter().any(|model| summary.contains(model)), "{name}: {summary}");
        let aggregated: u64 =
            replayed.of_kind("aggregate").iter().filter_map(|a| a["count"].as_u64()).sum();
        assert_eq!(aggregated, readings, "{name}: every reading is in an aggregate");
        assert_eq!(replayed.of_kind("estimate").len() as u64, readings, "{name}");
    }
}

#[test]
fn faulty_lines_are_counted_and_the_first_are_shown() {
    let mut csv = "time,device,metric,value\n0,a,m,1\n1,a,m,warm\n2,a,m,inf\nx,a,m,1\n".to_owned();
    csv.push_str("3,a,m\n4,a,m,2\n4,a,m,2\n5,a,m,\n6,a,m,bad\n7,a,m,bad\n8,a,m,99\n");
    let config = "[[profile]]\nmatch = {}\nvalid = [0, 50]\n";
    let replayed = replay(&csv, config, &[]);
    let summary = &replayed.summary;
    for part in [
        "line 3: not a number: \"warm\"\n",
        "line 4: not a finite number",
        "line 5: time is neither",
        "line 6: 3 cells where the header has 4",
        "line 10: not a number",
        "\n… and 1 more faulty lines\n",
        "readings    4 in 1 series, 12 lines",
        "dropped     4 malformed, 1 not_finite, 1 bad_time, 1 invalid, 1 duplicate\n",
    ] {
        assert!(summary.contains(part), "{part:?} is not in:\n{summary}");
    }
    assert!(!summary.contains("line 11"), "{summary}");
    assert_eq!(replayed.of_kind("aggregate")[0]["count"], 2);
}

#[test]
fn before_two_readings_the_filter_says_what_it_does_not_know() {
    let csv = "time,value\n2026-01-01T00:00:00Z,20.5\n2026-01-01T00:00:10Z,20.7\n";
    let replayed = replay(csv, "", &["--every-reading", "--full", "--device", "boiler"]);
    let estimates = replayed.of_kind("estimate");
    assert_eq!(estimates[0]["device"], "boiler");
    assert_eq!(estimates[0]["level"], 20.5);
    for unknown in ["variance", "innovation", "nis", "state", "covariance", "loglik"] {
        assert_eq!(estimates[0].get(unknown), Some(&Value::Null), "{unknown}");
    }
    assert!(estimates[1]["state"].is_array(), "{}", estimates[1]);
}

#[test]
fn ndjson_from_standard_input_goes_to_a_file() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.ndjson");
    let mut child = program::weir()
        .args(["replay", "-", "--device", "d", "--output"])
        .arg(&out)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    writeln!(stdin, r#"{{"time":1700000000,"metric":"t","value":1.5}}"#).unwrap();
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout.is_empty());
    let text = std::fs::read_to_string(out).expect("it was written");
    assert!(text.starts_with(r#"{"kind":"aggregate","device":"d","metric":"t","#), "{text}");
}

#[test]
fn what_cannot_be_replayed_is_said_plainly() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = program::weir().current_dir(folder.path()).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    std::fs::write(folder.path().join("prose.csv"), "Dear diary\n").unwrap();
    let (code, text) = run(&["replay", "none.csv"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(1), "weir: none.csv: No such file or directory (os error 2)\n")
    );
    let (code, text) = run(&["replay", "empty.csv"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("empty.csv: is empty; expected a CSV header or NDJSON"), "{text}");
    let (code, text) = run(&["replay", "prose.csv"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("prose.csv: line 1: no column `time`"), "{text}");
    let (code, text) = run(&["replay", "prose.csv", "--full"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--every-reading"), "{text}");
    let (code, text) = run(&["replay", "prose.csv", "--config", "none.toml"]);
    assert_eq!(code, Some(78));
    assert!(text.starts_with("none.toml: cannot be read"), "{text}");
}

#[test]
fn a_closed_standard_output_ends_it_quietly() {
    let mut child = program::weir()
        .args(["replay", "--every-reading"])
        .arg(data("series/nab_ambient_temperature_system_failure.csv"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn alarms_are_written_and_counted() {
    let config = "[[profile]]\nmatch = {}\nkalman = { model = 'off' }\n\
        forecast = { step = '10m', season = [], seasonal = 'none', trend = 'additive', horizon = '1h' }\n\
        [[alarm]]\nmatch = { device = 'd' }\nname = 'hot'\nabove = 80\nclear_below = 70\nhold = '2m'\n\
        [[alarm]]\nmatch = {}\nname = 'soon'\nabove = 80\nwithin = '1h'\n\
        [[alarm]]\nmatch = {}\nname = 'end'\nbelow = 0\nhold = '1h'\n";
    // A minute each: slowly from 40.05 up to 90 and back to 60, then, last of all, below zero.
    let mut csv = "time,device,metric,value\n".to_owned();
    let up = (0..500).map(|i| 40.05 + 0.1 * f64::from(i));
    let down = (0..300).map(|i| 89.95 - 0.1 * f64::from(i));
    for (minute, value) in up.chain(down).chain([-1.0]).enumerate() {
        csv.push_str(&format!("{},d,m,{value:.2}\n", 1_700_000_400 + minute * 60));
    }
    let replayed = replay(&csv, config, &[]);
    let alarms = replayed.of_kind("alarm");
    let of = |name: &str| -> Vec<(&str, i64, f64)> {
        let mine = alarms.iter().filter(|a| a["alarm"] == name);
        mine.map(|a| {
            let time: jiff::Timestamp = a["time"].as_str().unwrap().parse().unwrap();
            let minute = (time.as_second() - 1_700_000_400) / 60;
            (a["state"].as_str().unwrap(), minute, a["value"].as_f64().unwrap())
        })
        .collect()
    };
    // 80.05 at minute 400, two minutes long; what stood before its end is the value of minute 401.
    assert_eq!(of("hot"), [("active", 402, 80.15), ("cleared", 700, 69.95)]);
    let soon = of("soon");
    let (first, last) = (soon[0], soon[soon.len() - 1]);
    assert!(first.0 == "active" && (300..400).contains(&first.1), "before it is so: {soon:?}");
    assert!(last.0 == "cleared" && last.1 >= 590, "{soon:?}");
    assert!(soon.len() <= 4, "{soon:?}");
    assert_eq!(of("end"), [], "the end of a recording holds nothing against a series");
    let begin = alarms.iter().find(|a| a["alarm"] == "soon").unwrap();
    assert!(begin["expected"].as_f64().unwrap() > 80.0, "{begin}");
    let reason = begin["reason"].as_str().unwrap();
    assert!(reason.starts_with("forecast to be above 80 from "), "{begin}");
    let raised = alarms.iter().filter(|a| a["state"] == "active").count();
    let cleared = alarms.len() - raised;
    let active = raised - cleared;
    let line = format!("alarms      {raised} raised, {cleared} cleared, {active} still active");
    assert!(replayed.summary.contains(&line), "{}", replayed.summary);
}
