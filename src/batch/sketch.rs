//! A mergeable quantile sketch with a rank error that it knows: [`Sketch`].
//!
//! Pure, and deterministic to the bit: no random choice is made. (The usual mergeable sketch, KLL,
//! draws random bits to decide which half of a buffer survives; a replay would then not repeat
//! the bytes. DDSketch bounds the error of values, not of ranks: around an offset of 1e9 its
//! buckets are wider than the noise.)
//!
//! The summary of Greenwald, Khanna 2001, "Space-efficient online computation of quantile
//! summaries", in a form that takes equal readings together. For each of some readings, in ascending
//! order, without repeats, are kept
//! - `gap`: at least this many readings lie above the entry before it and not above it. The sum of
//!   the gaps so far, its `least`, is thus a lower bound of the readings that are at most its value;
//! - `unknown`: at most this many readings lie below it that the entry before does not count in its
//!   `least`.
//!
//! So the number of readings up to any x between two entries is known but for the upper one's
//! `unknown`, and what repeats is counted exactly. (With the paper's g and Δ, `unknown` is g + Δ − 1;
//! its form takes a stream of few distinct values to be uncertain about their order, and grows.)
//! New readings wait in a buffer until that is full, then go in as one sorted run; neighbours are
//! joined while `unknown` stays within the count over [`LIMIT`] (the array form of Luo, Wang, Yi,
//! Cormode 2016, "Quantiles over data streams: experimental comparisons, new analyses, and further
//! improvements"). Merging adds up gaps and unknowns, so that all bounds stay true and the error
//! relative to the count does not grow; joining afterwards may add to it.
//!
//! Memory is bounded: beyond [`MAX_ENTRIES`] more is joined than `LIMIT` allows, which
//! [`Sketch::rank_error`] tells. Measured on a million readings: about 150 entries and 0.5 % for most
//! orders; for one made to be hard (inwards from both ends) 768 entries and 0.8 %. A thousand
//! sketches of up to 1,440 readings merged in various trees: up to 768 entries and 0.9 %.
//!
//! # Bytes
//! Version (1 byte: 1); then as LEB128: number of entries; for each the value's
//! [`ordered_bits`](Finite::ordered_bits) less those of the entry before, gap − 1, unknown; number of
//! buffered readings; for each in ascending order the ordered bits less those of the one before.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reading::Finite;

/// Readings kept as they are before any are summarised; also the length of a sorted run.
const BUFFER: usize = 256;
/// Most entries of a summary between two calls.
const MAX_ENTRIES: usize = 768;
/// `unknown + 1` of an entry may reach `count / LIMIT`: a rank error of 0.5 %.
const LIMIT: u64 = 100;
/// Version of the bytes.
const VERSION: u8 = 1;

/// Quantiles of any number of readings in at most [`Sketch::MAX_BYTES`] bytes, mergeable.
///
/// Exact up to 256 readings. Beyond, a rank is wrong by at most [`rank_error`](Self::rank_error)
/// of the count, whatever the distribution: 0.5 % for readings one by one in any usual order, and
/// less than 1 % in all that was tried.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    /// The summary: ascending by value; first and last are the true extremes.
    entries: Vec<Entry>,
    /// Readings not yet in the summary, in no order that matters.
    buffer: Vec<f64>,
    /// All readings, those of the buffer included.
    count: u64,
}

/// One reading and what is known of the number of readings below and up to it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    value: f64,
    /// At least 1.
    gap: u64,
    /// 0 for the first entry; for the last at most its gap − 1.
    unknown: u64,
}

impl Sketch {
    /// Ceiling of [`memory_bytes`](Self::memory_bytes).
    pub const MAX_BYTES: usize =
        size_of::<Sketch>() + BUFFER * size_of::<f64>() + MAX_ENTRIES * size_of::<Entry>();

    /// A sketch of nothing.
    pub fn new() -> Sketch {
        Sketch::default()
    }

    /// Takes in one reading.
    #[inline]
    pub fn add(&mut self, value: Finite) {
        self.push(value.get());
    }

    /// Takes in all of `other`. The bounds stay true in whatever tree sketches are merged; the bytes
    /// depend on the tree.
    pub fn merge(&mut self, other: &Sketch) {
        if self.entries.is_empty() {
            let mine = std::mem::replace(self, other.clone());
            mine.buffer.iter().for_each(|&value| self.push(value));
            return;
        }
        if !other.entries.is_empty() {
            self.flush();
            self.count += other.summarised();
            self.settle(combine(&self.entries, &other.entries));
        }
        other.buffer.iter().for_each(|&value| self.push(value));
    }

    /// The value at probability `p`, clamped to [0, 1]; `None` for a sketch of nothing.
    ///
    /// While exact: type 7 of Hyndman, Fan 1996, "Sample quantiles in statistical packages" (linear
    /// between order statistics, the default of R and numpy). Beyond: the reading whose rank is
    /// surest to be near 1 + (count − 1)·p, without interpolation, for between two clusters of
    /// readings there may be nothing. Never decreases with `p`; 0 and 1 give the true extremes.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let p = if p.is_nan() { 0.5 } else { p.clamp(0.0, 1.0) };
        let position = (self.count.checked_sub(1)?) as f64 * p;
        if self.entries.is_empty() {
            let sorted = self.sorted_buffer();
            let below = sorted[position as usize];
            let above = sorted[(position as usize + 1).min(sorted.len() - 1)];
            let fraction = position - libm::floor(position);
            // Weighted, for the difference of huge readings overflows.
            let value = below * (1.0 - fraction) + above * fraction;
            return Some(if below == above { below } else { value.clamp(below, above) });
        }
        let rank = position + 1.0;
        let mut least = 0;
        let mut best = (f64::INFINITY, 0.0);
        for entry in self.current().iter() {
            // The value's lowest rank is at most `lowest`, its highest at least `least`.
            let lowest = least + entry.unknown + 1;
            least += entry.gap;
            let error = (lowest as f64 - rank).max(rank - least as f64).max(0.0);
            if error < best.0 {
                best = (error, entry.value);
            }
        }
        Some(best.1)
    }

    /// The fraction of readings that are at most `x`, in [0, 1]; 0 for a sketch of nothing.
    pub fn rank(&self, x: f64) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        let entries = self.current();
        let below = entries.partition_point(|entry| entry.value <= x);
        let least: u64 = entries[..below].iter().map(|entry| entry.gap).sum();
        let unknown = entries.get(below).map_or(0, |next| next.unknown);
        (least as f64 + unknown as f64 / 2.0) / self.count as f64
    }

    /// The greatest error that [`rank`](Self::rank) and the rank of a [`quantile`](Self::quantile)
    /// can have, as a fraction of the count: proven by the bounds kept, not estimated. Includes the
    /// half reading by which a quantile is off for want of interpolation. 0 while exact.
    pub fn rank_error(&self) -> f64 {
        if self.entries.is_empty() {
            return 0.0;
        }
        let unknown = self.current().iter().map(|entry| entry.unknown).max().unwrap_or(0);
        (unknown + 1) as f64 / 2.0 / self.count as f64
    }

    /// Number of readings.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes held, heap included; at most [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn memory_bytes(&self) -> usize {
        size_of::<Sketch>()
            + self.buffer.capacity() * size_of::<f64>()
            + self.entries.capacity() * size_of::<Entry>()
    }

    /// The versioned form of the module's head; the same readings in the same order and the same
    /// merges give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 11 * self.entries.len() + 9 * self.buffer.len());
        bytes.push(VERSION);
        put(&mut bytes, self.entries.len() as u64);
        let mut before = 0;
        for entry in &self.entries {
            let bits = ordered_bits(entry.value);
            put(&mut bytes, bits - before);
            put(&mut bytes, entry.gap - 1);
            put(&mut bytes, entry.unknown);
            before = bits;
        }
        put(&mut bytes, self.buffer.len() as u64);
        let mut before = 0;
        for value in self.sorted_buffer() {
            let bits = ordered_bits(value);
            put(&mut bytes, bits - before);
            before = bits;
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// Another version, bytes missing or left over, or bounds that no readings can have led to.
    pub fn from_bytes(bytes: &[u8]) -> Result<Sketch, String> {
        let (&version, mut rest) = bytes.split_first().ok_or("sketch: empty")?;
        if version != VERSION {
            return Err(format!("sketch: version {version}, only {VERSION} is known"));
        }
        let wrong = |what: &str| format!("sketch: {what}");
        let length = take(&mut rest)? as usize;
        if length > MAX_ENTRIES {
            return Err(format!("sketch: {length} entries, at most {MAX_ENTRIES} are possible"));
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(length);
        let (mut bits, mut least) = (0u64, 0u64);
        for i in 0..length {
            let step = take(&mut rest)?;
            bits = bits.checked_add(step).ok_or_else(|| wrong("a value overflows"))?;
            let gap = take(&mut rest)?.checked_add(1).ok_or_else(|| wrong("a gap overflows"))?;
            let unknown = take(&mut rest)?;
            least = least.checked_add(gap).ok_or_else(|| wrong("the count overflows"))?;
            if i > 0 && step == 0 {
                return Err(wrong("values do not ascend"));
            }
            entries.push(Entry { value: from_ordered_bits(bits)?, gap, unknown });
        }
        // What `join` leaves: see there. Nothing lies below the smallest, all but it below the largest.
        let beyond = entries.iter().skip(1).map(|next| next.unknown).chain([0]);
        let possible =
            entries.iter().zip(beyond).all(|(e, next)| e.unknown.saturating_sub(next) < e.gap);
        if !possible || entries.first().is_some_and(|first| first.unknown > 0) {
            return Err(wrong("bounds contradict each other"));
        }
        let length = take(&mut rest)? as usize;
        if length > BUFFER {
            return Err(format!("sketch: {length} buffered, at most {BUFFER} are possible"));
        }
        // Ranks are reckoned in floats; and sums of counts must not overflow.
        let count = least.checked_add(length as u64).filter(|&count| count <= 1 << 53);
        let count = count.ok_or_else(|| wrong("the count is beyond 2^53"))?;
        let mut buffer = Vec::with_capacity(length);
        let mut bits = 0u64;
        for _ in 0..length {
            bits = bits.checked_add(take(&mut rest)?).ok_or_else(|| wrong("value overflows"))?;
            buffer.push(from_ordered_bits(bits)?);
        }
        if !rest.is_empty() {
            return Err(format!("sketch: {} bytes left over", rest.len()));
        }
        Ok(Sketch { entries, buffer, count })
    }

    #[inline]
    fn push(&mut self, value: f64) {
        if self.buffer.len() == self.buffer.capacity() || self.buffer.len() == BUFFER {
            self.make_room();
        }
        self.buffer.push(value);
        self.count += 1;
    }

    /// Makes room for one more in the buffer. Doubling stops at its ceiling.
    #[cold]
    fn make_room(&mut self) {
        if self.buffer.len() == BUFFER {
            self.flush();
        } else {
            let len = self.buffer.len();
            self.buffer.reserve_exact(len.max(4).min(BUFFER - len));
        }
    }

    /// Readings in the summary.
    fn summarised(&self) -> u64 {
        self.count - self.buffer.len() as u64
    }

    fn sorted_buffer(&self) -> Vec<f64> {
        let mut sorted = self.buffer.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    /// The summary with the buffer's readings in it, nothing joined.
    fn current(&self) -> Cow<'_, [Entry]> {
        if self.buffer.is_empty() {
            Cow::Borrowed(&self.entries)
        } else {
            Cow::Owned(combine(&self.entries, &run(&self.sorted_buffer())))
        }
    }

    /// Moves the buffer into the summary.
    #[cold]
    fn flush(&mut self) {
        self.buffer.sort_unstable_by(f64::total_cmp);
        let combined = combine(&self.entries, &run(&self.buffer));
        self.buffer.clear();
        self.settle(combined);
    }

    /// Joins what may be joined of `combined`, and keeps the rest as the summary.
    fn settle(&mut self, mut combined: Vec<Entry>) {
        let mut limit = (self.summarised() / LIMIT).saturating_sub(1);
        let mut start = join(&mut combined, limit);
        while combined.len() - start > MAX_ENTRIES {
            limit += limit / 8 + 1;
            start += join(&mut combined[start..], limit);
        }
        let kept = &combined[start..];
        self.entries.clear();
        if self.entries.capacity() < kept.len() {
            // Not by doubling: the ceiling must hold, and lengths hardly change once settled.
            self.entries.reserve_exact(kept.len().next_multiple_of(64).min(MAX_ENTRIES));
        }
        self.entries.extend_from_slice(kept);
    }
}

/// Sorted readings as entries about which nothing is unknown.
fn run(sorted: &[f64]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(sorted.len());
    for &value in sorted {
        match entries.last_mut() {
            Some(last) if last.value == value => last.gap += 1,
            _ => entries.push(Entry { value, gap: 1, unknown: 0 }),
        }
    }
    entries
}

/// The summary of what `a` and `b` summarise; the same with the two exchanged.
///
/// Of two neighbours in the result, the lower counts in its `least` what the last entries of `a` and
/// of `b` up to it count. Of the rest, at most the unknown of each list's next entry lies below the
/// upper neighbour.
fn combine(a: &[Entry], b: &[Entry]) -> Vec<Entry> {
    let mut combined = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let (value, unknown) = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => (x.value.min(y.value), x.unknown + y.unknown),
            (Some(last), None) | (None, Some(last)) => (last.value, last.unknown),
            (None, None) => return combined,
        };
        let from_a = a.next_if(|entry| entry.value == value).map_or(0, |entry| entry.gap);
        let from_b = b.next_if(|entry| entry.value == value).map_or(0, |entry| entry.gap);
        combined.push(Entry { value, gap: from_a + from_b, unknown });
    }
}

/// Joins neighbours from the right while `unknown` stays within `limit`; the extremes stay. The
/// result is moved to the end of `entries`; returns where it begins.
///
/// Also lowers an `unknown` that the next entry shows to be too large: the readings below an entry
/// are, by at least one, fewer than those below the next.
fn join(entries: &mut [Entry], limit: u64) -> usize {
    let Some(mut kept) = entries.len().checked_sub(1) else { return 0 };
    for i in (0..kept).rev() {
        let entry = entries[i];
        let joined = entry.gap + entries[kept].unknown;
        if i > 0 && joined <= limit {
            entries[kept].gap += entry.gap;
            entries[kept].unknown = joined;
        } else {
            kept -= 1;
            entries[kept] = Entry { unknown: entry.unknown.min(joined - 1), ..entry };
        }
    }
    kept
}

/// Two sketches are equal when their bytes are.
impl PartialEq for Sketch {
    fn eq(&self, other: &Sketch) -> bool {
        self.count == other.count
            && self.entries == other.entries
            && self.sorted_buffer() == other.sorted_buffer()
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sketch, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Sketch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a sketch")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Sketch, E> {
                Sketch::from_bytes(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

fn ordered_bits(value: f64) -> u64 {
    // Everything kept came out of a `Finite`.
    Finite::new(value).map_or(0, Finite::ordered_bits)
}

fn from_ordered_bits(ordered: u64) -> Result<f64, String> {
    let bits = if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
    let value = f64::from_bits(bits);
    // Minus zero would not compare by its bits.
    match Finite::new(value) {
        Some(finite) if finite.get().to_bits() == bits => Ok(value),
        _ => Err(format!("sketch: {value} is no reading")),
    }
}

/// Appends `n` as LEB128.
fn put(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

/// Takes a LEB128 number off the front.
fn take(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("sketch: cut short")?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // Only the shortest form is read, so that equal sketches have equal bytes.
        if (shift == 63 && part > 1) || (shift > 0 && byte == 0) {
            break;
        }
        n |= part << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err("sketch: a number is too long".to_owned())
}

#[cfg(test)]
mod tests;
