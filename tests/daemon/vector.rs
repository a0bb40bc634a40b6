//! A filter over several metrics of one device, from the configuration to topic, page and restart.

use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Publish, Subscriber, json as parse, publish};
use crate::daemon::{EPOCH, Settings, Site, until};
use crate::explain::explain;
use crate::mosquitto::Mosquitto;

/// With a lateness, or a batch that ends between the two readings of a row would end the row.
const VECTOR: &str = "[[profile]]\nmatch = { metric = 'speed' }\nunit = 'm/s'\n\
    [[profile]]\nmatch = { device = 'cart-*' }\nlateness = '5s'\n[profile.kalman]\nmodel = 'custom'\nname = 'motion'\n\
    metrics = ['position', 'speed']\nper_second = true\nF = [[0, 1], [0, 0]]\nH = [[1, 0], [0, 1]]\n\
    Q = [[0, 0], [0, 0.09]]\nR = [[0.0004, 0], [0, 0.01]]\n";
const TOPIC: &str = "weir/gw/cart-1/motion/estimate";

fn at(seconds: i64) -> String {
    weir::reading::EventTime::from_nanos((EPOCH + seconds) * 1_000_000_000).unwrap().to_string()
}

/// (metric, second, value); the seventh row has no speed.
fn readings(seconds: std::ops::Range<i64>) -> Vec<(&'static str, i64, f64)> {
    let of = |second: i64| {
        let wobble = [0.0, 0.25, -0.125, 0.5][second.rem_euclid(4) as usize];
        let position = ("position", second, 2.0 * second as f64 + wobble * 0.0625);
        let speed = ("speed", second, 2.0 + wobble);
        [Some(position), Some(speed).filter(|_| second != 7)]
    };
    seconds.flat_map(of).flatten().collect()
}

#[test]
fn estimates_of_several_metrics_are_published_and_go_on_after_kill_9() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let site = Site::new(&Settings::new(port).and(VECTOR));
    let seen = Subscriber::new(port, &["weir/#"]);
    let send = |seconds| {
        let readings = readings(seconds).into_iter();
        publish(port, readings.map(|(m, s, v)| Publish::reading("cart-1", m, s as f64, v)));
    };
    let estimate = |second| {
        until("the estimate of the last row", || {
            let found = seen.on(TOPIC).iter().map(parse).find(|e| e["time"] == at(second))?;
            Some(found)
        })
    };
    let mut weir = site.start();
    send(0..20);
    let found = estimate(19);
    assert_eq!(found["metrics"], json!(["position", "speed"]));
    assert_eq!((&found["device"], &found["metric"]), (&json!("cart-1"), &json!("motion")));
    assert_eq!((&found["dof"], &found["unit"]), (&json!(2), &json!([null, "m/s"])));
    assert_eq!(found["reading"], json!([38.0 + 0.5 * 0.0625, 2.5]));
    let speed = found["state"][1].as_f64().unwrap();
    assert!((2.0..2.5).contains(&speed), "between what was expected and what was read: {found}");
    // The sensors' own estimates are there too.
    assert!(!seen.on("weir/gw/cart-1/speed/estimate").is_empty());
    weir.takes(39);
    weir.counts("weir_series", 3.0);
    weir.kill();

    let weir = site.start();
    send(20..30);
    let found = estimate(29);
    weir.takes(59);
    let (code, row) = weir.get("/api/series/cart-1/motion");
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!((code, &row["kind"], &row["model"]), (200, &json!("vector"), &json!("custom")));
    assert_eq!(row["vector"]["state"], found["state"]);
    assert_eq!(row["vector"]["metrics"][1]["unit"], "m/s");
    assert_eq!((&row["count"], &row["vector"]["late"]), (&json!(59), &json!(0)));
    // Of the first row nothing was expected; what the others said of the noise has outlived the kill.
    assert_eq!(row["noise"]["readings"], 29);
    assert!(weir.metrics().keys().any(|name| name.starts_with("weir_units_unmade{")));

    let told = explain(&site, weir.port(), ["cart-1", "speed"]);
    for part in [
        "filter \"motion\" over [\"position\", \"speed\"]",
        "state, from the daemon at 127.0.0.1:",
        "state of filter \"motion\", from the daemon at 127.0.0.1:",
        "\n  filter    custom, over several metrics\n  readings  59, 0 late; 0 rows gated, 0 shifts\n",
        ", about 2 if the noise fits\n  noise     unknown: too few readings were judged",
        "\n  metric    speed: reading ",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let own = explain(&site, weir.port(), ["cart-1", "motion"]);
    assert!(own.starts_with("cart-1/motion: a filter over several metrics\n"), "{own}");
    assert_eq!(own.matches("state").count(), 1, "{own}");

    // A replay of the same readings, which nobody killed, ends in the same bits.
    let mut csv = "time,device,metric,value\n".to_owned();
    for (metric, second, value) in readings(0..30) {
        csv += &format!("{},cart-1,{metric},{value:?}\n", EPOCH + second);
    }
    let file = site.folder().join("cart.csv");
    std::fs::write(&file, csv).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["replay", "--every-reading", "--config"])
        .args([&site.file(), &file])
        .output()
        .expect("it starts");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.rfind(|line| line["metric"] == "motion").expect("an estimate");
    for field in ["time", "reading", "level", "variance", "nis", "state", "covariance"] {
        assert_eq!(last[field], found[field], "{field}");
    }
    weir.stop();
}
