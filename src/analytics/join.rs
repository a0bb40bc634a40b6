//! Joins readings of several inputs by event time into rows.
//!
//! Pure. A *row* is one event time with the inputs that have a reading of it. Rows leave in event
//! order, each once: when all its inputs have one, or when a later time was seen (by more than
//! `hold`), or after attended time `deadline`. So, for readings in event order, what leaves does not
//! depend on how they are cut into batches. What comes for a row that has left, or for a time before
//! it, is too late.

use serde::{Deserialize, Serialize};

use crate::reading::{AttendedTime, EventTime, Finite};

/// Rows that wait at most; beyond that the earliest leaves as it is.
pub const ROWS_MAX: usize = 64;

/// An event time whose inputs are gathered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The event time.
    #[serde(rename = "t")]
    pub time: EventTime,
    /// By input.
    #[serde(rename = "v")]
    pub values: Vec<Option<Finite>>,
    /// Attended time at which it leaves whatever is missing.
    #[serde(rename = "d")]
    deadline: AttendedTime,
}

/// Rows that wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// In event order.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Row>,
    /// Largest event time seen.
    #[serde(rename = "x")]
    newest: Option<EventTime>,
    /// Event time of the last row that left.
    #[serde(rename = "e")]
    done: Option<EventTime>,
}

impl Join {
    /// Takes a reading of one of `width` inputs; `false`: too late, its row has left. Follow with
    /// [`ready`](Self::ready).
    pub fn take(
        &mut self,
        width: usize,
        (input, time, value): (usize, EventTime, Finite),
        deadline: AttendedTime,
    ) -> bool {
        if input >= width || self.done.is_some_and(|done| time <= done) {
            return false;
        }
        self.newest = self.newest.max(Some(time));
        let at = self.rows.partition_point(|row| row.time < time);
        if self.rows.get(at).is_none_or(|row| row.time != time) {
            self.rows.insert(at, Row { time, values: vec![None; width], deadline });
        }
        if let Some(slot) = self.rows.get_mut(at).and_then(|row| row.values.get_mut(input)) {
            *slot = Some(value);
        }
        true
    }

    /// The rows whose turn has come, in event order.
    pub fn ready(&mut self, hold: i64) -> Vec<Row> {
        let newest = self.newest;
        let excess = self.rows.len().saturating_sub(ROWS_MAX);
        let is_ready = |(i, row): &(usize, &Row)| {
            let is_passed = newest.is_some_and(|newest| newest.nanos() > row.time.nanos() + hold);
            let is_full = row.values.iter().all(Option::is_some);
            is_passed || is_full || *i < excess
        };
        let count = self.rows.iter().enumerate().take_while(is_ready).count();
        self.leave(count)
    }

    /// The rows that have waited until `attended`, with all before them.
    pub fn due(&mut self, attended: AttendedTime) -> Vec<Row> {
        let due = self.rows.iter().rposition(|row| row.deadline <= attended);
        self.leave(due.map_or(0, |at| at + 1))
    }

    fn leave(&mut self, count: usize) -> Vec<Row> {
        let rows: Vec<Row> = self.rows.drain(..count).collect();
        if let Some(row) = rows.last() {
            self.done = Some(row.time);
        }
        rows
    }

    /// When the next row leaves without further readings.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.rows.iter().map(|row| row.deadline).min()
    }

    /// The clock stepped back: nothing after `to` can have been measured.
    pub fn rewind(&mut self, to: EventTime) {
        self.rows.retain(|row| row.time <= to);
        self.newest = self.newest.map(|time| time.min(to));
        self.done = self.done.map(|time| time.min(to));
    }

    /// Rows that wait.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let values: usize = self.rows.iter().map(|row| row.values.capacity()).sum();
        self.rows.capacity() * size_of::<Row>() + values * size_of::<Option<Finite>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::SECOND;

    /// Second and which of two inputs are there.
    #[track_caller]
    fn check(hold: i64, readings: &[(usize, i64)], expected: &[(i64, [bool; 2])]) {
        let mut join = Join::default();
        let mut left = Vec::new();
        for &(input, second) in readings {
            let time = EventTime::clamped(second * SECOND);
            let value = Finite::new(second as f64).unwrap();
            join.take(2, (input, time, value), AttendedTime(second));
            left.extend(join.ready(hold * SECOND));
        }
        left.extend(join.due(AttendedTime(i64::MAX)));
        let left: Vec<_> = left
            .iter()
            .map(|row| (row.time.nanos() / SECOND, [0, 1].map(|i| row.values[i].is_some())))
            .collect();
        assert_eq!(left, expected);
        assert!(join.is_empty() && join.next_deadline().is_none());
    }

    #[test]
    fn rows_leave_once_in_event_order() {
        let (both, first, second) = ([true; 2], [true, false], [false, true]);
        check(0, &[(0, 1), (1, 1), (0, 2), (0, 3)], &[(1, both), (2, first), (3, first)]);
        // A full row waits for an earlier one that may yet be filled.
        check(5, &[(0, 1), (0, 2), (1, 2), (1, 1)], &[(1, both), (2, both)]);
        check(5, &[(0, 1), (0, 2), (1, 2), (1, 7)], &[(1, first), (2, both), (7, second)]);
        // Too late.
        check(0, &[(0, 1), (0, 2), (1, 1)], &[(1, first), (2, first)]);
    }

    #[test]
    fn rows_are_bounded() {
        let mut join = Join::default();
        let mut left = 0;
        for second in 0..1000 {
            let time = EventTime::clamped(second * SECOND);
            join.take(2, (0, time, Finite::new(0.0).unwrap()), AttendedTime(0));
            left += join.ready(i64::MAX / 4).len();
            assert!(join.len() <= ROWS_MAX);
        }
        assert_eq!(left, 1000 - ROWS_MAX);
    }

    #[test]
    fn the_clock_steps_back() {
        let mut join = Join::default();
        let at = |second: i64| EventTime::clamped(second * SECOND);
        let one = Finite::new(1.0).unwrap();
        for second in [10, 1000, 2000] {
            join.take(2, (0, at(second), one), AttendedTime(0));
        }
        join.rewind(at(20));
        assert_eq!(join.len(), 1);
        assert!(join.take(2, (1, at(10), one), AttendedTime(0)), "its row waits");
        assert_eq!(join.ready(i64::MAX / 4).len(), 1);
        assert!(!join.take(2, (1, at(10), one), AttendedTime(0)), "it has left");
    }
}
