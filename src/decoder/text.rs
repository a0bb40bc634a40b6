//! Payloads that are one number as text.

use super::emit::{Emitter, Place, Rules, Scalar};
use super::settings::{Subscription, Values};

/// Refuses what a bare number cannot carry.
///
/// # Errors
/// A text with the key at fault and how to mend it.
pub(super) fn check(subscription: &Subscription, rules: &Rules) -> Result<(), String> {
    let fault = |key| {
        Err(format!(
            "{key}: a payload of format = \"text\" is the number alone; remove {key}, or use json \
             or csv"
        ))
    };
    match &subscription.values {
        Values::One(at) if at.is_empty() => {}
        Values::One(_) => return fault("value"),
        _ => return fault("values"),
    }
    if subscription.time.is_some() {
        return fault("time");
    }
    if subscription.records.is_some() {
        return fault("records");
    }
    for (key, name) in [("device", &rules.device), ("metric", &rules.metric)] {
        if name.pointer().is_some() {
            return Err(format!(
                "{key}: a payload of format = \"text\" has no fields; take it from the topic"
            ));
        }
    }
    Ok(())
}

/// Reads a payload: UTF-8, surrounding white space ignored.
pub(super) fn read(payload: &[u8], emitter: &mut Emitter<'_>) {
    let place = Place { record: None, at: "" };
    match std::str::from_utf8(payload) {
        Err(_) => emitter.malformed(place, "not UTF-8"),
        Ok(text) => {
            let head = emitter.head(None, None, emitter.rules.when(None));
            let metric = head.metric.clone();
            emitter.value(&head, &metric, &Scalar::Text(text.into()), place);
        }
    }
}
