//! Payload bytes to readings, one file per format.
//!
//! Pure. [`Decoder::new`] compiles a subscription once; [`Decoder::decode`] then turns each message
//! into readings with finite values and exact times, and counts everything else by reason:
//!
//! - A payload that cannot be read as a whole is one `malformed`, and yields nothing else.
//! - In a readable payload each bad value is dropped alone: `missing` (null, an empty text, or
//!   listed in `missing`), `not_finite` (NaN, infinite, beyond `f64`), `malformed` (of another
//!   type, or not there), `bad_time`, `topic` (device or metric name empty or over 256 bytes),
//!   `too_many`. A record that lacks its value is one `malformed`. Of several optional values
//!   (`values = { … }`), those not there are no readings; a record with none of them is one
//!   `malformed`.
//! - Values: numbers, numbers in texts, texts listed in `map`; `true` and `false` are 1 and 0 unless
//!   `map` says otherwise. `values = "*"` takes every number and boolean, and texts only when `map`
//!   lists them (an identifier that looks like a number is no reading).
//! - Device, metric and time are looked up in the record, then, for records inside a larger
//!   payload, in the payload itself.
//! - Keys that stand twice in an object: the last one counts.

pub mod quote;
pub mod recorded;
pub mod settings;
pub mod time;

mod cbor;
mod csv;
mod emit;
mod json;
mod name;
mod pointer;
mod text;

use std::fmt;

use crate::reading::{DropCounts, DropReason, EventTime, Finite};
use crate::receiver::topic::{Captures, Template};
use emit::{Emitter, Place, Rules};
use name::{NAME_BYTES_MAX, Name};
use quote::quote;
use settings::{Format, Subscription, Values};

/// A compiled subscription: reads the payloads of its topics.
#[derive(Clone, Debug)]
pub struct Decoder {
    rules: Rules,
    max_payload: usize,
    reader: Reader,
}

#[derive(Clone, Debug)]
enum Reader {
    Json(json::Json),
    Cbor(cbor::Cbor),
    Csv(csv::Csv),
    Text,
}

/// One reading, with its names still as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoded<'a> {
    /// Device name, 1 to 256 bytes.
    pub device: &'a str,
    /// Metric name, 1 to 256 bytes.
    pub metric: &'a str,
    /// The payload's time, or the arrival time.
    pub time: EventTime,
    /// What was measured.
    pub value: Finite,
    /// Whether the same series, time and value again is the same reading. Never for arrival time.
    pub dedup: bool,
}

/// What a message did not yield.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Values (or whole messages) dropped, by reason.
    pub drops: DropCounts,
    /// The first drop that was not `missing`, for a log line. Its texts are safe to log.
    pub fault: Option<Fault>,
}

/// What was wrong, where, and what stood there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason it is counted under.
    pub reason: DropReason,
    /// Where in the payload.
    pub place: String,
    /// What is wrong.
    pub detail: String,
    /// What stood there, by [`quote::quote`].
    pub excerpt: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { reason, place, detail, excerpt } = self;
        write!(f, "{}: {place}: {detail}: {excerpt}", reason.name())
    }
}

impl Decoder {
    /// Compiles a subscription.
    ///
    /// # Errors
    /// A text with the key at fault, what is wrong and how to mend it.
    pub fn new(subscription: &Subscription) -> Result<Decoder, String> {
        let rules = Rules::new(subscription)?;
        check_values(&subscription.values)?;
        check_captures(subscription, &rules)?;
        let reader = match subscription.format {
            Format::Json => Reader::Json(json::Json::new(subscription, &rules)?),
            Format::Cbor => Reader::Cbor(cbor::Cbor::new(subscription, &rules)?),
            Format::Csv => Reader::Csv(csv::Csv::new(subscription, &rules)?),
            Format::Text => {
                text::check(subscription, &rules)?;
                Reader::Text
            }
        };
        Ok(Decoder { rules, max_payload: subscription.max_payload, reader })
    }

    /// Reads one message. `captures`: of its topic; `arrival`: the time of readings whose payload
    /// carries none. Readings go to `sink` in the payload's order.
    pub fn decode(
        &self,
        captures: &Captures<'_>,
        payload: &[u8],
        arrival: EventTime,
        sink: &mut dyn FnMut(Decoded<'_>),
    ) -> Outcome {
        if payload.len() > self.max_payload {
            let mut outcome = Outcome::default();
            outcome.drops.add(DropReason::Oversize, 1);
            outcome.fault = Some(Fault {
                reason: DropReason::Oversize,
                place: "payload".to_owned(),
                detail: format!(
                    "{} bytes, more than max_payload = {}",
                    payload.len(),
                    self.max_payload
                ),
                excerpt: quote(payload),
            });
            return outcome;
        }
        let mut emitter = Emitter::new(&self.rules, captures, payload, arrival, sink);
        match &self.reader {
            Reader::Json(json) => json.read(payload, &mut emitter),
            Reader::Cbor(cbor) => cbor.read(payload, &mut emitter),
            Reader::Csv(csv) => csv.read(payload, &mut emitter),
            Reader::Text => text::read(payload, &mut emitter),
        }
        emitter.finish()
    }
}

fn check_values(values: &Values) -> Result<(), String> {
    let Values::Named(named) = values else {
        return Ok(());
    };
    if named.is_empty() {
        return Err("values: names no value; write e.g. { temperature = \"/t\" }".to_owned());
    }
    match named.keys().find(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        Some(name) => Err(format!(
            "values: metric name {}: must have 1 to {NAME_BYTES_MAX} bytes",
            quote(name.as_bytes())
        )),
        None => Ok(()),
    }
}

/// Every capture that a name needs must be in every topic.
fn check_captures(subscription: &Subscription, rules: &Rules) -> Result<(), String> {
    // Several values name their metrics themselves.
    let one = matches!(subscription.values, Values::One(_));
    let names: [(&str, &Name, bool); 2] =
        [("device", &rules.device, true), ("metric", &rules.metric, one)];
    for topic in &subscription.topics {
        let template = Template::parse(topic)?;
        for (key, name, needed) in names {
            for capture in name.captures() {
                if needed && !template.names().iter().any(|known| known == capture) {
                    return Err(format!(
                        "{key}: topic template {topic:?} has no {{{capture}}}; put it there, or \
                         set {key} to a text or a JSON pointer"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Reports the values of one record that has its values at fixed places: `leaf` finds each.
/// Shared by the formats so that "not there" means the same in all of them.
fn emit_fields<'a>(
    emitter: &mut Emitter<'_>,
    fields: &[Field],
    head: &emit::Head<'_>,
    record: Option<usize>,
    mut leaf: impl FnMut(usize) -> Option<emit::Scalar<'a>>,
) {
    let mut found = false;
    for (index, field) in fields.iter().enumerate() {
        if let Some(scalar) = leaf(index) {
            found = true;
            let metric = field.metric.as_deref().unwrap_or(&head.metric);
            emitter.value(head, metric, &scalar, Place { record, at: &field.at });
        }
    }
    if !found {
        let at = fields.first().map_or("", |field| field.at.as_str());
        emitter.malformed(Place { record, at }, "no value there");
    }
}

/// One value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    /// Its metric; `None`: the record's.
    metric: Option<String>,
    /// Where it is, as configured.
    at: String,
}

impl Field {
    /// The fields that `values` asks for; none for `Values::All`.
    fn list(values: &Values) -> Vec<Field> {
        match values {
            Values::One(at) => vec![Field { metric: None, at: at.clone() }],
            Values::Named(named) => named
                .iter()
                .map(|(metric, at)| Field { metric: Some(metric.clone()), at: at.clone() })
                .collect(),
            Values::All => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
