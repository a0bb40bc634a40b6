//! What a checkpoint takes of the units, and units from what was stored.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use serde::{Deserialize, Serialize};

use super::registry::Registry;
use super::unit::stagger;
use super::{ConfigError, Engine, Meta, Unit};
use crate::analytics::fit::FitMode;
use crate::analytics::step::{Effects, UnitCounts, UnitState};
use crate::batch::window::Zone;
use crate::reading::{AttendedTime, SeriesId};

/// A unit as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitChunk {
    /// Device name.
    #[serde(rename = "n")]
    pub device: String,
    /// Metric name.
    #[serde(rename = "m")]
    pub metric: String,
    /// The batch that defined the series.
    #[serde(rename = "b")]
    pub defined: u64,
    /// The batch with which the series before left the slot, and the counts of all that left it
    /// since the checkpoint before.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Box<(u64, UnitCounts)>>,
    /// The state.
    #[serde(rename = "s")]
    pub state: UnitState,
}

/// [`UnitChunk`] without copying.
#[derive(Serialize)]
struct UnitChunkRef<'a> {
    #[serde(rename = "n")]
    device: &'a str,
    #[serde(rename = "m")]
    metric: &'a str,
    #[serde(rename = "b")]
    defined: u64,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    predecessor: &'a Option<Box<(u64, UnitCounts)>>,
    #[serde(rename = "s")]
    state: &'a UnitState,
}

/// What a checkpoint writes.
#[derive(Clone, Debug)]
pub struct Dirty {
    /// The batch that the chunks include.
    pub batch: u64,
    /// [`UnitChunk`]s as CBOR.
    pub chunks: Vec<(SeriesId, Vec<u8>)>,
    /// Slots whose chunk goes.
    pub deleted: Vec<SeriesId>,
}

impl Engine {
    /// From what was stored: meta and chunks, each with the batch that it includes.
    ///
    /// # Errors
    /// When the time zone is not known.
    pub fn restore(
        meta: Meta,
        chunks: impl IntoIterator<Item = (SeriesId, u64, UnitChunk)>,
    ) -> Result<Engine, ConfigError> {
        let zone = Zone::get(&meta.config.time_zone).map_err(ConfigError)?;
        let mut engine = Engine {
            checkpointed: meta.batch,
            meta,
            zone,
            registry: Registry::default(),
            units: Vec::new(),
            plans: Vec::new(),
            timers: BinaryHeap::new(),
            dirty: VecDeque::new(),
            deleted: BTreeMap::new(),
            departed: BTreeMap::new(),
            alarms: 0,
            totals: UnitCounts::default(),
            orphans: 0,
            fits: FitMode::default(),
            fed: BTreeSet::new(),
            routes: BTreeMap::new(),
            effects: Effects::default(),
        };
        for (series, included, chunk) in chunks {
            let kind = chunk.state.kind_of_unit();
            let plan = engine.plan_for(kind, &chunk.device, &chunk.metric);
            if kind.is_series() {
                engine.totals.merge(chunk.state.counts());
            }
            engine.registry.insert(series, &chunk.device, &chunk.metric);
            let alarms = chunk.state.alarms().len();
            engine.alarms += alarms;
            engine.put(
                series,
                Unit {
                    state: chunk.state,
                    plan,
                    included,
                    defined: chunk.defined,
                    predecessor: chunk.predecessor,
                    dirty: false,
                    alarms,
                    timer: AttendedTime(i64::MAX),
                    stagger: stagger(&chunk.device, &chunk.metric),
                },
            );
            engine.schedule(series.0);
        }
        engine.reroute();
        Ok(engine)
    }

    /// How many units are dirty.
    pub fn dirty_units(&self) -> usize {
        self.dirty.len() + self.deleted.len()
    }

    /// The oldest batch whose frame is still needed to rebuild a unit; `None`: none is dirty.
    pub fn oldest_dirty(&self) -> Option<u64> {
        let dirty = self.dirty.front().map(|&(batch, _)| batch);
        let deleted = self.deleted.values().copied().min();
        match (dirty, deleted) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes up to `limit` of the units that have been dirty longest, as chunks of the present
    /// batch, and all slots whose chunk must go. The units count as clean from here on: if the
    /// chunks cannot be written, the process must end and recover.
    pub fn take_dirty(&mut self, limit: usize) -> Dirty {
        let count = limit.min(self.dirty.len());
        let slots: Vec<u32> = self.dirty.drain(..count).map(|(_, slot)| slot).collect();
        let mut chunks = Vec::with_capacity(slots.len());
        for slot in slots {
            let series = SeriesId(slot);
            let Some(name) = self.registry.name(series).cloned() else { continue };
            let Some(Some(unit)) = self.units.get_mut(slot as usize) else { continue };
            unit.dirty = false;
            let chunk = UnitChunkRef {
                device: &name.device,
                metric: &name.metric,
                defined: unit.defined,
                predecessor: &unit.predecessor,
                state: &unit.state,
            };
            // A plain tree of numbers and texts: encoding cannot fail.
            chunks.push((series, serde_cbor::to_vec(&chunk).unwrap_or_default()));
        }
        let deleted = std::mem::take(&mut self.deleted);
        self.departed.clear();
        self.checkpointed = self.meta.batch;
        let written: Vec<u32> = chunks.iter().map(|(series, _)| series.0).collect();
        let deleted =
            deleted.into_keys().filter(|slot| !written.contains(slot)).map(SeriesId).collect();
        Dirty { batch: self.meta.batch, chunks, deleted }
    }

    /// Every unit's stored form, in slot order: what bit-equality is judged by.
    pub fn image(&self) -> Vec<(SeriesId, Vec<u8>)> {
        self.units()
            .map(|(series, name, unit)| {
                let chunk = UnitChunkRef {
                    device: &name.device,
                    metric: &name.metric,
                    defined: unit.defined,
                    predecessor: &None,
                    state: &unit.state,
                };
                (series, serde_cbor::to_vec(&chunk).unwrap_or_default())
            })
            .collect()
    }
}
