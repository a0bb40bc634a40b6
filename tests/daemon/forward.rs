//! Aggregates upstream: the outbox holds, drains in order, and knows what it has sent.

use serde_json::{Value, json};

use crate::client::{Publish, Subscriber, publish};
use crate::daemon::{EPOCH, Settings, Site, Weir, until};
use crate::mosquitto::{Mosquitto, free_port};

const TOPIC: &str = "fleet/gw/aggregates";

fn settings(site: u16, upstream: u16) -> Settings {
    Settings::new(site).and(&format!(
        "[[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtt://127.0.0.1:{upstream}'\n\
         topic = 'fleet/{{gateway}}/aggregates'\n"
    ))
}

/// What upstream keeps: one message of each sequence, and one record of each identity.
struct Received {
    sequences: Vec<u64>,
    records: Vec<Value>,
}

impl Received {
    fn of(upstream: &Subscriber) -> Received {
        let mut by_sequence = std::collections::BTreeMap::new();
        for message in upstream.wait_json(TOPIC, 0) {
            let sequence = message["sequence"].as_u64().expect("a sequence");
            let before = by_sequence.insert(sequence, message.clone());
            assert!(before.is_none_or(|before| before == message), "sent again, not the same");
        }
        let records: Vec<Value> = by_sequence
            .values()
            .flat_map(|message| message["records"].as_array().expect("records").clone())
            .collect();
        let mut identities: Vec<String> = records
            .iter()
            .map(|r| format!("{} {} {} {}", r["device"], r["metric"], r["start"], r["part"]))
            .collect();
        identities.sort_unstable();
        identities.dedup();
        assert_eq!(identities.len(), records.len(), "a record under two sequences");
        Received { sequences: by_sequence.into_keys().collect(), records }
    }

    fn readings(&self) -> u64 {
        self.records.iter().map(|r| r["count"].as_u64().expect("a count")).sum()
    }

    /// Waits until upstream has aggregates of so many readings; checks that no sequence is missing.
    fn wait(upstream: &Subscriber, readings: u64) -> Received {
        let received = until(&format!("{readings} readings upstream"), || {
            let received = Received::of(upstream);
            assert!(received.readings() <= readings, "{} readings", received.readings());
            (received.readings() == readings).then_some(received)
        });
        let expected: Vec<u64> = (1..=received.sequences.len() as u64).collect();
        assert_eq!(received.sequences, expected, "gapless from 1");
        received
    }
}

/// Publishes one reading in each of these seconds.
fn seconds(port: u16, seconds: std::ops::Range<i32>) {
    publish(port, seconds.map(|s| Publish::reading("d", "m", f64::from(s), f64::from(s))));
}

fn records(weir: &Weir) -> f64 {
    weir.metric("weir_outbox_records{forward=\"cloud\"}")
}

#[test]
fn an_upstream_message_has_exactly_the_fields_of_the_contract() {
    let (broker, upstream) = (Mosquitto::start(), Mosquitto::start());
    let site = Site::new(&settings(broker.port(), upstream.port()));
    let seen = Subscriber::new(upstream.port(), &["#"]);
    let weir = site.start();
    seconds(broker.port(), 0..3);
    Received::wait(&seen, 3);
    let message = &seen.wait_json(TOPIC, 1)[0];
    let names: Vec<&str> = message.as_object().unwrap().keys().map(|k| &**k).collect();
    assert_eq!(names, ["gateway", "instance", "records", "schema", "sequence"]);
    assert_eq!(
        (&message["schema"], &message["gateway"], &message["sequence"]),
        (&json!("weir/1"), &json!("gw"), &json!(1))
    );
    assert_eq!(message["instance"], weir.status()["instance"]);
    let record = &message["records"][0];
    assert_eq!((&record["kind"], &record["device"]), (&json!("aggregate"), &json!("d")));
    assert_eq!((&record["count"], &record["sum"]), (&json!(1), &json!(0.0)));
    // Upstream is told the same as the site.
    let mut local = record.clone();
    local.as_object_mut().unwrap().remove("kind");
    let here = Subscriber::new(broker.port(), &["weir/#"]);
    seconds(broker.port(), 5..7);
    let local_names: Vec<String> = local.as_object().unwrap().keys().cloned().collect();
    let site_record = &here.wait_json("weir/gw/d/m/aggregate", 1)[0];
    let site_names: Vec<String> = site_record.as_object().unwrap().keys().cloned().collect();
    assert_eq!(local_names, site_names);
    assert!(
        weir.metric("weir_forward_last_success_timestamp_seconds{forward=\"cloud\"}")
            > EPOCH as f64
    );
    weir.stop();
}

#[test]
fn the_outbox_holds_while_upstream_is_away_and_drains_in_order() {
    let (broker, mut upstream) = (Mosquitto::start(), Mosquitto::start());
    let site = Site::new(&settings(broker.port(), upstream.port()));
    let seen = Subscriber::new(upstream.port(), &["fleet/#"]);
    let mut weir = site.start();
    seconds(broker.port(), 0..4);
    Received::wait(&seen, 4);
    let instance = weir.status()["instance"].clone();

    upstream.stop();
    seconds(broker.port(), 4..24);
    weir.takes(24);
    until("records in the outbox", || (records(&weir) >= 19.0).then_some(()));
    assert!(weir.metric("weir_outbox_bytes{forward=\"cloud\"}") > 0.0);
    assert!(weir.metric("weir_outbox_oldest_seconds{forward=\"cloud\"}") >= 0.0);
    weir.counts("weir_forward_connected{forward=\"cloud\"}", 0.0);
    // The site goes on, and so does the outbox over crash and restart.
    weir.kill();
    let mut weir = site.start();
    assert!(records(&weir) >= 19.0, "after kill -9: {}", records(&weir));
    seconds(broker.port(), 24..30);
    weir.takes(30);
    weir.kill();
    let weir = site.start();
    let log = weir.stop();
    assert!(log.contains("the outbox holds the records"), "{log}");

    let weir = site.start();
    upstream.restart();
    let received = Received::wait(&seen, 30);
    let starts: Vec<&str> = received.records.iter().map(|r| r["start"].as_str().unwrap()).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    until("an empty outbox", || (records(&weir) == 0.0).then_some(()));
    assert_eq!(weir.status()["instance"], instance);
    for message in seen.wait_json(TOPIC, 1) {
        assert_eq!(message["instance"], instance);
    }
    weir.stop();
}

#[test]
fn killed_again_and_again_upstream_gets_every_reading_once() {
    let (broker, upstream) = (Mosquitto::start(), Mosquitto::start());
    let site = Site::new(&settings(broker.port(), upstream.port()));
    let seen = Subscriber::new(upstream.port(), &["fleet/#"]);
    let mut weir = site.start();
    for round in 0..4 {
        seconds(broker.port(), round * 50..(round + 1) * 50);
        // Anywhere: nothing is awaited before the kill.
        weir.kill();
        weir = site.start();
    }
    Received::wait(&seen, 200);
    weir.takes(200);
    weir.stop();
}

#[test]
fn an_upstream_that_was_never_there_is_no_failure() {
    let broker = Mosquitto::start();
    let site = Site::new(&settings(broker.port(), free_port()));
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let weir = site.start();
    seconds(broker.port(), 0..5);
    seen.wait_aggregates("weir/gw/d/m/aggregate", 5);
    assert!(records(&weir) >= 4.0);
    assert_eq!(
        weir.metrics().get("weir_forward_last_success_timestamp_seconds{forward=\"cloud\"}"),
        None,
        "never is not 1970"
    );
    weir.stop();
}
