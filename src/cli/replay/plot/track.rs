//! What a plot keeps of one series while the replay runs: bounded, however long the recording.

use std::collections::VecDeque;

use crate::analytics::holt_winters::{Forecast, SlotsClosed};

/// Columns of a panel at most; twice as many readings as a screen has pixels would not show.
const COLUMNS_MAX: usize = 1024;
/// The latest readings, kept for the panel that looks closely.
const RECENT_MAX: usize = 20_000;
/// The latest slots, likewise.
const SLOTS_MAX: usize = 2016;
/// Alarms shown; the first ones stay.
const MARKS_MAX: usize = 200;

/// One reading and what the filter made of it. Times are seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub time: f64,
    /// The reading.
    pub value: f64,
    /// The filter's level and its standard deviation, if it has one.
    pub level: Option<(f64, f64)>,
    /// Rejected by the gate.
    pub outlier: bool,
}

/// The readings of a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    /// The last reading's time.
    pub time: f64,
    /// Least reading.
    pub low: f64,
    /// Greatest reading.
    pub high: f64,
    /// Level and standard deviation after the last one.
    pub level: Option<(f64, f64)>,
    /// One of them was an outlier: its value.
    pub outlier: Option<f64>,
    /// How many.
    pub count: u64,
}

/// Readings in columns of equal width; the width doubles whenever they become too many.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    begin: f64,
    width: f64,
    /// By column number; columns without readings are left out.
    columns: Vec<(u64, Column)>,
}

impl Envelope {
    /// Takes a reading; times that go back count in the last column.
    pub fn push(&mut self, point: Point) {
        if self.columns.is_empty() {
            (self.begin, self.width) = (point.time, 1e-3);
        }
        let mut number = self.number(point.time);
        while number >= COLUMNS_MAX as u64 {
            self.widen();
            number = self.number(point.time);
        }
        let column = Column {
            time: point.time,
            low: point.value,
            high: point.value,
            level: point.level,
            outlier: point.outlier.then_some(point.value),
            count: 1,
        };
        match self.columns.last_mut() {
            Some((last, into)) if *last >= number => join(into, &column),
            _ => self.columns.push((number, column)),
        }
    }

    fn number(&self, time: f64) -> u64 {
        ((time - self.begin) / self.width).max(0.0) as u64
    }

    fn widen(&mut self) {
        self.width *= 2.0;
        let mut joined: Vec<(u64, Column)> = Vec::with_capacity(self.columns.len() / 2 + 1);
        for (number, column) in self.columns.drain(..) {
            match joined.last_mut() {
                Some((last, into)) if *last == number / 2 => join(into, &column),
                _ => joined.push((number / 2, column)),
            }
        }
        self.columns = joined;
    }

    /// The columns in runs without long gaps: a line is drawn through each run, never across a gap.
    pub fn runs(&self) -> impl Iterator<Item = &[(u64, Column)]> {
        // Regular readings may leave columns empty where these are narrower than the interval.
        let n = self.columns.len().max(1) as u64;
        let span = self.columns.last().map_or(0, |(number, _)| number + 1);
        let usual = span.div_ceil(n).max(1);
        self.columns.chunk_by(move |a, b| b.0 - a.0 <= 5 * usual)
    }

    /// The columns.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().map(|(_, column)| column)
    }
}

fn join(into: &mut Column, column: &Column) {
    into.time = into.time.max(column.time);
    into.low = into.low.min(column.low);
    into.high = into.high.max(column.high);
    into.level = column.level.or(into.level);
    into.outlier = into.outlier.or(column.outlier);
    into.count += column.count;
}

/// The forecast of one slot, issued before it, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Start.
    pub time: f64,
    /// Its mean.
    pub mean: f64,
    /// Forecast mean, lower and upper end.
    pub expected: Option<(f64, f64, f64)>,
}

/// An alarm's span.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its name.
    pub alarm: String,
    /// Begin.
    pub from: f64,
    /// End; `None`: still active.
    pub to: Option<f64>,
}

/// One series.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Unit text.
    pub unit: Option<String>,
    /// All readings.
    pub all: Envelope,
    /// The latest readings.
    pub recent: VecDeque<Point>,
    /// The latest slots.
    pub slots: VecDeque<Slot>,
    /// Alarms, oldest first.
    pub marks: Vec<Mark>,
    /// The forecast at the end.
    pub forecast: Option<Forecast>,
}

impl Track {
    /// Takes a reading.
    pub fn reading(&mut self, point: Point) {
        self.all.push(point);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(point);
    }

    /// Takes a closed slot.
    pub fn slot(&mut self, slot: &SlotsClosed) {
        if self.slots.len() == SLOTS_MAX {
            self.slots.pop_front();
        }
        self.slots.push_back(Slot {
            time: seconds(slot.start.nanos()),
            mean: slot.mean,
            expected: slot.expected.map(|e| (e.mean, e.lower, e.upper)),
        });
    }

    /// An alarm began or ended.
    pub fn alarm(&mut self, alarm: &str, active: bool, time: f64) {
        let room = self.marks.len() < MARKS_MAX;
        let open = self.marks.iter_mut().rev().find(|m| m.alarm == alarm && m.to.is_none());
        match (open, active) {
            (Some(mark), false) => mark.to = Some(time),
            (None, true) if room => {
                self.marks.push(Mark { alarm: alarm.to_owned(), from: time, to: None });
            }
            _ => {}
        }
    }
}

/// Nanoseconds as seconds.
pub fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time: f64, value: f64) -> Point {
        Point { time, value, level: Some((value, 1.0)), outlier: false }
    }

    #[test]
    fn an_envelope_stays_bounded_and_keeps_extremes_and_counts() {
        let mut envelope = Envelope::default();
        for i in 0..100_000 {
            let value = if i == 77_777 { 1e6 } else { f64::from(i % 7) };
            envelope.push(point(1.7e9 + f64::from(i) * 60.0, value));
        }
        assert!(envelope.columns.len() <= COLUMNS_MAX && envelope.columns.len() > COLUMNS_MAX / 3);
        assert_eq!(envelope.columns().map(|c| c.count).sum::<u64>(), 100_000);
        assert_eq!(envelope.columns().map(|c| c.high).fold(f64::MIN, f64::max), 1e6);
        assert_eq!(envelope.runs().count(), 1);
    }

    #[test]
    fn a_gap_cuts_the_line_and_irregular_readings_do_not() {
        let mut envelope = Envelope::default();
        for i in 0..200 {
            envelope.push(point(f64::from(i) * 60.0 + f64::from(i % 3) * 20.0, 1.0));
        }
        for i in 0..200 {
            envelope.push(point(40_000.0 + f64::from(i) * 60.0, 1.0));
        }
        assert_eq!(envelope.runs().count(), 2);
    }

    #[test]
    fn an_alarm_ends_where_it_was_cleared() {
        let mut track = Track::default();
        track.alarm("gap", true, 1.0);
        track.alarm("gap", true, 2.0);
        track.alarm("gap", false, 3.0);
        track.alarm("gap", true, 4.0);
        let spans: Vec<_> = track.marks.iter().map(|m| (m.from, m.to)).collect();
        assert_eq!(spans, [(1.0, Some(3.0)), (4.0, None)]);
    }
}
