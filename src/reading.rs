//! The words every station shares: two kinds of time, a finite number, a series, a reading.
//!
//! Pure. Both times are `i64` nanoseconds since the Unix epoch, yet they are
//! different types: what the sensor says and what the gateway's clock says never compare by
//! accident.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// When the sensor measured: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// Earliest time accepted: 1950-01-01T00:00:00Z. Earlier ones are a decoding mistake, and the
    /// whole range must fit an `i64` so that differences cannot overflow.
    pub const EARLIEST: EventTime = EventTime(-631_152_000 * SECOND);
    /// Latest time accepted: 2200-01-01T00:00:00Z; leaves room for windows and horizons.
    pub const LATEST: EventTime = EventTime(7_258_118_400 * SECOND);

    /// `None` outside [`EARLIEST`](Self::EARLIEST) to [`LATEST`](Self::LATEST): arithmetic with
    /// windows and horizons can then not overflow.
    pub const fn from_nanos(nanos: i64) -> Option<EventTime> {
        if nanos < Self::EARLIEST.0 || nanos > Self::LATEST.0 {
            None
        } else {
            Some(EventTime(nanos))
        }
    }

    /// Clamps into the accepted range; for window bounds near its ends.
    pub const fn clamped(nanos: i64) -> EventTime {
        if nanos < Self::EARLIEST.0 {
            Self::EARLIEST
        } else if nanos > Self::LATEST.0 {
            Self::LATEST
        } else {
            EventTime(nanos)
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Seconds from `earlier` to `self` (negative if `self` is the earlier one).
    pub fn seconds_since(self, earlier: EventTime) -> f64 {
        (self.0 - earlier.0) as f64 / SECOND as f64
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rfc3339(self.0, f)
    }
}

/// When the gateway handled it, by the gateway's clock: nanoseconds since the Unix epoch. May step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessingTime(pub i64);

impl fmt::Display for ProcessingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_rfc3339(self.0, f)
    }
}

/// How long the input has been attended, in nanoseconds: monotonic, carried from frame to frame,
/// standing still while the daemon is down or its input away. Drives every timer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AttendedTime(pub i64);

/// RFC 3339 in UTC, with no more than the digits the time has.
fn write_rfc3339(nanos: i64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(nanos)).map_err(|_| fmt::Error)?;
    write!(f, "{timestamp}")
}

/// A float that is neither NaN nor infinite. One NaN would spoil a filter for good, so what is
/// behind the decoder is of this type.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Finite(f64);

impl Finite {
    /// `None` for NaN and the infinities. Minus zero becomes zero, so that equal values have
    /// equal bits.
    pub fn new(value: f64) -> Option<Finite> {
        value.is_finite().then_some(Finite(value + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The bits in an order that follows the numbers, for canonical sorting.
    pub fn ordered_bits(self) -> u64 {
        let bits = self.0.to_bits();
        if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
    }
}

impl TryFrom<f64> for Finite {
    type Error = &'static str;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Finite::new(value).ok_or("not a finite number")
    }
}

impl From<Finite> for f64 {
    fn from(value: Finite) -> f64 {
        value.0
    }
}

/// A (device, metric) pair, interned by the engine's registry: a slot number, small and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u32);

/// One number of one series at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Which series.
    pub series: SeriesId,
    /// When it was measured (or, for payloads without a time, when it arrived).
    pub time: EventTime,
    /// What was measured, in the series' unit.
    pub value: Finite,
}

/// Why a reading (or a message that could not be read) does not reach an aggregate. Every drop is
/// counted under one of these names; nothing is dropped without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The payload is not what its format says (counts the message once).
    Malformed,
    /// The payload is larger than the size cap (counts the message once).
    Oversize,
    /// The topic fits no subscription's template, or names an empty or overlong device or metric.
    Topic,
    /// A retained message replayed on subscribe (`retained = true` keeps them).
    Retained,
    /// NaN, infinite, or not a number.
    NotFinite,
    /// A value listed in `missing`.
    Missing,
    /// A time that cannot be read or lies outside the years 1950 to 2200.
    BadTime,
    /// More readings in one message than the cap allows (counts those beyond it).
    TooMany,
    /// A new series while `max_series` is reached and none may go.
    SeriesLimit,
    /// Outside the profile's `valid` range.
    Invalid,
    /// Ahead of processing time by more than `max_ahead`.
    Future,
    /// The same series, time and value again, above the watermark.
    Duplicate,
    /// Under the name of a group or of a derived metric, for which nothing is read.
    Reserved,
}

impl DropReason {
    /// All of them, in metric order.
    pub const ALL: [DropReason; 13] = [
        DropReason::Malformed,
        DropReason::Oversize,
        DropReason::Topic,
        DropReason::Retained,
        DropReason::NotFinite,
        DropReason::Missing,
        DropReason::BadTime,
        DropReason::TooMany,
        DropReason::SeriesLimit,
        DropReason::Invalid,
        DropReason::Future,
        DropReason::Duplicate,
        DropReason::Reserved,
    ];

    /// The value of the metric label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::Oversize => "oversize",
            DropReason::Topic => "topic",
            DropReason::Retained => "retained",
            DropReason::NotFinite => "not_finite",
            DropReason::Missing => "missing",
            DropReason::BadTime => "bad_time",
            DropReason::TooMany => "too_many",
            DropReason::SeriesLimit => "series_limit",
            DropReason::Invalid => "invalid",
            DropReason::Future => "future",
            DropReason::Duplicate => "duplicate",
            DropReason::Reserved => "reserved",
        }
    }
}

/// Counts by [`DropReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts `n` more under `reason`.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    /// The count under `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &DropCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// True when nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&n| n == 0)
    }

    /// The non-zero counts in metric order.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason))).filter(|&(_, n)| n > 0)
    }
}
