//! Filters over several metrics of one device.

use serde_json::Value;

use super::{Replayed, assert_close, flat, json, numbers, replay};

const METRICS: [&str; 4] = ["y0", "y1", "y2", "y3"];

/// Rows as CSV, a second each; a row in which nothing was measured is no line at all.
fn csv(rows: &[Vec<Option<f64>>]) -> String {
    let mut csv = "time,device,metric,value\n".to_owned();
    for (t, row) in rows.iter().enumerate() {
        for (metric, y) in METRICS.iter().zip(row) {
            if let Some(y) = y {
                csv += &format!("{t},plant,{metric},{y:?}\n");
            }
        }
    }
    csv
}

fn estimates(replayed: &Replayed) -> Vec<&Value> {
    let all = replayed.of_kind("estimate").into_iter();
    all.filter(|estimate| estimate["metric"] == "motion").collect()
}

/// A file of `tests/data/reference/kalman` through the command.
fn matches_the_reference(name: &str, step: &str) {
    let file = json(&format!("reference/kalman/{name}.json"));
    let rows: Vec<Vec<Option<f64>>> = file["y"].as_array().unwrap().iter().map(flat).collect();
    let seen: Vec<usize> =
        (0..rows.len()).filter(|&t| rows[t].iter().any(|y| y.is_some())).collect();
    assert_eq!(seen[0], 0, "{name}: the first row is what `initial` is for");
    let model = &file["model"];
    let metrics = &METRICS[..rows[0].len()];
    let config = format!(
        "[[profile]]\nmatch = {{}}\nforecast = false\n\
         [[profile]]\nmatch = {{ device = 'plant' }}\n[profile.kalman]\nmodel = 'custom'\n\
         name = 'motion'\nmetrics = {metrics:?}\ngate = 1\n{step}\nF = {}\nH = {}\nQ = {}\nR = {}\n\
         initial = {{ state = {}, covariance = {} }}\n",
        model["F"], model["H"], model["Q"], model["R"], model["a1"], model["P1"],
    );
    let replayed = replay(&csv(&rows), &config, &["--every-reading", "--full", "--smooth"]);
    let estimates = estimates(&replayed);
    assert_eq!(estimates.len(), seen.len(), "{name}: an estimate for each row");
    let expected = &file["expected"];
    let all = |of: &dyn Fn(&Value, usize) -> Vec<f64>| -> Vec<f64> {
        estimates.iter().zip(&seen).flat_map(|(estimate, &t)| of(estimate, t)).collect()
    };
    let wanted = |key: &str| -> Vec<f64> {
        seen.iter().flat_map(|&t| flat(&expected[key][t])).flatten().collect()
    };
    let of = |key: &'static str| move |estimate: &Value, _| numbers(&estimate[key]);
    let close = |key: &'static str, reference: &str, tolerance| {
        assert_close(&format!("{name}: {key}"), &all(&of(key)), &wanted(reference), tolerance);
    };
    close("state", "filt_state", 1e-9);
    close("covariance", "filt_cov", 1e-8);
    close("loglik", "loglik_obs", 1e-9);
    close("nis", "nis", 1e-8);
    let innovation = |e: &Value, _| flat(&e["innovation"]).into_iter().flatten().collect();
    assert_close(&format!("{name}: innov"), &all(&innovation), &wanted("innov"), 1e-9);
    let total: f64 = all(&of("loglik")).iter().sum();
    let of_file = expected["loglik"].as_f64().unwrap();
    assert_close(&format!("{name}: total"), &[total], &[of_file], 1e-9);
    for (estimate, &t) in estimates.iter().zip(&seen) {
        assert_eq!(estimate["metrics"], serde_json::json!(metrics));
        assert_eq!(flat(&estimate["reading"]), rows[t], "{name}: row {t}");
        assert_eq!(estimate["dof"], rows[t].iter().flatten().count());
        let score = estimate["score"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score), "{estimate}");
    }
    if expected["smooth_state"].is_null() {
        return;
    }
    let smoothed = replayed.of_kind("smoothed").into_iter().filter(|s| s["metric"] == "motion");
    let smoothed: Vec<&Value> = smoothed.collect();
    assert_eq!(smoothed.len(), seen.len());
    let all = |key: &str| -> Vec<f64> { smoothed.iter().flat_map(|s| numbers(&s[key])).collect() };
    let what = |key: &str| format!("{name}: smoothed {key}");
    assert_close(&what("state"), &all("state"), &wanted("smooth_state"), 1e-9);
    assert_close(&what("covariance"), &all("covariance"), &wanted("smooth_cov"), 1e-8);
}

/// The files have rows in which nothing was measured: the next one is two steps later.
#[test]
fn rows_of_several_metrics_match_the_reference() {
    for name in ["random_n2_m2_partial", "random_n4_m2", "random_n4_m3_partial", "random_n6_m3"] {
        matches_the_reference(name, "step = '1s'");
    }
}

/// No row is missing in these, so each is a step.
#[test]
fn a_step_for_each_row_matches_the_reference() {
    for name in ["random_n2_m2_partial", "random_n4_m3_partial"] {
        matches_the_reference(name, "");
    }
}

/// What the metrics' own series give does not change, and the filter's counts are no readings.
#[test]
fn the_metrics_keep_what_they_have() {
    let file = json("reference/kalman/random_n2_m2_partial.json");
    let rows: Vec<Vec<Option<f64>>> = file["y"].as_array().unwrap().iter().map(flat).collect();
    let vector = "[[profile]]\nmatch = {}\nkalman = { model = 'custom', name = 'motion', \
        metrics = ['y0', 'y1'], F = [[0.9]], H = [[1], [-1]], Q = [[0.3]], R = [[1, 0], [0, 1]] }\n";
    let [with, without] =
        [vector, ""].map(|config| replay(&csv(&rows), config, &["--every-reading", "--full"]));
    let others = with.lines.iter().filter(|line| line["metric"] != "motion");
    assert!(others.eq(without.lines.iter()));
    assert_eq!(estimates(&with).len(), rows.len());
    let readings = |replayed: &Replayed| -> String {
        replayed.summary.lines().next().unwrap().split(" in ").next().unwrap().to_owned()
    };
    assert_eq!(readings(&with), readings(&without));
    // A diffuse start: nothing is expected of the first row, its second component is of the first.
    let first = estimates(&with)[0];
    assert_eq!(first["dof"], 1, "{first}");
    assert!(first["innovation"][0].is_null() && first["state"].is_array(), "{first}");
}
