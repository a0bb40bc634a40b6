//! The demo's sensors over real brokers: everything arrives, whatever happens to the connection.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use weir::clock::Clock;
use weir::demo::publish;
use weir::demo::sensors::Fleet;
use weir::mqtt::{Connection, Event, Message, Options, Sender, connect};
use weir::reading::{EventTime, SECOND};

#[path = "support/mosquitto.rs"]
mod mosquitto;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock two simulated days after the fleet's start that hardly moves: exactly the messages of
/// two days are due.
fn two_days() -> (Fleet, Clock, EventTime) {
    let start = 1_767_225_600 * SECOND;
    let end = start + 2 * 86_400 * SECOND;
    let fleet = Fleet::new(1, 6, EventTime::from_nanos(start).unwrap());
    (fleet, Clock::scaled(end, 1e-6), EventTime::from_nanos(end).unwrap())
}

async fn next_message(sender: &Sender, connection: &mut Connection) -> Option<Message> {
    loop {
        match connection.poll().await {
            Ok(Event::Connected { session_present: false, .. }) => {
                sender.try_subscribe(vec![("sensors/+/+".to_owned(), 1)]).unwrap();
            }
            Ok(Event::Message(message)) => {
                sender.try_acknowledge(message.packet_id).unwrap();
                return Some(message);
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

async fn subscribed(sender: &Sender, connection: &mut Connection) {
    sender.try_subscribe(vec![("sensors/+/+".to_owned(), 1)]).unwrap();
    while !matches!(connection.poll().await.unwrap(), Event::Subscribed { .. }) {}
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

#[cfg(feature = "demo")]
#[test]
fn the_embedded_broker_delivers_in_order_to_both_versions() {
    use weir::mqtt::Version;
    let addresses = weir::demo::broker::start(0).unwrap();
    for (version, port) in [(Version::V4, addresses.v4.port()), (Version::V5, addresses.v5.port())]
    {
        run(async {
            let options = |client_id: &str| Options {
                version,
                ..Options::new("127.0.0.1", port, format!("{client_id}-{version:?}"))
            };
            let (sender, mut connection) = connect(&options("reader"));
            subscribed(&sender, &mut connection).await;
            let (fleet, clock, end) = two_days();
            let expected = fleet.clone().readings_until(end);
            let (stop, stopped) = watch::channel(false);
            let sensors = tokio::spawn(publish(options("sensors"), fleet, clock, stopped));
            for wanted in &expected {
                let message = next_message(&sender, &mut connection).await.expect("connected");
                assert_eq!(message.topic, wanted.topic);
                assert_eq!(message.payload, wanted.payload.as_bytes());
            }
            stop.send(true).unwrap();
            assert!(sensors.await.unwrap() <= expected.len() as u64);
        });
    }
}

#[test]
fn every_reading_arrives_though_the_broker_restarts() {
    let mut broker = mosquitto::Mosquitto::start();
    run(async {
        let reader = Options::new("127.0.0.1", broker.port(), "reader");
        let (mut sender, mut connection) = connect(&reader);
        subscribed(&sender, &mut connection).await;
        let (fleet, clock, end) = two_days();
        let expected: BTreeSet<(String, Vec<u8>)> = fleet
            .clone()
            .readings_until(end)
            .into_iter()
            .map(|message| (message.topic, message.payload.into_bytes()))
            .collect();
        let (stop, stopped) = watch::channel(false);
        let options = Options::new("127.0.0.1", broker.port(), "sensors");
        let sensors = tokio::spawn(publish(options, fleet, clock, stopped));
        let mut seen = BTreeSet::new();
        let mut restarted = false;
        while seen.len() < expected.len() {
            if seen.len() == expected.len() / 2 && !restarted {
                restarted = true;
                broker.restart();
            }
            match next_message(&sender, &mut connection).await {
                Some(message) => {
                    seen.insert((message.topic, message.payload));
                }
                None => (sender, connection) = connect(&reader),
            }
        }
        assert!(restarted);
        assert_eq!(seen, expected);
        drop(stop);
        assert!(sensors.await.unwrap() > 0, "ends when nobody can stop it any more");
    });
}
