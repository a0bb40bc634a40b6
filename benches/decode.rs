//! Decoding of the typical message: one value and its time, as JSON.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use weir::decoder::Decoder;
use weir::decoder::settings::{Subscription, Values};
use weir::reading::EventTime;
use weir::receiver::topic::Template;

fn decode(criterion: &mut Criterion) {
    let one = Subscription {
        topics: vec!["sensors/{device}/{metric}".to_owned()],
        values: Values::One("/value".to_owned()),
        time: Some("/ts".to_owned()),
        ..Subscription::default()
    };
    let several = Subscription {
        values: Values::Named(
            [("temperature", "/t"), ("humidity", "/h"), ("pressure", "/p")]
                .map(|(metric, at)| (metric.to_owned(), at.to_owned()))
                .into(),
        ),
        ..one.clone()
    };
    let all = Subscription { values: Values::All, ..one.clone() };
    let records = Subscription { records: Some(String::new()), ..one.clone() };
    let array: Vec<String> =
        (0..100).map(|i| format!(r#"{{"value": 21.{i}, "ts": 17000000{i:02}.123}}"#)).collect();
    let array = format!("[{}]", array.join(","));
    let fields = r#"{"t": 21.37, "h": 55.2, "p": 1013.25, "ts": 1700000000.123}"#;

    let template = Template::parse(&one.topics[0]).expect("a template");
    let arrival = EventTime::from_nanos(1_700_000_000_000_000_000).expect("a time in range");
    let mut group = criterion.benchmark_group("decode");
    for (name, subscription, payload, readings) in [
        ("json one", &one, r#"{"value": 21.37, "ts": 1700000000.123}"#, 1),
        ("json three named", &several, fields, 3),
        ("json all of three", &all, fields, 3),
        ("json 100 records", &records, &array, 100),
    ] {
        let decoder = Decoder::new(subscription).expect("a subscription");
        group.throughput(Throughput::Elements(readings));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let topic = black_box("sensors/boiler-3/temperature");
                let captures = template.capture(topic).expect("a fitting topic");
                let mut count = 0;
                let outcome = decoder.decode(
                    &captures,
                    black_box(payload.as_bytes()),
                    arrival,
                    &mut |reading| {
                        black_box(reading);
                        count += 1;
                    },
                );
                assert_eq!(count, readings);
                assert!(outcome.drops.is_empty());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
