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
