//! The MQTT facade against a real broker (mosquitto).

use std::time::Duration;

use weir::mqtt::{Connection, Event, Message, MqttError, Options, Sender, Version, Will, connect};

#[path = "support/mosquitto.rs"]
mod mosquitto;
use mosquitto::{Mosquitto, free_port};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(port: u16, version: Version, client_id: &str) -> Options {
    Options { version, ..Options::new("127.0.0.1", port, client_id) }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// Polls until `wanted` has an answer.
async fn until<T>(connection: &mut Connection, wanted: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = connection.poll().await.expect("the connection lives");
        if let Some(answer) = wanted(event) {
            return answer;
        }
    }
}

async fn fails(connection: &mut Connection) -> MqttError {
    loop {
        if let Err(error) = connection.poll().await {
            return error;
        }
    }
}

async fn connected(connection: &mut Connection) -> bool {
    match connection.poll().await {
        Ok(Event::Connected { session_present, .. }) => session_present,
        other => panic!("expected Connected first, got {other:?}"),
    }
}

async fn subscribed(sender: &Sender, connection: &mut Connection, filter: &str, qos: u8) {
    sender.try_subscribe(vec![(filter.to_owned(), qos)]).unwrap();
    let failures = until(connection, |event| match event {
        Event::Subscribed { failures } => Some(failures),
        _ => None,
    });
    assert_eq!(failures.await, Vec::<String>::new());
}

fn message(event: Event) -> Option<Message> {
    match event {
        Event::Message(message) => Some(message),
        _ => None,
    }
}

/// Publishes with QoS 1 on a connection of its own and waits for all acknowledgements.
async fn publish(port: u16, version: Version, topic: &str, payloads: &[&str]) {
    let (sender, mut connection) =
        connect(&Options { clean: true, ..options(port, version, "publisher") });
    for payload in payloads {
        sender.try_publish(topic, 1, false, *payload).unwrap();
    }
    for _ in payloads {
        let failure = until(&mut connection, |event| match event {
            Event::PublishAcknowledged { failure, .. } => Some(failure),
            _ => None,
        })
        .await;
        assert_eq!(failure, None);
    }
}

async fn disconnected(sender: Sender, mut connection: Connection) {
    sender.try_disconnect().unwrap();
    assert_eq!(fails(&mut connection).await, MqttError::Closed);
}

#[test]
fn messages_go_out_and_come_back() {
    let broker = Mosquitto::start();
    for version in BOTH {
        run(async {
            let options = options(broker.port(), version, &format!("there-{version:?}"));
            let (sender, mut connection) = connect(&options);
            assert!(!connected(&mut connection).await);
            subscribed(&sender, &mut connection, "a/+", 1).await;
            sender.try_publish("a/b", 1, false, "one").unwrap();
            sender.try_publish("a/c", 0, false, vec![0xff, 0x00]).unwrap();
            let first = until(&mut connection, message).await;
            assert_eq!((first.topic.as_str(), first.payload.as_slice()), ("a/b", &b"one"[..]));
            assert_eq!((first.qos, first.dup, first.retain), (1, false, false));
            assert_ne!(first.packet_id, 0);
            let second = until(&mut connection, message).await;
            assert_eq!((second.topic.as_str(), second.payload), ("a/c", vec![0xff, 0x00]));
            assert_eq!((second.qos, second.packet_id), (0, 0));
            sender.try_acknowledge(first.packet_id).unwrap();
            disconnected(sender, connection).await;
        });
    }
}

#[test]
fn acknowledgements_are_matched_by_the_order_of_publishes_sent() {
    let broker = Mosquitto::start();
    for version in BOTH {
        run(async {
            // Fewer in flight than published: packet ids are used again.
            let options =
                Options { inflight: 5, clean: true, ..options(broker.port(), version, "ids") };
            let (sender, mut connection) = connect(&options);
            for number in 0..40u8 {
                sender.try_publish("ids", u8::from(number % 4 != 0), false, [number]).unwrap();
            }
            let (mut sent, mut acknowledged) = (Vec::new(), Vec::new());
            let mut unacknowledged = Vec::new();
            while sent.len() < 40 || acknowledged.len() < 30 {
                match connection.poll().await.unwrap() {
                    Event::PublishSent(0) => sent.push(0),
                    Event::PublishSent(id) => {
                        sent.push(id);
                        unacknowledged.push((id, sent.len() - 1));
                        assert!(unacknowledged.len() <= 5, "{unacknowledged:?}");
                    }
                    Event::PublishAcknowledged { packet_id, failure } => {
                        assert_eq!(failure, None);
                        let (_, number) = unacknowledged.remove(
                            unacknowledged.iter().position(|(id, _)| *id == packet_id).unwrap(),
                        );
                        acknowledged.push(number);
                    }
                    _ => {}
                }
            }
            for (number, id) in sent.iter().enumerate() {
                assert_eq!(*id == 0, number % 4 == 0, "publish {number} has packet id {id}");
            }
            acknowledged.sort_unstable();
            let expected: Vec<usize> = (0..40).filter(|number| number % 4 != 0).collect();
            assert_eq!(acknowledged, expected);
        });
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_with_dup() {
    let broker = Mosquitto::start();
    for version in BOTH {
        run(async {
            let options = options(broker.port(), version, &format!("session-{version:?}"));
            let (sender, mut connection) = connect(&options);
            connected(&mut connection).await;
            subscribed(&sender, &mut connection, "session", 1).await;
            publish(broker.port(), version, "session", &["one", "two", "three"]).await;
            let one = until(&mut connection, message).await;
            let two = until(&mut connection, message).await;
            sender.try_acknowledge(one.packet_id).unwrap();
            // Leave when the third message is here and the acknowledgement written.
            let (mut third, mut written) = (false, false);
            while !(third && written) {
                match connection.poll().await.unwrap() {
                    Event::Message(_) => third = true,
                    Event::AcknowledgeSent(id) => written = id == one.packet_id,
                    _ => {}
                }
            }
            drop(connection);
            // The old sender is good for nothing now, above all not for another connection.
            let _ = sender.try_acknowledge(two.packet_id);

            let (sender, mut connection) = connect(&options);
            assert!(connected(&mut connection).await, "the session is resumed");
            let again = until(&mut connection, message).await;
            assert_eq!(again.payload, b"two");
            assert_eq!((again.dup, again.packet_id), (true, two.packet_id));
            let last = until(&mut connection, message).await;
            assert_eq!((last.payload.as_slice(), last.dup), (&b"three"[..], true));
            sender.try_acknowledge(again.packet_id).unwrap();
            sender.try_acknowledge(last.packet_id).unwrap();
            disconnected(sender, connection).await;

            let (sender, mut connection) = connect(&options);
            assert!(connected(&mut connection).await);
            publish(broker.port(), version, "session", &["four"]).await;
            let new = until(&mut connection, message).await;
            assert_eq!((new.payload.as_slice(), new.dup), (&b"four"[..], false));
            sender.try_acknowledge(new.packet_id).unwrap();
            disconnected(sender, connection).await;
        });
    }
}

#[test]
fn a_session_outlives_the_broker() {
    let mut broker = Mosquitto::start();
    run(async {
        let options = options(broker.port(), Version::V5, "survivor");
        let (sender, mut connection) = connect(&options);
        connected(&mut connection).await;
        subscribed(&sender, &mut connection, "survivor", 1).await;
        publish(broker.port(), Version::V5, "survivor", &["one"]).await;
        until(&mut connection, message).await;
        broker.restart();
        let error = fails(&mut connection).await;
        assert!(matches!(error, MqttError::Network(_)), "{error}");
        assert_eq!(connection.poll().await, Err(MqttError::Closed), "it never reconnects");
        let (_sender, mut connection) = connect(&options);
        assert!(connected(&mut connection).await);
        assert_eq!(until(&mut connection, message).await.payload, b"one");
    });
}

#[test]
fn a_packet_above_the_limit_is_an_error_with_its_size() {
    let broker = Mosquitto::start();
    run(async {
        let options =
            Options { max_packet: 1000, ..options(broker.port(), Version::V4, "oversize") };
        let (sender, mut connection) = connect(&options);
        connected(&mut connection).await;
        subscribed(&sender, &mut connection, "large", 1).await;
        publish(broker.port(), Version::V4, "large", &[&"x".repeat(2000)]).await;
        // 2 + 5 topic, 2 packet id, 2000 payload.
        assert_eq!(fails(&mut connection).await, MqttError::Oversize { size: 2009, limit: 1000 });
        // As documented: with a larger limit it can be taken out of the session.
        let (sender, mut connection) = connect(&Options { max_packet: 2100, ..options });
        assert!(connected(&mut connection).await);
        let large = until(&mut connection, message).await;
        assert_eq!(large.payload.len(), 2000);
        sender.try_acknowledge(large.packet_id).unwrap();
        disconnected(sender, connection).await;
    });
}

#[test]
fn mqtt_5_brokers_withhold_what_is_too_large() {
    let broker = Mosquitto::start();
    run(async {
        let options =
            Options { max_packet: 1000, ..options(broker.port(), Version::V5, "withheld") };
        let (sender, mut connection) = connect(&options);
        connected(&mut connection).await;
        subscribed(&sender, &mut connection, "large", 1).await;
        let large = "x".repeat(2000);
        publish(broker.port(), Version::V5, "large", &[&large, "small"]).await;
        assert_eq!(until(&mut connection, message).await.payload, b"small");
    });
}

#[test]
fn the_limits_of_the_broker_hold_for_what_we_send() {
    let broker = Mosquitto::start_with("allow_anonymous true\nmax_packet_size 500\n");
    run(async {
        let (sender, mut connection) = connect(&options(broker.port(), Version::V5, "limits"));
        match connection.poll().await {
            Ok(Event::Connected { granted, .. }) => assert_eq!(granted.max_packet, Some(500)),
            other => panic!("{other:?}"),
        }
        assert_eq!(sender.max_packet(), 500);
        let error = sender.try_publish("a", 1, false, vec![0; 1000]).unwrap_err();
        assert_eq!(error, weir::mqtt::PublishError::TooLarge { size: 1009, limit: 500 });
    });
}

#[test]
fn refused_and_unreachable_are_told_apart() {
    let broker = Mosquitto::start_with_password("user", "right");
    let nobody = free_port();
    for version in BOTH {
        run(async {
            let login = |password: &str| Options {
                username: Some("user".to_owned()),
                password: Some(password.to_owned()),
                ..options(broker.port(), version, "login")
            };
            let (_sender, mut connection) = connect(&login("right"));
            connected(&mut connection).await;
            let (_sender, mut connection) = connect(&login("wrong"));
            match fails(&mut connection).await {
                MqttError::Refused(text) => assert!(text.contains("password_file"), "{text}"),
                other => panic!("{other:?}"),
            }
            let (_sender, mut connection) = connect(&options(nobody, version, "nobody"));
            match fails(&mut connection).await {
                MqttError::Network(text) => {
                    assert!(text.contains(&format!("127.0.0.1:{nobody}")), "{text}");
                    assert!(text.contains("is the broker running"), "{text}");
                }
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn refused_subscriptions_are_reported() {
    let broker = Mosquitto::start_with("allow_anonymous true\nmax_qos 0\n");
    run(async {
        let (sender, mut connection) = connect(&options(broker.port(), Version::V5, "weak"));
        sender.try_subscribe(vec![("a/#".to_owned(), 1), ("b".to_owned(), 0)]).unwrap();
        let failures = until(&mut connection, |event| match event {
            Event::Subscribed { failures } => Some(failures),
            _ => None,
        })
        .await;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].contains("`a/#` granted with QoS 0 instead of 1"), "{failures:?}");
    });
}

#[test]
fn the_will_is_published_unless_we_say_goodbye() {
    let broker = Mosquitto::start();
    for version in BOTH {
        run(async {
            let (watcher, mut watching) =
                connect(&Options { clean: true, ..options(broker.port(), version, "watcher") });
            connected(&mut watching).await;
            subscribed(&watcher, &mut watching, "status", 1).await;
            let will = Will {
                topic: "status".to_owned(),
                payload: b"offline".to_vec(),
                qos: 1,
                retain: false,
            };
            let options = Options {
                last_will: Some(will),
                clean: true,
                ..options(broker.port(), version, "mortal")
            };
            let (sender, mut connection) = connect(&options);
            connected(&mut connection).await;
            disconnected(sender, connection).await;
            let (_sender, mut connection) = connect(&options);
            connected(&mut connection).await;
            publish(broker.port(), version, "status", &["between"]).await;
            assert_eq!(until(&mut watching, message).await.payload, b"between");
            drop(connection);
            assert_eq!(until(&mut watching, message).await.payload, b"offline");
        });
    }
}

#[test]
fn a_client_id_used_twice_is_hinted_at() {
    let broker = Mosquitto::start();
    for version in BOTH {
        run(async {
            let options = options(broker.port(), version, &format!("twins-{version:?}"));
            let (_sender, mut first) = connect(&options);
            connected(&mut first).await;
            let (_sender, mut second) = connect(&options);
            connected(&mut second).await;
            // mosquitto closes the older connection without a reason; other brokers give one.
            let error = fails(&mut first).await;
            assert!(error.to_string().contains("same client_id"), "{error}");
        });
    }
}
