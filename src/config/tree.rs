//! The parsed files as one owned tree, every key and value with its place, and the merge of
//! several files.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: usize,
    start: usize,
    end: usize,
}

/// The texts that places point into.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

struct Source {
    name: String,
    text: String,
    /// Where each line begins: places are asked for by the thousand.
    lines: Vec<usize>,
}

impl Sources {
    /// Where the first file begins: the place of what was not written.
    pub fn beginning(&self) -> Place {
        Place { file: 0, start: 0, end: 0 }
    }

    /// The file's name as given.
    pub fn name(&self, place: Place) -> &str {
        self.0.get(place.file).map_or("", |source| &source.name)
    }

    /// The file's name without its folder.
    pub fn short_name(&self, place: Place) -> &str {
        let name = self.name(place);
        name.rsplit('/').next().unwrap_or(name)
    }

    /// Line and column (in characters), both from 1.
    pub fn line_column(&self, place: Place) -> (usize, usize) {
        let Some(source) = self.0.get(place.file) else { return (1, 1) };
        let line = source.lines.partition_point(|start| *start <= place.start);
        let start = line.checked_sub(1).and_then(|i| source.lines.get(i)).copied().unwrap_or(0);
        let before = source.text.get(start..place.start).unwrap_or("");
        (line.max(1), before.chars().count() + 1)
    }

    /// The text at a place on one line, at most 48 characters of it; user information in a URL is
    /// left out, since it may hold a secret.
    pub fn snippet(&self, place: Place) -> String {
        let source = self.0.get(place.file);
        let text = source.and_then(|source| source.text.get(place.start..place.end));
        let text = text.unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" ");
        let text = match (text.find("://"), text.rfind('@')) {
            (Some(scheme), Some(at)) if scheme < at => {
                format!("{}…{}", &text[..scheme + 3], &text[at..])
            }
            _ => text,
        };
        if text.chars().count() <= 48 {
            return text;
        }
        text.chars().take(47).chain(['…']).collect()
    }

    /// Parses one more file and merges it into `tree`; syntax faults go to `faults`.
    pub fn add(&mut self, name: &str, text: &str, tree: &mut Table, faults: &mut Vec<Fault>) {
        let file = self.0.len();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        self.0.push(Source {
            name: name.to_owned(),
            text: text.to_owned(),
            lines: lines.collect(),
        });
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut line_before = 0;
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let (line, column) = self.line_column(Place { file, start: span.start, end: span.end });
            // One broken line is one fault, whatever follows from it.
            if line == line_before {
                continue;
            }
            line_before = line;
            faults.push(Fault {
                file: name.to_owned(),
                line,
                column,
                subject: String::new(),
                what: format!("not TOML: {}", error.message()),
                mend: syntax_mend(error.message()).to_owned(),
            });
        }
        if errors.is_empty() {
            merge(tree, owned_table(file, table.span(), table.get_ref()));
        }
    }
}

fn syntax_mend(message: &str) -> &'static str {
    if message.contains("duplicate key") {
        "keep one of the two"
    } else if message.contains("quot") || message.contains("string") {
        "texts stand in double quotes, e.g. interval = \"2s\""
    } else {
        "write [table] lines and key = value lines; texts stand in double quotes"
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// `None`: beyond 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What it is, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) | Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date or time",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// A table: its header's place, its entries by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub place: Option<Place>,
    pub entries: BTreeMap<String, Entry>,
}

/// The key's place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Place,
    pub node: Node,
}

fn owned_table(file: usize, span: std::ops::Range<usize>, table: &DeTable<'_>) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let span = key.span();
        let place = Place { file, start: span.start, end: span.end };
        (key.get_ref().to_string(), Entry { key: place, node: owned(file, value) })
    });
    let place = Some(Place { file, start: span.start, end: span.end });
    Table { place, entries: entries.collect() }
}

fn owned(file: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let place = Place { file, start: span.start, end: span.end };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        // Always text that a float is read from; were it not, NaN is refused by every range.
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(array) => Value::Array(array.iter().map(|v| owned(file, v)).collect()),
        DeValue::Table(table) => Value::Table(owned_table(file, span, table)),
    };
    Node { place, value }
}

/// Tables merge key by key, lists of tables append, anything else of the later file wins.
fn merge(into: &mut Table, from: Table) {
    into.place = into.place.or(from.place);
    for (key, entry) in from.entries {
        let Some(present) = into.entries.get_mut(&key) else {
            into.entries.insert(key, entry);
            continue;
        };
        match (&mut present.node.value, entry.node.value) {
            (Value::Table(mine), Value::Table(theirs)) => merge(mine, theirs),
            (Value::Array(mine), Value::Array(theirs))
                if mine.iter().chain(&theirs).all(|n| matches!(n.value, Value::Table(_))) =>
            {
                mine.extend(theirs);
            }
            (_, value) => {
                *present = Entry { key: entry.key, node: Node { place: entry.node.place, value } };
            }
        }
    }
}
