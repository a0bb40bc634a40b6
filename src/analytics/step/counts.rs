//! What is counted of one series.

use serde::{Deserialize, Serialize};

/// Counts of one series since it came; the totals are their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounts {
    /// Readings, whatever became of them.
    #[serde(rename = "r")]
    pub readings: u64,
    /// Dropped: outside `valid`.
    #[serde(rename = "i")]
    pub invalid: u64,
    /// Dropped: too far ahead of the clock.
    #[serde(rename = "f")]
    pub future: u64,
    /// Dropped: repeated by the device.
    #[serde(rename = "d")]
    pub duplicate: u64,
    /// Counted in panes but skipped by the filter, being behind it.
    #[serde(rename = "u")]
    pub unordered: u64,
    /// Rejected by the gate.
    #[serde(rename = "o")]
    pub outliers: u64,
    /// Level shifts.
    #[serde(rename = "s")]
    pub shifts: u64,
    /// Readings forgotten by duplicate recognition because the series is too fast for its bound.
    #[serde(rename = "g")]
    pub forgotten: u64,
}

impl UnitCounts {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &UnitCounts) {
        self.readings += other.readings;
        self.invalid += other.invalid;
        self.future += other.future;
        self.duplicate += other.duplicate;
        self.unordered += other.unordered;
        self.outliers += other.outliers;
        self.shifts += other.shifts;
        self.forgotten += other.forgotten;
    }

    /// What was counted after `before`.
    pub fn since(&self, before: &UnitCounts) -> UnitCounts {
        UnitCounts {
            readings: self.readings - before.readings,
            invalid: self.invalid - before.invalid,
            future: self.future - before.future,
            duplicate: self.duplicate - before.duplicate,
            unordered: self.unordered - before.unordered,
            outliers: self.outliers - before.outliers,
            shifts: self.shifts - before.shifts,
            forgotten: self.forgotten - before.forgotten,
        }
    }
}
