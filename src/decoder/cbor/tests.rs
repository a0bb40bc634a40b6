use ciborium::cbor;

use super::super::settings::Format;
use super::super::tests::{base, decode, named};
use super::*;

/// Encoded by another implementation than the one that decodes.
fn encode(value: &ciborium::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn check(subscription: &Subscription, value: ciborium::Value, expect: &[&str]) {
    assert_eq!(decode(subscription, &encode(&value)), expect, "{value:?}");
}

fn base_cbor() -> Subscription {
    base(Format::Cbor)
}

#[test]
fn one_value() {
    let check = |value: Result<ciborium::Value, _>, expect: &str| {
        let _: &Result<_, ciborium::value::Error> = &value;
        check(&base_cbor(), value.unwrap(), &[expect]);
    };
    check(cbor!({"v" => 21.5, "ts" => 1700000000}), "d m 1700000000 21.5");
    check(cbor!({"v" => -7, "ts" => 1.5}), "d m 1.5 -7");
    check(cbor!({"v" => "21.5", "ts" => "1.5"}), "d m 1.5 21.5");
    check(cbor!({"v" => true, "ts" => 1}), "d m 1 1");
    check(cbor!({"v" => u64::MAX, "ts" => 1}), "d m 1 18446744073709552000");
    check(cbor!({"v" => f64::NAN, "ts" => 1}), "1 not_finite");
    check(cbor!({"v" => f64::INFINITY, "ts" => 1}), "1 not_finite");
    check(cbor!({"v" => null, "ts" => 1}), "1 missing");
    check(cbor!({"v" => [1], "ts" => 1}), "1 malformed");
    check(cbor!({"v" => "x", "ts" => 1}), "1 malformed");
    check(cbor!({"ts" => 1}), "1 malformed");
    check(cbor!({"v" => 1}), "1 bad_time");
    check(cbor!({"v" => 1, "ts" => f64::NAN}), "1 bad_time");
    check(cbor!({"v" => 1, "ts" => 1e300}), "1 bad_time");
    check(cbor!(7), "1 malformed");
}

#[test]
fn short_floats_and_bytes() {
    // {"v": 1.5 as a half float, "ts": 1}, then NaN, then a byte string.
    let check = |bytes: &[u8], expect: &str| {
        assert_eq!(decode(&base_cbor(), bytes), [expect], "{bytes:?}");
    };
    check(b"\xa2\x61v\xf9\x3e\x00\x62ts\x01", "d m 1 1.5");
    check(b"\xa2\x61v\xf9\x7e\x00\x62ts\x01", "1 not_finite");
    check(b"\xa2\x61v\x41\x31\x62ts\x01", "1 malformed");
    // Undefined is null; trailing bytes, truncation and reserved codes are not CBOR.
    check(b"\xa2\x61v\xf7\x62ts\x01", "1 missing");
    check(b"\xa2\x61v\x01\x62ts\x01\x00", "1 malformed");
    check(b"\xa2\x61v\x01\x62ts", "1 malformed");
    check(b"\x1c", "1 malformed");
    check(b"", "1 malformed");
}

#[test]
fn float_times_are_their_shortest_decimal() {
    let decoder = super::super::Decoder::new(&base_cbor()).unwrap();
    let mut nanos = 0;
    decoder.decode(
        &crate::receiver::topic::Captures::NONE,
        &encode(&cbor!({"v" => 1, "ts" => 1700000000.123}).unwrap()),
        super::super::tests::arrival(),
        &mut |reading| nanos = reading.time.nanos(),
    );
    assert_eq!(nanos, 1_700_000_000_123_000_000);
}

#[test]
fn tagged_times() {
    let tagged = |tag: u64, time: ciborium::Value| {
        let time = ciborium::Value::Tag(tag, Box::new(time));
        ciborium::Value::Map(vec![("v".into(), 1.into()), ("ts".into(), time)])
    };
    for time_unit in [TimeUnit::Second, TimeUnit::Rfc3339] {
        let subscription = Subscription { time_unit, ..base_cbor() };
        check(&subscription, tagged(0, "1970-01-01T00:00:01.5Z".into()), &["d m 1.5 1"]);
        check(&subscription, tagged(1, 1.5.into()), &["d m 1.5 1"]);
        check(&subscription, tagged(1, 2.into()), &["d m 2 1"]);
        check(&subscription, tagged(0, "noon".into()), &["1 bad_time"]);
    }
}

#[test]
fn pointers_and_integer_keys() {
    let at = |at: &str| Subscription { values: Values::One(at.into()), ..base_cbor() };
    check(&at("/a/1"), cbor!({"ts" => 1, "a" => [5, 6]}).unwrap(), &["d m 1 6"]);
    check(&at("/a/1"), cbor!({"ts" => 1, "a" => {1 => 6}}).unwrap(), &["d m 1 6"]);
    check(&at("/a/-2"), cbor!({"ts" => 1, "a" => {-2 => 6}}).unwrap(), &["d m 1 6"]);
    check(&at("/a/01"), cbor!({"ts" => 1, "a" => {1 => 6}}).unwrap(), &["1 malformed"]);
    check(&at("/a~1b"), cbor!({"ts" => 1, "a/b" => 6}).unwrap(), &["d m 1 6"]);
    let several = Subscription { values: named(&[("a", "/a"), ("b", "/b")]), ..base_cbor() };
    check(&several, cbor!({"ts" => 1, "b" => 6}).unwrap(), &["d b 1 6"]);
    check(&several, cbor!({"ts" => 1}).unwrap(), &["1 malformed"]);
}

#[test]
fn every_leaf() {
    let all = Subscription { values: Values::All, device: "/id".into(), ..base_cbor() };
    check(
        &all,
        cbor!({
            "id" => "b3", "ts" => 1, "s" => "7", "ok" => true, "n" => null,
            "t" => {"air" => 5, 3 => [1.5, f64::NAN]},
        })
        .unwrap(),
        &["b3 t/3/0 1 1.5", "b3 t/air 1 5", "b3 ok 1 1", "1 not_finite", "1 missing"],
    );
    check(&all, cbor!({"id" => "b", "ts" => 1, true => 5}).unwrap(), &["1 malformed"]);
}

#[test]
fn records() {
    let records = Subscription {
        records: Some("/r".into()),
        device: "/id".into(),
        max_readings: 3,
        ..base_cbor()
    };
    check(
        &records,
        cbor!({
            "id" => "gw", "ts" => 9,
            "r" => [{"v" => 1}, {"v" => 2, "ts" => 5}, 7, {"v" => 3, "id" => "own"}, {"v" => 4}],
        })
        .unwrap(),
        &["gw m 9 1", "gw m 5 2", "own m 9 3", "1 malformed", "1 too_many"],
    );
    check(&records, cbor!({"id" => "gw", "ts" => 9}).unwrap(), &["1 malformed"]);
}

#[test]
fn hostile_payloads_are_refused() {
    let check = |bytes: &[u8]| {
        for values in [Values::One("/v".into()), Values::All] {
            let subscription = Subscription { values, ..base_cbor() };
            assert_eq!(decode(&subscription, bytes), ["1 malformed"]);
        }
    };
    check(&[0x81; 100_000]);
    check(&[0xc1; 100_000]);
    check(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff");
    check(b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff");
    check(b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff");
}
