//! What the site reads: estimates, aggregates, forecasts, status.

use std::process::Command;

use serde_json::{Value, json};
use weir::mqtt::Version;

use crate::client::{Publish, Subscriber, publish, publish_as};
use crate::daemon::{EPOCH, Settings, Site, Weir, until};
use crate::mosquitto::Mosquitto;

/// Names of an object's fields, sorted.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(|k| &**k).collect();
    names.sort_unstable();
    names
}

/// `EPOCH + seconds` as the contract writes times.
fn at(seconds: i64) -> String {
    weir::reading::EventTime::from_nanos((EPOCH + seconds) * 1_000_000_000).unwrap().to_string()
}

fn readings(device: &str, metric: &str, count: usize) -> Vec<Publish> {
    (0..count).map(|i| Publish::reading(device, metric, i as f64 * 0.25, 20.0 + i as f64)).collect()
}

#[test]
fn a_start_configuration_gives_estimates_aggregates_forecasts_and_status() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    // As in the README, but for intervals that a test can wait for. Panes wait for readings of theirs that a
    // slow machine puts into a later batch.
    site.configure_text(&format!(
        "[gateway]\nid = 'gw-01'\n\
         [state]\npath = '{}'\n\
         [clock]\ntrust = 'always'\n\
         [batch]\ninterval = '100ms'\n\
         [http]\nlisten = '127.0.0.1:0'\n\
         [results]\nmin_interval = '0s'\n\
         [mqtt]\nurl = 'mqtt://127.0.0.1:{}'\n\
         [[mqtt.subscribe]]\ntopics = ['sensors/{{device}}/{{metric}}']\nvalue = '/value'\ntime = '/ts'\n\
         [[profile]]\nmatch = {{ metric = 'temperature' }}\nunit = '°C'\nlateness = '2s'\n\
         windows = [{{ size = '1s' }}]\n\
         forecast = {{ step = '1s', season = [], seasonal = 'none', horizon = '3s' }}\n",
        site.state.display(),
        broker.port()
    ));
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    seen.wait_text("weir/gw-01/status", "online");
    // With the tools that the README names.
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &broker.port().to_string(), "-q", "1", "-l"])
        .args(["-t", "sensors/boiler-3/temperature"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("mosquitto_pub runs: install the package mosquitto-clients");
    let mut lines = String::new();
    for i in 0..41 {
        let (value, ts) = (20.0 + f64::from(i % 4), EPOCH as f64 + f64::from(i) * 0.25);
        lines.push_str(&json!({"value": value, "ts": ts}).to_string());
        lines.push('\n');
    }
    use std::io::Write;
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());

    let topic = "weir/gw-01/boiler-3/temperature";
    // Ten whole seconds; the last reading alone is in the eleventh, closed for want of more.
    let aggregates = seen.wait_aggregates(&format!("{topic}/aggregate"), 41);
    assert_eq!(aggregates.len(), 11);
    assert_eq!((&aggregates[10]["count"], &aggregates[10]["stddev"]), (&json!(1), &Value::Null));
    for (second, aggregate) in aggregates[..10].iter().enumerate() {
        let second = second as i64;
        let sketchy = ["quantiles", "sketch"];
        let names: Vec<&str> =
            fields(aggregate).into_iter().filter(|name| !sketchy.contains(name)).collect();
        assert_eq!(
            names,
            [
                "count",
                "covered_s",
                "device",
                "end",
                "first",
                "first_time",
                "last",
                "last_time",
                "m2",
                "max",
                "mean",
                "metric",
                "min",
                "outliers",
                "part",
                "start",
                "stddev",
                "sum",
            ]
        );
        let expected = json!({
            "device": "boiler-3", "metric": "temperature",
            "start": at(second), "end": at(second + 1),
            "count": 4, "sum": 86.0, "mean": 21.5, "min": 20.0, "max": 23.0, "m2": 5.0,
            "first": 20.0, "first_time": at(second), "last": 23.0,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&aggregate[name], value, "{name} of second {second}: {aggregate}");
        }
        assert!(aggregate["part"].as_u64().is_some_and(|part| part >= 1), "{aggregate}");
        let stddev = aggregate["stddev"].as_f64().unwrap();
        assert!((stddev - (5.0f64 / 3.0).sqrt()).abs() < 1e-12, "{aggregate}");
        let covered = aggregate["covered_s"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&covered), "{aggregate}");
        assert!(aggregate["outliers"].is_u64(), "{aggregate}");
        assert!(aggregate["last_time"].as_str().unwrap() < at(second + 1).as_str(), "{aggregate}");
    }

    let estimate = until("the estimate of the last reading", || {
        let last = seen.on(&format!("{topic}/estimate")).last().map(crate::client::json)?;
        (last["time"] == at(10)).then_some(last)
    });
    for name in ["device", "metric", "time", "reading", "level", "variance", "innovation", "nis"] {
        assert!(!estimate[name].is_null(), "{name}: {estimate}");
    }
    assert_eq!(
        (&estimate["device"], &estimate["metric"], &estimate["unit"], &estimate["reading"]),
        (&json!("boiler-3"), &json!("temperature"), &json!("°C"), &json!(20.0))
    );
    let level = estimate["level"].as_f64().unwrap();
    assert!((20.0..=23.0).contains(&level) && estimate["variance"].as_f64().unwrap() > 0.0);

    // Retained: whoever comes later has it at once.
    let late = Subscriber::new(broker.port(), &[&format!("{topic}/forecast")]);
    let forecast = late.wait_json(&format!("{topic}/forecast"), 1).pop().unwrap();
    assert!(late.all()[0].retain);
    assert_eq!(
        fields(&forecast),
        [
            "coverage", "device", "lower", "mean", "metric", "model", "nominal", "origin", "skill",
            "step_s", "upper"
        ]
    );
    assert_eq!((&forecast["origin"], &forecast["step_s"]), (&json!(at(10)), &json!(1.0)));
    let numbers = |name: &str| -> Vec<f64> {
        forecast[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let (lower, mean, upper) = (numbers("lower"), numbers("mean"), numbers("upper"));
    assert_eq!((lower.len(), mean.len(), upper.len()), (3, 3, 3), "{forecast}");
    for h in 0..3 {
        assert!(lower[h] <= mean[h] && mean[h] <= upper[h], "{forecast}");
        assert!((mean[h] - 21.5).abs() < 0.5, "{forecast}");
    }
    weir.stop();
    seen.wait_text("weir/gw-01/status", "offline");
}

#[test]
fn status_is_retained_and_goes_offline_by_last_will_after_kill_9() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let mut weir = site.start();
    let seen = Subscriber::new(broker.port(), &["weir/gw/status"]);
    seen.wait_text("weir/gw/status", "online");
    weir.kill();
    seen.wait_text("weir/gw/status", "offline");
    let late = Subscriber::new(broker.port(), &["weir/gw/status"]);
    late.wait_text("weir/gw/status", "offline");
    assert!(late.all()[0].retain);
    let weir = site.start();
    seen.wait_text("weir/gw/status", "online");
    weir.stop();
    seen.wait_text("weir/gw/status", "offline");
}

#[test]
fn reserved_characters_in_names_are_percent_encoded_in_topics() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.subscribe =
        "topics = ['in']\nvalue = '/v'\ntime = '/t'\ndevice = '/id'\nmetric = '/m'\n".to_owned();
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    publish(
        broker.port(),
        [0, 1].map(|s| {
            Publish::new(
                "in",
                json!({"id": "hall/1 +#%", "m": "$t°", "v": 1, "t": EPOCH + s}).to_string(),
            )
        }),
    );
    let aggregate = seen.wait_json("weir/gw/hall%2F1 %2B%23%25/$t°/aggregate", 1);
    assert_eq!(
        (&aggregate[0]["device"], &aggregate[0]["metric"]),
        (&json!("hall/1 +#%"), &json!("$t°")),
        "the payload has the names as they are"
    );
    weir.stop();
}

fn all_arrives(version: Version, qos: u8) {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.mqtt = format!("version = {}\n", if version == Version::V5 { 5 } else { 4 });
    settings.subscribe.push_str(&format!("qos = {qos}\n"));
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
    let weir = site.start();
    let messages = readings("d", "m", 81).into_iter().map(|m| Publish { qos, ..m });
    publish_as(broker.port(), version, messages);
    weir.takes(81);
    seen.wait_aggregates("weir/gw/d/m/aggregate", 81);
    weir.stop();
}

#[test]
fn mqtt_5_with_qos_1_delivers_everything() {
    all_arrives(Version::V5, 1);
}

#[test]
fn mqtt_5_with_qos_0_is_taken() {
    all_arrives(Version::V5, 0);
}

#[test]
fn mqtt_3_1_1_with_qos_1_delivers_everything() {
    all_arrives(Version::V4, 1);
}

#[test]
fn mqtt_3_1_1_with_qos_0_is_taken() {
    all_arrives(Version::V4, 0);
}

#[test]
fn results_in_cbor_hold_the_same_fields() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.results.push_str("format = 'cbor'\n");
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    publish(broker.port(), readings("d", "m", 5));
    let message = seen.wait("weir/gw/d/m/aggregate", 1).remove(0);
    // Another reader than the one that wrote.
    let value: ciborium::Value = ciborium::from_reader(&message.payload[..]).unwrap();
    let value: Value = value.deserialized().unwrap();
    assert_eq!(
        (&value["count"], &value["sum"], &value["start"]),
        (&json!(4), &json!(86.0), &json!(at(0)))
    );
    let message = seen.wait("weir/gw/d/m/estimate", 1).remove(0);
    let value: ciborium::Value = ciborium::from_reader(&message.payload[..]).unwrap();
    assert!(value.is_map());
    weir.stop();
}

#[test]
fn one_message_may_hold_many_metrics_and_an_array_of_readings() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.subscribe = "topics = ['many/{device}']\nrecords = '/readings'\n\
        values = { temperature = '/t', humidity = '/h' }\ntime = '/ts'\n"
        .to_owned();
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    // Not in order: one message is sorted before it is judged.
    let records: Vec<Value> = [2.0, 0.0, 1.5, 0.5, 1.0]
        .iter()
        .map(|s| json!({"t": 20.0 + s, "h": 50.0 + s, "ts": EPOCH as f64 + s}))
        .collect();
    publish(broker.port(), [Publish::new("many/d", json!({"readings": records}).to_string())]);
    weir.takes(10);
    for (metric, base) in [("temperature", 20.0), ("humidity", 50.0)] {
        let aggregates = seen.wait_aggregates(&format!("weir/gw/d/{metric}/aggregate"), 5);
        let sums: Vec<f64> = aggregates.iter().map(|a| a["sum"].as_f64().unwrap()).collect();
        assert_eq!(sums, [2.0 * base + 0.5, 2.0 * base + 2.5, base + 2.0], "{metric}");
        assert_eq!(aggregates[0]["first"], base);
    }
    weir.stop();
}

#[test]
fn retained_messages_are_dropped_and_counted_unless_asked_for() {
    let broker = Mosquitto::start();
    let retained = |second| Publish { retain: true, ..Publish::reading("d", "m", second, 1.0) };
    publish(broker.port(), [retained(0.0)]);
    let settings = Settings::new(broker.port());
    let site = Site::new(&settings);
    let weir = site.start();
    weir.drops("retained", 1);
    // A new message is no replay, though it is to be retained.
    publish(broker.port(), [retained(1.0)]);
    weir.takes(1);
    weir.stop();

    let mut settings = settings;
    settings.subscribe.push_str("retained = true\n");
    let site = Site::new(&settings);
    settings.mqtt = "client_id = 'another'\n".to_owned();
    site.configure(&settings);
    let weir = site.start();
    weir.takes(1);
    weir.drops("retained", 0);
    weir.stop();
}

#[test]
fn estimates_of_thousands_of_series_in_one_batch_all_leave() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.subscribe = "topics = ['many/{device}']\nvalues = '*'\n".to_owned();
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/estimate"]);
    let weir = site.start();
    let values: serde_json::Map<String, Value> =
        (0..3000).map(|i| (format!("m{i}"), json!(i))).collect();
    publish(broker.port(), [Publish::new("many/d", json!(values).to_string())]);
    weir.takes(3000);
    until("3000 estimates", || (seen.all().len() == 3000).then_some(()));
    weir.stop();
}

#[test]
fn estimates_are_held_to_one_in_min_interval() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.results = "min_interval = '1h'\nprefix = 'site/{gateway}/out'\n".to_owned();
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["site/#"]);
    let weir: Weir = site.start();
    for i in 0..3 {
        publish(broker.port(), [Publish::reading("d", "m", f64::from(i), 1.0)]);
        weir.takes(i as u64 + 1);
    }
    seen.wait("site/gw/out/d/m/aggregate", 2);
    assert_eq!(seen.on("site/gw/out/d/m/estimate").len(), 1);
    weir.stop();
}
