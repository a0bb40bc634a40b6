//! JSON payloads.
//!
//! One pass over the text (two where a payload holds several records) picks the raw text of what is
//! asked for, without building a tree: numbers keep their digits, so that times are exact and
//! values are the nearest double. The whole payload must be one valid JSON text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::emit::{Emitter, Place, Rules, Scalar, When};
use super::pointer::{self, Pointer};
use super::settings::{Subscription, Values};
use super::{Field, emit_fields};

/// Deepest leaf that `values = "*"` takes, in levels below the record. Each level reads its part of
/// the text once more, so this also bounds the work on a hostile payload.
const LEAF_DEPTH_MAX: usize = 16;

/// Slots of what both a record and the payload around it may hold.
const TIME: usize = 0;
const DEVICE: usize = 1;
const METRIC: usize = 2;
/// In the payload around records: their array.
const RECORDS: usize = 3;
/// In a record: the first value.
const VALUES: usize = 3;

/// Slots kept on the stack; more go to the heap.
const SLOTS_INLINE: usize = 12;

/// A compiled reader of JSON payloads.
#[derive(Clone, Debug)]
pub(super) struct Json {
    /// What to pick around the records; `None` where the payload is one record.
    envelope: Option<Tree>,
    record: Tree,
    fields: Vec<Field>,
    /// For `values = "*"`: what is no value.
    all: Option<Tree>,
}

/// What to pick from a JSON text: pointers joined at their common steps.
#[derive(Clone, Debug, Default)]
struct Tree {
    /// Slots that take this very part.
    slots: Vec<usize>,
    /// Sorted by key.
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Child {
    key: String,
    /// The array index that the key stands for.
    index: Option<usize>,
    tree: Tree,
}

static EMPTY: Tree = Tree { slots: Vec::new(), children: Vec::new() };

impl Tree {
    fn insert(&mut self, tokens: &[String], slot: usize) {
        let Some((key, rest)) = tokens.split_first() else {
            return self.slots.push(slot);
        };
        let at = match self.children.binary_search_by(|child| child.key.as_str().cmp(key)) {
            Ok(at) => at,
            Err(at) => {
                let index = pointer::index(key);
                self.children.insert(at, Child { key: key.clone(), index, tree: Tree::default() });
                at
            }
        };
        self.children[at].tree.insert(rest, slot);
    }

    fn child(&self, key: &str) -> Option<&Tree> {
        // Comparing lengths first beats the fewer steps of a binary search: keys are few.
        if self.children.len() <= 8 {
            return self.children.iter().find(|child| child.key == key).map(|child| &child.tree);
        }
        let at = self.children.binary_search_by(|child| child.key.as_str().cmp(key)).ok()?;
        Some(&self.children[at].tree)
    }

    fn element(&self, index: usize) -> Option<&Tree> {
        self.children.iter().find(|child| child.index == Some(index)).map(|child| &child.tree)
    }

    /// Forgets what an earlier value of the same key left.
    fn clear(&self, slots: &mut [Option<&str>]) {
        for &slot in &self.slots {
            slots[slot] = None;
        }
        for child in &self.children {
            child.tree.clear(slots);
        }
    }
}

impl Json {
    pub fn new(subscription: &Subscription, rules: &Rules) -> Result<Json, String> {
        let mut common = Tree::default();
        let time = subscription.time.as_deref().map(|text| parse("time", text)).transpose()?;
        for (slot, pointer) in [
            (TIME, time.as_ref()),
            (DEVICE, rules.device.pointer()),
            (METRIC, rules.metric.pointer()),
        ] {
            if let Some(pointer) = pointer {
                common.insert(&pointer.tokens, slot);
            }
        }
        let envelope = match &subscription.records {
            None => None,
            Some(text) => {
                let mut envelope = common.clone();
                envelope.insert(&parse("records", text)?.tokens, RECORDS);
                Some(envelope)
            }
        };
        let fields = Field::list(&subscription.values);
        let mut record = common.clone();
        for (index, field) in fields.iter().enumerate() {
            record.insert(&parse("value", &field.at)?.tokens, VALUES + index);
        }
        let all = matches!(subscription.values, Values::All).then_some(common);
        Ok(Json { envelope, record, fields, all })
    }

    pub fn read(&self, payload: &[u8], emitter: &mut Emitter<'_>) {
        let whole = Place { record: None, at: "" };
        let text = match std::str::from_utf8(payload) {
            Ok(text) => text,
            Err(fault) => return emitter.malformed(whole, fault),
        };
        let mut inline = [None; SLOTS_INLINE];
        let mut heap;
        let count = VALUES + self.fields.len().max(1);
        let slots = if count <= SLOTS_INLINE {
            &mut inline[..count]
        } else {
            heap = vec![None; count];
            &mut heap[..]
        };
        let Some(envelope) = &self.envelope else {
            return match pick(text, &self.record, slots) {
                Ok(()) => self.record(text, slots, &[None; VALUES], None, emitter),
                Err(fault) => emitter.malformed(whole, fault),
            };
        };
        let mut around = [None; RECORDS + 1];
        if let Err(fault) = pick(text, envelope, &mut around) {
            return emitter.malformed(whole, fault);
        }
        let Some(records) = around[RECORDS].filter(|raw| raw.starts_with('[')) else {
            return emitter.malformed(whole, "no array at `records`");
        };
        let mut index = 0;
        let walked = for_each(records, |raw| {
            slots.fill(None);
            // The payload is valid, but a key may hold an escape that is no character.
            match pick(raw, &self.record, slots) {
                Ok(()) => self.record(raw, slots, &around, Some(index), emitter),
                Err(fault) => emitter.malformed(Place { record: Some(index), at: "" }, fault),
            }
            index += 1;
        });
        if let Err(fault) = walked {
            emitter.malformed(whole, fault);
        }
    }

    fn record(
        &self,
        raw: &str,
        slots: &[Option<&str>],
        around: &[Option<&str>],
        record: Option<usize>,
        emitter: &mut Emitter<'_>,
    ) {
        let common = |slot: usize| slots[slot].or(around[slot]).map(scalar);
        let (device, metric) = (common(DEVICE), common(METRIC));
        let time: When = emitter.rules.when(common(TIME).as_ref());
        let head = emitter.head(device.as_ref(), metric.as_ref(), time);
        let Some(excluded) = &self.all else {
            return emit_fields(emitter, &self.fields, &head, record, |index| {
                slots[VALUES + index].map(scalar)
            });
        };
        leaves(raw, excluded, &mut String::new(), 0, &mut |path, leaf| match leaf {
            Err(fault) => emitter.malformed(Place { record, at: path }, fault),
            // Texts are no readings here, unless the configuration knows them.
            Ok(Scalar::Text(text)) if !emitter.rules.knows_text(text.trim()) => {}
            Ok(leaf) => {
                let metric = if path.is_empty() { &*head.metric } else { path };
                emitter.value(&head, metric, &leaf, Place { record, at: path });
            }
        });
    }
}

fn parse(key: &str, text: &str) -> Result<Pointer, String> {
    Pointer::parse(text).map_err(|fault| format!("{key}: {fault}"))
}

/// A raw JSON text as a leaf.
fn scalar(raw: &str) -> Scalar<'_> {
    match raw.as_bytes().first() {
        Some(b'"') if !raw.contains('\\') => Scalar::Text(Cow::Borrowed(&raw[1..raw.len() - 1])),
        Some(b'"') => match serde_json::from_str(raw) {
            Ok(text) => Scalar::Text(Cow::Owned(text)),
            // An escape that is no character (half of a surrogate pair).
            Err(_) => Scalar::Other,
        },
        Some(b'{' | b'[') | None => Scalar::Other,
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'n') => Scalar::Null,
        Some(_) => Scalar::Number(raw),
    }
}

/// Calls `each` with the path and leaf of every scalar below `raw`, keys in sorted order; `Err`
/// where a part cannot be read.
fn leaves<F>(raw: &str, excluded: &Tree, path: &mut String, depth: usize, each: &mut F)
where
    F: FnMut(&str, Result<Scalar<'_>, String>),
{
    if !raw.starts_with(['{', '[']) {
        return each(path, Ok(scalar(raw)));
    }
    if depth == LEAF_DEPTH_MAX {
        return each(path, Err(format!("deeper than {LEAF_DEPTH_MAX} levels")));
    }
    let mut descend = |key: &str, raw: &str, excluded: Option<&Tree>| {
        let excluded = excluded.unwrap_or(&EMPTY);
        if excluded.slots.is_empty() {
            let parent = path.len();
            if parent > 0 {
                path.push('/');
            }
            path.push_str(key);
            leaves(raw, excluded, path, depth + 1, each);
            path.truncate(parent);
        }
    };
    let walked = if raw.starts_with('{') {
        serde_json::from_str::<BTreeMap<String, &RawValue>>(raw).map(|object| {
            for (key, value) in object {
                descend(&key, value.get(), excluded.child(&key));
            }
        })
    } else {
        let mut index = 0;
        for_each(raw, |value| {
            descend(&index.to_string(), value, excluded.element(index));
            index += 1;
        })
    };
    if let Err(fault) = walked {
        each(path, Err(fault.to_string()));
    }
}

/// Fills `slots` with the raw texts that `tree` asks for.
fn pick<'p>(
    text: &'p str,
    tree: &Tree,
    slots: &mut [Option<&'p str>],
) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Pick { tree, slots }.deserialize(&mut json)?;
    json.end()
}

/// Calls `each` with every element of a JSON array.
fn for_each<'p>(array: &'p str, each: impl FnMut(&'p str)) -> Result<(), serde_json::Error> {
    struct Elements<F>(F);
    impl<'p, F: FnMut(&'p str)> Visitor<'p> for Elements<F> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(element) = seq.next_element::<&'p RawValue>()? {
                (self.0)(element.get());
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_str(array);
    json.deserialize_seq(Elements(each))
}

struct Pick<'t, 's, 'p> {
    tree: &'t Tree,
    slots: &'s mut [Option<&'p str>],
}

impl<'p> DeserializeSeed<'p> for Pick<'_, '_, 'p> {
    type Value = ();

    fn deserialize<D: Deserializer<'p>>(self, json: D) -> Result<(), D::Error> {
        if self.tree.slots.is_empty() {
            return json.deserialize_any(self);
        }
        let raw = <&'p RawValue>::deserialize(json)?.get();
        for &slot in &self.tree.slots {
            self.slots[slot] = Some(raw);
        }
        if self.tree.children.is_empty() {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw).deserialize_any(self).map_err(Error::custom)
    }
}

/// Walks a part that holds wanted parts. What is no container holds none.
impl<'p> Visitor<'p> for Pick<'_, '_, 'p> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(Key(self.tree))? {
            match found {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(tree) => {
                    tree.clear(self.slots);
                    map.next_value_seed(Pick { tree, slots: self.slots })?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'p>>(self, mut seq: A) -> Result<(), A::Error> {
        for index in 0.. {
            let more = match self.tree.element(index) {
                None => seq.next_element::<IgnoredAny>()?.is_some(),
                Some(tree) => seq.next_element_seed(Pick { tree, slots: self.slots })?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Finds a key without copying it.
struct Key<'t>(&'t Tree);

impl<'p, 't> DeserializeSeed<'p> for Key<'t> {
    type Value = Option<&'t Tree>;

    fn deserialize<D: Deserializer<'p>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Key<'t> {
    type Value = Option<&'t Tree>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.child(key))
    }
}

#[cfg(test)]
mod tests;
