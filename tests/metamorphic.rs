//! The same readings, arranged otherwise, must give the same results, bit for bit: however they
//! are cut into batches (DESIGN, promise P3), and whatever other devices send beside them (P6).

#[path = "sim/rng.rs"]
mod rng;

use std::collections::BTreeMap;
use std::path::Path;

use rng::Rng;
use weir::cli::replay::player::Player;
use weir::config::Config;
use weir::decoder::recorded::RecordedReader;
use weir::engine::{ConfigError, Engine, StepOutput};
use weir::output::Record;
use weir::reading::{EventTime, Finite, SECOND};

/// 2023-11-14T22:00:00Z, a whole hour.
const START: i64 = 1_700_000_000 / 3600 * 3600 * SECOND;
const SEEDS: u64 = 4;

const SETTINGS: &str = r#"
[[profile]]
match = {}
valid = [-1000, 1000]
windows = [{ size = "1m", quantiles = [0.5, 0.99] }, { size = "1h" }]
forecast = { step = "10m", season = ["2h"], horizon = "1h" }
[[alarm]]
match = {}
name = "beyond"
above = 30
below = 15
clear_below = 28
hold = "20s"
repeat_after = "2m"
[[alarm]]
match = {}
name = "ahead"
above = 40
within = "30m"
[[alarm]]
match = { metric = "m" }
name = "once"
above = 1000
below = 19.2
[[group]]
name = "all"
match = { metric = "m" }
estimate = true
forecast = true
[[derive]]
name = "twice"
expression = "2 * m"
# When readings arrive is for the batches to say, and a gap is one of arrival.
[[profile]]
match = {}
alarms = { gap = false }
[[profile]]
match = { device = "trend" }
kalman = { model = "trend" }
hold = "3s"
[[profile]]
match = { device = "given" }
kalman = { observation_sd = 0.5, level_sd = 1.0 }
[[profile]]
match = { device = ["count*", "door*"] }
valid = [-1e9, 1e9]
windows = [{ size = "1m", time_weighted = true }, { size = "1h", slide = "10m", time_weighted = true }]
[[profile]]
match = { device = "count" }
kind = "counter"
scale = 0.1
offset = -5
lateness = "0s"
[[profile]]
match = { device = "door" }
kind = "state"
hold = "3s"
[[profile]]
match = { device = "off" }
kalman = { model = "off" }
lateness = "0s"
"#;

#[derive(Clone, Debug)]
struct Reading {
    device: &'static str,
    time: EventTime,
    value: Finite,
}

fn reading(device: &'static str, nanos: i64, value: f64) -> Reading {
    Reading {
        device,
        time: EventTime::from_nanos(nanos).expect("in range"),
        value: Finite::new(value).expect("finite"),
    }
}

/// Sensors of several kinds with gaps, outliers, level shifts and values out of range, for about
/// six hours; in event order, each sensor at most once an instant.
fn synthetic(seed: u64) -> Vec<Reading> {
    let mut rng = Rng::new(seed);
    let mut readings = Vec::new();
    let devices = [("level", 7), ("trend", 11), ("given", 5), ("off", 13), ("slow", 300)];
    for (device, interval) in devices {
        // Often two at once: in their group, which of them is first is not for the batches to say.
        let (mut time, mut level, mut slope) = (START, 20.0, 0.0);
        while time < START + 6 * 3600 * SECOND {
            let noise = (rng.below(2001) as f64 - 1000.0) / 1000.0;
            slope += noise / 1000.0;
            level += slope * 0.01 + if rng.chance(50) { noise / 10.0 } else { 0.0 };
            let value = match rng.below(1000) {
                0 => level + 50.0,
                1 => 5000.0,
                2 => {
                    level += 30.0;
                    level
                }
                _ => level + noise,
            };
            readings.push(reading(device, time, (value * 100.0).round() / 100.0));
            let gap = if rng.below(400) == 0 { 900 } else { 0 };
            let jitter = rng.below(10) as i64 * SECOND / 10;
            time += (interval + gap) * SECOND + jitter;
        }
    }
    readings.sort_by_key(|r| r.time);
    readings
}

fn real() -> Vec<Reading> {
    let path = "tests/data/series/nab_ambient_temperature_system_failure.csv";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let reader = RecordedReader::open(&path, "real").expect("it opens");
    let readings = reader.map(|r| r.expect("a reading"));
    let readings: Vec<_> =
        readings.map(|r| Reading { device: "real", time: r.time, value: r.value }).collect();
    assert!(readings.is_sorted_by_key(|r| r.time));
    readings
}

/// What came of one series, without the numbers of batches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Results {
    /// Each reading's estimate, or that there is none. The text of a float has all its bits.
    estimates: Vec<String>,
    /// Each slot with its forecast.
    slots: Vec<String>,
    /// By window and start; parts of one pane in order.
    aggregates: BTreeMap<(i64, EventTime), Vec<String>>,
    /// The filter as it is stored.
    filter: Vec<u8>,
    /// Begins and ends of alarms.
    alarms: Vec<String>,
    forecast: String,
    counts: String,
}

type Outcome = BTreeMap<String, Results>;

/// The device, and the metric where it is not the one that is read.
fn key(device: &str, metric: &str) -> String {
    if metric == "m" { device.to_owned() } else { format!("{device}/{metric}") }
}

fn take(outcome: &mut Outcome, output: StepOutput) {
    for detail in output.details {
        let results = outcome.entry(key(&detail.name.device, &detail.name.metric)).or_default();
        let readings = detail.details.readings.iter();
        results.estimates.extend(readings.map(|(time, value, update, kalman, score)| {
            format!("{time} {value:?} {update:?} {:?} {score:?}", kalman.state_and_covariance())
        }));
        results.slots.extend(detail.details.slots.iter().map(|slots| format!("{slots:?}")));
    }
    for record in output.records {
        if let Record::Alarm(alarm) = &record {
            let results = outcome.entry(key(&alarm.device, &alarm.metric)).or_default();
            results.alarms.push(serde_json::to_string(alarm).expect("JSON"));
        }
        if let Record::Aggregate(mut aggregate) | Record::View(mut aggregate) = record {
            aggregate.part = 0;
            let results = outcome.entry(key(&aggregate.device, &aggregate.metric)).or_default();
            let size = aggregate.end.nanos() - aggregate.start.nanos();
            let text = serde_json::to_string(&aggregate).expect("JSON");
            results.aggregates.entry((size, aggregate.start)).or_default().push(text);
        }
    }
}

fn finish(outcome: &mut Outcome, engine: &Engine) {
    for (_, name, unit) in engine.units() {
        let results = outcome.entry(key(&name.device, &name.metric)).or_default();
        results.filter = serde_cbor::to_vec(unit.state().kalman()).expect("CBOR");
        results.forecast = format!("{:?}", unit.state().forecast_after_end(unit.plan(), 20));
        results.counts = format!("{:?}", unit.state().counts());
    }
}

/// Plays `readings`; `cut` says how many readings the next batch holds.
fn play(readings: &[Reading], mut cut: impl FnMut() -> usize) -> Outcome {
    let config = Config::from_text(SETTINGS).expect("a good configuration");
    // Only `cut` closes batches.
    let mut player =
        Player::new(config.core_config(), i64::MAX / 8, usize::MAX).expect("a good configuration");
    player.keep_details();
    let mut outcome = Outcome::new();
    let mut rest = readings;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(cut().clamp(1, rest.len()));
        rest = after;
        for r in batch {
            let early = player.push((r.device, "m"), r.time, r.value).expect("it steps");
            assert!(early.is_none(), "a batch closed by itself");
        }
        if !rest.is_empty() {
            take(&mut outcome, player.cut().expect("it steps"));
        }
    }
    player
        .finish::<ConfigError>(|_, output| {
            take(&mut outcome, output);
            Ok(())
        })
        .expect("it steps");
    assert_eq!(player.engine().next_deadline(), None);
    finish(&mut outcome, player.engine());
    outcome
}

fn assert_same(what: &str, actual: &Outcome, expected: &Outcome) {
    assert!(actual.keys().eq(expected.keys()), "{what}");
    for (device, a) in actual {
        let e = &expected[device];
        let differing = |a: &[String], e: &[String]| {
            a.iter().zip(e).find(|(a, e)| a != e).map(|(a, e)| format!("\n{a}\n{e}"))
        };
        assert_eq!(differing(&a.estimates, &e.estimates), None, "{what}: {device}");
        assert_eq!(differing(&a.slots, &e.slots), None, "{what}: {device}");
        assert_eq!(differing(&a.alarms, &e.alarms), None, "{what}: {device}");
        for (key, aggregate) in &a.aggregates {
            assert_eq!(Some(aggregate), e.aggregates.get(key), "{what}: {device} {key:?}");
        }
        assert_eq!((&a.forecast, &a.counts), (&e.forecast, &e.counts), "{what}: {device}");
        assert!(a == e, "{what}: {device}: more or less than expected");
    }
}

fn cuts_do_not_matter(what: &str, readings: &[Reading], seed: u64) -> Outcome {
    let expected = play(readings, || usize::MAX);
    for size in [1, 7, 100] {
        let actual = play(readings, || size);
        assert_same(&format!("{what}, batches of {size}"), &actual, &expected);
    }
    for spread in [10, 1000] {
        let mut rng = Rng::new(seed ^ spread);
        let actual = play(readings, || 1 + rng.below(spread) as usize);
        assert_same(&format!("{what}, random batches up to {spread}"), &actual, &expected);
    }
    expected
}

#[test]
fn cutting_into_batches_changes_nothing() {
    let (mut counts, mut alarms) = (String::new(), String::new());
    for seed in 0..SEEDS {
        let readings = synthetic(seed);
        let what = format!("seed {seed}");
        let outcome = cuts_do_not_matter(&what, &readings, seed);
        // Five devices, twice each, and their group.
        assert_eq!(outcome.len(), 11);
        for (device, results) in &outcome {
            assert!(results.aggregates.len() > 40, "{what}: {device}");
            assert!(results.aggregates.values().all(|parts| parts.len() == 1), "{what}: {device}");
            assert!(results.slots.len() > 20, "{what}: {device}");
            if readings.iter().any(|r| r.device == device) {
                counts.push_str(&results.counts);
            }
            alarms.extend(results.alarms.iter().map(String::as_str));
        }
    }
    // The mix must reach what could go wrong.
    for something in ["beyond", "ahead", "once"] {
        let count = alarms.matches(&format!("\"{something}\"")).count();
        assert!(count > 20, "{something}: {count}");
    }
    for nothing in ["outliers: 0", "shifts: 0", "invalid: 0"] {
        let series = SEEDS as usize * 5;
        assert!(
            counts.matches(nothing).count() < series - 4,
            "hardly any with {nothing}: {counts}"
        );
    }
}

/// Counters and states, set and to be found, with slow and quick changes, gaps and resets.
fn kinds(seed: u64) -> Vec<Reading> {
    let mut rng = Rng::new(seed);
    let mut readings = Vec::new();
    let devices = [("count", 7), ("count-found", 20), ("door", 40), ("door-found", 90)];
    for (i, (device, interval)) in (0..).zip(devices) {
        // No two at once, see `mix`.
        let (mut time, mut value) = (START + i * SECOND / 7, 0.0);
        if device == "count-found" {
            value = 4e6;
        }
        while time < START + 6 * 3600 * SECOND {
            if device.starts_with("count") {
                value += rng.below(50) as f64;
                if device == "count" && rng.below(300) == 0 {
                    value = 0.0;
                }
            } else if rng.chance(10) {
                value = 1.0 - value;
            }
            readings.push(reading(device, time, value));
            let gap = if rng.below(200) == 0 { 900 } else { 0 };
            time += (interval + gap) * SECOND + rng.below(1000) as i64 * SECOND / 1000;
        }
    }
    readings.sort_by_key(|r| r.time);
    readings
}

#[test]
fn cutting_counters_and_states_changes_nothing() {
    for seed in 0..SEEDS {
        let readings = kinds(seed);
        let outcome = cuts_do_not_matter(&format!("kinds, seed {seed}"), &readings, seed);
        for (device, field) in [
            ("count", "\"rate\":"),
            ("count-found", "\"rate\":"),
            ("door", "\"durations\":"),
            ("door-found", "\"durations\":"),
        ] {
            let all: Vec<&String> = outcome[device].aggregates.values().flatten().collect();
            let with = all.iter().filter(|text| text.contains(field)).count();
            assert!(with * 2 > all.len(), "{device}: {with} of {}", all.len());
            let views = all.iter().filter(|text| text.contains("\"slide_s\":600.0")).count();
            assert!(views > 25, "{device}: {views}");
            let own: Vec<Reading> =
                readings.iter().filter(|r| r.device == device).cloned().collect();
            let mut alone = play(&own, || 50);
            alone.retain(|name, _| name == device);
            let among = Outcome::from([(device.to_owned(), outcome[device].clone())]);
            assert_same(&format!("kinds alone, seed {seed}"), &among, &alone);
        }
    }
}

#[test]
fn cutting_a_real_series_changes_nothing() {
    let outcome = cuts_do_not_matter("ambient temperature", &real(), 1);
    assert_eq!(outcome["real"].estimates.len(), 7267);
}

#[test]
fn other_devices_change_nothing() {
    for seed in 0..SEEDS {
        let all = synthetic(seed);
        let mut together = play(&all, || 50);
        for device in ["level", "trend", "given", "off", "slow"] {
            let own: Vec<Reading> = all.iter().filter(|r| r.device == device).cloned().collect();
            let mut alone = play(&own, || 50);
            alone.retain(|name, _| name == device);
            assert!(alone[device].estimates.len() > 50, "seed {seed}: {device}");
            let found = together.remove(device).expect("it is there");
            let among_others = Outcome::from([(device.to_owned(), found)]);
            assert_same(&format!("seed {seed}"), &among_others, &alone);
        }
    }
}
