//! The core: all units, stepped by frames. `step(state, frame) -> (state, records)`.
//!
//! Pure: no clock, no I/O, no randomness, no hash order. Everything that a step depends on is in
//! the frame or in the state, so replaying the frames gives the same bits.
//!
//! Invariants:
//! - a unit's chunk says through which batch it includes the frames ([`Unit::included`]); older
//!   frames are not applied to it again. Units do not see each other, so chunks may be of different
//!   batches;
//! - what concerns no single unit (configuration, clock, counts) is in [`Meta`], which is of one batch;
//! - units are visited in slot order, so records leave in canonical order;
//! - a unit that a step changed is dirty until its chunk is written.

pub mod admission;
mod change;
mod checkpoint;
mod members;
mod meta;
mod output;
pub mod registry;
mod step;
mod unit;
mod unmade;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::analytics::fit::FitMode;
use crate::analytics::step::{Effects, Origins, Plan, UnitCounts};
use crate::batch::window::Zone;
use crate::reading::{AttendedTime, DropCounts, DropReason, SeriesId};
pub use checkpoint::{Dirty, UnitChunk};
pub use meta::{ConfigError, CoreConfig, Meta};
pub use output::{Detail, FitRequest, StepOutput};
use registry::{Name, Registry};
use unit::Timers;
pub use unit::Unit;
pub use unmade::{Unmade, WhyUnmade};

/// All units.
#[derive(Debug)]
pub struct Engine {
    meta: Meta,
    zone: Zone,
    registry: Registry,
    units: Vec<Option<Unit>>,
    plans: Vec<Arc<Plan>>,
    timers: Timers,
    /// Slots in the order in which they became dirty, with the batch that made them so.
    dirty: VecDeque<(u64, u32)>,
    /// Slots whose stored chunk must go, with the batch at which the series left.
    deleted: BTreeMap<u32, u64>,
    /// Counts of the series that left since the last checkpoint, with the last one's batch, by slot.
    departed: BTreeMap<u32, (u64, UnitCounts)>,
    /// The batch of the last checkpoint's meta: the next checkpoint begins only when it is stored.
    checkpointed: u64,
    /// Active alarms of all units.
    alarms: usize,
    /// Totals over the living units.
    totals: UnitCounts,
    /// Replay met readings of series that it does not know (their chunk was lost).
    orphans: u64,
    fits: FitMode,
    /// Slots of units that other series feed.
    fed: BTreeSet<u32>,
    /// Which of them a series feeds, by its slot.
    routes: BTreeMap<u32, Vec<u32>>,
    effects: Effects,
}

impl Engine {
    /// With nothing stored.
    ///
    /// # Errors
    /// When the time zone is not known.
    pub fn new(config: CoreConfig) -> Result<Engine, ConfigError> {
        Engine::restore(Meta::new(config), [])
    }

    /// What concerns no single unit.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The names in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A unit.
    pub fn unit(&self, series: SeriesId) -> Option<(&Name, &Unit)> {
        let unit = self.units.get(series.0 as usize)?.as_ref()?;
        Some((self.registry.name(series)?, unit))
    }

    /// All units in slot order.
    pub fn units(&self) -> impl Iterator<Item = (SeriesId, &Name, &Unit)> {
        (0..self.units.len() as u32).map(SeriesId).filter_map(|series| {
            let (name, unit) = self.unit(series)?;
            Some((series, name, unit))
        })
    }

    /// Counts of all readings, of series that left too.
    pub fn totals(&self) -> UnitCounts {
        let mut totals = self.meta.retired;
        totals.merge(&self.totals);
        totals
    }

    /// All drops by reason: of frames and of units.
    pub fn drops(&self) -> DropCounts {
        let mut drops = self.meta.drops;
        let totals = self.totals();
        drops.add(DropReason::Invalid, totals.invalid);
        drops.add(DropReason::Future, totals.future);
        drops.add(DropReason::Duplicate, totals.duplicate);
        drops
    }

    /// How many alarms are active.
    pub fn alarms_active(&self) -> usize {
        self.alarms
    }

    /// Forgets what only time could still raise: a recording ended, and its end is no silence.
    pub fn forget_waiting(&mut self) {
        for unit in self.units.iter_mut().flatten() {
            unit.state.forget_waiting();
        }
    }

    /// Readings of unknown series met in replay.
    pub fn orphans(&self) -> u64 {
        self.orphans
    }

    /// After loss of state: batch numbers up to `batch` were used and must not come again.
    pub fn continue_after(&mut self, batch: u64) {
        self.meta.batch = self.meta.batch.max(batch);
    }

    /// When something is due without further input.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.timers.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// From now on each step's output carries its [`Detail`]s (`replay`, tests). Costs a copy of
    /// the filter's state a reading.
    pub fn keep_details(&mut self) {
        self.effects.details = Some(Box::default());
    }

    /// From now on searches run where they arise ([`FitMode::InPlace`]).
    pub fn fit_in_place(&mut self) {
        self.fits = FitMode::InPlace;
    }

    /// Details from now on include the forecasts made at these origins.
    pub fn keep_outlooks(&mut self, origins: Origins) {
        self.keep_details();
        self.effects.origins = Some(origins);
    }
}

#[cfg(test)]
mod tests;
