use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use super::*;

fn options(version: Version) -> Options {
    Options { version, max_packet: 100, channel: 2, ..Options::new("localhost", 1, "test") }
}

#[test]
fn what_moves_between_threads_is_send() {
    fn check<T: Send>() {}
    check::<Connection>();
    check::<Sender>();
}

#[test]
fn publishes_are_checked_before_they_are_queued() {
    use PublishError::{Full, TooLarge, Topic};
    let long = "x".repeat(65_536);
    for version in [Version::V4, Version::V5] {
        let (sender, _connection) = connect(&options(version));
        for (topic, fault) in [
            ("", "is empty"),
            ("a/+", "contains +, # or NUL"),
            ("#", "contains +, # or NUL"),
            ("a\0", "contains +, # or NUL"),
            (&long, "is longer than 65,535 bytes"),
        ] {
            assert_eq!(sender.try_publish(topic, 1, false, ""), Err(Topic(fault)), "{fault}");
        }
        // 2 bytes fixed header, 2 + 3 topic, 2 packet id, and 1 for no properties in MQTT 5.
        let room = if version == Version::V5 { 90 } else { 91 };
        let fits = vec![0; room];
        assert_eq!(sender.try_publish("a/b", 1, false, fits.as_slice()), Ok(()));
        assert_eq!(
            sender.try_publish("a/b", 1, false, vec![0; room + 1]),
            Err(TooLarge { size: 101, limit: 100 })
        );
        assert_eq!(sender.try_publish("a/b", 0, false, vec![0; room + 2]), Ok(()), "no packet id");
        assert_eq!(sender.try_publish("a/b", 0, false, ""), Err(Full));
        assert_eq!(sender.try_acknowledge(1), Err(super::Full));
        assert_eq!(sender.try_acknowledge(0), Ok(()), "QoS 0 has nothing to acknowledge");
    }
}

#[test]
fn sizes_are_those_of_the_wire() {
    for version in [Version::V4, Version::V5] {
        let (sender, _connection) = connect(&options(version));
        for payload in [0, 100, 119, 120, 121, 122, 123, 16_374, 16_375, 16_376, 2_097_140] {
            for qos in [0, 1] {
                let packet_id = u16::from(qos);
                let library = if version == Version::V5 {
                    let body = vec![0; payload];
                    let mut publish =
                        rumqttc::v5::mqttbytes::v5::Publish::new("a/b", v5::qos(qos), body, None);
                    publish.pkid = packet_id;
                    publish.size()
                } else {
                    let mut publish = rumqttc::Publish::new("a/b", v4::qos(qos), vec![0; payload]);
                    publish.pkid = packet_id;
                    publish.size()
                };
                assert_eq!(sender.publish_size(3, payload, qos), library, "{version:?} {payload}");
            }
        }
    }
}

#[test]
fn refused_and_weakened_subscriptions_are_failures() {
    let asked = [("a".to_owned(), 1), ("b".to_owned(), 1), ("c".to_owned(), 0)];
    let failures = subscribe_failures(&asked, vec![Err("not authorized".to_owned()), Ok(0), Ok(0)]);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].contains("`a` refused: not authorized"), "{failures:?}");
    assert!(failures[1].contains("`b` granted with QoS 0"), "{failures:?}");
}

#[test]
fn ipv6_addresses_get_brackets() {
    assert_eq!(Options::new("::1", 1883, "x").address(), "[::1]");
    assert_eq!(Options::new("127.0.0.1", 1883, "x").address(), "127.0.0.1");
}

#[test]
fn passwords_are_not_printed() {
    let options = Options { password: Some("secret".to_owned()), ..Options::new("h", 1, "c") };
    assert!(!format!("{options:?}").contains("secret"));
}

/// A peer on a free port that does with its first connection as told.
fn peer(behave: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || behave(listener.accept().unwrap().0));
    port
}

fn connection(version: Version, port: u16) -> Connection {
    connect(&Options { version, ..Options::new("127.0.0.1", port, "test") }).1
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Reads the greeting, answers with `packets` and keeps the connection open until we leave.
fn answer(mut stream: TcpStream, packets: &[u8]) {
    let mut greeting = [0; 512];
    assert!(stream.read(&mut greeting).unwrap() > 0);
    stream.write_all(packets).unwrap();
    while stream.read(&mut greeting).is_ok_and(|length| length > 0) {}
}

/// CONNACK: success, no session (and no properties in MQTT 5).
fn connack(version: Version) -> Vec<u8> {
    match version {
        Version::V4 => vec![0x20, 2, 0, 0],
        Version::V5 => vec![0x20, 3, 0, 0, 0],
    }
}

#[test]
fn a_broker_that_says_nothing_more_is_given_up() {
    for version in [Version::V4, Version::V5] {
        let port = peer(move |stream| answer(stream, &connack(version)));
        run(async {
            let mut connection = connection(version, port);
            assert!(matches!(connection.poll().await, Ok(Event::Connected { .. })));
            assert_eq!(connection.silence_max, Duration::from_secs(40));
            connection.silence_max = Duration::from_millis(20);
            match connection.poll().await {
                Err(MqttError::Network(text)) => {
                    assert!(text.contains("no sign of life"), "{text}")
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(connection.poll().await, Err(MqttError::Closed));
        });
    }
}

#[test]
fn no_keep_alive_from_the_broker_is_no_storm_of_pings() {
    let port = peer(|mut stream| {
        let mut buffer = [0; 512];
        assert!(stream.read(&mut buffer).unwrap() > 0);
        // Server keep alive (property 0x13) of 0.
        stream.write_all(&[0x20, 6, 0, 0, 3, 0x13, 0, 0]).unwrap();
        assert_eq!(stream.read(&mut buffer).unwrap(), 2, "one ping");
        stream.write_all(&[0xd0, 0]).unwrap();
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    run(async {
        let mut connection = connection(Version::V5, port);
        assert!(matches!(connection.poll().await, Ok(Event::Connected { .. })));
        assert_eq!(connection.silence_max, Duration::from_secs(40));
        assert_eq!(connection.poll().await, Ok(Event::Other), "the ping");
        assert_eq!(connection.poll().await, Ok(Event::Pong));
        connection.silence_max = Duration::from_millis(20);
        match connection.poll().await {
            Err(MqttError::Network(text)) => assert!(text.contains("no sign of life"), "{text}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_peer_that_is_no_broker_is_recognised() {
    for version in [Version::V4, Version::V5] {
        for (packets, hint) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "is it an MQTT broker"),
            (b"", "is it an MQTT broker"),
            // CONNACK with code 1: unacceptable protocol version.
            (&[0x20, 2, 0, 1][..], "version"),
        ] {
            let port = peer(move |mut stream| {
                let mut greeting = [0; 512];
                assert!(stream.read(&mut greeting).unwrap() > 0);
                stream.write_all(packets).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                while stream.read(&mut greeting).is_ok_and(|length| length > 0) {}
            });
            let error = run(async { connection(version, port).poll().await.unwrap_err() });
            assert!(error.to_string().contains(hint), "{version:?} {packets:?}: {error}");
        }
    }
}

#[test]
fn a_quality_of_service_never_asked_for_ends_the_connection() {
    for version in [Version::V4, Version::V5] {
        let mut packets = connack(version);
        // PUBLISH, QoS 2, topic "a", packet id 1, (no properties,) payload "x".
        match version {
            Version::V4 => packets.extend([0x34, 6, 0, 1, b'a', 0, 1, b'x']),
            Version::V5 => packets.extend([0x34, 7, 0, 1, b'a', 0, 1, 0, b'x']),
        }
        let port = peer(move |stream| answer(stream, &packets));
        run(async {
            let mut connection = connection(version, port);
            assert!(matches!(connection.poll().await, Ok(Event::Connected { .. })));
            match connection.poll().await {
                Err(MqttError::Refused(text)) => assert!(text.contains("client_id"), "{text}"),
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn the_broker_s_reasons_for_leaving_are_told() {
    for (disconnect, refused, hint) in [
        // Session taken over. (The short form without a property length is swallowed by the
        // library; the end of the connection, which follows, has the same hint.)
        (&[0xe0, 2, 0x8e, 0][..], true, "same client_id"),
        // Not authorized; packet too large; server shutting down, with a reason string.
        (&[0xe0, 2, 0x87, 0][..], true, "password_file"),
        (&[0xe0, 2, 0x95, 0][..], true, "PacketTooLarge"),
        (&[0xe0, 7, 0x8b, 5, 0x1f, 0, 2, b'b', b'y'][..], false, "ServerShuttingDown (by)"),
    ] {
        let mut packets = connack(Version::V5);
        packets.extend(disconnect);
        let port = peer(move |stream| answer(stream, &packets));
        run(async {
            let mut connection = connection(Version::V5, port);
            assert!(matches!(connection.poll().await, Ok(Event::Connected { .. })));
            // The library gives the packet itself before its error.
            let error = loop {
                match connection.poll().await {
                    Ok(event) => assert_eq!(event, Event::Other),
                    Err(error) => break error,
                }
            };
            assert_eq!(matches!(error, MqttError::Refused(_)), refused, "{error}");
            assert!(error.to_string().contains(hint), "{error}");
        });
    }
}
