use std::collections::BTreeMap;

use proptest::prelude::*;

use super::settings::{Dedup, Missing, TimeUnit};
use super::*;

/// 2023-11-14T22:13:20Z; in the tests the arrival of every message.
pub(super) fn arrival() -> EventTime {
    EventTime::from_nanos(1_700_000_000_000_000_000).unwrap()
}

/// JSON with `/v` (metric `m`) and `/ts`, device `d`: the base of most tests.
pub(super) fn base(format: Format) -> Subscription {
    Subscription {
        format,
        values: Values::One("/v".to_owned()),
        time: Some("/ts".to_owned()),
        device: "d".to_owned(),
        metric: "m".to_owned(),
        ..Subscription::default()
    }
}

pub(super) fn named(pairs: &[(&str, &str)]) -> Values {
    Values::Named(pairs.iter().map(|&(m, at)| (m.to_owned(), at.to_owned())).collect())
}

/// Decodes to lines: `device metric seconds value` for readings, then `count reason` for drops.
pub(super) fn decode(subscription: &Subscription, payload: &[u8]) -> Vec<String> {
    decode_with(subscription, &Captures::NONE, payload).0
}

pub(super) fn decode_with(
    subscription: &Subscription,
    captures: &Captures<'_>,
    payload: &[u8],
) -> (Vec<String>, Option<Fault>) {
    let decoder = Decoder::new(subscription).unwrap();
    let mut lines = Vec::new();
    let outcome = decoder.decode(captures, payload, arrival(), &mut |reading| {
        let Decoded { device, metric, time, value, .. } = reading;
        let seconds = time.nanos() as f64 / 1e9;
        lines.push(format!("{device} {metric} {seconds} {}", value.get()));
    });
    lines.extend(outcome.drops.iter().map(|(reason, n)| format!("{n} {}", reason.name())));
    (lines, outcome.fault)
}

fn text(payload: &str) -> Vec<String> {
    let subscription = Subscription {
        values: Values::One(String::new()),
        time: None,
        map: BTreeMap::from([("ON".to_owned(), 1.0), ("OFF".to_owned(), 0.0)]),
        missing: vec![Missing::Number(85.0), Missing::Text("unavailable".to_owned())],
        ..base(Format::Text)
    };
    decode(&subscription, payload.as_bytes())
}

#[test]
fn text_payloads() {
    let reading = |value: &str| vec![format!("d m 1700000000 {value}")];
    assert_eq!(text("21.5"), reading("21.5"));
    assert_eq!(text(" -3e2\r\n"), reading("-300"));
    assert_eq!(text("ON"), reading("1"));
    assert_eq!(text("OFF"), reading("0"));
    assert_eq!(text("85"), ["1 missing"]);
    assert_eq!(text("85.0"), ["1 missing"]);
    assert_eq!(text("unavailable"), ["1 missing"]);
    assert_eq!(text(""), ["1 missing"]);
    assert_eq!(text("nan"), ["1 not_finite"]);
    assert_eq!(text("1e999"), ["1 not_finite"]);
    assert_eq!(text("warm"), ["1 malformed"]);
    assert_eq!(text("1 2"), ["1 malformed"]);
}

#[test]
fn text_must_be_utf8() {
    let subscription =
        Subscription { values: Values::One(String::new()), time: None, ..base(Format::Text) };
    assert_eq!(decode(&subscription, b"\xff"), ["1 malformed"]);
}

#[test]
fn names_from_the_topic() {
    let subscription = Subscription {
        topics: vec!["{site}/{device}/{metric+}".to_owned()],
        device: "{site}-{device}".to_owned(),
        metric: "{metric}".to_owned(),
        values: Values::One(String::new()),
        time: None,
        format: Format::Text,
        ..Subscription::default()
    };
    let template = Template::parse(&subscription.topics[0]).unwrap();
    let captures = template.capture("ber/b3/air/t").unwrap();
    let (lines, _) = decode_with(&subscription, &captures, b"1");
    assert_eq!(lines, ["ber-b3 air/t 1700000000 1"]);

    let long = format!("ber/{}/t", "x".repeat(NAME_BYTES_MAX));
    let captures = template.capture(&long).unwrap();
    assert_eq!(decode_with(&subscription, &captures, b"1").0, ["1 topic"]);
}

#[test]
fn oversize_payloads_are_not_read() {
    let subscription = Subscription { max_payload: 8, ..base(Format::Json) };
    let (lines, fault) = decode_with(&subscription, &Captures::NONE, b"[1,2,3,4]");
    assert_eq!(lines, ["1 oversize"]);
    assert!(fault.unwrap().to_string().contains("9 bytes, more than max_payload = 8"));
    assert_eq!(decode(&subscription, b"[1,2,34]"), ["1 malformed"]);
}

#[test]
fn duplicates_are_recognised_by_carried_time_only() {
    let check = |dedup: Dedup, timed: bool, expect: bool| {
        let time = timed.then(|| "/ts".to_owned());
        let decoder = Decoder::new(&Subscription { dedup, time, ..base(Format::Json) }).unwrap();
        let mut got = None;
        decoder.decode(&Captures::NONE, br#"{"v":1,"ts":1}"#, arrival(), &mut |reading| {
            got = Some(reading.dedup);
        });
        assert_eq!(got, Some(expect), "{dedup:?} {timed}");
    };
    check(Dedup::Auto, true, true);
    check(Dedup::Auto, false, false);
    check(Dedup::TimeValue, true, true);
    check(Dedup::TimeValue, false, false);
    check(Dedup::Off, true, false);
}

#[test]
fn the_first_fault_says_where_and_what() {
    let subscription = Subscription { records: Some(String::new()), ..base(Format::Json) };
    let payload = "[{\"v\":null,\"ts\":1},{\"v\":\"\\u001b[31mhot\",\"ts\":1},{\"ts\":1}]";
    let (_, fault) = decode_with(&subscription, &Captures::NONE, payload.as_bytes());
    assert_eq!(
        fault.unwrap().to_string(),
        "malformed: record 1, /v: not a number; name texts that stand for one in `map`: \
         \"\\u{1b}[31mhot\""
    );
    let (_, fault) = decode_with(&subscription, &Captures::NONE, b"[{\"v\":1,\"ts\":\"noon\"}]");
    assert_eq!(
        fault.unwrap().to_string(),
        "bad_time: record 0, /v: time is not a number of `time_unit`, or outside 1900 to 2200: \
         \"noon\""
    );
}

#[test]
fn what_cannot_work_is_refused() {
    let check = |subscription: Subscription, part: &str| {
        let fault = Decoder::new(&subscription).unwrap_err();
        assert!(fault.contains(part), "{fault}");
    };
    let json = || base(Format::Json);
    let one = |at: &str| Values::One(at.to_owned());
    check(Subscription { values: one("v"), ..json() }, "value: \"v\": a JSON pointer");
    check(Subscription { time: Some("ts".into()), ..json() }, "time: \"ts\"");
    check(Subscription { records: Some("r".into()), ..json() }, "records: \"r\"");
    check(Subscription { device: "/a~".into(), ..json() }, "device: \"/a~\"");
    check(Subscription { device: "{x".into(), ..json() }, "device: \"{x\"");
    check(Subscription { metric: String::new(), ..json() }, "metric: is empty");
    check(Subscription { values: named(&[]), ..json() }, "values: names no value");
    check(Subscription { values: named(&[("", "/t")]), ..json() }, "values: metric name");
    let cbor = base(Format::Cbor);
    check(Subscription { values: one("v"), ..cbor }, "value: \"v\": a JSON pointer");
    let topics = vec!["s/{device}".to_owned(), "x/{metric}".to_owned()];
    let device = "{device}".to_owned();
    check(
        Subscription { topics: topics.clone(), device: device.clone(), ..json() },
        "device: topic template \"x/{metric}\" has no {device}",
    );
    check(Subscription { topics: vec!["a/#/b".into()], ..json() }, "last level");
    // Several values name their metrics themselves.
    let metric = "{metric}".to_owned();
    let topics = vec!["s/{device}".to_owned()];
    let subscription = Subscription { topics, device, metric, ..json() };
    check(subscription.clone(), "metric: topic template");
    Decoder::new(&Subscription { values: Values::All, ..subscription }).unwrap();

    let csv = base(Format::Csv);
    check(Subscription { records: Some("/r".into()), ..csv }, "records: every line");
    let text = Subscription { values: one(""), time: None, ..base(Format::Text) };
    Decoder::new(&text).unwrap();
    check(Subscription { values: one("/v"), ..text.clone() }, "value: a payload");
    check(Subscription { values: Values::All, ..text.clone() }, "values: a payload");
    check(Subscription { time: Some("/t".into()), ..text.clone() }, "time: a payload");
    check(Subscription { records: Some("/t".into()), ..text.clone() }, "records: a payload");
    check(Subscription { device: "/t".into(), ..text }, "device: a payload");
}

/// Subscriptions that reach every part of the readers.
fn shapes(format: Format) -> Vec<Subscription> {
    if format == Format::Text {
        return vec![Subscription {
            values: Values::One(String::new()),
            time: None,
            ..base(format)
        }];
    }
    let all = Subscription { values: Values::All, ..base(format) };
    let several = Subscription {
        values: named(&[("a", "/a"), ("b", "/b/0"), ("whole", "/b")]),
        time_unit: TimeUnit::Rfc3339,
        device: "/id".to_owned(),
        metric: "/0".to_owned(),
        ..base(format)
    };
    let bare = Subscription { values: Values::One(String::new()), time: None, ..base(format) };
    let mut shapes = vec![base(format), all, several, bare];
    if format != Format::Csv {
        for index in 0..shapes.len() {
            for records in ["", "/a"] {
                let records = Some(records.to_owned());
                shapes.push(Subscription { records, ..shapes[index].clone() });
            }
        }
    }
    shapes
}

fn survives(format: Format, payload: &[u8]) -> Result<(), TestCaseError> {
    for subscription in shapes(format) {
        let subscription = Subscription { max_readings: 5, ..subscription };
        let decoder = Decoder::new(&subscription).unwrap();
        let mut readings = 0;
        let outcome = decoder.decode(&Captures::NONE, payload, arrival(), &mut |reading| {
            readings += 1;
            assert!((1..=NAME_BYTES_MAX).contains(&reading.device.len()));
            assert!((1..=NAME_BYTES_MAX).contains(&reading.metric.len()));
        });
        prop_assert!(readings <= 5);
        if let Some(fault) = outcome.fault {
            prop_assert!(outcome.drops.get(fault.reason) > 0);
            prop_assert!(!fault.to_string().contains(char::is_control), "{}", fault);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(payload: Vec<u8>) {
        for format in [Format::Json, Format::Cbor, Format::Csv, Format::Text] {
            survives(format, &payload)?;
        }
    }

    #[test]
    fn likely_texts_do_not_panic(
        json in r#"(\{|\[|\}|\]|,|:|"a"|"b"|"v"|"ts"|"id"|1|2\.5|-1e400|null|true|"\\ud800"| ){0,24}"#,
        csv in "(v|ts|id|a|,|\"|\r|\n|1|2\\.5|é){0,24}",
    ) {
        survives(Format::Json, json.as_bytes())?;
        survives(Format::Csv, csv.as_bytes())?;
        survives(Format::Text, csv.as_bytes())?;
    }

    #[test]
    fn likely_cbor_does_not_panic(
        payload in prop::collection::vec(
            prop::sample::select(vec![
                0x00, 0x01, 0x20, 0x61, b'a', b'v', 0x62, b't', b's', 0x80, 0x81, 0x82, 0x9f, 0xa1,
                0xa2, 0xbf, 0xc0, 0xc1, 0xf4, 0xf6, 0xf9, 0x7c, 0xfb, 0xff, 0x1b, 0x3b, 0x41u8,
            ]),
            0..32,
        ),
    ) {
        survives(Format::Cbor, &payload)?;
    }
}
