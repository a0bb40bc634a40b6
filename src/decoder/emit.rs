//! What every format shares: from a leaf of a payload to a reading or a counted drop.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::name::{NAME_BYTES_MAX, Name};
use super::quote::quote;
use super::settings::{Dedup, Missing, Subscription, TimeUnit};
use super::{Decoded, Fault, Outcome, time};
use crate::reading::{DropReason, EventTime, Finite};
use crate::receiver::topic::Captures;

/// A leaf of a payload, whatever its format.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Says that there is nothing.
    Null,
    Bool(bool),
    /// A number as written.
    Number(&'a str),
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    /// An array, an object, bytes: never a reading.
    Other,
}

impl Scalar<'_> {
    /// As a name or time would be written; `None` where it has no text.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Scalar::Number(text) => Some(Cow::Borrowed(text)),
            Scalar::Text(text) => Some(Cow::Borrowed(text.trim())),
            Scalar::Integer(number) => Some(Cow::Owned(number.to_string())),
            // The shortest decimal that reads back as this double: what the sender meant by it.
            Scalar::Float(number) => Some(Cow::Owned(number.to_string())),
            Scalar::Null | Scalar::Bool(_) | Scalar::Other => None,
        }
    }

    fn excerpt(&self) -> String {
        match self {
            Scalar::Null => "null".to_owned(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Other => "not a single value".to_owned(),
            Scalar::Text(text) => quote(text.as_bytes()),
            _ => quote(self.text().unwrap_or_default().as_bytes()),
        }
    }
}

/// Where in a payload something is, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Counted from 0; `None` where the payload is one record.
    pub record: Option<usize>,
    /// Pointer, column, or empty for the record itself.
    pub at: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name from the payload may stand here, so it is quoted like the payload.
        let quoted;
        let at = if self.at.bytes().all(|b| b.is_ascii_graphic()) {
            self.at
        } else {
            quoted = quote(self.at.as_bytes());
            &quoted
        };
        match self.record {
            None if at.is_empty() => f.write_str("payload"),
            None => f.write_str(at),
            Some(record) if at.is_empty() => write!(f, "record {record}"),
            Some(record) => write!(f, "record {record}, {at}"),
        }
    }
}

/// The part of a subscription that is the same for every format, compiled.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub device: Name,
    pub metric: Name,
    /// False: readings take the arrival time.
    pub timed: bool,
    pub time_unit: TimeUnit,
    map: BTreeMap<String, f64>,
    missing_texts: Vec<String>,
    missing_numbers: Vec<f64>,
    dedup: Dedup,
    max_readings: usize,
}

/// What the values of one record have in common.
#[derive(Clone, Debug)]
pub(super) struct Head<'h> {
    pub device: Cow<'h, str>,
    /// For the values that have no name of their own.
    pub metric: Cow<'h, str>,
    pub time: When,
}

/// A record's time.
#[derive(Clone, Debug)]
pub(super) enum When {
    Arrival,
    Carried(EventTime),
    /// Cannot be read; holds what was there.
    Bad(String),
}

impl Rules {
    pub fn new(subscription: &Subscription) -> Result<Rules, String> {
        let fault = |key: &'static str| move |fault: String| format!("{key}: {fault}");
        let mut missing_texts = Vec::new();
        let mut missing_numbers = Vec::new();
        for missing in &subscription.missing {
            match missing {
                Missing::Text(text) => missing_texts.push(text.clone()),
                Missing::Number(number) => missing_numbers.push(*number),
            }
        }
        Ok(Rules {
            device: Name::parse(&subscription.device).map_err(fault("device"))?,
            metric: Name::parse(&subscription.metric).map_err(fault("metric"))?,
            timed: subscription.time.is_some(),
            time_unit: subscription.time_unit,
            map: subscription.map.clone(),
            missing_texts,
            missing_numbers,
            dedup: subscription.dedup,
            max_readings: subscription.max_readings,
        })
    }

    /// The time of a record whose time field holds `scalar` (`None`: is not there).
    pub fn when(&self, scalar: Option<&Scalar<'_>>) -> When {
        if !self.timed {
            return When::Arrival;
        }
        let Some(scalar) = scalar else {
            return When::Bad("nothing there".to_owned());
        };
        match scalar.text().and_then(|text| time::parse(&text, self.time_unit)) {
            Some(time) => When::Carried(time),
            None => When::Bad(scalar.excerpt()),
        }
    }

    /// True when `text` stands for a number or for no reading.
    pub fn knows_text(&self, text: &str) -> bool {
        self.map.contains_key(text) || self.missing_texts.iter().any(|missing| missing == text)
    }

    /// A leaf as a number. White space around texts is ignored; an empty text is no reading.
    fn number(&self, scalar: &Scalar<'_>) -> Result<Finite, DropReason> {
        let number = match scalar {
            Scalar::Null => return Err(DropReason::Missing),
            Scalar::Bool(value) => {
                let text = if *value { "true" } else { "false" };
                if self.knows_text(text) { self.text(text)? } else { f64::from(u8::from(*value)) }
            }
            // Validated by its format, so this only fails on what no format lets through.
            Scalar::Number(text) => text.parse().map_err(|_| DropReason::Malformed)?,
            Scalar::Integer(number) => *number as f64,
            Scalar::Float(number) => *number,
            Scalar::Text(text) => self.text(text.trim())?,
            Scalar::Other => return Err(DropReason::Malformed),
        };
        if self.missing_numbers.contains(&number) {
            return Err(DropReason::Missing);
        }
        Finite::new(number).ok_or(DropReason::NotFinite)
    }

    fn text(&self, text: &str) -> Result<f64, DropReason> {
        if text.is_empty() || self.missing_texts.iter().any(|missing| missing == text) {
            return Err(DropReason::Missing);
        }
        match self.map.get(text) {
            Some(&number) => Ok(number),
            None => text.parse().map_err(|_| DropReason::Malformed),
        }
    }
}

/// Takes the leaves of one message and keeps its account.
pub(super) struct Emitter<'e> {
    pub rules: &'e Rules,
    arrival: EventTime,
    payload: &'e [u8],
    sink: &'e mut dyn FnMut(Decoded<'_>),
    readings: usize,
    outcome: Outcome,
    device: Cow<'e, str>,
    metric: Cow<'e, str>,
}

impl<'e> Emitter<'e> {
    pub fn new(
        rules: &'e Rules,
        captures: &Captures<'e>,
        payload: &'e [u8],
        arrival: EventTime,
        sink: &'e mut dyn FnMut(Decoded<'_>),
    ) -> Emitter<'e> {
        Emitter {
            rules,
            arrival,
            payload,
            sink,
            readings: 0,
            outcome: Outcome::default(),
            device: rules.device.resolve(captures),
            metric: rules.metric.resolve(captures),
        }
    }

    pub fn finish(self) -> Outcome {
        self.outcome
    }

    /// Names and time of a record: from the topic, or from its scalars where the payload has them.
    pub fn head<'h>(
        &self,
        device: Option<&'h Scalar<'_>>,
        metric: Option<&'h Scalar<'_>>,
        time: When,
    ) -> Head<'h>
    where
        'e: 'h,
    {
        // A name that is not there is empty, which drops the values under `topic`.
        let name =
            |scalar: Option<&'h Scalar<'_>>| scalar.and_then(Scalar::text).unwrap_or_default();
        Head {
            device: match self.rules.device {
                Name::Payload(_) => name(device),
                Name::Text(_) => self.device.clone(),
            },
            metric: match self.rules.metric {
                Name::Payload(_) => name(metric),
                Name::Text(_) => self.metric.clone(),
            },
            time,
        }
    }

    /// The message as a whole, or one record of it, cannot be read.
    pub fn malformed(&mut self, place: Place<'_>, detail: impl fmt::Display) {
        let payload = self.payload;
        self.drop(DropReason::Malformed, place, detail, || quote(payload));
    }

    /// One leaf: a reading, or a drop.
    pub fn value(&mut self, head: &Head<'_>, metric: &str, scalar: &Scalar<'_>, place: Place<'_>) {
        let max = self.rules.max_readings;
        if self.readings == max {
            let detail = format_args!("more than max_readings = {max} in a message");
            return self.drop(DropReason::TooMany, place, detail, || scalar.excerpt());
        }
        self.readings += 1;
        for (name, what) in [(&*head.device, "device"), (metric, "metric")] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let detail = format_args!("{what} name empty or over {NAME_BYTES_MAX} bytes");
                return self.drop(DropReason::Topic, place, detail, || quote(name.as_bytes()));
            }
        }
        let value = match self.rules.number(scalar) {
            Ok(value) => value,
            Err(reason) => {
                let detail = match reason {
                    DropReason::NotFinite => "not a finite number",
                    _ => "not a number; name texts that stand for one in `map`",
                };
                return self.drop(reason, place, detail, || scalar.excerpt());
            }
        };
        let (time, carried) = match &head.time {
            When::Arrival => (self.arrival, false),
            When::Carried(time) => (*time, true),
            When::Bad(excerpt) => {
                let detail = match self.rules.time_unit {
                    TimeUnit::Rfc3339 => "time is not RFC 3339, or outside 1900 to 2200",
                    _ => "time is not a number of `time_unit`, or outside 1900 to 2200",
                };
                return self.drop(DropReason::BadTime, place, detail, || excerpt.clone());
            }
        };
        (self.sink)(Decoded {
            device: &head.device,
            metric,
            time,
            value,
            dedup: carried && self.rules.dedup != Dedup::Off,
        });
    }

    fn drop(
        &mut self,
        reason: DropReason,
        place: Place<'_>,
        detail: impl fmt::Display,
        excerpt: impl FnOnce() -> String,
    ) {
        self.outcome.drops.add(reason, 1);
        // What the configuration calls missing is expected: counted, not worth a line.
        if self.outcome.fault.is_none() && reason != DropReason::Missing {
            self.outcome.fault = Some(Fault {
                reason,
                place: place.to_string(),
                detail: detail.to_string(),
                excerpt: excerpt(),
            });
        }
    }
}
