//! Event order of one series: largest event time, watermark, duplicates, and readings held back to
//! restore order.
//!
//! Pure. The watermark is the largest event time minus `lateness` and only moves forward (but for a
//! clock that stepped back, [`Order::rewind`]). Readings above it are remembered for
//! recognising repeats, at most `max_recent` of them: beyond that the oldest is forgotten and
//! counted, so that a fast sensor cannot take the memory of others.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::reading::{AttendedTime, EventTime, Finite};

/// Readings looked at one by one before they are searched, and kept within the series' state.
const FEW: usize = 4;
/// Readings above the watermark: event time and bits of the value.
type Recent = SmallVec<[(i64, u64); FEW]>;

/// No reading of the series older than this is still awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watermark(i64);

impl Watermark {
    /// Before all times.
    pub const START: Watermark = Watermark(i64::MIN);

    /// The watermark of a series whose largest event time is `largest`.
    pub fn behind(largest: EventTime, lateness: i64) -> Watermark {
        Watermark(largest.nanos() - lateness)
    }

    /// True when the whole of a window that ends (exclusively) at `end` lies behind.
    pub fn has_passed(self, end: EventTime) -> bool {
        end.nanos() <= self.0
    }
}

/// A reading that waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Event time.
    #[serde(rename = "t")]
    pub time: EventTime,
    /// Value.
    #[serde(rename = "v")]
    pub value: Finite,
    /// Attended time at which it goes on whatever happens.
    #[serde(rename = "d")]
    pub deadline: AttendedTime,
}

/// Order state of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    #[serde(rename = "x")]
    max_time: Option<EventTime>,
    /// (event time, value bits) above the watermark, sorted.
    #[serde(rename = "r", with = "packed")]
    recent: Recent,
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    held: Vec<Held>,
}

impl Order {
    /// Largest event time seen.
    pub fn max_time(&self) -> Option<EventTime> {
        self.max_time
    }

    /// The watermark; `None` before the first reading.
    pub fn watermark(&self, lateness: i64) -> Option<Watermark> {
        self.max_time.map(|max| Watermark::behind(max, lateness))
    }

    /// Remembers a reading; `false` when it is a repeat of one above the watermark.
    pub fn remember(&mut self, time: EventTime, value: Finite, lateness: i64) -> bool {
        let watermark = self.watermark(lateness);
        if watermark.is_some_and(|w| time.nanos() <= w.0) {
            return true;
        }
        let key = (time.nanos(), value.get().to_bits());
        // Mostly newer than all that is remembered.
        if self.recent.last().is_none_or(|&last| last < key) {
            self.recent.push(key);
            return true;
        }
        match self.recent.binary_search(&key) {
            Ok(_) => false,
            Err(at) => {
                self.recent.insert(at, key);
                true
            }
        }
    }

    /// Moves the largest event time forward.
    pub fn advance(&mut self, time: EventTime) {
        if self.max_time.is_none_or(|max| max < time) {
            self.max_time = Some(time);
        }
    }

    /// Forgets what lies behind the watermark or above the bound; returns how many went for the bound.
    pub fn prune(&mut self, lateness: i64, max_recent: usize) -> u64 {
        if let Some(Watermark(watermark)) = self.watermark(lateness)
            && self.recent.first().is_some_and(|&(time, _)| time <= watermark)
        {
            // Where many are kept, few leave at a time.
            let few = self.recent.iter().take(FEW).take_while(|&&(time, _)| time <= watermark);
            let few = few.count();
            let behind = if few < FEW {
                few
            } else {
                self.recent.partition_point(|&(time, _)| time <= watermark)
            };
            self.forget(behind);
        }
        let excess = self.recent.len().saturating_sub(max_recent);
        if excess > 0 {
            self.forget(excess);
        }
        excess as u64
    }

    /// Forgets the first `count` that are remembered.
    fn forget(&mut self, count: usize) {
        self.recent.copy_within(count.., 0);
        self.recent.truncate(self.recent.len() - count);
    }

    /// Holds a reading back, in event order.
    pub fn hold(&mut self, held: Held) {
        let key = |h: &Held| (h.time, h.value.ordered_bits());
        let at = self.held.partition_point(|other| key(other) <= key(&held));
        self.held.insert(at, held);
    }

    /// Takes the readings whose turn has come: behind the largest event time by `hold`, or past
    /// their deadline (with all before them, so that order holds), or beyond the bound.
    pub fn release(&mut self, hold: i64, attended: AttendedTime, max_held: usize) -> Vec<Held> {
        let Some(max) = self.max_time else { return Vec::new() };
        let by_time = self.held.partition_point(|h| h.time.nanos() <= max.nanos() - hold);
        let by_deadline =
            self.held.iter().rposition(|h| h.deadline <= attended).map_or(0, |i| i + 1);
        let by_bound = self.held.len().saturating_sub(max_held);
        let count = by_time.max(by_deadline).max(by_bound);
        self.held.drain(..count).collect()
    }

    /// The watermark as it will be at the turn of the earliest reading held; `None`: none is held.
    pub fn pending_watermark(&self, lateness: i64) -> Option<Watermark> {
        self.held.first().map(|held| Watermark::behind(held.time, lateness))
    }

    /// Takes the held readings with times after `to`.
    pub fn take_beyond(&mut self, to: EventTime) -> Vec<Held> {
        let at = self.held.partition_point(|held| held.time <= to);
        self.held.drain(at..).collect()
    }

    /// How many readings are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// When the next held reading goes on without further input.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.held.iter().map(|h| h.deadline).min()
    }

    /// After the gateway's clock stepped back: nothing after `to` can have been measured.
    pub fn rewind(&mut self, to: EventTime) {
        if self.max_time.is_some_and(|max| max > to) {
            self.max_time = Some(to);
            self.recent.retain(|&mut (time, _)| time <= to.nanos());
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let recent = if self.recent.spilled() { self.recent.capacity() } else { 0 };
        recent * size_of::<(i64, u64)>() + self.held.capacity() * size_of::<Held>()
    }
}

/// The recent readings as one byte string: 16 bytes each instead of CBOR's twenty.
mod packed {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::Recent;

    pub fn serialize<S: Serializer>(
        recent: &[(i64, u64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(recent.len() * 16);
        for (time, bits) in recent {
            bytes.extend(time.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Recent, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Recent;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string of 16 bytes an entry")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let (chunks, rest) = bytes.as_chunks::<16>();
                if !rest.is_empty() {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(chunks
                    .iter()
                    .map(|chunk| {
                        let word = u128::from_le_bytes(*chunk);
                        (word as i64, (word >> 64) as u64)
                    })
                    .collect())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::SECOND;

    const LATENESS: i64 = 5 * SECOND;

    fn at(seconds: i64) -> EventTime {
        EventTime::from_nanos(seconds * SECOND).unwrap()
    }

    fn value(v: f64) -> Finite {
        Finite::new(v).unwrap()
    }

    fn take(order: &mut Order, seconds: i64, v: f64) -> bool {
        let new = order.remember(at(seconds), value(v), LATENESS);
        order.advance(at(seconds));
        order.prune(LATENESS, 100);
        new
    }

    #[test]
    fn a_repeat_above_the_watermark_counts_once() {
        let mut order = Order::default();
        assert!(take(&mut order, 10, 1.0));
        assert!(take(&mut order, 12, 1.0));
        assert!(!take(&mut order, 10, 1.0));
        assert!(take(&mut order, 10, 2.0), "other value");
        assert!(take(&mut order, 11, 1.0), "other time");
        assert!(!take(&mut order, 11, 1.0));
    }

    #[test]
    fn behind_the_watermark_repeats_cannot_be_known() {
        let mut order = Order::default();
        take(&mut order, 10, 1.0);
        take(&mut order, 15, 1.0);
        assert!(take(&mut order, 10, 1.0), "10 is the watermark, not above it");
        assert_eq!(order.recent.len(), 1);
    }

    #[test]
    fn the_bound_forgets_the_oldest_and_counts() {
        let mut order = Order::default();
        for i in 0..10 {
            order.remember(at(i), value(0.0), 1000 * SECOND);
            order.advance(at(i));
        }
        assert_eq!(order.prune(1000 * SECOND, 8), 2);
        assert!(!order.remember(at(2), value(0.0), 1000 * SECOND));
        assert!(order.remember(at(1), value(0.0), 1000 * SECOND));
    }

    #[test]
    fn all_behind_the_watermark_is_forgotten_however_many() {
        for behind in 0..3 * FEW as i64 {
            let mut order = Order::default();
            let times = (1..=behind).chain([100, 101, 102]);
            times.for_each(|i| order.recent.push((i * SECOND, 0)));
            order.advance(at(104));
            assert_eq!(order.prune(LATENESS, 100), 0);
            let left: Vec<i64> = order.recent.iter().map(|&(time, _)| time / SECOND).collect();
            assert_eq!(left, [100, 101, 102], "{behind} behind");
        }
    }

    #[test]
    fn held_readings_go_on_in_event_order() {
        let mut order = Order::default();
        let hold = |order: &mut Order, seconds: i64, deadline: i64| {
            order.advance(at(seconds));
            order.hold(Held {
                time: at(seconds),
                value: value(0.0),
                deadline: AttendedTime(deadline),
            });
        };
        hold(&mut order, 12, 100);
        hold(&mut order, 10, 100);
        hold(&mut order, 14, 200);
        let times =
            |held: Vec<Held>| held.iter().map(|h| h.time.nanos() / SECOND).collect::<Vec<_>>();
        assert_eq!(times(order.release(3 * SECOND, AttendedTime(0), 10)), [10]);
        assert_eq!(order.next_deadline(), Some(AttendedTime(100)));
        assert_eq!(times(order.release(3 * SECOND, AttendedTime(100), 10)), [12]);
        hold(&mut order, 15, 300);
        assert_eq!(times(order.release(3 * SECOND, AttendedTime(0), 1)), [14]);
        assert_eq!(order.held(), 1);
    }

    #[test]
    fn the_packed_form_reads_back() {
        let mut order = Order::default();
        take(&mut order, -5, -1.5);
        take(&mut order, -3, 2.5);
        let bytes = serde_cbor::to_vec(&order).unwrap();
        assert_eq!(crate::cbor::from_slice::<Order>(&bytes).unwrap(), order);
    }
}
