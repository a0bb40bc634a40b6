//! Reads `[[mqtt.subscribe]]`.

use std::collections::BTreeMap;

use super::broker::TOPIC_BYTES_MAX;
use super::keys;
use super::reader::{At, TableReader};
use super::tree::Value;
use crate::decoder::settings::{Dedup, Format, Missing, Subscription, TimeUnit, Values};

const FORMATS: [(&str, Format); 4] =
    [("json", Format::Json), ("cbor", Format::Cbor), ("csv", Format::Csv), ("text", Format::Text)];
const LATER_MEND: &str = "use a format of this version: json, cbor, csv or text";
const FORMATS_LATER: [(&str, &str); 3] =
    [("senml", LATER_MEND), ("line-protocol", LATER_MEND), ("sparkplug-b", LATER_MEND)];
const TIME_UNITS: [(&str, TimeUnit); 5] = [
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Milli),
    ("us", TimeUnit::Micro),
    ("ns", TimeUnit::Nano),
    ("rfc3339", TimeUnit::Rfc3339),
];
const DEDUPS: [(&str, Dedup); 3] =
    [("auto", Dedup::Auto), ("time-value", Dedup::TimeValue), ("off", Dedup::Off)];

/// Most `[[mqtt.subscribe]]` tables, and most topics, values, texts in each of their lists.
const MANY: usize = 1000;

pub(super) fn subscriptions(mqtt: &TableReader<'_, '_>) -> Vec<Subscription> {
    let readers = mqtt.sections("subscribe", &keys::SUBSCRIBE);
    if let Some(r) = readers.get(MANY) {
        r.cx.fault_bare(r.here(), "more than 1000 subscriptions", "join them by {name} captures");
    }
    readers.iter().map(subscription).collect()
}

fn subscription(r: &TableReader<'_, '_>) -> Subscription {
    let default = Subscription::default();
    let topics = topics(r);
    let qos = r.integer("qos", 0..=2, 1);
    if let Some(at) = &qos {
        match at.value {
            0 => {
                r.cx.warn_at(
                    &at.spot,
                    "= 0: what the network or a restart loses is lost and cannot be counted; qos = 1 \
                     loses nothing",
                );
            }
            2 => {
                r.cx.fault(&at.spot, "must be 0 or 1: duplicates are recognised anyway", "write 1")
            }
            _ => {}
        }
    }
    let max_payload = r.size("max_payload", 1..=64 << 20, "256KiB");
    let payload = payload(r, &Carrier::Topics(topics.as_deref().unwrap_or_default()));
    Subscription {
        topics: topics.unwrap_or_default().into_iter().map(|at| at.value).collect(),
        qos: qos.map_or(default.qos, |at| at.value as u8),
        retained: r.boolean("retained").is_some_and(|at| at.value),
        max_payload: max_payload.map_or(default.max_payload, |at| at.value as usize),
        ..payload
    }
}

/// What payloads come in.
pub(super) enum Carrier<'a> {
    /// Messages on these topics, whose levels may name device and metric.
    Topics(&'a [At<String>]),
    /// Lines without anything around them.
    Lines,
}

/// How payloads are read: everything but what concerns the carrier alone.
pub(super) fn payload(r: &TableReader<'_, '_>, carrier: &Carrier<'_>) -> Subscription {
    let default = Subscription::default();
    let lines = matches!(carrier, Carrier::Lines);
    let format = r.choice("format", &FORMATS, &FORMATS_LATER);
    if let Some(at) = &format
        && lines
        && at.value == Format::Cbor
    {
        r.cx.fault(&at.spot, "has no lines", "write \"json\", \"csv\" or \"text\"");
    }
    let format = format.map_or(Format::Json, |at| at.value);
    let pointers = matches!(format, Format::Json | Format::Cbor);
    let values = values(r, format);
    let time = pointer(r, "time", format);
    let time_unit = r.choice("time_unit", &TIME_UNITS, &[]);
    if let (Some(at), false) = (&time_unit, r.has("time")) {
        let what = "has no effect without time: readings get their arrival time";
        r.cx.fault(&at.spot, what, "write e.g. time = \"/ts\", or remove time_unit");
    }
    let device = name(r, "device", carrier, format);
    let several = matches!(values, Values::Named(_) | Values::All);
    let metric = if several {
        if let Some(at) = r.any("metric") {
            let what = "has no effect with several values: their names are the metrics";
            r.cx.fault(&at.spot, what, "remove it");
        }
        default.metric.clone()
    } else {
        name(r, "metric", carrier, format)
    };
    if lines && format == Format::Csv {
        numbered_columns(r);
    }
    let records = r.text("records", "\"/readings\"").and_then(|at| {
        if !pointers {
            let what = "is for json and cbor";
            r.cx.fault(&at.spot, what, "remove it: each line of CSV is a record");
            return None;
        }
        check_pointer(r, at)
    });
    let dedup = r.choice("dedup", &DEDUPS, &[]);
    if let Some(at) = &dedup
        && at.value == Dedup::TimeValue
        && !r.has("time")
    {
        let what = "cannot recognise repeats by their arrival time";
        r.cx.fault(&at.spot, what, "write e.g. time = \"/ts\", or dedup = \"off\"");
    }
    let max_readings = r.integer("max_readings", 1..=1_000_000, 10_000);
    Subscription {
        format,
        values,
        time,
        time_unit: time_unit.map_or(default.time_unit, |at| at.value),
        device,
        metric,
        records,
        map: map(r),
        missing: missing(r),
        dedup: dedup.map_or(default.dedup, |at| at.value),
        max_readings: max_readings.map_or(default.max_readings, |at| at.value as usize),
        ..default
    }
}

/// Lines of CSV are read one by one, so none of them can name the columns of the others.
fn numbered_columns(r: &TableReader<'_, '_>) {
    const WHAT: &str = "each line is read by itself, without a header";
    const MEND: &str = "number the columns from 0: \"0\"";
    let named = |text: &str| {
        let text = text.strip_prefix('/').unwrap_or(text);
        !text.is_empty() && !text.bytes().all(|byte| byte.is_ascii_digit())
    };
    for key in ["time", "value", "device", "metric"] {
        // A device or metric without a slash is its name.
        let column = |text: &str| ["time", "value"].contains(&key) || text.starts_with('/');
        if let Some(at) = r.any(key)
            && let Value::Text(text) = &at.value.value
            && column(text)
            && named(text)
        {
            r.cx.fault(&at.spot, WHAT, MEND);
        }
    }
    let Some(at) = r.any("values") else { return };
    let all_numbered = match &at.value.value {
        Value::Table(_) => {
            r.dictionary("values", "{ temperature = \"2\" }").is_none_or(|named_values| {
                named_values
                    .value
                    .iter()
                    .all(|(_, at)| !matches!(&at.value.value, Value::Text(text) if named(text)))
            })
        }
        _ => false,
    };
    if !all_numbered {
        r.cx.fault(&at.spot, WHAT, "number the columns from 0: { temperature = \"2\" }");
    }
}

const TOPIC_EXAMPLE: &str = "[\"sensors/{device}/{metric}\"]";

/// The topics that are good; `None` when there are none or the list itself is faulty.
fn topics(r: &TableReader<'_, '_>) -> Option<Vec<At<String>>> {
    if !r.has("topics") {
        r.missing("topics", TOPIC_EXAMPLE);
    }
    let list = r.texts("topics", TOPIC_EXAMPLE)?;
    if list.value.is_empty() || list.value.len() > MANY {
        let what = "must name 1 to 1000 topics";
        r.cx.fault(&list.spot, what, format!("write e.g. {TOPIC_EXAMPLE}"));
    }
    let good: Vec<At<String>> = list
        .value
        .into_iter()
        .filter(|at| match topic_fault(&at.value) {
            Some(what) => {
                r.cx.fault(&at.spot, what, "write e.g. \"sensors/{device}/{metric}\"");
                false
            }
            None => true,
        })
        .collect();
    (!good.is_empty()).then_some(good)
}

/// What is wrong with a topic template.
fn topic_fault(topic: &str) -> Option<&'static str> {
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        return Some("a topic must have 1 to 1024 bytes");
    }
    if topic.contains(char::is_control) {
        return Some("a topic cannot hold control characters");
    }
    let Some(names) = captures(topic) else {
        return Some("braces must hold a name of letters, digits and _, as in {device}");
    };
    if names.iter().enumerate().any(|(i, name)| names[..i].contains(name)) {
        return Some("the same name stands twice in braces");
    }
    let levels: Vec<&str> = topic.split('/').collect();
    for (i, level) in levels.iter().enumerate() {
        // `{name+}` is ours; every other + or # must be a level of its own.
        let bare = level.replace("+}", "}");
        if bare.contains(['+', '#']) && bare.len() > 1 {
            return Some("+ and # must be a level of their own");
        }
        if bare == "#" && i + 1 < levels.len() {
            return Some("# must be the last level");
        }
    }
    None
}

/// The names in braces, without `+`; `None` when the braces are not well formed.
fn captures(template: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let inner = rest[at..].strip_prefix('{')?;
        let end = inner.find('}')?;
        let name = inner[..end].strip_suffix('+').unwrap_or(&inner[..end]);
        if name.is_empty() || name.contains(|c: char| !(c.is_alphanumeric() || c == '_')) {
            return None;
        }
        names.push(name);
        rest = &inner[end + 1..];
    }
    Some(names)
}

/// `device` or `metric`: a pointer into the payload, or a text with names from the topics. Absent:
/// the topics' name of the same word; in lines of JSON the pointer of the same word.
fn name(
    r: &TableReader<'_, '_>,
    key: &'static str,
    carrier: &Carrier<'_>,
    format: Format,
) -> String {
    let pointers = matches!(format, Format::Json | Format::Cbor);
    let default = match carrier {
        Carrier::Topics(_) => format!("{{{key}}}"),
        Carrier::Lines if format == Format::Csv => "/0".to_owned(),
        Carrier::Lines if format == Format::Text => format!("my-{key}"),
        Carrier::Lines => format!("/{key}"),
    };
    let at = r.text(key, &format!("\"{default}\""));
    if at.is_none() {
        let known = pointers || matches!(carrier, Carrier::Topics(_));
        if !known && !r.has(key) {
            r.missing(key, &format!("\"{default}\""));
        }
        if r.has(key) || !known {
            return default;
        }
    }
    let text = at.as_ref().map_or(&default, |at| &at.value).to_owned();
    if pointers && text.starts_with('/') {
        return text;
    }
    let fault = |spot, what: String, mend: String| r.cx.fault(spot, what, mend);
    let Some(names) = captures(&text).filter(|_| !text.is_empty()) else {
        if let Some(at) = &at {
            let what = "must be a JSON pointer or a text with names in braces".to_owned();
            fault(&at.spot, what, format!("write e.g. \"{default}\""));
        }
        return default;
    };
    let topics = match carrier {
        Carrier::Topics(topics) => *topics,
        Carrier::Lines => {
            if let (Some(at), Some(absent)) = (&at, names.first()) {
                let what = format!("a line has no topic, so there is no {{{absent}}}");
                fault(&at.spot, what, format!("write e.g. \"{default}\""));
            }
            return text;
        }
    };
    for topic in topics {
        let known = captures(&topic.value).unwrap_or_default();
        let Some(absent) = names.iter().find(|name| !known.contains(*name)) else { continue };
        match &at {
            Some(at) => fault(
                &at.spot,
                format!("the topic \"{}\" has no {{{absent}}}", topic.value),
                "name the level in the topic, or use another name".to_owned(),
            ),
            None => fault(
                &topic.spot,
                format!("has no {{{absent}}}, and no {key} is set"),
                format!(
                    "put {{{absent}}} into the topic, or write e.g. {key} = \"/{key}\" (in the payload) or {key} = \"my-{key}\""
                ),
            ),
        }
        break;
    }
    text
}

fn values(r: &TableReader<'_, '_>, format: Format) -> Values {
    let one = r.any("value").is_some();
    match r.any("values") {
        Some(at) if one => {
            let what = "value and values exclude each other";
            r.cx.fault(&at.spot, what, "keep one of the two");
            Values::All
        }
        Some(at) if format == Format::Text => {
            r.cx.fault(&at.spot, "a text payload is one value", "remove it");
            Values::One(String::new())
        }
        Some(at) => match &at.value.value {
            Value::Text(text) if text == "*" => Values::All,
            Value::Table(_) => Values::Named(named(r, format)),
            _ => {
                let what = "must be a table of names, or \"*\" for every number";
                r.cx.fault(&at.spot, what, "write e.g. { temperature = \"/t\" }");
                Values::All
            }
        },
        None if format == Format::Text => {
            if let Some(at) = r.any("value") {
                r.cx.fault(&at.spot, "a text payload is the value", "remove it");
            }
            Values::One(String::new())
        }
        None if one => Values::One(pointer(r, "value", format).unwrap_or_default()),
        None => {
            let example = "\"/value\" (or values = { temperature = \"/t\" }, or values = \"*\")";
            r.missing("value", example);
            Values::One(String::new())
        }
    }
}

fn named(r: &TableReader<'_, '_>, format: Format) -> BTreeMap<String, String> {
    let Some(entries) = r.dictionary("values", "{ temperature = \"/t\" }") else {
        return BTreeMap::new();
    };
    if entries.value.is_empty() || entries.value.len() > MANY {
        r.cx.fault(
            &entries.spot,
            "must name 1 to 1000 values",
            "write e.g. { temperature = \"/t\" }",
        );
    }
    let mut named = BTreeMap::new();
    for (name, at) in entries.value {
        match &at.value.value {
            Value::Text(text) => {
                let text = At { value: text.clone(), spot: at.spot };
                let text = if matches!(format, Format::Csv) {
                    Some(text.value)
                } else {
                    check_pointer(r, text)
                };
                if let Some(text) = text {
                    named.insert(name.to_owned(), text);
                }
            }
            _ => r.wrong(&at, "a text", "\"/t\""),
        }
    }
    named
}

/// `value` or `time`: a JSON pointer, or for CSV the name or number of a column.
fn pointer(r: &TableReader<'_, '_>, key: &'static str, format: Format) -> Option<String> {
    let at = r.text(key, &format!("\"/{key}\""))?;
    match format {
        Format::Json | Format::Cbor => check_pointer(r, at),
        Format::Csv => Some(at.value),
        Format::Text => {
            r.cx.fault(&at.spot, "a text payload is one number and nothing else", "remove it");
            None
        }
    }
}

fn check_pointer(r: &TableReader<'_, '_>, at: At<String>) -> Option<String> {
    if at.value.is_empty() || at.value.starts_with('/') {
        return Some(at.value);
    }
    let what = "must be a JSON pointer, which begins with / (\"\" is the whole payload)";
    r.cx.fault(&at.spot, what, format!("write \"/{}\"", at.value.replace('.', "/")));
    None
}

fn map(r: &TableReader<'_, '_>) -> BTreeMap<String, f64> {
    let Some(entries) = r.dictionary("map", "{ ON = 1, OFF = 0 }") else {
        return BTreeMap::new();
    };
    if entries.value.len() > MANY {
        r.cx.fault(&entries.spot, "has more than 1000 texts", "remove some");
    }
    let numbers = entries.value.into_iter();
    numbers.filter_map(|(name, at)| Some((name.to_owned(), r.finite(&at, "1")?))).collect()
}

fn missing(r: &TableReader<'_, '_>) -> Vec<Missing> {
    const EXAMPLE: &str = "[85, \"unavailable\"]";
    let Some(at) = r.any("missing") else { return Vec::new() };
    let Value::Array(nodes) = &at.value.value else {
        r.wrong(&at, "a list of numbers and texts", EXAMPLE);
        return Vec::new();
    };
    if nodes.len() > MANY {
        r.cx.fault(&at.spot, "has more than 1000 values", "remove some");
    }
    let of_node = |node: &super::tree::Node| {
        let at = At {
            value: node,
            spot: super::reader::Spot { place: node.place, path: at.spot.path.clone() },
        };
        match &node.value {
            Value::Text(text) => Some(Missing::Text(text.clone())),
            Value::Integer(_) | Value::Float(_) => r.finite(&at, "85").map(Missing::Number),
            _ => {
                r.wrong(&at, "a number or a text", EXAMPLE);
                None
            }
        }
    };
    nodes.iter().filter_map(of_node).collect()
}
