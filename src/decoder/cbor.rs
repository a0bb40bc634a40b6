//! CBOR payloads (RFC 8949), addressed by the same pointers as JSON.
//!
//! Differences: a step of digits also finds an integer key. Tags are transparent, which serves
//! both standard times: a text is read in `time_unit`, else as RFC 3339 (tag 0); a number under
//! `time_unit = "rfc3339"` counts seconds (tag 1). Floating-point times are taken as their shortest
//! decimal. Byte strings are no readings.

use serde_cbor::Value;

use super::emit::{Emitter, Place, Rules, Scalar, When};
use super::pointer::{self, Pointer};
use super::settings::{Subscription, TimeUnit, Values};
use super::{Field, emit_fields, time};

/// Deepest leaf that `values = "*"` takes, in levels below the record; as for JSON.
const LEAF_DEPTH_MAX: usize = 16;

/// A compiled reader of CBOR payloads.
#[derive(Clone, Debug)]
pub(super) struct Cbor {
    records: Option<Path>,
    time: Option<Path>,
    device: Option<Path>,
    metric: Option<Path>,
    fields: Vec<Field>,
    /// One for each field.
    paths: Vec<Path>,
    /// `values = "*"`.
    all: bool,
}

/// A pointer with its keys ready for look-up.
#[derive(Clone, Debug)]
struct Path(Vec<Step>);

#[derive(Clone, Debug)]
struct Step {
    text: Value,
    integer: Option<Value>,
    index: Option<usize>,
}

impl Path {
    fn new(pointer: &Pointer) -> Path {
        let step = |token: &String| Step {
            text: Value::Text(token.clone()),
            integer: token
                .parse::<i64>()
                .ok()
                .filter(|number| number.to_string() == *token)
                .map(|number| Value::Integer(i128::from(number))),
            index: pointer::index(token),
        };
        Path(pointer.tokens.iter().map(step).collect())
    }

    fn parse(key: &str, text: &str) -> Result<Path, String> {
        Pointer::parse(text).map(|p| Path::new(&p)).map_err(|fault| format!("{key}: {fault}"))
    }

    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(untag(value), |value, step| {
            let part = match value {
                Value::Map(map) => map
                    .get(&step.text)
                    .or_else(|| step.integer.as_ref().and_then(|integer| map.get(integer))),
                Value::Array(array) => step.index.and_then(|index| array.get(index)),
                _ => None,
            };
            part.map(untag)
        })
    }
}

impl Cbor {
    pub fn new(subscription: &Subscription, rules: &Rules) -> Result<Cbor, String> {
        let path = |key, text: &Option<String>| {
            text.as_deref().map(|text| Path::parse(key, text)).transpose()
        };
        let fields = Field::list(&subscription.values);
        let paths = fields.iter().map(|field| Path::parse("value", &field.at));
        Ok(Cbor {
            records: path("records", &subscription.records)?,
            time: path("time", &subscription.time)?,
            device: rules.device.pointer().map(Path::new),
            metric: rules.metric.pointer().map(Path::new),
            paths: paths.collect::<Result<_, _>>()?,
            fields,
            all: matches!(subscription.values, Values::All),
        })
    }

    pub fn read(&self, payload: &[u8], emitter: &mut Emitter<'_>) {
        let whole = Place { record: None, at: "" };
        // Nesting is bounded by serde_cbor (128), size by the cap before.
        let value: Value = match serde_cbor::from_slice(payload) {
            Ok(value) => value,
            Err(fault) => return emitter.malformed(whole, fault),
        };
        let Some(records) = &self.records else {
            return self.record(&value, None, None, emitter);
        };
        let Some(Value::Array(records)) = records.find(&value) else {
            return emitter.malformed(whole, "no array at `records`");
        };
        for (index, record) in records.iter().enumerate() {
            self.record(record, Some(&value), Some(index), emitter);
        }
    }

    fn record(
        &self,
        record: &Value,
        around: Option<&Value>,
        index: Option<usize>,
        emitter: &mut Emitter<'_>,
    ) {
        let common = |path: &Option<Path>| {
            let path = path.as_ref()?;
            path.find(record).or_else(|| path.find(around?)).map(scalar)
        };
        let (device, metric) = (common(&self.device), common(&self.metric));
        let time = when(emitter.rules, common(&self.time));
        let head = emitter.head(device.as_ref(), metric.as_ref(), time);
        if !self.all {
            return emit_fields(emitter, &self.fields, &head, index, |field| {
                self.paths[field].find(record).map(scalar)
            });
        }
        let excluded: Vec<&Value> = [&self.time, &self.device, &self.metric]
            .into_iter()
            .filter_map(|path| path.as_ref()?.find(record))
            .collect();
        leaves(record, &excluded, &mut String::new(), 0, &mut |path, leaf| match leaf {
            Err(fault) => emitter.malformed(Place { record: index, at: path }, fault),
            Ok(Scalar::Text(text)) if !emitter.rules.knows_text(text.trim()) => {}
            // Bytes.
            Ok(Scalar::Other) => {}
            Ok(leaf) => {
                let metric = if path.is_empty() { &*head.metric } else { path };
                emitter.value(&head, metric, &leaf, Place { record: index, at: path });
            }
        });
    }
}

fn untag(mut value: &Value) -> &Value {
    while let Value::Tag(_, inner) = value {
        value = inner;
    }
    value
}

fn scalar(value: &Value) -> Scalar<'_> {
    match untag(value) {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Integer(number) => Scalar::Integer(*number),
        Value::Float(number) => Scalar::Float(*number),
        Value::Text(text) => Scalar::Text(text.as_str().into()),
        _ => Scalar::Other,
    }
}

fn when(rules: &Rules, scalar: Option<Scalar<'_>>) -> When {
    let plain = rules.when(scalar.as_ref());
    let (When::Bad(_), Some(scalar)) = (&plain, &scalar) else {
        return plain;
    };
    let tagged = match scalar {
        Scalar::Text(text) => time::parse(text.trim(), TimeUnit::Rfc3339),
        _ if rules.time_unit != TimeUnit::Rfc3339 => None,
        Scalar::Integer(number) => time::parse(&number.to_string(), TimeUnit::Second),
        Scalar::Float(number) => time::parse(&number.to_string(), TimeUnit::Second),
        _ => None,
    };
    tagged.map_or(plain, When::Carried)
}

/// Calls `each` with the path and leaf of every scalar below `value`, in the map's canonical order;
/// `Err` where a part cannot be taken. `excluded` parts are known by their address.
fn leaves<F>(value: &Value, excluded: &[&Value], path: &mut String, depth: usize, each: &mut F)
where
    F: FnMut(&str, Result<Scalar<'_>, String>),
{
    let value = untag(value);
    if !matches!(value, Value::Map(_) | Value::Array(_)) {
        return each(path, Ok(scalar(value)));
    }
    if depth == LEAF_DEPTH_MAX {
        return each(path, Err(format!("deeper than {LEAF_DEPTH_MAX} levels")));
    }
    let mut descend = |key: &str, value: &Value| {
        let value = untag(value);
        if !excluded.iter().any(|part| std::ptr::eq(*part, value)) {
            let parent = path.len();
            if parent > 0 {
                path.push('/');
            }
            path.push_str(key);
            leaves(value, excluded, path, depth + 1, each);
            path.truncate(parent);
        }
    };
    let mut nameless = 0;
    match value {
        Value::Map(map) => {
            for (key, value) in map {
                match untag(key) {
                    Value::Text(key) => descend(key, value),
                    Value::Integer(key) => descend(&key.to_string(), value),
                    _ => nameless += 1,
                }
            }
        }
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                descend(&index.to_string(), value);
            }
        }
        _ => {}
    }
    if nameless > 0 {
        each(path, Err(format!("{nameless} keys that are neither text nor integer")));
    }
}

#[cfg(test)]
mod tests;
