//! The Numenta Anomaly Benchmark's score (Lavin and Ahmad 2015, "Evaluating real-time anomaly
//! detection algorithms", standard profile) of the three files kept here; `WEIR_NAB=FOLDER` scores
//! a whole corpus (the benchmark's checkout) instead.

use std::path::{Path, PathBuf};

use super::corpus;
use super::rig::*;

const FALSE_POSITIVE: f64 = 0.11;

pub struct File {
    name: String,
    /// Seconds since the first reading.
    times: Vec<f64>,
    scores: Vec<f64>,
    /// First and last second of each.
    windows: Vec<(f64, f64)>,
    alarms: Vec<(f64, String)>,
}

/// 1 at the window's beginning, 0 at its end, near -1 behind it.
fn sigmoid(position: f64) -> f64 {
    2.0 / (1.0 + (5.0 * position).exp()) - 1.0
}

impl File {
    fn probation(&self) -> usize {
        (0.15 * self.times.len().min(5000) as f64) as usize
    }

    /// Raw score, windows found, detections outside windows.
    fn score(&self, threshold: f64) -> (f64, usize, usize) {
        let index = |t: f64| self.times.partition_point(|&time| time < t);
        let windows: Vec<(usize, usize)> =
            self.windows.iter().map(|&(a, b)| (index(a), index(b + 0.5).max(1) - 1)).collect();
        let mut found = vec![false; windows.len()];
        let (mut score, mut outside) = (0.0, 0);
        for i in self.probation()..self.times.len() {
            if self.scores[i] < threshold {
                continue;
            }
            if let Some(w) = windows.iter().position(|&(a, b)| a <= i && i <= b) {
                if !found[w] {
                    let (a, b) = windows[w];
                    let position = -((b - i + 1) as f64) / (b - a + 1) as f64;
                    score += sigmoid(position) / sigmoid(-1.0);
                }
                found[w] = true;
                continue;
            }
            outside += 1;
            let before = windows.iter().rfind(|&&(_, b)| b < i);
            score += FALSE_POSITIVE
                * before.map_or(-1.0, |&(a, b)| {
                    let position = (i - b) as f64 / (b - a).max(1) as f64;
                    if position > 3.0 { -1.0 } else { sigmoid(position) }
                });
        }
        let found = found.iter().filter(|&&found| found).count();
        (score - (windows.len() - found) as f64, found, outside)
    }
}

/// 100: every window found at its beginning and nothing else; 0: nothing found.
fn normalised(files: &[File], threshold: f64) -> f64 {
    let windows: usize = files.iter().map(|file| file.windows.len()).sum();
    let score: f64 = files.iter().map(|file| file.score(threshold).0).sum();
    100.0 * (score + windows as f64) / (2.0 * windows as f64)
}

fn seconds(text: &str) -> f64 {
    let text = text.trim().split('.').next().unwrap();
    let time: jiff::civil::DateTime = text.replace(' ', "T").parse().unwrap();
    time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second() as f64
}

fn run(name: &str, readings: &[(f64, f64)], windows: Vec<(f64, f64)>) -> File {
    let (mut rig, mut times, mut scores) = (Rig::whole(), Vec::new(), Vec::new());
    for &(time, value) in readings {
        let time = time.max(times.last().copied().unwrap_or(0.0));
        rig.reading(time, value);
        times.push(time);
        scores.push(rig.detectors.score());
    }
    let begun = rig.events.iter().filter(|e| e.state == super::super::AlarmState::Active);
    let alarms =
        begun.map(|e| ((e.time.nanos() - START) as f64 / 1e9, e.alarm.to_string())).collect();
    File { name: name.to_owned(), times, scores, windows, alarms }
}

fn file(name: &str, path: &Path, windows: &serde_json::Value) -> File {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut rows: Vec<(f64, f64)> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let (time, value) = line.split_once(',')?;
            Some((seconds(time), value.trim().parse().ok()?))
        })
        .collect();
    let first = rows[0].0;
    rows.iter_mut().for_each(|(time, _)| *time -= first);
    let time = |v: &serde_json::Value| seconds(v.as_str().unwrap()) - first;
    let windows = windows.as_array().unwrap().iter().map(|w| (time(&w[0]), time(&w[1]))).collect();
    run(name, &rows, windows)
}

/// The synthetic corpus of a round.
pub fn synthetic(round: u64) -> Vec<File> {
    corpus::corpus(round)
        .map(|recording| {
            let time = |i: usize| recording.readings[i].0;
            let windows = recording.windows.iter().map(|&(a, b)| (time(a), time(b))).collect();
            run(recording.kind, &recording.readings, windows)
        })
        .collect()
}

/// The best threshold for all of them, and its score.
pub fn best_threshold(files: &[File]) -> (f64, f64) {
    (1..200)
        .map(|i| f64::from(i) / 200.0)
        .map(|threshold| (threshold, normalised(files, threshold)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

pub fn recorded() -> Vec<File> {
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    if let Some(folder) = std::env::var_os("WEIR_NAB").map(PathBuf::from) {
        let labels = json(&folder.join("labels/combined_windows.json"));
        let names = labels.as_object().unwrap();
        return names.iter().map(|(n, w)| file(n, &folder.join("data").join(n), w)).collect();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/series");
    let labels = json(&folder.join("nab_labels.json"));
    let names = labels.as_object().unwrap();
    names.iter().map(|(n, label)| file(n, &folder.join(n), &label["windows"])).collect()
}

#[test]
fn the_benchmark_finds_windows_with_few_false_alarms() {
    let files = recorded();
    let (best, total) = best_threshold(&files);
    println!("best threshold {best}: {total:.1}");
    let counts = |threshold: f64| {
        let scores = || files.iter().map(|file| file.score(threshold));
        (scores().map(|(_, found, _)| found).sum::<usize>(), scores().map(|s| s.2).max().unwrap())
    };
    let strict = (1..200).map(|i| f64::from(i) / 200.0).find(|&threshold| counts(threshold).1 <= 1);
    if let Some(strict) = strict {
        let windows: usize = files.iter().map(|file| file.windows.len()).sum();
        let (found, score) = (counts(strict).0, normalised(&files, strict));
        println!(
            "at most one outside in a file from {strict} on: {found} of {windows} windows, {score:.1}"
        );
    }
    for file in &files {
        let (score, found, outside) = file.score(best);
        let windows = file.windows.len();
        println!("  {:45} {found} of {windows} windows, {outside} outside, {score:.2}", file.name);
        let within = |t: f64| file.windows.iter().any(|&(a, b)| a <= t && t <= b);
        let shown = |(t, name): &(f64, String)| {
            format!("{name} on day {:.1}{}", t / DAY, if within(*t) { " (window)" } else { "" })
        };
        let alarms: Vec<String> = file.alarms.iter().map(shown).collect();
        println!("    {} alarms: {}", alarms.len(), alarms.join(", "));
    }
    assert!(std::env::var_os("WEIR_NAB").is_some() || total > 50.0);
}

/// Worked by hand from the benchmark's rules (`nab/sweeper.py`, `nab/scorer.py`): scaled sigmoid
/// `2/(1 + e^{5y}) − 1`, `y = −(right − i + 1)/width` within a window, `(i − right)/(width − 1)` behind it,
/// −1 beyond three widths and before any window.
#[test]
fn the_scorer_follows_the_benchmarks_rules() {
    let scored = |detections: &[usize]| {
        let mut file = File {
            name: String::new(),
            times: (0..1000).map(f64::from).collect(),
            scores: vec![0.0; 1000],
            windows: vec![(400.0, 449.0)],
            alarms: Vec::new(),
        };
        detections.iter().for_each(|&i| file.scores[i] = 1.0);
        file
    };
    let cases: [(&[usize], f64); 9] = [
        (&[], -1.0),
        // At the window's first reading; later ones in it change nothing.
        (&[400], 1.0),
        (&[400, 401, 440], 1.0),
        // In its middle: y = −25/50; at its end: y = −1/50.
        (&[425], 0.848_283_639_957_513 / 0.986_614_298_151_430),
        (&[449], 0.049_958_374_957_880 / 0.986_614_298_151_430),
        // In the probation (15 %): nothing counts.
        (&[149, 400], 1.0),
        (&[150, 400], 1.0 - 0.11),
        // Just behind: y = 1/49; far behind.
        (&[400, 450], 1.0 - 0.11 * 0.050_976_184_107_356),
        (&[400, 900], 1.0 - 0.11),
    ];
    for (detections, expected) in cases {
        let score = scored(detections).score(0.5).0;
        assert!((score - expected).abs() < 1e-9, "{detections:?}: {score}, not {expected}");
    }
    assert_eq!(normalised(&[scored(&[])], 0.5), 0.0);
    assert_eq!(normalised(&[scored(&[400])], 0.5), 100.0);
}
