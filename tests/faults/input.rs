//! Bad input: dropped, counted under its reason, and no harm to its neighbours.

use serde_json::json;

use crate::client::{Publish, Subscriber, publish};
use crate::daemon::{EPOCH, Settings, Site, until};
use crate::mosquitto::Mosquitto;

fn good(seconds: std::ops::Range<i32>) -> impl Iterator<Item = Publish> {
    seconds.map(|s| Publish::reading("good", "m", f64::from(s), f64::from(s)))
}

#[test]
fn every_kind_of_bad_input_is_counted_under_its_reason() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.subscribe = "topics = ['sensors/{device}/{metric}']\nvalue = '/value'\ntime = '/ts'\n\
         missing = [85, 'unavailable']\nmax_payload = '1KiB'\n\
         [[mqtt.subscribe]]\ntopics = ['lists/{device}/{metric}']\nrecords = '/r'\nvalue = '/v'\n\
         time = '/t'\nmax_readings = 3\n"
        .to_owned();
    let settings = settings.and("[[profile]]\nmatch = {}\nvalid = [-100, 100]\n");
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    publish(broker.port(), good(0..5));
    weir.takes(5);

    let bad = |payload: String| Publish::new("sensors/bad/m", payload);
    let value = |value: serde_json::Value| bad(json!({"value": value, "ts": EPOCH}).to_string());
    let time = |time: serde_json::Value| bad(json!({"value": 1, "ts": time}).to_string());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let list: Vec<_> = (0..5).map(|i| json!({"v": i, "t": EPOCH + i})).collect();
    publish(
        broker.port(),
        [
            bad("{\"value\": 1".to_owned()),
            bad(String::new()),
            bad("\u{0}\u{1}\u{2}".to_owned()),
            bad(format!("{{\"value\": NaN, \"ts\": {EPOCH}}}")),
            bad(format!("{{\"value\": 1e999, \"ts\": {EPOCH}}}")),
            bad(json!({"value": 1, "ts": EPOCH, "pad": "x".repeat(2000)}).to_string()),
            value(json!(85)),
            value(json!("unavailable")),
            time(json!(1e15)),
            time(json!(-1e12)),
            time(json!("yesterday")),
            time(json!(now + 3600)),
            value(json!(101)),
            Publish::new(&format!("sensors/{}/m", "n".repeat(300)), "{\"value\": 1}"),
            Publish::new("lists/bad/m", json!({"r": list}).to_string()),
        ],
    );
    publish(broker.port(), good(5..10));
    seen.wait_aggregates("weir/gw/good/m/aggregate", 10);
    let drops = weir.status()["drops"].clone();
    let of = |reason: &str| drops[reason].as_u64().unwrap();
    assert_eq!(of("oversize"), 1, "{drops}");
    assert_eq!(of("missing"), 2, "{drops}");
    assert_eq!(of("bad_time"), 3, "{drops}");
    assert_eq!(of("future"), 1, "{drops}");
    assert_eq!(of("invalid"), 1, "{drops}");
    assert_eq!(of("topic"), 1, "{drops}");
    assert_eq!(of("too_many"), 2, "{drops}");
    assert_eq!(of("malformed") + of("not_finite"), 5, "{drops}");
    assert!(of("not_finite") <= 2, "{drops}");
    let total: u64 = drops.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(total, 16, "{drops}");
    // One line now, the rest counted: a flood of bad input must not flood the log.
    weir.says("topic \"sensors/bad/m\": malformed");
    let log = weir.log();
    assert_eq!(log.matches("dropped: ").count(), 1, "{log}");
    weir.stop();
}

/// A message above the packet limit must be taken once, counted and acknowledged, or it comes for
/// ever.
fn an_oversize_packet_passes(mqtt: &str, counted: bool) {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.mqtt = mqtt.to_owned();
    let site = Site::new(&settings);
    let weir = site.start();
    publish(broker.port(), good(0..3));
    weir.takes(3);
    publish(broker.port(), [Publish::new("sensors/big/m", vec![b'x'; 3 << 20])]);
    publish(broker.port(), good(3..6));
    weir.takes(6);
    if counted {
        weir.drops("oversize", 1);
    }
    // A restart does not find it again.
    weir.stop();
    let weir = site.start();
    publish(broker.port(), good(6..9));
    weir.takes(9);
    weir.drops("oversize", u64::from(counted));
    weir.stop();
}

#[test]
fn a_packet_above_the_limit_passes_with_mqtt_3_1_1_and_is_counted() {
    an_oversize_packet_passes("version = 4\n", true);
}

#[test]
fn a_packet_above_the_limit_is_withheld_by_an_mqtt_5_broker() {
    an_oversize_packet_passes("", false);
}

#[test]
fn a_flood_of_devices_is_refused_and_established_series_go_on() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port()).and("[series]\nmax_series = 10\n");
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/+/good/#"]);
    let weir = site.start();
    publish(broker.port(), good(0..60));
    weir.takes(60);
    let flood = |i: i32| Publish::reading(&format!("flood-{i}"), "m", 0.0, 1.0);
    publish(broker.port(), (0..500).map(flood));
    publish(broker.port(), good(60..70));
    seen.wait_aggregates("weir/gw/good/m/aggregate", 70);
    let metrics = weir.metrics();
    let refused = metrics["weir_readings_dropped_total{reason=\"series_limit\"}"];
    let taken = metrics["weir_readings_total"];
    assert!(refused > 0.0 && taken + refused == 570.0, "{taken} taken, {refused} refused");
    assert!(metrics["weir_series"] <= 10.0);
    weir.stop();
}

#[test]
fn a_device_with_a_bad_clock_does_not_disturb_another() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let seen = Subscriber::new(broker.port(), &["weir/+/good/#"]);
    let weir = site.start();
    for round in 0..3 {
        // 1970, 2100, and back again.
        for ts in [0i64, 4_102_444_800, EPOCH - 1_000_000] {
            publish(
                broker.port(),
                [Publish::new("sensors/bad/m", json!({"value": 1, "ts": ts}).to_string())],
            );
        }
        publish(broker.port(), good(round * 5..(round + 1) * 5));
    }
    let aggregates = seen.wait_aggregates("weir/gw/good/m/aggregate", 15);
    until("the drops", || (weir.status()["drops"]["future"] == 3).then_some(()));
    assert!(aggregates.iter().all(|a| a["count"] == 1), "{aggregates:?}");
    weir.stop();
}
