//! Decodes one payload under subscriptions that reach every part of a reader.

use std::sync::LazyLock;

use weir::decoder::Decoder;
use weir::decoder::settings::{Format, Subscription, TimeUnit, Values};
use weir::reading::EventTime;
use weir::receiver::topic::Captures;

/// Compiles the subscriptions for `format`.
pub fn decoders(format: Format) -> Vec<Decoder> {
    let plain = format == Format::Text;
    let base = Subscription {
        format,
        values: Values::One(if plain { "" } else { "/v" }.to_owned()),
        time: (!plain).then(|| "/ts".to_owned()),
        device: "d".to_owned(),
        metric: "m".to_owned(),
        max_readings: 100,
        ..Subscription::default()
    };
    let mut all = vec![base.clone()];
    if !plain {
        all.push(Subscription { values: Values::All, device: "/id".to_owned(), ..base.clone() });
        let several = [("a", "/a"), ("b", "/a/0"), ("c", "/c")];
        all.push(Subscription {
            values: Values::Named(several.map(|(m, at)| (m.to_owned(), at.to_owned())).into()),
            time_unit: TimeUnit::Rfc3339,
            ..base.clone()
        });
    }
    if matches!(format, Format::Json | Format::Cbor) {
        for index in 0..all.len() {
            let records = Some("/r".to_owned());
            all.push(Subscription { records, ..all[index].clone() });
        }
    }
    all.iter().map(|one| Decoder::new(one).expect("the subscription is right")).collect()
}

/// No panic; finite values; every fault counted and safe to log.
pub fn run(decoders: &LazyLock<Vec<Decoder>>, payload: &[u8]) {
    let arrival = EventTime::from_nanos(0).expect("a time in range");
    for decoder in decoders.iter() {
        let mut readings = 0;
        let outcome = decoder.decode(&Captures::NONE, payload, arrival, &mut |reading| {
            readings += 1;
            assert!(reading.value.get().is_finite());
        });
        assert!(readings <= 100);
        if let Some(fault) = outcome.fault {
            assert!(outcome.drops.get(fault.reason) > 0);
            assert!(!fault.to_string().contains(char::is_control));
        }
    }
}
