use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600 * SECOND;

fn at(hours: i64) -> EventTime {
    EventTime::from_nanos(START + hours * HOUR).unwrap()
}

fn fleet(devices: usize) -> Fleet {
    Fleet::new(7, devices, at(0))
}

/// (sent, event time in ns, value), by topic, in the order sent.
type Series = BTreeMap<String, Vec<(i64, i64, f64)>>;

fn series(messages: &[SimMessage]) -> Series {
    let mut series = Series::new();
    for message in messages {
        let json: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
        let millis = (json["ts"].as_f64().unwrap() * 1e3).round() as i64;
        let value = json["value"].as_f64().unwrap();
        let row = (message.sent.nanos(), millis * 1_000_000, value);
        series.entry(message.topic.clone()).or_default().push(row);
    }
    series
}

#[test]
fn one_device_of_each_kind() {
    let messages = fleet(6).readings_until(at(24));
    let topics: Vec<String> = series(&messages).into_keys().collect();
    let expected = [
        "sensors/greenhouse-1/humidity",
        "sensors/greenhouse-1/temperature",
        "sensors/machine-1/running",
        "sensors/meter-1/energy",
        "sensors/pump-1/pressure",
        "sensors/relay-1/temperature",
        "sensors/well-1/level",
    ];
    assert_eq!(topics, expected);
}

#[test]
fn the_seed_decides_everything() {
    let once = fleet(6).readings_until(at(72));
    assert_eq!(once, fleet(6).readings_until(at(72)));
    assert_ne!(once, Fleet::new(8, 6, at(0)).readings_until(at(72)));
    // Small steps give what one large step gives.
    let mut steps = fleet(6);
    let mut stepwise = Vec::new();
    for minute in 0..=72 * 60 {
        stepwise.extend(steps.readings_until(EventTime::clamped(START + minute * MINUTE)));
    }
    assert_eq!(once, stepwise);
    // More devices leave the first ones alone.
    let more = series(&fleet(12).readings_until(at(72)));
    for (topic, readings) in series(&once) {
        assert_eq!(more[&topic], readings, "{topic}");
    }
    assert_eq!(more.len(), 14);
}

/// A change indicator, not an independent number: a demo run today and next year are the same.
#[test]
fn the_first_message_does_not_change() {
    let first = fleet(6).readings_until(at(1)).swap_remove(0);
    let hash = crc32fast::hash(
        fleet(6)
            .readings_until(at(240))
            .iter()
            .map(|m| m.payload.as_str())
            .collect::<String>()
            .as_bytes(),
    );
    assert_eq!((first.topic.as_str(), first.payload.as_str(), hash), EXPECTED);
}
const EXPECTED: (&str, &str, u32) =
    ("sensors/relay-1/temperature", r#"{"value":15.16,"ts":1767225663.438}"#, 1_978_511_149);

#[test]
fn random_numbers_are_those_of_splitmix64() {
    // Reference output for seed 1234567 (Vigna's splitmix64.c; also in Rosetta Code).
    let mut random = Random(1_234_567);
    let expected: [u64; 5] = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    assert_eq!(std::array::from_fn(|_| random.bits()), expected);
}

#[test]
fn messages_are_sent_in_order_and_never_before_they_are_measured() {
    let messages = fleet(12).readings_until(at(24 * 10));
    assert!(messages.is_sorted_by_key(|message| message.sent));
    for (topic, readings) in series(&messages) {
        for (sent, time, value) in readings {
            assert!(time <= sent && time >= START, "{topic}: {time} {sent}");
            assert!(value.is_finite());
        }
    }
}

#[test]
fn every_reading_is_sent_or_held_and_counted_once() {
    let mut fleet = fleet(12);
    for day in [1, 2, 5] {
        let mut distinct = BTreeSet::new();
        let mut fresh = self::fleet(12);
        for message in fresh.readings_until(at(24 * day)) {
            distinct.insert((message.topic, message.payload));
        }
        fleet.readings_until(at(24 * day));
        assert_eq!(fleet.readings(), fresh.readings());
        assert_eq!(distinct.len() as u64 + fleet.held(), fleet.readings());
    }
}

#[test]
fn regular_sensors_keep_their_interval() {
    let all = series(&fleet(6).readings_until(at(48)));
    for topic in ["greenhouse-1/temperature", "greenhouse-1/humidity", "machine-1/running"] {
        let readings = &all[&format!("sensors/{topic}")];
        assert!(readings.windows(2).all(|pair| pair[1].1 - pair[0].1 == INTERVAL), "{topic}");
    }
}

#[test]
fn the_greenhouse_has_days_and_few_outliers() {
    let all = series(&fleet(6).readings_until(at(24 * 20)));
    let mean = |topic: &str, hour: i64| {
        let values: Vec<f64> = all[topic]
            .iter()
            .filter(|(_, time, _)| (time / HOUR) % 24 == hour)
            .map(|(_, _, value)| *value)
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let temperature = "sensors/greenhouse-1/temperature";
    let humidity = "sensors/greenhouse-1/humidity";
    assert!(mean(temperature, 15) > mean(temperature, 3) + 10.0);
    assert!(mean(humidity, 15) < mean(humidity, 3) - 20.0);
    // 5,760 readings, one outlier expected in 400: 14.4, standard deviation 3.8.
    let outliers = all[temperature]
        .iter()
        .filter(|(_, time, value)| (value - 22.0 - 6.0 * daily(*time)).abs() > 10.0)
        .count();
    assert!((3..=30).contains(&outliers), "{outliers}");
}

#[test]
fn the_pump_is_irregular_and_steps() {
    let all = series(&fleet(6).readings_until(at(24 * 10)));
    let readings = &all["sensors/pump-1/pressure"];
    // 864,000 s at 90 s: 9,600 expected.
    assert!((9_000..10_300).contains(&readings.len()), "{}", readings.len());
    let steps = readings.windows(2).filter(|pair| (pair[1].2 - pair[0].2).abs() > 0.5).count();
    assert!((3..=30).contains(&steps), "{steps}");
}

#[test]
fn the_meter_rises_but_for_resets() {
    let all = series(&fleet(6).readings_until(at(24 * 60)));
    let readings = &all["sensors/meter-1/energy"];
    let falls: Vec<f64> =
        readings.windows(2).filter(|pair| pair[1].2 < pair[0].2).map(|pair| pair[1].2).collect();
    assert!(!falls.is_empty() && falls.len() < 20, "{falls:?}");
    assert!(falls.iter().all(|value| *value == 0.0), "{falls:?}");
}

#[test]
fn the_machine_is_on_or_off_and_works_by_day() {
    let all = series(&fleet(6).readings_until(at(24 * 10)));
    let readings = &all["sensors/machine-1/running"];
    assert!(readings.iter().all(|(_, _, value)| *value == 0.0 || *value == 1.0));
    let on = |day: bool| {
        readings
            .iter()
            .filter(|(_, time, value)| {
                ((6..18).contains(&((time / HOUR) % 24))) == day && *value == 1.0
            })
            .count()
    };
    assert!(on(true) > 5 * on(false), "{} {}", on(true), on(false));
}

#[test]
fn the_well_falls_silent_and_sends_its_backlog_in_order() {
    let all = series(&fleet(6).readings_until(at(24 * 10)));
    let readings = &all["sensors/well-1/level"];
    let silences: Vec<i64> = readings
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .filter(|gap| *gap > INTERVAL)
        .collect();
    assert!((3..=9).contains(&silences.len()), "{silences:?}");
    assert!(silences.iter().all(|gap| (2 * HOUR..=7 * HOUR).contains(gap)), "{silences:?}");
    // Nothing is missing behind a silence.
    assert!(readings.windows(2).all(|pair| pair[1].1 - pair[0].1 == INTERVAL));
}

#[test]
fn the_relay_repeats_and_swaps() {
    let all = series(&fleet(6).readings_until(at(24 * 10)));
    let readings = &all["sensors/relay-1/temperature"];
    let repeated = readings.windows(2).filter(|pair| pair[1].1 == pair[0].1).count();
    let swapped = readings.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    // Of 2,880 readings 15 % of those sent, and up to 10 %.
    assert!((250..500).contains(&repeated), "{repeated}");
    assert!((150..350).contains(&swapped), "{swapped}");
    assert!(readings.iter().all(|(sent, time, _)| sent - time <= INTERVAL));
}

#[test]
fn no_devices_no_messages() {
    let mut empty = fleet(0);
    assert_eq!(empty.next_time(), None);
    assert_eq!(empty.next_until(EventTime::LATEST), None);
}
