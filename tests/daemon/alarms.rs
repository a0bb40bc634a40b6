//! Alarms from the configuration to the site's topics, upstream and the page.

use serde_json::{Value, json};

use crate::client::{Publish, Subscriber, json as parse, publish};
use crate::daemon::{EPOCH, Settings, Site, until};
use crate::mosquitto::Mosquitto;

const ALARM: &str = "[[alarm]]\nmatch = { metric = 't' }\nname = 'too hot'\nabove = 80.0\n\
                     clear_below = 78.0\nseverity = 'critical'\n";
const TOPIC: &str = "weir/gw/d/t/alarm/too hot";

fn at(seconds: i64) -> String {
    weir::reading::EventTime::from_nanos((EPOCH + seconds) * 1_000_000_000).unwrap().to_string()
}

fn forward(port: u16) -> String {
    format!(
        "[[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtt://127.0.0.1:{port}'\ntopic = 'up/gw'\n"
    )
}

/// The alarms among the records that went upstream; a message that came again (its acknowledgement
/// was lost in a kill) counts once.
fn upstream(seen: &Subscriber) -> Vec<Value> {
    let mut messages: Vec<Value> = seen.on("up/gw").iter().map(parse).collect();
    messages.dedup_by(|a, b| a["sequence"] == b["sequence"]);
    let records = messages.iter().flat_map(|m| m["records"].as_array().unwrap().clone());
    records.filter(|record| record["kind"] == "alarm").collect()
}

#[test]
fn an_alarm_begins_once_survives_kill_9_and_ends_once() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let site = Site::new(&Settings::new(port).and(ALARM).and(&forward(port)));
    let seen = Subscriber::new(port, &["weir/gw/#", "up/gw"]);
    let mut weir = site.start();
    // The whole input is there; whoever subscribes can tell.
    let input = seen.wait_json("weir/gw/alarm-input", 1).remove(0);
    assert_eq!((&input["alarm"], &input["state"]), (&json!("input"), &json!("cleared")));

    publish(port, [Publish::reading("d", "t", 0.0, 70.0), Publish::reading("d", "t", 1.0, 81.25)]);
    let begin = seen.wait_json(TOPIC, 1).remove(0);
    let expected = json!({
        "device": "d", "metric": "t", "alarm": "too hot", "state": "active", "time": at(1),
        "value": 81.25, "expected": null, "lower": null, "upper": 80.0,
        "reason": "81.25 is above 80", "severity": "critical",
    });
    assert_eq!(begin, expected);
    weir.counts("weir_alarms_active", 1.0);
    weir.says("alarm begins");
    weir.kill();

    // Retained, with weir or without it.
    let late = Subscriber::new(port, &[TOPIC]);
    assert_eq!(late.wait_json(TOPIC, 1), std::slice::from_ref(&expected));
    assert!(late.all()[0].retain);

    // It is active still, and says so to a broker that may have forgotten.
    let weir = site.start();
    weir.counts("weir_alarms_active", 1.0);
    until("the alarm asserted again", || (late.on(TOPIC).len() >= 2).then_some(()));
    assert!(late.wait_json(TOPIC, 2).iter().all(|alarm| *alarm == expected));
    let (code, list) = weir.get("/api/alarms");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, &list["total"]), (200, &json!(1)));
    assert_eq!(list["alarms"][0]["reason"], "81.25 is above 80");
    assert_eq!(list["alarms"][0]["since"], at(1));

    // Hysteresis holds it at 79; 77.5 ends it.
    publish(port, [Publish::reading("d", "t", 2.0, 79.0), Publish::reading("d", "t", 3.0, 77.5)]);
    let is_end = |alarm: &Value| alarm["state"] == "cleared";
    let end = until("the end", || seen.on(TOPIC).iter().map(parse).find(is_end));
    assert_eq!((&end["time"], &end["value"]), (&json!(at(3)), &json!(77.5)));
    assert_eq!(end["reason"], "77.5 is not above 78");
    weir.counts("weir_alarms_active", 0.0);
    let sent = until("both upstream", || {
        let sent = upstream(&seen);
        (sent.len() >= 2).then_some(sent)
    });
    let states: Vec<&Value> = sent.iter().map(|record| &record["state"]).collect();
    assert_eq!(states, ["active", "cleared"], "upstream once each");
    let log = weir.stop();
    assert!(log.contains("alarm ends"), "{log}");

    // What has ended is not said again.
    let weir = site.start();
    weir.counts("weir_alarms_active", 0.0);
    let after = Subscriber::new(port, &[TOPIC]);
    assert!(is_end(&after.wait_json(TOPIC, 1)[0]), "retained");
    publish(port, [Publish::reading("d", "t", 4.0, 70.0)]);
    weir.takes(5);
    weir.stop();
    assert_eq!(seen.on(TOPIC).iter().map(parse).filter(is_end).count(), 1);
}

#[test]
fn a_hold_ends_without_readings_and_an_alarm_ends_with_its_configuration() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let plain = Settings::new(port);
    let held = ALARM.to_owned() + "hold = '1s'\n";
    let site = Site::new(&plain.clone().and(&held));
    let seen = Subscriber::new(port, &["weir/gw/d/t/alarm/#"]);
    let weir = site.start();
    publish(port, [Publish::reading("d", "t", 0.0, 81.0)]);
    let begin = seen.wait_json(TOPIC, 1).remove(0);
    assert_eq!((&begin["state"], &begin["time"]), (&json!("active"), &json!(at(1))));
    assert_eq!(begin["reason"], "above 80 for 1 s, now 81");
    site.configure(&plain);
    weir.signal("HUP");
    let end = until("the end", || {
        let last = seen.on(TOPIC).last().map(parse)?;
        (last["state"] == "cleared").then_some(last)
    });
    assert_eq!(end["reason"], "no longer configured");
    weir.stop();
}

#[test]
fn kinds_choose_what_is_published_and_forwarded() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let mut settings = Settings::new(port);
    settings.results.push_str("kinds = ['aggregate']\n");
    let alarms_only = forward(port) + "kinds = ['alarm']\n";
    let site = Site::new(&settings.and(ALARM).and(&alarms_only));
    let seen = Subscriber::new(port, &["weir/gw/#", "up/gw"]);
    let weir = site.start();
    publish(port, (0..4).map(|i| Publish::reading("d", "t", f64::from(i), 79.0 + f64::from(i))));
    until("the alarm upstream", || (!upstream(&seen).is_empty()).then_some(()));
    seen.wait_aggregates("weir/gw/d/t/aggregate", 4);
    let records: usize =
        seen.on("up/gw").iter().map(|m| parse(m)["records"].as_array().unwrap().len()).sum();
    assert_eq!(records, 1, "no aggregates upstream");
    assert_eq!(seen.on(TOPIC).len() + seen.on("weir/gw/alarm-input").len(), 0);
    weir.stop();
}
