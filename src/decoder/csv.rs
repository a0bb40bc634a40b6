//! Payloads of comma-separated lines (RFC 4180).
//!
//! Columns are named by the first line, or counted from 0. There is a header line when any column
//! is asked for by a name, or with `values = "*"`; column numbers alone mean there is none. With
//! one value and no column for it, the value is the only column that is neither time, device nor
//! metric. A leading `/` is allowed on every column, so that `device = "/id"` names one. Blank lines
//! and white space around cells are ignored; an empty cell is no reading.

use std::borrow::Cow;

use super::emit::{Emitter, Place, Rules, Scalar};
use super::settings::{Subscription, Values};
use super::{Field, emit_fields};

/// A compiled reader of CSV payloads.
#[derive(Clone, Debug)]
pub(super) struct Csv {
    header: bool,
    time: Option<Column>,
    device: Option<Column>,
    metric: Option<Column>,
    fields: Vec<Field>,
    values: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    /// One for each field.
    Columns(Vec<Column>),
    /// The only column that is left.
    Rest,
    /// Every column that is left, named by the header.
    All,
}

/// A column as configured.
#[derive(Clone, Debug)]
enum Column {
    Index(usize),
    Name(String),
}

impl Column {
    fn parse(text: &str) -> Column {
        let text = text.strip_prefix('/').unwrap_or(text);
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(index) if digits => Column::Index(index),
            _ => Column::Name(text.to_owned()),
        }
    }

    fn is_named(&self) -> bool {
        matches!(self, Column::Name(_))
    }

    fn resolve(&self, header: &[Cow<'_, str>]) -> Option<usize> {
        match self {
            Column::Index(index) => Some(*index),
            Column::Name(name) => header.iter().position(|cell| cell.trim() == name),
        }
    }
}

impl Csv {
    pub fn new(subscription: &Subscription, rules: &Rules) -> Result<Csv, String> {
        if subscription.records.is_some() {
            return Err("records: every line of a csv payload is a record; remove records".into());
        }
        let pointer = |name: &super::Name| name.pointer().map(|p| Column::parse(&p.text));
        let fields = Field::list(&subscription.values);
        let values = match &subscription.values {
            Values::One(at) if at.is_empty() => Wanted::Rest,
            Values::All => Wanted::All,
            _ => Wanted::Columns(fields.iter().map(|field| Column::parse(&field.at)).collect()),
        };
        let time = subscription.time.as_deref().map(Column::parse);
        let (device, metric) = (pointer(&rules.device), pointer(&rules.metric));
        let named = [&time, &device, &metric].into_iter().flatten().any(Column::is_named);
        let header = named
            || match &values {
                Wanted::Columns(columns) => columns.iter().any(Column::is_named),
                Wanted::Rest => false,
                Wanted::All => true,
            };
        Ok(Csv { header, time, device, metric, fields, values })
    }

    pub fn read(&self, payload: &[u8], emitter: &mut Emitter<'_>) {
        let whole = Place { record: None, at: "" };
        let text = match std::str::from_utf8(payload) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(fault) => return emitter.malformed(whole, fault),
        };
        // The whole payload is looked at before any of it is taken.
        let mut cells = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            match split_record(rest, &mut cells) {
                Ok(behind) => rest = behind,
                Err(fault) => return emitter.malformed(whole, fault),
            }
        }
        let mut lines = Lines { rest: text };
        let mut header = Vec::new();
        if !lines.next(&mut cells) {
            return emitter.malformed(whole, "no line in it");
        }
        let mut more = true;
        if self.header {
            header = cells.clone();
            more = lines.next(&mut cells);
        }
        let Some(layout) = self.layout(&header, cells.len()) else {
            return emitter.malformed(whole, "the header lacks a column that is asked for");
        };
        let mut record = 0;
        while more {
            self.record(&layout, &header, &cells, record, emitter);
            record += 1;
            more = lines.next(&mut cells);
        }
    }

    /// Where the columns are, in a payload of `width` columns.
    fn layout(&self, header: &[Cow<'_, str>], width: usize) -> Option<Layout> {
        let width = if self.header { header.len() } else { width };
        let find = |column: &Option<Column>| match column {
            None => Some(None),
            Some(column) => column.resolve(header).map(Some),
        };
        let common = [find(&self.time)?, find(&self.device)?, find(&self.metric)?];
        let left = |index: &usize| !common.contains(&Some(*index));
        let values = match &self.values {
            // Optional, except when it is the only one.
            Wanted::Columns(columns) => {
                let values: Vec<_> = columns.iter().map(|column| column.resolve(header)).collect();
                values.iter().any(Option::is_some).then_some(values)?
            }
            Wanted::Rest => {
                let mut left = (0..width).filter(left);
                match (left.next(), left.next()) {
                    (Some(only), None) => vec![Some(only)],
                    _ => return None,
                }
            }
            Wanted::All => (0..header.len()).filter(left).map(Some).collect(),
        };
        Some(Layout { common, values, width })
    }

    fn record(
        &self,
        layout: &Layout,
        header: &[Cow<'_, str>],
        cells: &[Cow<'_, str>],
        record: usize,
        emitter: &mut Emitter<'_>,
    ) {
        let cell = |index: Option<usize>| {
            cells.get(index?).map(|cell| Scalar::Text(Cow::Borrowed(cell.trim())))
        };
        let [time, device, metric] = layout.common.map(cell);
        let head =
            emitter.head(device.as_ref(), metric.as_ref(), emitter.rules.when(time.as_ref()));
        let record = Some(record);
        // A cell too many means a comma where none should be: no cell can be trusted.
        if cells.len() > layout.width {
            return emitter.malformed(Place { record, at: "" }, "more cells than the first line");
        }
        if !matches!(self.values, Wanted::All) {
            return emit_fields(emitter, &self.fields, &head, record, |field| {
                cell(layout.values[field])
            });
        }
        for &column in &layout.values {
            let name = column.map_or("", |column| header[column].trim());
            let place = Place { record, at: name };
            match cell(column) {
                Some(leaf) => emitter.value(&head, name, &leaf, place),
                None => emitter.malformed(place, "fewer cells than the first line"),
            }
        }
    }
}

/// Column numbers of one payload.
struct Layout {
    /// Time, device, metric.
    common: [Option<usize>; 3],
    /// One for each field, or for each column with `Wanted::All`.
    values: Vec<Option<usize>>,
    /// Cells of the first line.
    width: usize,
}

/// Records that are not blank.
struct Lines<'p> {
    rest: &'p str,
}

impl<'p> Lines<'p> {
    fn next(&mut self, cells: &mut Vec<Cow<'p, str>>) -> bool {
        while !self.rest.is_empty() {
            // Faults were found before.
            self.rest = split_record(self.rest, cells).unwrap_or("");
            if !matches!(&cells[..], [only] if only.trim().is_empty()) {
                return true;
            }
        }
        false
    }
}

/// Splits off the first record of `text` into `cells` (at least one) and returns what is behind its
/// line end. Quoted cells may hold commas, line ends and doubled quotes.
///
/// # Errors
/// A quote that is not closed, or not at the ends of its cell.
pub(super) fn split_record<'p>(
    text: &'p str,
    cells: &mut Vec<Cow<'p, str>>,
) -> Result<&'p str, &'static str> {
    cells.clear();
    let mut rest = text;
    loop {
        let behind = if let Some(quoted) = rest.strip_prefix('"') {
            let (cell, behind) = split_quoted(quoted)?;
            cells.push(cell);
            behind
        } else {
            let end = rest.find([',', '\n', '"']).unwrap_or(rest.len());
            let (cell, behind) = rest.split_at(end);
            if behind.starts_with('"') {
                return Err("a quote inside a cell; quote the whole cell and double the quote");
            }
            // The carriage return of the line end.
            let line_end = behind.is_empty() || behind.starts_with('\n');
            let cell = if line_end { cell.strip_suffix('\r').unwrap_or(cell) } else { cell };
            cells.push(Cow::Borrowed(cell));
            behind
        };
        if let Some(next) = behind.strip_prefix(',') {
            rest = next;
            continue;
        }
        let behind = behind.strip_prefix('\r').unwrap_or(behind);
        return match behind.strip_prefix('\n') {
            Some(behind) => Ok(behind),
            None if behind.is_empty() => Ok(behind),
            None => Err("text behind a closing quote"),
        };
    }
}

/// The cell whose opening quote was just taken, and what is behind its closing one.
fn split_quoted(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let mut from = 0;
    let mut doubled = false;
    loop {
        let at = from + text[from..].find('"').ok_or("a quote that is not closed")?;
        let behind = &text[at + 1..];
        if behind.starts_with('"') {
            doubled = true;
            from = at + 2;
            continue;
        }
        let cell = &text[..at];
        let cell =
            if doubled { Cow::Owned(cell.replace("\"\"", "\"")) } else { Cow::Borrowed(cell) };
        return Ok((cell, behind));
    }
}

#[cfg(test)]
mod tests;
