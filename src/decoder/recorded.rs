//! Recorded data: files of readings, as CSV or NDJSON.
//!
//! - CSV, long: columns `time`, `metric`, `value` and perhaps `device`; others are ignored.
//! - CSV, wide: a time column, perhaps `device`, and every other column is a metric of that name.
//!   `timestamp,value` is the smallest case.
//! - NDJSON: one object a line with `time`, `value`, `device`, `metric`; others are ignored.
//!
//! Column names are found in any case; `timestamp` also names the time. Where there is no device,
//! it is the one given to the reader; where an NDJSON line has no metric, it is `value`. Times: see
//! [`time::parse_lenient`]. An empty cell or a null is no reading and is passed over. A cell never
//! spans lines. The parser is pure over [`BufRead`]; only [`RecordedReader::open`] touches files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::csv::split_record;
use super::name::NAME_BYTES_MAX;
use super::quote::quote;
use super::time;
use crate::reading::{DropReason, EventTime, Finite};

/// Longest line taken, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Buffer of the file reader, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// One recorded reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// When it was measured.
    pub time: EventTime,
    /// Device name, 1 to 256 bytes.
    pub device: String,
    /// Metric name, 1 to 256 bytes.
    pub metric: String,
    /// What was measured.
    pub value: Finite,
}

/// A reading, or a line, that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFault {
    /// Counted from 1.
    pub line: u64,
    /// The reason it counts under.
    pub reason: DropReason,
    /// What is wrong, with what stood there; safe to log.
    pub detail: String,
}

impl fmt::Display for RecordedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.detail)
    }
}

/// Iterates over the readings of a file, in its order. After an I/O error it yields that as a fault
/// and ends.
#[derive(Debug)]
pub struct RecordedReader<R> {
    source: R,
    default_device: String,
    layout: Layout,
    /// The current line.
    buffer: Vec<u8>,
    line: u64,
    bytes: u64,
    /// Readings of the current line yet to be handed out, last one first.
    pending: Vec<Result<Recorded, RecordedFault>>,
    ended: bool,
}

#[derive(Clone, Debug)]
enum Layout {
    Ndjson,
    Csv { columns: usize, time: usize, device: Option<usize>, form: Form },
}

#[derive(Clone, Debug)]
enum Form {
    Long {
        metric: usize,
        value: usize,
    },
    /// Column and metric, from the last to the first.
    Wide(Vec<(usize, String)>),
}

/// What [`RecordedReader::read_line`] found.
enum Line {
    Text,
    TooLong,
    End,
}

impl RecordedReader<BufReader<File>> {
    /// Opens a file and reads its first line.
    ///
    /// # Errors
    /// A text with the path, what is wrong and how to mend it.
    pub fn open(path: impl AsRef<Path>, default_device: &str) -> Result<Self, String> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
        RecordedReader::new(BufReader::with_capacity(BUFFER_BYTES, file), default_device)
            .map_err(|fault| format!("{}: {fault}", path.display()))
    }
}

impl<R: BufRead> RecordedReader<R> {
    /// Reads the first line of `source`, which says what the others are.
    ///
    /// # Errors
    /// A text that says what is wrong and how to mend it: no line at all, or a header without time
    /// or values.
    pub fn new(source: R, default_device: &str) -> Result<Self, String> {
        let mut reader = RecordedReader {
            source,
            default_device: default_device.to_owned(),
            layout: Layout::Ndjson,
            buffer: Vec::new(),
            line: 0,
            bytes: 0,
            pending: Vec::new(),
            ended: false,
        };
        loop {
            match reader.read_line().map_err(|fault| fault.to_string())? {
                Line::End => return Err("is empty; expected a CSV header or NDJSON".to_owned()),
                Line::TooLong => {
                    return Err(format!("line {}: over {LINE_BYTES_MAX} bytes", reader.line));
                }
                Line::Text if reader.buffer.trim_ascii().is_empty() => {}
                Line::Text => break,
            }
        }
        if reader.buffer.starts_with("\u{feff}".as_bytes()) {
            reader.buffer.drain(..3);
        }
        if reader.buffer.trim_ascii().starts_with(b"{") {
            reader.take_line();
        } else {
            reader.layout = header(&reader.buffer).map_err(|fault| {
                format!("line {}: {fault}: {}", reader.line, quote(reader.buffer.trim_ascii()))
            })?;
        }
        Ok(reader)
    }

    /// Bytes of the source consumed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lines consumed so far.
    pub fn lines(&self) -> u64 {
        self.line
    }

    fn read_line(&mut self) -> io::Result<Line> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(Line::End);
        }
        self.line += 1;
        self.bytes += read as u64;
        if self.buffer.ends_with(b"\n") || read <= LINE_BYTES_MAX {
            return Ok(Line::Text);
        }
        loop {
            let chunk = self.source.fill_buf()?;
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let skipped = newline.map_or(chunk.len(), |at| at + 1);
            let ended = newline.is_some() || chunk.is_empty();
            self.source.consume(skipped);
            self.bytes += skipped as u64;
            if ended {
                return Ok(Line::TooLong);
            }
        }
    }

    fn fault(&self, reason: DropReason, detail: impl fmt::Display) -> RecordedFault {
        RecordedFault { line: self.line, reason, detail: detail.to_string() }
    }

    /// Turns the current line into pending readings.
    fn take_line(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut pending = std::mem::take(&mut self.pending);
        match std::str::from_utf8(&buffer) {
            Err(fault) => pending.push(Err(self.fault(DropReason::Malformed, fault))),
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => match &self.layout {
                Layout::Ndjson => pending.extend(self.object(text)),
                Layout::Csv { columns, time, device, form } => {
                    self.row(text, *columns, (*time, *device, form), &mut pending);
                }
            },
        }
        (self.buffer, self.pending) = (buffer, pending);
    }

    fn object(&self, text: &str) -> Option<Result<Recorded, RecordedFault>> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            time: Option<&'a RawValue>,
            device: Option<String>,
            metric: Option<String>,
            #[serde(borrow)]
            value: Option<&'a RawValue>,
        }
        let object: Object = match serde_json::from_str(text) {
            Ok(object) => object,
            Err(fault) => {
                let detail = format_args!("{fault}: {}", quote(text.trim().as_bytes()));
                return Some(Err(self.fault(DropReason::Malformed, detail)));
            }
        };
        // Numbers may be written as texts; neither kind needs escapes.
        let plain = |raw: &RawValue| raw.get().trim_matches('"').trim().to_owned();
        let value = plain(object.value.filter(|raw| raw.get() != "null")?);
        let time = object.time.map(plain).unwrap_or_default();
        let device = object.device.as_deref().unwrap_or(&self.default_device);
        let metric = object.metric.as_deref().unwrap_or("value");
        Some(self.reading(&time, device, metric, &value))
    }

    fn row(
        &self,
        text: &str,
        columns: usize,
        (time, device, form): (usize, Option<usize>, &Form),
        pending: &mut Vec<Result<Recorded, RecordedFault>>,
    ) {
        let mut cells = Vec::with_capacity(columns);
        let split = split_record(text, &mut cells);
        if let Err(fault) = split {
            let detail = format_args!("{fault}: {}", quote(text.trim().as_bytes()));
            return pending.push(Err(self.fault(DropReason::Malformed, detail)));
        }
        if cells.len() != columns {
            let detail = format_args!(
                "{} cells where the header has {columns}: {}",
                cells.len(),
                quote(text.trim().as_bytes())
            );
            return pending.push(Err(self.fault(DropReason::Malformed, detail)));
        }
        let cell = |index: usize| cells[index].trim();
        let device = device.map_or(self.default_device.as_str(), cell);
        let mut take = |metric: &str, value: &str| {
            if !value.is_empty() {
                pending.push(self.reading(cell(time), device, metric, value));
            }
        };
        match form {
            Form::Long { metric, value } => take(cell(*metric), cell(*value)),
            Form::Wide(metrics) => {
                for (column, metric) in metrics {
                    take(metric, cell(*column));
                }
            }
        }
    }

    fn reading(
        &self,
        time: &str,
        device: &str,
        metric: &str,
        value: &str,
    ) -> Result<Recorded, RecordedFault> {
        let fault = |reason, what: &str, text: &str| {
            self.fault(reason, format_args!("{what}: {}", quote(text.as_bytes())))
        };
        for (name, what) in [(device, "device"), (metric, "metric")] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                let what = format!("{what} name empty or over {NAME_BYTES_MAX} bytes");
                return Err(fault(DropReason::Topic, &what, name));
            }
        }
        let number: f64 =
            value.parse().map_err(|_| fault(DropReason::Malformed, "not a number", value))?;
        let value = Finite::new(number)
            .ok_or_else(|| fault(DropReason::NotFinite, "not a finite number", value))?;
        let time = time::parse_lenient(time).ok_or_else(|| {
            fault(DropReason::BadTime, "time is neither RFC 3339 nor Unix seconds", time)
        })?;
        Ok(Recorded { time, device: device.to_owned(), metric: metric.to_owned(), value })
    }
}

impl<R: BufRead> Iterator for RecordedReader<R> {
    type Item = Result<Recorded, RecordedFault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(reading) = self.pending.pop() {
                return Some(reading);
            }
            if self.ended {
                return None;
            }
            match self.read_line() {
                Ok(Line::Text) => self.take_line(),
                Ok(Line::End) => self.ended = true,
                Ok(Line::TooLong) => {
                    let detail = format_args!("over {LINE_BYTES_MAX} bytes");
                    return Some(Err(self.fault(DropReason::Malformed, detail)));
                }
                Err(fault) => {
                    self.ended = true;
                    let detail = format_args!("cannot read on: {fault}");
                    return Some(Err(self.fault(DropReason::Malformed, detail)));
                }
            }
        }
    }
}

/// Reads a CSV header.
fn header(line: &[u8]) -> Result<Layout, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8")?;
    let mut cells = Vec::new();
    split_record(text, &mut cells)?;
    let find = |names: &[&str]| {
        cells
            .iter()
            .position(|cell| names.iter().any(|name| cell.trim().eq_ignore_ascii_case(name)))
    };
    let time = find(&["time", "timestamp"])
        .ok_or("no column `time` or `timestamp`; the first line must be a CSV header or NDJSON")?;
    let device = find(&["device"]);
    let form = match (find(&["metric"]), find(&["value"])) {
        (Some(metric), Some(value)) => Form::Long { metric, value },
        _ => {
            let metrics = cells.iter().map(|cell| cell.trim().to_owned()).enumerate();
            let mut metrics: Vec<_> =
                metrics.filter(|(column, _)| *column != time && Some(*column) != device).collect();
            if metrics.is_empty() {
                return Err("no column of values beside the time");
            }
            metrics.reverse();
            Form::Wide(metrics)
        }
    };
    Ok(Layout::Csv { columns: cells.len(), time, device, form })
}

#[cfg(test)]
mod tests;
