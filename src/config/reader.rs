//! Takes typed values out of a table and collects every fault instead of stopping at the first.

pub(super) use super::context::{At, Context, Spot, nearest};
use super::keys::{self, Keys};
use super::tree::{Entry, Node, Place, Table, Value};
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// Reads one table. Keys that are not in its [`Keys`] are reported when it is made.
pub(super) struct TableReader<'c, 'a> {
    pub cx: &'c Context<'a>,
    table: &'c Table,
    keys: &'static Keys,
    /// `[mqtt] ` or `[[profile]] kalman.`: what a key's name is put behind.
    prefix: String,
    here: Spot,
}

/// A name that the user chose, and its value.
pub(super) type Named<'c> = (&'c str, At<&'c Node>);

/// Stands in for a table that was not written: every key is absent.
static EMPTY: Table = Table { place: None, entries: std::collections::BTreeMap::new() };

impl<'c, 'a> TableReader<'c, 'a> {
    /// A reader of the whole configuration.
    pub fn root(cx: &'c Context<'a>, table: &'c Table, at: Place) -> Self {
        Self::new(cx, table, &keys::ROOT, String::new(), Spot { place: at, path: String::new() })
    }

    fn new(
        cx: &'c Context<'a>,
        table: &'c Table,
        keys: &'static Keys,
        prefix: String,
        here: Spot,
    ) -> Self {
        let reader = TableReader { cx, table, keys, prefix, here };
        for (key, entry) in &table.entries {
            if !keys.contains(key) {
                reader.unknown(key, entry);
            }
        }
        reader
    }

    fn unknown(&self, key: &str, entry: &Entry) {
        // The value is not quoted: it may be a secret under a misspelt name.
        let spot = Spot { place: entry.key, path: format!("{}{key}", self.prefix) };
        if let Some(reason) = self.keys.refused(key) {
            self.cx.fault_bare(&spot, reason.0, reason.1);
            return;
        }
        let table_of =
            |name: &str| keys::ALL.iter().find(|k| k.keys.contains(&name)).map(|k| k.table);
        let mend = match (nearest(key, self.keys.keys), table_of(key)) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, Some(table)) if !table.is_empty() => {
                format!("{key} belongs in {}", keys::title(table))
            }
            _ => format!("known here: {}", self.keys.keys.join(", ")),
        };
        let what = if self.prefix.is_empty() { "unknown table" } else { "unknown key" };
        self.cx.fault_bare(&spot, what, mend);
    }

    /// The table itself.
    pub fn here(&self) -> &Spot {
        &self.here
    }

    /// Whether a key is written.
    pub fn has(&self, key: &str) -> bool {
        self.table.entries.contains_key(key)
    }

    /// Whether the table was written at all.
    pub fn written(&self) -> bool {
        self.table.place.is_some()
    }

    /// Reports a required key as missing.
    pub fn missing(&self, key: &str, example: &str) {
        let spot = Spot { place: self.here.place, path: format!("{}{key}", self.prefix) };
        self.cx.fault_bare(&spot, "missing", format!("write e.g. {key} = {example}"));
    }

    /// The raw value of a key.
    pub fn any(&self, key: &'static str) -> Option<At<&'c Node>> {
        debug_assert!(
            self.keys.contains(key),
            "{key} is not among the keys of {}",
            self.keys.table
        );
        let entry = self.table.entries.get(key)?;
        Some(self.at(key, entry))
    }

    fn at(&self, key: &str, entry: &'c Entry) -> At<&'c Node> {
        let spot = Spot { place: entry.node.place, path: format!("{}{key}", self.prefix) };
        At { value: &entry.node, spot }
    }

    /// A value of the wrong type.
    pub fn wrong(&self, at: &At<&Node>, wanted: &str, example: &str) {
        let what = format!("must be {wanted}, not {}", at.value.value.kind());
        self.cx.fault(&at.spot, what, format!("write e.g. {example}"));
    }

    /// A text; `example` is shown when it is not one.
    pub fn text(&self, key: &'static str, example: &str) -> Option<At<String>> {
        let at = self.any(key)?;
        match &at.value.value {
            Value::Text(text) => Some(At { value: text.clone(), spot: at.spot }),
            _ => {
                self.wrong(&at, "a text", example);
                None
            }
        }
    }

    /// A list of texts, or a single one.
    pub fn texts(&self, key: &'static str, example: &str) -> Option<At<Vec<At<String>>>> {
        let at = self.any(key)?;
        let nodes: &[Node] = match &at.value.value {
            Value::Text(_) => std::slice::from_ref(at.value),
            Value::Array(nodes) => nodes,
            _ => {
                self.wrong(&at, "a text or a list of texts", example);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            let spot = Spot { place: node.place, path: at.spot.path.clone() };
            match &node.value {
                Value::Text(text) => texts.push(At { value: text.clone(), spot }),
                _ => self.wrong(&At { value: node, spot }, "a text", example),
            }
        }
        (texts.len() == nodes.len()).then_some(At { value: texts, spot: at.spot })
    }

    /// One of several names; `later` are names of the contract that this version lacks.
    pub fn choice<T: Copy>(
        &self,
        key: &'static str,
        names: &[(&str, T)],
        later: &[(&str, &str)],
    ) -> Option<At<T>> {
        let example = format!("\"{}\"", names.first().map_or("", |(name, _)| name));
        let text = self.text(key, &example)?;
        self.chosen(text, names, later)
    }

    /// As [`choice`](Self::choice), for a text already taken.
    pub fn chosen<T: Copy>(
        &self,
        text: At<String>,
        names: &[(&str, T)],
        later: &[(&str, &str)],
    ) -> Option<At<T>> {
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text.value) {
            return Some(At { value: *value, spot: text.spot });
        }
        if let Some((_, mend)) = later.iter().find(|(name, _)| *name == text.value) {
            self.cx.fault(&text.spot, "not in this version", *mend);
            return None;
        }
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let quoted: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
        let mend = match nearest(&text.value, &known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", quoted[0]),
        };
        self.cx.fault(&text.spot, format!("must be {}", quoted.join(" or ")), mend);
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<At<bool>> {
        let at = self.any(key)?;
        match at.value.value {
            Value::Boolean(boolean) => Some(At { value: boolean, spot: at.spot }),
            _ => {
                self.wrong(&at, "true or false", "true");
                None
            }
        }
    }

    /// A finite number that `accept` takes; `range` says in words what that is.
    pub fn number(
        &self,
        key: &'static str,
        accept: impl Fn(f64) -> bool,
        range: &str,
        example: &str,
    ) -> Option<At<f64>> {
        let at = self.any(key)?;
        let value = self.finite(&at, example)?;
        if accept(value) {
            return Some(At { value, spot: at.spot });
        }
        self.cx.fault(&at.spot, format!("must be {range}"), format!("write e.g. {example}"));
        None
    }

    /// The finite number that a node is.
    pub fn finite(&self, at: &At<&Node>, example: &str) -> Option<f64> {
        match at.value.value {
            Value::Integer(Some(integer)) => Some(integer as f64),
            Value::Float(float) if float.is_finite() => Some(float),
            Value::Integer(None) | Value::Float(_) => {
                self.cx.fault(&at.spot, "must be a finite number", format!("write e.g. {example}"));
                None
            }
            _ => {
                self.wrong(at, "a number", example);
                None
            }
        }
    }

    /// A list of finite numbers.
    pub fn numbers(&self, key: &'static str, example: &str) -> Option<At<Vec<At<f64>>>> {
        let at = self.any(key)?;
        self.numbers_of(&at, example).map(|value| At { value, spot: at.spot })
    }

    /// The list of finite numbers that a node is.
    pub fn numbers_of(&self, at: &At<&Node>, example: &str) -> Option<Vec<At<f64>>> {
        let Value::Array(nodes) = &at.value.value else {
            self.wrong(at, "a list of numbers", example);
            return None;
        };
        let numbers: Vec<At<f64>> = nodes
            .iter()
            .filter_map(|node| {
                let spot = Spot { place: node.place, path: at.spot.path.clone() };
                let at = At { value: node, spot };
                self.finite(&at, example).map(|value| At { value, spot: at.spot })
            })
            .collect();
        (numbers.len() == nodes.len()).then_some(numbers)
    }

    /// A whole number in a range.
    pub fn integer(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        example: i64,
    ) -> Option<At<i64>> {
        let at = self.any(key)?;
        match at.value.value {
            Value::Integer(Some(integer)) if range.contains(&integer) => {
                Some(At { value: integer, spot: at.spot })
            }
            Value::Integer(_) => {
                let what = format!("must be from {} to {}", range.start(), range.end());
                self.cx.fault(&at.spot, what, format!("write e.g. {example}"));
                None
            }
            _ => {
                self.wrong(&at, "a whole number", &example.to_string());
                None
            }
        }
    }

    /// A duration in a range, both in nanoseconds.
    pub fn duration(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        example: &str,
    ) -> Option<At<i64>> {
        let at = self.any(key)?;
        let value = self.duration_of(&at, range, example)?;
        Some(At { value, spot: at.spot })
    }

    /// The duration that a node is.
    pub fn duration_of(
        &self,
        at: &At<&Node>,
        range: std::ops::RangeInclusive<i64>,
        example: &str,
    ) -> Option<i64> {
        let text = match &at.value.value {
            Value::Text(text) => text,
            Value::Integer(Some(integer)) if *integer >= 0 => {
                let mend = format!("write e.g. \"{integer}s\"");
                self.cx.fault(&at.spot, "a duration is a text with a unit", mend);
                return None;
            }
            _ => {
                self.wrong(at, "a duration: a text with a unit", &format!("\"{example}\""));
                return None;
            }
        };
        let mend = || format!("write e.g. \"{example}\"");
        match parse_duration(text) {
            Err(what) => self.cx.fault(&at.spot, what, mend()),
            Ok(nanos) if !range.contains(&nanos) => {
                let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
                self.cx.fault(&at.spot, format!("must be from {low} to {high}"), mend());
            }
            Ok(nanos) => return Some(nanos),
        }
        None
    }

    /// A size in bytes in a range.
    pub fn size(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        example: &str,
    ) -> Option<At<u64>> {
        let at = self.any(key)?;
        let mend = format!("write e.g. \"{example}\"");
        let text = match &at.value.value {
            Value::Text(text) => text,
            Value::Integer(Some(integer)) if *integer >= 0 => {
                let mend = format!("write e.g. \"{}\"", format_size(*integer as u64));
                self.cx.fault(&at.spot, "a size is a text with a unit", mend);
                return None;
            }
            _ => {
                self.wrong(&at, "a size: a text with a unit", &format!("\"{example}\""));
                return None;
            }
        };
        match parse_size(text) {
            Err(what) => self.cx.fault(&at.spot, what, mend),
            Ok(bytes) if !range.contains(&bytes) => {
                let (low, high) = (format_size(*range.start()), format_size(*range.end()));
                self.cx.fault(&at.spot, format!("must be from {low} to {high}"), mend);
            }
            Ok(bytes) => return Some(At { value: bytes, spot: at.spot }),
        }
        None
    }

    /// A `[table]` of the root, written or not.
    pub fn section(&self, key: &'static str, keys: &'static Keys) -> TableReader<'c, 'a> {
        let title = keys::title(keys.table);
        let (table, place) = match self.any(key) {
            Some(At { value: Node { value: Value::Table(table), place }, .. }) => (table, *place),
            Some(at) => {
                let spot = Spot { place: at.spot.place, path: key.to_owned() };
                let what = format!("must be a table, not {}", at.value.value.kind());
                self.cx.fault(&spot, what, format!("write {title} on a line of its own"));
                (&EMPTY, at.spot.place)
            }
            None => (&EMPTY, self.here.place),
        };
        let here = Spot { place, path: title.clone() };
        TableReader::new(self.cx, table, keys, format!("{title} "), here)
    }

    /// The `[[tables]]` of a list of tables.
    pub fn sections(&self, key: &'static str, keys: &'static Keys) -> Vec<TableReader<'c, 'a>> {
        let title = keys::title(keys.table);
        let Some(at) = self.any(key) else { return Vec::new() };
        let mut readers = Vec::new();
        let nodes: &[Node] = match &at.value.value {
            Value::Array(nodes) => nodes,
            _ => std::slice::from_ref(at.value),
        };
        let single = !matches!(at.value.value, Value::Array(_));
        for node in nodes {
            match &node.value {
                Value::Table(table) if !single => {
                    let here = Spot { place: node.place, path: title.clone() };
                    let prefix = format!("{title} ");
                    readers.push(TableReader::new(self.cx, table, keys, prefix, here));
                }
                value => {
                    let spot = Spot { place: node.place, path: title.clone() };
                    let what = format!("must be a list of tables, not {}", value.kind());
                    let mend = format!("write {title}, with two brackets, on a line of its own");
                    self.cx.fault_bare(&spot, what, mend);
                }
            }
        }
        readers
    }

    /// A table under a key: `kalman = { … }`.
    pub fn table(&self, key: &'static str, keys: &'static Keys) -> Option<TableReader<'c, 'a>> {
        let at = self.any(key)?;
        self.table_of(&at, keys, "{ … }")
    }

    /// The table that a node is.
    pub fn table_of(
        &self,
        at: &At<&'c Node>,
        keys: &'static Keys,
        example: &str,
    ) -> Option<TableReader<'c, 'a>> {
        match &at.value.value {
            Value::Table(table) => {
                let prefix = format!("{}.", at.spot.path);
                Some(TableReader::new(self.cx, table, keys, prefix, at.spot.clone()))
            }
            _ => {
                self.wrong(at, "a table", example);
                None
            }
        }
    }

    /// A table whose keys are names that the user chooses, in the order of the names.
    pub fn dictionary(&self, key: &'static str, example: &str) -> Option<At<Vec<Named<'c>>>> {
        let at = self.any(key)?;
        let Value::Table(table) = &at.value.value else {
            self.wrong(&at, "a table", example);
            return None;
        };
        let entries = table.entries.iter().map(|(name, entry)| {
            let path = format!("{}.{name}", at.spot.path);
            (name.as_str(), At { value: &entry.node, spot: Spot { place: entry.node.place, path } })
        });
        Some(At { value: entries.collect(), spot: at.spot.clone() })
    }
}
