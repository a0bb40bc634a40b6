//! Who gets a slot when a series is seen for the first time.
//!
//! Pure; decided before the frame is written and recorded in it, so replay does not decide again.
//!
//! While there is room everyone is admitted. When `max_series` is reached, in this order:
//! 1. a series that was never established and has been idle for `evict_idle` goes;
//! 2. a never established series of the device that holds most of them goes, if that device holds
//!    more than the newcomer's would: a flood of names displaces its own;
//! 3. a series idle for `retire_idle` goes (sensors get replaced);
//! 4. otherwise the newcomer is refused and its readings counted as `series_limit`.
//!
//! An established series (50 readings) is thus never evicted for an unproven name.

use std::collections::BTreeMap;

use super::Engine;
use crate::reading::{AttendedTime, SeriesId};

/// Readings after which a series is established.
pub const ESTABLISHED: u64 = 50;
/// Most evictions in one batch; bounds the work that a flood of names can cause.
const MAX_EVICTIONS: usize = 1000;

/// The decision for one batch's newcomers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admissions {
    /// Series that leave.
    pub evict: Vec<SeriesId>,
    /// The slot of each newcomer, in the order given; `None`: refused.
    pub slots: Vec<Option<SeriesId>>,
}

impl Engine {
    /// Decides about `newcomers`, (device, metric) pairs that the registry does not know and that
    /// differ from each other. `busy` says which series have readings in the same batch; those stay.
    pub fn admit(
        &self,
        newcomers: &[(String, String)],
        attended: AttendedTime,
        busy: impl Fn(SeriesId) -> bool,
    ) -> Admissions {
        let mut admissions = Admissions::default();
        if newcomers.is_empty() {
            return admissions;
        }
        let room = self.meta.config.max_series.saturating_sub(self.registry.len());
        let mut free = self.registry.next_slots(newcomers.len().min(room)).into_iter();
        let mut leavers = (newcomers.len() > room).then(|| Leavers::new(self, attended, busy));
        for (device, _) in newcomers {
            let slot = free.next().or_else(|| {
                let leaver = leavers.as_mut()?.next(device)?;
                admissions.evict.push(leaver);
                Some(leaver)
            });
            if slot.is_some()
                && let Some(leavers) = &mut leavers
            {
                *leavers.newcomers.entry(device.clone()).or_default() += 1;
            }
            admissions.slots.push(slot);
        }
        admissions
    }
}

/// Series that may leave, best first within each class.
struct Leavers {
    /// Never established, idle for `evict_idle`: longest idle last.
    idle: Vec<SeriesId>,
    /// Never established, not idle, by device: longest idle last.
    unproven: BTreeMap<String, Vec<SeriesId>>,
    /// Idle for `retire_idle`: longest idle last.
    retired: Vec<SeriesId>,
    /// Newcomers admitted in this batch, by device.
    newcomers: BTreeMap<String, usize>,
    left: usize,
}

impl Leavers {
    fn new(engine: &Engine, attended: AttendedTime, busy: impl Fn(SeriesId) -> bool) -> Leavers {
        let config = &engine.meta.config;
        let mut units: Vec<_> = engine.units().filter(|(series, ..)| !busy(*series)).collect();
        units.sort_by_key(|(series, _, unit)| (std::cmp::Reverse(unit.state.seen()), *series));
        let mut leavers = Leavers {
            idle: Vec::new(),
            unproven: BTreeMap::new(),
            retired: Vec::new(),
            newcomers: BTreeMap::new(),
            left: MAX_EVICTIONS,
        };
        for (series, name, unit) in units {
            if !unit.state.kind_of_unit().is_series() {
                // It goes with its last member.
                continue;
            }
            let idle = attended.0 - unit.state.seen().0;
            let established = unit.state.counts().readings >= ESTABLISHED;
            if !established && idle >= config.evict_idle {
                leavers.idle.push(series);
            } else if !established {
                leavers.unproven.entry(name.device.to_string()).or_default().push(series);
            } else if idle >= config.retire_idle {
                leavers.retired.push(series);
            }
        }
        leavers
    }

    fn next(&mut self, device: &str) -> Option<SeriesId> {
        self.left = self.left.checked_sub(1)?;
        if let Some(series) = self.idle.pop() {
            return Some(series);
        }
        let own = self.unproven.get(device).map_or(0, Vec::len)
            + self.newcomers.get(device).copied().unwrap_or(0);
        let most =
            self.unproven.iter().max_by_key(|(name, all)| (all.len(), std::cmp::Reverse(*name)));
        if let Some((name, all)) = most
            && (all.len() > own + 1 || (name == device && !all.is_empty()))
        {
            let name = name.clone();
            return self.unproven.get_mut(&name).and_then(Vec::pop);
        }
        self.retired.pop()
    }
}
