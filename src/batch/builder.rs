//! The open micro-batch: readings gathered until it closes, and what is owed for them.
//!
//! Pure. Series that the registry does not know get a provisional number; at close the engine
//! decides who is admitted, readings of the refused are counted as drops, and all is sorted into
//! canonical order.

use std::collections::HashMap;

use crate::analytics::members::UnitKind;
use crate::batch::close::Gathered;
use crate::engine::Engine;
use crate::journal::frame::{Define, Delivery, Frame, FrameReading};
use crate::reading::{DropCounts, DropReason, EventTime, Finite, SeriesId};

/// Numbers from here on are provisional.
const PROVISIONAL: u32 = 1 << 31;
/// Newcomers in one batch beyond this are refused; a flood of names is bounded by it.
const MAX_NEWCOMERS: usize = 20_000;

/// An acknowledgement owed, to be sent after the frame is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The connection that delivered; on any other the packet id means another message.
    pub connection: u64,
    /// MQTT packet identifier.
    pub packet_id: u16,
}

/// The open batch.
#[derive(Debug, Default)]
pub struct Builder {
    readings: Vec<FrameReading>,
    newcomers: Vec<(String, String)>,
    /// Look-up only, never walked.
    newcomer_index: HashMap<(String, String), u32>,
    deliveries: Vec<Delivery>,
    owed: Vec<Owed>,
    drops: DropCounts,
    messages: u64,
    gathered: Option<Gathered>,
}

impl Builder {
    /// What has been gathered; `None`: nothing.
    pub fn gathered(&self) -> Option<Gathered> {
        self.gathered.map(|g| Gathered {
            readings: self.readings.len(),
            owed: self.owed.len(),
            ..g
        })
    }

    /// True when closing would leave a trace (acknowledgements alone do not).
    pub fn has_content(&self) -> bool {
        !self.readings.is_empty()
            || !self.deliveries.is_empty()
            || !self.drops.is_empty()
            || self.messages > 0
    }

    /// Opens the batch if need be: a message of `bytes` came at monotonic `now`.
    pub fn message(&mut self, now: i64, bytes: usize) {
        let gathered = self.gathered.get_or_insert(Gathered {
            opened: now,
            latest: now,
            readings: 0,
            bytes: 0,
            owed: 0,
        });
        gathered.latest = now;
        gathered.bytes += bytes;
    }

    /// Counts a message.
    pub fn count_message(&mut self) {
        self.messages += 1;
    }

    /// Adds a reading; an unknown series becomes a newcomer.
    pub fn reading(
        &mut self,
        engine: &Engine,
        (device, metric): (&str, &str),
        time: EventTime,
        value: Finite,
        dedup: bool,
    ) {
        let series = match engine.registry().get(device, metric) {
            Some(series) if engine.is_fed(series) => {
                self.drops.add(DropReason::Reserved, 1);
                return;
            }
            Some(series) => series,
            None => match self.newcomer(device, metric) {
                Some(series) => series,
                None => {
                    self.drops.add(DropReason::SeriesLimit, 1);
                    return;
                }
            },
        };
        self.readings.push(FrameReading { series, time, value, dedup });
    }

    /// Counts drops.
    pub fn drops(&mut self, drops: &DropCounts) {
        self.drops.merge(drops);
    }

    /// A QoS 1 delivery whose content is in this batch.
    pub fn delivery(&mut self, delivery: Delivery) {
        self.deliveries.push(delivery);
    }

    /// An acknowledgement to send after this batch.
    pub fn owe(&mut self, owed: Owed) {
        self.owed.push(owed);
    }

    /// Acknowledgements owed so far, taken without closing (for a batch with no other content).
    pub fn take_owed(&mut self) -> Vec<Owed> {
        self.gathered = None;
        std::mem::take(&mut self.owed)
    }

    /// Closes the batch into `frame` (which has number and times) and empties the builder.
    pub fn close(&mut self, engine: &Engine, mut frame: Frame) -> (Frame, Vec<Owed>) {
        let mut open = std::mem::take(self);
        frame.messages = open.messages;
        frame.drops = open.drops;
        frame.deliveries = std::mem::take(&mut open.deliveries);
        open.readings.sort_unstable_by_key(FrameReading::canonical);
        if !open.newcomers.is_empty() {
            open.admit(engine, &mut frame);
        }
        engine.plan_joins(&mut frame);
        frame.readings = std::mem::take(&mut open.readings);
        // The next batch will be about as large.
        self.readings.reserve(frame.readings.len());
        (frame, open.owed)
    }

    fn newcomer(&mut self, device: &str, metric: &str) -> Option<SeriesId> {
        let key = (device.to_owned(), metric.to_owned());
        if let Some(&number) = self.newcomer_index.get(&key) {
            return Some(SeriesId(number));
        }
        if self.newcomers.len() >= MAX_NEWCOMERS {
            return None;
        }
        let number = PROVISIONAL + self.newcomers.len() as u32;
        self.newcomers.push(key.clone());
        self.newcomer_index.insert(key, number);
        Some(SeriesId(number))
    }

    fn admit(&mut self, engine: &Engine, frame: &mut Frame) {
        let readings = &self.readings;
        let busy = |series: SeriesId| readings.binary_search_by_key(&series, |r| r.series).is_ok();
        let admissions = engine.admit(&self.newcomers, frame.attended, busy);
        frame.evict = admissions.evict;
        for ((device, metric), slot) in self.newcomers.drain(..).zip(&admissions.slots) {
            if let &Some(series) = slot {
                let kind = UnitKind::Series;
                frame.define.push(Define { series, device, metric, kind });
            }
        }
        let mut refused = 0;
        self.readings.retain_mut(|reading| {
            if reading.series.0 < PROVISIONAL {
                return true;
            }
            match admissions.slots[(reading.series.0 - PROVISIONAL) as usize] {
                Some(series) => {
                    reading.series = series;
                    true
                }
                None => {
                    refused += 1;
                    false
                }
            }
        });
        frame.drops.add(DropReason::SeriesLimit, refused);
        self.readings.sort_unstable_by_key(FrameReading::canonical);
    }
}
