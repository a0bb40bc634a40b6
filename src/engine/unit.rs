//! One unit as the engine holds it: its state, and what is not part of that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::analytics::step::{Plan, UnitCounts, UnitState};
use crate::reading::AttendedTime;

/// When units are to be looked at without readings, by slot.
pub(super) type Timers = BinaryHeap<Reverse<(AttendedTime, u32)>>;

/// One unit with what is not part of its state.
#[derive(Debug)]
pub struct Unit {
    pub(super) state: UnitState,
    pub(super) plan: Arc<Plan>,
    /// Frames up to this batch are in the state.
    pub(super) included: u64,
    /// The batch that defined the series.
    pub(super) defined: u64,
    /// The batch with which the series before left this slot, and the counts of all that left it
    /// since the last checkpoint: until meta includes that batch, only this chunk knows them, since
    /// it has overwritten the others'.
    pub(super) predecessor: Option<Box<(u64, UnitCounts)>>,
    pub(super) dirty: bool,
    /// Its active alarms as they are in the engine's count.
    pub(super) alarms: usize,
    /// The entry in the timer heap; never later than the true deadline.
    pub(super) timer: AttendedTime,
    /// By how many slots its searches come later than those of others that began with it.
    pub(super) stagger: u32,
}

/// Spreads units by their names, the same in every run (a CRC: it only has to scatter).
pub(super) fn stagger(device: &str, metric: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(device.as_bytes());
    hasher.update(&[0]);
    hasher.update(metric.as_bytes());
    hasher.finalize()
}

impl Unit {
    /// The state.
    pub fn state(&self) -> &UnitState {
        &self.state
    }

    /// The settings and constants in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Enters its next deadline into the timer heap, unless an earlier entry is there.
    pub(super) fn enter(&mut self, slot: u32, next: Option<AttendedTime>, timers: &mut Timers) {
        if let Some(deadline) = next
            && deadline < self.timer
        {
            self.timer = deadline;
            timers.push(Reverse((deadline, slot)));
        }
    }
}
