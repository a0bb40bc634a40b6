//! The devices and what they have published, counted: every number that weir must arrive at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use weir::reading::{DropCounts, DropReason};

use super::rng::Rng;

/// Lateness of all series, in milliseconds.
pub const LATENESS_MS: i64 = 700;
/// Window sizes in milliseconds.
pub const WINDOWS_MS: [i64; 2] = [1_000, 10_000];
/// Most readings of one message that weir takes.
pub const ARRAY_MAX: usize = 16;
/// Largest payload that weir takes.
pub const PAYLOAD_MAX: usize = 1024;
/// Readings outside ± this are `invalid`.
pub const VALID: i64 = 2_000;
/// The broker sends at most this many messages ahead: no batch holds more.
pub const RECEIVE_MAXIMUM: u64 = 400;
/// Readings of each series before the flood of names begins; 50 make a series established.
const ESTABLISHED: u64 = 60;
/// Device that publishes under ever other names; what weir makes of it depends on how messages
/// were batched, but nothing of it may be lost uncounted.
pub const FLOOD: &str = "flood";
/// Names that it uses.
const FLOOD_NAMES: u64 = 40;
/// Eighths: values are multiples of 1/8, so that sums are exact in any order.
const EIGHTHS: f64 = 8.0;

/// (device, metric).
pub type Series = (String, String);
/// Series, window size and start, the latter in milliseconds.
pub type Pane = (Series, i64, i64);

/// Readings merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Totals {
    pub fn merge(&mut self, other: &Totals) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One reading with its time.
    Timed,
    /// Several readings in one message.
    Array,
    /// No time in the payload; `constant`: the same payload again and again.
    Arrival { constant: bool },
    /// Two metrics in one message.
    Pair,
}

struct Device {
    name: String,
    kind: Kind,
    /// Largest event time published.
    largest: i64,
    recent: VecDeque<(i64, i64)>,
    used: BTreeSet<(i64, i64)>,
}

/// All devices, and the account of what they published.
pub struct Model {
    rng: Rng,
    devices: Vec<Device>,
    flood_time: i64,
    flood_after: Option<u64>,
    /// Messages published.
    pub messages: u64,
    /// Readings that must be in aggregates, by series (without the flood).
    pub accepted: BTreeMap<Series, Totals>,
    /// The same by pane, for series that carry times.
    pub panes: BTreeMap<Pane, Totals>,
    /// Readings of the flood.
    pub flood: u64,
    /// Drops by reason (but for the flood's).
    pub drops: DropCounts,
}

impl Model {
    pub fn new(seed: u64) -> Model {
        let kinds = [
            ("t", Kind::Timed, 5),
            ("b", Kind::Array, 2),
            ("a", Kind::Arrival { constant: false }, 2),
            ("c", Kind::Arrival { constant: true }, 1),
            ("m", Kind::Pair, 2),
        ];
        let device = |(letter, kind, count): (&str, Kind, usize)| {
            let letter = letter.to_owned();
            (0..count).map(move |i| Device {
                name: format!("{letter}{i}"),
                kind,
                largest: 0,
                recent: VecDeque::new(),
                used: BTreeSet::new(),
            })
        };
        Model {
            rng: Rng::new(seed),
            devices: kinds.into_iter().flat_map(device).collect(),
            flood_time: 0,
            flood_after: None,
            messages: 0,
            accepted: BTreeMap::new(),
            panes: BTreeMap::new(),
            flood: 0,
            drops: DropCounts::default(),
        }
    }

    /// How many series there are without the flood.
    pub fn series(&self) -> usize {
        self.devices.iter().map(|d| if d.kind == Kind::Pair { 2 } else { 1 }).sum()
    }

    /// Readings that must be in aggregates, without the flood's.
    pub fn accepted_readings(&self) -> u64 {
        self.accepted.values().map(|totals| totals.count).sum()
    }

    /// What `weir_readings_total` must show at the end, when `refused` of the flood's readings
    /// found no series.
    pub fn readings_total(&self, refused: u64) -> u64 {
        let dropped_by_series: u64 =
            [DropReason::Invalid, DropReason::Future, DropReason::Duplicate]
                .map(|reason| self.drops.get(reason))
                .iter()
                .sum();
        self.accepted_readings() + dropped_by_series + self.flood - refused
    }

    /// The next message at `now` (Unix milliseconds).
    pub fn next(&mut self, now: i64) -> Message {
        self.messages += 1;
        let established = self.accepted.len() == self.series()
            && self.accepted.values().all(|totals| totals.count >= ESTABLISHED);
        // Not in a batch with what establishes the others: those would then not be safe from it.
        if established && self.flood_after.is_none() {
            self.flood_after = Some(self.messages + RECEIVE_MAXIMUM);
        }
        if self.flood_after.is_some_and(|after| self.messages > after) && self.rng.chance(8) {
            return self.flood(now);
        }
        let which = self.rng.below(self.devices.len() as u64) as usize;
        match self.devices[which].kind {
            Kind::Timed => self.timed(which, now),
            Kind::Array => self.array(which, now),
            Kind::Arrival { constant } => {
                let value = if constant { 8 } else { self.value() };
                let device = self.devices[which].name.clone();
                self.accept((device.clone(), "v".to_owned()), None, value);
                Message {
                    topic: format!("a/{device}/v"),
                    payload: format!("{{\"v\":{}}}", decimal(value)),
                }
            }
            Kind::Pair => self.pair(which, now),
        }
    }

    fn value(&mut self) -> i64 {
        self.rng.below(2 * VALID as u64 * 8) as i64 - VALID * 8
    }

    fn accept(&mut self, series: Series, time: Option<i64>, value: i64) {
        let value = value as f64 / EIGHTHS;
        let one = Totals { count: 1, sum: value, min: value, max: value };
        if let Some(time) = time {
            for size in WINDOWS_MS {
                let pane = (series.clone(), size, time.div_euclid(size) * size);
                self.panes.entry(pane).or_default().merge(&one);
            }
        }
        self.accepted.entry(series).or_default().merge(&one);
    }

    /// A new (time, value) of a device, noted as published and accepted.
    fn fresh(&mut self, which: usize, wanted: i64) -> (i64, i64) {
        let mut time = wanted;
        let value = loop {
            let value = self.value();
            if self.devices[which].used.insert((time, value)) {
                break value;
            }
            time += 1;
        };
        let device = &mut self.devices[which];
        device.largest = device.largest.max(time);
        device.recent.push_back((time, value));
        if device.recent.len() > 8 {
            device.recent.pop_front();
        }
        (time, value)
    }

    /// Event time of the next reading: in order, or behind by less or more than the lateness.
    fn time(&mut self, which: usize, now: i64) -> i64 {
        let largest = self.devices[which].largest;
        let behind = self.rng.below(100);
        match behind {
            0..12 if largest > 0 => largest - self.rng.below(LATENESS_MS as u64) as i64,
            12..18 if largest > 0 => largest - 1_000 - self.rng.below(14_000) as i64,
            _ => now.max(largest + 1),
        }
    }

    /// Something recent of a device that its duplicate recognition still covers.
    fn resent(&mut self, which: usize) -> Option<(i64, i64)> {
        let device = &self.devices[which];
        let watermark = device.largest - LATENESS_MS;
        let covered: Vec<_> =
            device.recent.iter().copied().filter(|&(time, _)| time > watermark).collect();
        let again = *covered.get(self.rng.below(covered.len().max(1) as u64) as usize)?;
        self.drops.add(DropReason::Duplicate, 1);
        Some(again)
    }

    fn timed(&mut self, which: usize, now: i64) -> Message {
        let topic = format!("t/{}/v", self.devices[which].name);
        let roll = self.rng.below(100);
        if roll < 10 {
            return self.fault(topic, which, now);
        }
        let resent = if roll < 20 { self.resent(which) } else { None };
        let (time, value) = resent.unwrap_or_else(|| {
            let time = self.time(which, now);
            let (time, value) = self.fresh(which, time);
            self.accept((self.devices[which].name.clone(), "v".to_owned()), Some(time), value);
            (time, value)
        });
        Message { topic, payload: reading(time, value) }
    }

    /// A message that must come out as one drop.
    fn fault(&mut self, topic: String, which: usize, now: i64) -> Message {
        let (reason, payload) = match self.rng.below(8) {
            0 => (DropReason::Malformed, "{\"t\":1,\"v\":".to_owned()),
            1 => (DropReason::Missing, format!("{{\"t\":{now},\"v\":\"unavailable\"}}")),
            2 => (DropReason::NotFinite, format!("{{\"t\":{now},\"v\":1e999}}")),
            3 => (DropReason::BadTime, "{\"t\":\"noon\",\"v\":1}".to_owned()),
            4 => {
                (DropReason::Oversize, format!("{{\"v\":1,\"x\":\"{}\"}}", "x".repeat(PAYLOAD_MAX)))
            }
            5 => {
                let time = self.devices[which].largest;
                (DropReason::Invalid, reading(time, (VALID + 1) * 8))
            }
            6 => (DropReason::Future, reading(now + 7_200_000, 8)),
            _ => {
                self.drops.add(DropReason::Topic, 1);
                return Message { topic: "t//v".to_owned(), payload: reading(now, 8) };
            }
        };
        self.drops.add(reason, 1);
        Message { topic, payload }
    }

    fn array(&mut self, which: usize, now: i64) -> Message {
        let name = self.devices[which].name.clone();
        let mut elements = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let resent = if self.rng.chance(8) { self.resent(which) } else { None };
            let (time, value) = resent.unwrap_or_else(|| {
                let time = self.time(which, now);
                let (time, value) = self.fresh(which, time);
                self.accept((name.clone(), "v".to_owned()), Some(time), value);
                (time, value)
            });
            elements.push(reading(time, value));
        }
        if self.rng.chance(5) {
            // Behind the cap nothing is read.
            let missing = ARRAY_MAX - elements.len();
            elements.extend((0..missing).map(|_| format!("{{\"t\":{now},\"v\":null}}")));
            self.drops.add(DropReason::Missing, missing as u64);
            elements.extend((0..3).map(|_| reading(now, 8)));
            self.drops.add(DropReason::TooMany, 3);
        }
        Message {
            topic: format!("b/{name}/v"),
            payload: format!("{{\"r\":[{}]}}", elements.join(",")),
        }
    }

    fn pair(&mut self, which: usize, now: i64) -> Message {
        let name = self.devices[which].name.clone();
        let time = self.time(which, now);
        let (time, x) = self.fresh(which, time);
        self.accept((name.clone(), "x".to_owned()), Some(time), x);
        let mut payload = format!("{{\"t\":{time},\"x\":{}", decimal(x));
        if self.rng.chance(90) {
            // Distinct since x is.
            self.accept((name.clone(), "y".to_owned()), Some(time), -x);
            let _ = write!(payload, ",\"y\":{}", decimal(-x));
        }
        payload.push('}');
        Message { topic: format!("m/{name}"), payload }
    }

    fn flood(&mut self, now: i64) -> Message {
        self.flood += 1;
        self.flood_time = now.max(self.flood_time + 1);
        let metric = self.rng.below(FLOOD_NAMES);
        Message { topic: format!("t/{FLOOD}/f{metric}"), payload: reading(self.flood_time, 8) }
    }
}

fn decimal(eighths: i64) -> f64 {
    eighths as f64 / EIGHTHS
}

fn reading(time: i64, value: i64) -> String {
    format!("{{\"t\":{time},\"v\":{}}}", decimal(value))
}
