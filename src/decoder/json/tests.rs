use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::settings::{Format, Missing, TimeUnit};
use super::super::tests::{base, decode, named};
use super::*;

fn check(subscription: &Subscription, payload: &str, expect: &[&str]) {
    assert_eq!(decode(subscription, payload.as_bytes()), expect, "{payload}");
}

fn json() -> Subscription {
    base(Format::Json)
}

#[test]
fn one_value() {
    let check = |payload: &str, expect: &str| check(&json(), payload, &[expect]);
    check(r#"{"v": 21.37, "ts": 1700000000.5}"#, "d m 1700000000.5 21.37");
    check(r#"{"ts":1.7e9,"x":{"v":9},"v":-0.0}"#, "d m 1700000000 0");
    check(r#"{"v":"21.5","ts":"1"}"#, "d m 1 21.5");
    check(r#"{"v":" 21.5 ","ts":" 1 "}"#, "d m 1 21.5");
    check(r#"{"v":true,"ts":1}"#, "d m 1 1");
    check(r#"{"v":false,"ts":1}"#, "d m 1 0");
    check(r#"{"\u0076":7,"ts":1}"#, "d m 1 7");
    check(r#"{"v":"\u0037","ts":1}"#, "d m 1 7");
    check(r#"{"v":123456789012345678901234567890,"ts":1}"#, "d m 1 123456789012345680000000000000");
    check(r#"{"v":null,"ts":1}"#, "1 missing");
    check(r#"{"v":"","ts":1}"#, "1 missing");
    check(r#"{"v":1e999,"ts":1}"#, "1 not_finite");
    check(r#"{"v":"NaN","ts":1}"#, "1 not_finite");
    check(r#"{"v":"warm","ts":1}"#, "1 malformed");
    check(r#"{"v":[1],"ts":1}"#, "1 malformed");
    check(r#"{"v":{"v":1},"ts":1}"#, "1 malformed");
    check(r#"{"v":"\ud800","ts":1}"#, "1 malformed");
    check(r#"{"ts":1}"#, "1 malformed");
    check(r#"{"v":1}"#, "1 bad_time");
    check(r#"{"v":1,"ts":null}"#, "1 bad_time");
    check(r#"{"v":1,"ts":"noon"}"#, "1 bad_time");
    check(r#"{"v":1,"ts":1e12}"#, "1 bad_time");
    check(r#"{"v":1,"ts":{}}"#, "1 bad_time");
}

#[test]
fn times_are_exact() {
    let decoder = super::super::Decoder::new(&json()).unwrap();
    let mut nanos = 0;
    decoder.decode(
        &crate::receiver::topic::Captures::NONE,
        br#"{"v":1,"ts":1700000000.123456789}"#,
        super::super::tests::arrival(),
        &mut |reading| nanos = reading.time.nanos(),
    );
    assert_eq!(nanos, 1_700_000_000_123_456_789);
}

#[test]
fn the_whole_payload_must_be_json() {
    for payload in [
        "",
        " ",
        "{",
        r#"{"v":1,"ts":1"#,
        r#"{"v":1,"ts":1}x"#,
        r#"{"v":1,"ts":1}{}"#,
        r#"{"v":1,"ts":1,}"#,
        r#"{"v":01,"ts":1}"#,
        r#"{"v":NaN,"ts":1}"#,
        "{'v':1}",
        r#"{"v":1,"ts":1,"x":[1,]}"#,
        "{\"v\":1,\"ts\":1,\"x\":\"\n\"}",
        r#"{"v":1,"ts":1,"x":tru}"#,
    ] {
        check(&json(), payload, &["1 malformed"]);
    }
    assert_eq!(decode(&json(), b"{\"v\":1,\"ts\":1,\"x\":\"\xff\"}"), ["1 malformed"]);
    check(&json(), " {\"v\":1,\n\"ts\":1}\r\n ", &["d m 1 1"]);
}

#[test]
fn the_last_of_equal_keys_counts() {
    check(&json(), r#"{"v":1,"ts":1,"v":2}"#, &["d m 1 2"]);
    let nested = Subscription { values: Values::One("/a/v".into()), ..json() };
    check(&nested, r#"{"a":{"v":1},"ts":1,"a":{"v":2}}"#, &["d m 1 2"]);
    check(&nested, r#"{"a":{"v":1},"ts":1,"a":{"w":2}}"#, &["1 malformed"]);
    check(&nested, r#"{"a":{"v":1},"ts":1,"a":3}"#, &["1 malformed"]);
    let all = Subscription { values: Values::All, ..json() };
    check(&all, r#"{"x":1,"ts":1,"x":2}"#, &["d x 1 2"]);
}

#[test]
fn pointers() {
    let check = |at: &str, payload: &str, expect: &str| {
        let subscription = Subscription { values: Values::One(at.into()), ..json() };
        check(&subscription, payload, &[expect]);
    };
    check("/a/b", r#"{"ts":1,"a":{"b":7}}"#, "d m 1 7");
    check("/a~1b/~0", r#"{"ts":1,"a/b":{"~":7}}"#, "d m 1 7");
    check("/a/1", r#"{"ts":1,"a":[5,6,7]}"#, "d m 1 6");
    check("/a/1", r#"{"ts":1,"a":{"1":6}}"#, "d m 1 6");
    check("/a/01", r#"{"ts":1,"a":[5,6]}"#, "1 malformed");
    check("/a/2", r#"{"ts":1,"a":[5,6]}"#, "1 malformed");
    check("/a/b", r#"{"ts":1,"a":"b"}"#, "1 malformed");
    check("/a/b", r#"{"ts":1,"a":1e999}"#, "1 malformed");
    check("/", r#"{"ts":1,"":7}"#, "d m 1 7");
    check("", "21.5", "1 bad_time");
    let bare = Subscription { values: Values::One(String::new()), time: None, ..json() };
    super::tests::check(&bare, "21.5", &["d m 1700000000 21.5"]);
    super::tests::check(&bare, "\"21.5\"", &["d m 1700000000 21.5"]);
}

#[test]
fn named_values() {
    let mut subscription = Subscription { values: named(&[("t", "/t"), ("h", "/h")]), ..json() };
    check(&subscription, r#"{"ts":1,"t":5,"h":6}"#, &["d h 1 6", "d t 1 5"]);
    check(&subscription, r#"{"ts":1,"t":5}"#, &["d t 1 5"]);
    check(&subscription, r#"{"ts":1,"t":5,"h":null}"#, &["d t 1 5", "1 missing"]);
    check(&subscription, r#"{"ts":1,"t":5,"h":[]}"#, &["d t 1 5", "1 malformed"]);
    check(&subscription, r#"{"ts":1}"#, &["1 malformed"]);
    check(&subscription, r#"{"t":5,"h":6}"#, &["2 bad_time"]);
    // Two metrics from one place, and one inside another.
    subscription.values = named(&[("a", "/t"), ("b", "/t"), ("c", "/t/0")]);
    check(&subscription, r#"{"ts":1,"t":5}"#, &["d a 1 5", "d b 1 5"]);
    check(&subscription, r#"{"ts":1,"t":[5]}"#, &["d c 1 5", "2 malformed"]);
    // More values than slots on the stack.
    let many: Vec<(String, String)> =
        (0..40).map(|i| (format!("m{i:02}"), format!("/{i}"))).collect();
    subscription.values = Values::Named(many.into_iter().collect());
    subscription.time = None;
    let payload = format!("[{}]", (0..40).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let lines = decode(&subscription, payload.as_bytes());
    assert_eq!(lines.len(), 40);
    assert_eq!(lines[39], "d m39 1700000000 39");
}

#[test]
fn every_leaf() {
    let subscription = Subscription {
        values: Values::All,
        device: "/id".into(),
        map: BTreeMap::from([("ON".to_owned(), 1.0)]),
        missing: vec![Missing::Number(85.0), Missing::Text("n/a".into())],
        ..json()
    };
    check(
        &subscription,
        r#"{"id":"b3","ts":1,"t":{"air":5,"x":[1,{"y":2}]},"ok":true,"sw":"ON","s":"7","u":"n/a","z":85,"n":null}"#,
        &["b3 ok 1 1", "b3 sw 1 1", "b3 t/air 1 5", "b3 t/x/0 1 1", "b3 t/x/1/y 1 2", "3 missing"],
    );
    check(&subscription, r#"{"id":7,"ts":1,"a":1e999}"#, &["1 not_finite"]);
    check(&subscription, r#"{"id":7,"ts":1,"a":2}"#, &["7 a 1 2"]);
    check(&subscription, r#"{"id":"b","ts":1,"text":"only"}"#, &[]);
    check(&subscription, r#"{"ts":1,"a":2}"#, &["1 topic"]);
    let bare = Subscription { device: "d".into(), time: None, ..subscription };
    check(&bare, "5", &["d m 1700000000 5"]);
    check(&bare, "[5]", &["d 0 1700000000 5"]);
}

#[test]
fn nested_time_is_no_value() {
    let subscription =
        Subscription { values: Values::All, time: Some("/meta/ts".into()), ..json() };
    check(&subscription, r#"{"meta":{"ts":1,"rssi":-70}}"#, &["d meta/rssi 1 -70"]);
}

#[test]
fn records() {
    let mut subscription = Subscription { records: Some(String::new()), ..json() };
    check(
        &subscription,
        r#"[{"v":1,"ts":1},{"v":"bad","ts":2},{"ts":3},{"v":4,"ts":"?"},5,{"v":6,"ts":6}]"#,
        &["d m 1 1", "d m 6 6", "3 malformed", "1 bad_time"],
    );
    check(&subscription, "[]", &[]);
    check(&subscription, r#"{"v":1,"ts":1}"#, &["1 malformed"]);
    check(&subscription, r#"[{"v":1,"ts":1},{"v":2,"ts":2}"#, &["1 malformed"]);
    check(&subscription, r#"[{"v":1,"ts":1}] x"#, &["1 malformed"]);
    // A key that is no text spoils its own record only.
    check(
        &subscription,
        r#"[{"\ud800":1,"v":1,"ts":1},{"v":2,"ts":2}]"#,
        &["d m 2 2", "1 malformed"],
    );
    subscription.records = Some("/r".into());
    subscription.device = "/id".into();
    check(
        &subscription,
        r#"{"r":[{"v":1},{"v":2,"ts":5},{"v":3,"id":"own"}],"id":"gw","ts":9}"#,
        &["gw m 9 1", "gw m 5 2", "own m 9 3"],
    );
    check(&subscription, r#"{"id":"gw","ts":9}"#, &["1 malformed"]);
    check(&subscription, r#"{"r":{},"id":"gw","ts":9}"#, &["1 malformed"]);
    subscription.metric = "/n".into();
    check(
        &subscription,
        r#"{"id":"gw","ts":9,"r":[{"n":"t","v":1},{"v":2}]}"#,
        &["gw t 9 1", "1 topic"],
    );
    subscription.values = Values::One(String::new());
    subscription.metric = "m".into();
    check(
        &subscription,
        r#"{"id":"gw","ts":9,"r":[1,null,3]}"#,
        &["gw m 9 1", "gw m 9 3", "1 missing"],
    );
}

#[test]
fn too_many_readings() {
    let subscription = Subscription { records: Some(String::new()), max_readings: 2, ..json() };
    check(
        &subscription,
        r#"[{"v":1,"ts":1},{"v":null,"ts":2},{"v":3,"ts":3},{"v":4,"ts":4}]"#,
        &["d m 1 1", "1 missing", "2 too_many"],
    );
}

#[test]
fn units() {
    let check = |time_unit: TimeUnit, payload: &str, expect: &str| {
        check(&Subscription { time_unit, ..json() }, payload, &[expect]);
    };
    check(TimeUnit::Milli, r#"{"v":1,"ts":1500}"#, "d m 1.5 1");
    check(TimeUnit::Micro, r#"{"v":1,"ts":1500000}"#, "d m 1.5 1");
    check(TimeUnit::Nano, r#"{"v":1,"ts":1500000000}"#, "d m 1.5 1");
    check(TimeUnit::Rfc3339, r#"{"v":1,"ts":"1970-01-01T00:00:01.5Z"}"#, "d m 1.5 1");
    check(TimeUnit::Rfc3339, r#"{"v":1,"ts":1.5}"#, "1 bad_time");
    check(TimeUnit::Second, r#"{"v":1,"ts":"1970-01-01T00:00:01.5Z"}"#, "1 bad_time");
}

#[test]
fn map_and_missing() {
    let subscription = Subscription {
        map: BTreeMap::from([("open".into(), 2.0), ("true".into(), 10.0), ("7".into(), 70.0)]),
        missing: vec![Missing::Number(-999.0), Missing::Text("false".into())],
        ..json()
    };
    let check = |value: &str, expect: &str| {
        check(&subscription, &format!(r#"{{"v":{value},"ts":1}}"#), &[expect]);
    };
    check("\"open\"", "d m 1 2");
    check("true", "d m 1 10");
    check("false", "1 missing");
    check("\"7\"", "d m 1 70");
    check("7", "d m 1 7");
    check("-999", "1 missing");
    check("-9.99e2", "1 missing");
    check("\"-999.0\"", "1 missing");
}

#[test]
fn deep_nesting_is_safe() {
    let deep = |n: usize| format!(r#"{{"ts":1,"x":{}1{}}}"#, "[".repeat(n), "]".repeat(n));
    // Not asked for: skipped without recursion.
    let skipped = format!(r#"{{"v":5,{}"#, &deep(100_000)[1..]);
    check(&json(), &skipped, &["d m 1 5"]);
    let named = Subscription { values: Values::One("/x/0".into()), ..json() };
    check(&named, &deep(100_000), &["1 malformed"]);
    let all = Subscription { values: Values::All, ..json() };
    check(&all, &deep(15), &[&format!("d x{} 1 1", "/0".repeat(15))]);
    check(&all, &deep(16), &["1 malformed"]);
    check(&all, &deep(100_000), &["1 malformed"]);
}

proptest! {
    /// Against serde_json's own tree: what is JSON, and what a pointer finds in it.
    #[test]
    fn agrees_with_a_tree(
        payload in r#"\{("(a|b|c|\\u0061)":(1|-2\.5|true|null|"x"|\[(3|"y"|\[4\])(,5)?\]|\{("a":6,?)?\}),? ?){0,4}\}"#,
        at in "(/(a|b|c|0|1)){0,3}",
    ) {
        let subscription = Subscription { values: Values::One(at.clone()), time: None, ..json() };
        let got = decode(&subscription, payload.as_bytes());
        let expect = match serde_json::from_str::<serde_json::Value>(&payload) {
            Err(_) => "1 malformed".to_owned(),
            Ok(tree) => match tree.pointer(&at) {
                Some(serde_json::Value::Null) => "1 missing".to_owned(),
                Some(serde_json::Value::Bool(_)) => "d m 1700000000 1".to_owned(),
                Some(serde_json::Value::Number(number)) => format!("d m 1700000000 {number}"),
                _ => "1 malformed".to_owned(),
            },
        };
        prop_assert_eq!(got, [expect], "{} {}", payload, at);
    }

    /// Every double survives the way through JSON text.
    #[test]
    fn values_are_exact(value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
        let payload = format!(r#"{{"v":{value:e},"ts":1}}"#);
        prop_assert_eq!(decode(&json(), payload.as_bytes()), [format!("d m 1 {value}")]);
    }
}
