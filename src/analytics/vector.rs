//! A unit that filters several metrics of one device together: the join of their readings into rows,
//! and the filter over the rows.
//!
//! Pure. A row is filtered with what was measured of it, once it is complete or nothing more is
//! awaited: its lateness has passed in event time or in attended time ([`Join`]). The metrics' own
//! series know nothing of it; what goes wrong here (a row beyond the gate, a reading that comes too
//! late) costs them nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::join::Join;
use super::kalman::{VectorFilter, VectorPlan, VectorUpdate, VectorVerdict};
use super::quantile::chi_square_tail;
use super::settings::DeviceVector;
use crate::output::VectorEstimate;
use crate::reading::{AttendedTime, EventTime, Finite};

/// log10 of the return period, in rows, that is a score of 1.
const FULL: f64 = 6.0;

/// The settings of one device's filter with all that can be computed from them once.
#[derive(Clone, Debug)]
pub struct VectorUnitPlan {
    /// The settings.
    pub vector: DeviceVector,
    /// The filter's constants.
    pub filter: VectorPlan,
}

impl VectorUnitPlan {
    /// `None`: the matrices do not fit (the configuration refuses that).
    pub fn new(vector: DeviceVector) -> Option<VectorUnitPlan> {
        let settings = &vector.settings;
        let plan = VectorPlan::new(&settings.custom, settings.gate, settings.initial.as_ref());
        plan.ok().map(|filter| VectorUnitPlan { vector, filter })
    }
}

/// The state of the unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VectorUnit {
    #[serde(rename = "j")]
    join: Join,
    /// `None`: no row yet.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    filter: Option<VectorFilter>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    last: Option<LastRow>,
}

/// The latest row that was filtered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastRow {
    /// Its time.
    #[serde(rename = "t")]
    pub time: EventTime,
    /// Its readings, by metric.
    #[serde(rename = "v")]
    pub values: Vec<Option<Finite>>,
    /// What the filter made of it.
    #[serde(skip)]
    pub update: Option<VectorUpdate>,
}

/// A row with what the filter made of it and its state after.
#[derive(Clone, Debug, PartialEq)]
pub struct FilteredRow {
    /// The row.
    pub row: LastRow,
    /// The state after it.
    pub filter: VectorFilter,
}

/// What became of readings and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows filtered.
    pub rows: u64,
    /// Readings whose row had been filtered already.
    pub late: u64,
    /// Rows beyond the gate.
    pub gated: u64,
    /// Shifts of the state.
    pub shifts: u64,
}

impl VectorUnit {
    /// Takes readings of its metrics, by their place in a row, in event order; filters the rows whose turn
    /// has come. `seen` gets each of them.
    pub fn take(
        &mut self,
        plan: &VectorUnitPlan,
        readings: impl IntoIterator<Item = (usize, EventTime, Finite)>,
        (lateness, deadline): (i64, AttendedTime),
        seen: &mut Option<&mut Vec<FilteredRow>>,
    ) -> RowCounts {
        let mut counts = RowCounts::default();
        for reading in readings {
            if !self.join.take(plan.filter.width(), reading, deadline) {
                counts.late += 1;
                continue;
            }
            for row in self.join.ready(lateness) {
                self.filter(plan, row.time, row.values, &mut counts, seen);
            }
        }
        counts
    }

    /// Filters the rows that have waited until `attended`.
    pub fn due(
        &mut self,
        plan: &VectorUnitPlan,
        attended: AttendedTime,
        seen: &mut Option<&mut Vec<FilteredRow>>,
    ) -> RowCounts {
        let mut counts = RowCounts::default();
        for row in self.join.due(attended) {
            self.filter(plan, row.time, row.values, &mut counts, seen);
        }
        counts
    }

    fn filter(
        &mut self,
        plan: &VectorUnitPlan,
        time: EventTime,
        values: Vec<Option<Finite>>,
        counts: &mut RowCounts,
        seen: &mut Option<&mut Vec<FilteredRow>>,
    ) {
        let filter = self.filter.get_or_insert_with(|| VectorFilter::new(&plan.filter));
        let update = filter.update(&plan.filter, time, &values);
        counts.rows += 1;
        match update.verdict {
            VectorVerdict::Accepted => {}
            VectorVerdict::Gated => counts.gated += 1,
            VectorVerdict::Shift { .. } => counts.shifts += 1,
        }
        let row = LastRow { time, values, update: Some(update) };
        if let Some(seen) = seen {
            seen.push(FilteredRow { row: row.clone(), filter: filter.clone() });
        }
        self.last = Some(row);
    }

    /// Follows a change of settings: with other metrics, F or H it starts anew; other noise, gate
    /// and lateness count from the next row on.
    pub fn change(&mut self, old: Option<&VectorUnitPlan>, new: Option<&VectorUnitPlan>) {
        let model = |plan: Option<&VectorUnitPlan>| {
            let custom = &plan?.vector.settings.custom;
            let (f, h) = (custom.f.clone(), custom.h.clone());
            Some((custom.metrics.clone(), f, h, custom.per_second, custom.step))
        };
        if model(old) != model(new) {
            *self = VectorUnit::default();
        }
        let noise = |plan: Option<&VectorUnitPlan>| {
            let custom = &plan?.vector.settings.custom;
            Some((custom.q.clone(), custom.r.clone()))
        };
        if noise(old) != noise(new)
            && let Some(filter) = &mut self.filter
        {
            filter.forget_health();
        }
    }

    /// The clock stepped back: nothing after `to` can have been measured.
    pub fn rewind(&mut self, to: EventTime) {
        self.join.rewind(to);
        if let Some(filter) = &mut self.filter {
            filter.rewind(to);
        }
        if let Some(last) = &mut self.last {
            last.time = last.time.min(to);
        }
    }

    /// The latest row that was filtered, and the state after it.
    pub fn latest(&self) -> Option<(&LastRow, &VectorFilter)> {
        self.last.as_ref().zip(self.filter.as_ref())
    }

    /// When the next row is filtered without further readings.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.join.next_deadline()
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let row = |values: &Vec<Option<Finite>>| values.capacity() * size_of::<Option<Finite>>();
        self.join.heap_bytes()
            + self.filter.as_ref().map_or(0, VectorFilter::heap_bytes)
            + self.last.as_ref().map_or(0, |last| row(&last.values))
    }
}

/// The estimate after a row.
pub fn estimate(
    (device, metric): (&Arc<str>, &Arc<str>),
    plan: &VectorUnitPlan,
    (row, filter): (&LastRow, &VectorFilter),
    clock_trusted: bool,
) -> VectorEstimate {
    let levels = filter.estimate(&plan.filter);
    let update = row.update.as_ref();
    let nothing = || vec![None; plan.filter.width()];
    VectorEstimate {
        device: device.clone(),
        metric: metric.clone(),
        time: row.time,
        metrics: plan.vector.settings.metrics().to_vec(),
        reading: row.values.iter().map(|value| value.map(Finite::get)).collect(),
        level: levels.iter().map(|of| Some(of.as_ref()?.level)).collect(),
        variance: levels.iter().map(|of| of.as_ref()?.variance).collect(),
        innovation: update.map_or_else(nothing, |update| update.innovations.clone()),
        nis: update.and_then(|update| update.nis),
        dof: update.map_or(0, |update| update.dof),
        unit: plan.vector.units.clone(),
        state: filter.state(),
        covariance: filter.covariance(),
        gated: update.is_some_and(|update| matches!(update.verdict, VectorVerdict::Gated)),
        clock_untrusted: !clock_trusted,
    }
}

/// How anomalous a row is, in [0, 1]: log10 of the return period, in rows, of its normalised
/// innovation squared if the model fits, a sixth of it. 0 where nothing was expected of it.
pub fn score(update: Option<&VectorUpdate>) -> f64 {
    let tail = update.and_then(|update| Some(chi_square_tail(update.nis?, update.dof as u32)));
    tail.map_or(0.0, |tail| (-libm::log10(tail) / FULL).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::settings::{CustomSettings, VectorSettings};
    use crate::reading::SECOND;

    fn plan(f: f64) -> VectorUnitPlan {
        let custom = CustomSettings {
            metrics: vec!["a".into(), "b".into()],
            f: vec![vec![f]],
            h: vec![vec![1.0], vec![1.0]],
            q: vec![vec![0.01]],
            r: vec![vec![1.0, 0.0], vec![0.0, 4.0]],
            ..CustomSettings::default()
        };
        let name = "both".to_owned();
        let settings = VectorSettings { name, custom, gate: 1.0, initial: None };
        VectorUnitPlan::new(DeviceVector { settings, units: vec![None, None] }).unwrap()
    }

    fn at(second: i64) -> EventTime {
        EventTime::clamped(second * SECOND)
    }

    #[test]
    fn rows_are_filtered_with_what_was_measured_of_them() {
        let plan = plan(1.0);
        let (mut unit, mut seen) = (VectorUnit::default(), Vec::new());
        let one = Finite::new(1.0).unwrap();
        let wait = (5 * SECOND, AttendedTime(10 * SECOND));
        let mut take = |unit: &mut VectorUnit, readings: &[(usize, i64)]| {
            let readings = readings.iter().map(|&(input, second)| (input, at(second), one));
            unit.take(&plan, readings, wait, &mut Some(&mut seen))
        };
        assert_eq!(take(&mut unit, &[(0, 1), (1, 1)]).rows, 1);
        assert_eq!(take(&mut unit, &[(0, 2), (0, 3), (1, 3), (1, 2)]).rows, 2);
        assert_eq!(take(&mut unit, &[(1, 4)]), RowCounts::default());
        assert_eq!(take(&mut unit, &[(0, 1)]).late, 1);
        assert_eq!(unit.next_deadline(), Some(AttendedTime(10 * SECOND)));
        let stored = serde_cbor::to_vec(&unit).unwrap();
        let mut back: VectorUnit = crate::cbor::from_slice(&stored).unwrap();
        for unit in [&mut unit, &mut back] {
            assert_eq!(unit.due(&plan, AttendedTime(10 * SECOND), &mut None).rows, 1);
            let (last, filter) = unit.latest().unwrap();
            assert_eq!((last.time, &last.values), (at(4), &vec![None, Some(one)]));
            assert_eq!(last.update.as_ref().unwrap().dof, 1);
            assert!(filter.state().is_some());
        }
        assert_eq!(unit, back);
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn it_goes_on_where_only_noise_changes() {
        let (old, other) = (plan(1.0), plan(0.5));
        let mut unit = VectorUnit::default();
        let one = Finite::new(1.0).unwrap();
        let readings = [(0, at(1), one), (1, at(1), one)];
        unit.take(&old, readings, (0, AttendedTime(0)), &mut None);
        let mut noisy = old.clone();
        noisy.vector.settings.custom.q = vec![vec![7.0]];
        let mut before = unit.clone();
        unit.change(Some(&old), Some(&noisy));
        // But for what was found of the old noise.
        let filter = before.filter.as_mut().unwrap();
        assert_eq!(filter.health().readings, 1);
        filter.forget_health();
        assert_eq!(unit, before);
        unit.change(Some(&noisy), Some(&other));
        assert_eq!(unit, VectorUnit::default());
    }

    #[test]
    fn a_score_is_a_sixth_of_the_return_periods_digits() {
        let update = |nis, dof| VectorUpdate {
            innovations: Vec::new(),
            variances: Vec::new(),
            nis,
            dof,
            loglik: None,
            verdict: VectorVerdict::Accepted,
        };
        assert_eq!(score(None), 0.0);
        assert_eq!(score(Some(&update(None, 0))), 0.0);
        // Two degrees of freedom: the tail is exp(-x/2).
        let nis = 2.0 * 3.0 * std::f64::consts::LN_10;
        assert!((score(Some(&update(Some(nis), 2))) - 0.5).abs() < 1e-12);
        assert_eq!(score(Some(&update(Some(1e300), 3))), 1.0);
        assert_eq!(score(Some(&update(Some(f64::MAX), 1))), 1.0);
    }
}
