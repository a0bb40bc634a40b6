use proptest::prelude::*;

use super::super::settings::Format;
use super::super::tests::{base, decode, named};
use super::*;

fn check(subscription: &Subscription, payload: &str, expect: &[&str]) {
    assert_eq!(decode(subscription, payload.as_bytes()), expect, "{payload}");
}

fn csv() -> Subscription {
    base(Format::Csv)
}

#[test]
fn named_columns() {
    let subscription = Subscription { values: Values::One("v".into()), ..csv() };
    for subscription in [&subscription, &csv()] {
        check(subscription, "ts,v\n1,5\n2,6\n", &["d m 1 5", "d m 2 6"]);
        check(subscription, "x,\"v\", ts \r\nq,5,1\r\n\r\n,\"6\",2", &["d m 1 5", "d m 2 6"]);
        check(subscription, "\u{feff}ts,v\n1,5", &["d m 1 5"]);
        check(subscription, "ts,v\n", &[]);
        check(subscription, "ts,w\n1,5\n", &["1 malformed"]);
        check(subscription, "v\n5\n", &["1 malformed"]);
        check(subscription, "", &["1 malformed"]);
        check(subscription, "\n\n", &["1 malformed"]);
    }
}

#[test]
fn bad_cells_and_rows_are_dropped_alone() {
    check(
        &csv(),
        "ts,v\n1,\n2,x\n?,3\n4\n5,6,7\n8,inf\n9,9\n",
        &["d m 9 9", "3 malformed", "1 not_finite", "1 missing", "1 bad_time"],
    );
}

#[test]
fn a_payload_with_a_stray_quote_is_not_read() {
    check(&csv(), "ts,v\n1,5\n2,\"6\n", &["1 malformed"]);
    check(&csv(), "ts,v\n1,5\n2,6\"\n", &["1 malformed"]);
    check(&csv(), "ts,v\n1,5\n2,\"6\"7\n", &["1 malformed"]);
    assert_eq!(decode(&csv(), b"ts,v\n1,\xff\n"), ["1 malformed"]);
}

#[test]
fn column_numbers_mean_no_header() {
    let numbers =
        Subscription { time: Some("0".into()), values: named(&[("a", "1"), ("b", "/2")]), ..csv() };
    check(&numbers, "1,5,6\n2,7,8", &["d a 1 5", "d b 1 6", "d a 2 7", "d b 2 8"]);
    check(&numbers, "1,5\n", &["d a 1 5"]);
    check(&numbers, "1\n", &["1 malformed"]);
}

#[test]
fn the_only_column_left() {
    let rest = Subscription { values: Values::One(String::new()), time: None, ..csv() };
    check(&rest, "5\n6\n", &["d m 1700000000 5", "d m 1700000000 6"]);
    check(&rest, "5,6\n", &["1 malformed"]);
    check(&rest, "5\n6,7\n", &["d m 1700000000 5", "1 malformed"]);
    let timed = Subscription { time: Some("1".into()), ..rest.clone() };
    check(&timed, "5,1\n", &["d m 1 5"]);
    let headed = Subscription { time: Some("ts".into()), ..rest };
    check(&headed, "ts,anything\n1,5\n", &["d m 1 5"]);
}

#[test]
fn every_column() {
    let all = Subscription {
        values: Values::All,
        time: Some("ts".into()),
        device: "/id".into(),
        ..csv()
    };
    check(
        &all,
        "id,ts,a,\"b \"\"x\"\"\"\nd1,1,5,6\nd2,2,,7\nd3,3,4\n",
        &["d1 a 1 5", "d1 b \"x\" 1 6", "d2 b \"x\" 2 7", "d3 a 3 4", "1 malformed", "1 missing"],
    );
    check(&all, "ts,a\n1,5\n", &["1 malformed"]);
    check(&all, "id,ts,\nd1,1,5\n", &["1 topic"]);
}

#[test]
fn too_many_readings() {
    let subscription = Subscription { max_readings: 1, ..csv() };
    check(&subscription, "ts,v\n1,5\n2,6\n3,7\n", &["d m 1 5", "2 too_many"]);
}

#[test]
fn records_split_by_rfc_4180() {
    let check = |text: &str, expect: &[&str], behind: &str| {
        let mut cells = Vec::new();
        assert_eq!(split_record(text, &mut cells), Ok(behind), "{text:?}");
        assert_eq!(cells, expect, "{text:?}");
    };
    check("a,b\nc", &["a", "b"], "c");
    check("a,b\r\nc", &["a", "b"], "c");
    check("a,", &["a", ""], "");
    check(",\n", &["", ""], "");
    check("\"a,\nb\",\"c\"\"d\"\r\ne", &["a,\nb", "c\"d"], "e");
    check("\"\"", &[""], "");
    check("\"\"\"\"", &["\""], "");
    check("a\rb", &["a\rb"], "");
}

proptest! {
    #[test]
    fn quoted_cells_round_trip(cells in prop::collection::vec("[a,\"\r\n ]{0,6}", 1..5)) {
        let quoted: Vec<String> =
            cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        let line = format!("{}\r\nrest", quoted.join(","));
        let mut got = Vec::new();
        prop_assert_eq!(split_record(&line, &mut got), Ok("rest"));
        prop_assert_eq!(got, cells);
    }
}
