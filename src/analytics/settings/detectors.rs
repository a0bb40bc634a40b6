//! Settings of the statistical detectors, what a table sets of them, and their merge.

use serde::{Deserialize, Serialize};

use super::HOUR;
use super::layer::set;

/// Which statistical detectors watch a series, and how often one may repeat itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectorSettings {
    /// A reading far out in the series' own tail.
    pub outlier: bool,
    /// A level that has jumped.
    pub level_shift: bool,
    /// Slot means that the forecast does not allow.
    pub residual: bool,
    /// A value that no longer moves.
    pub stuck: bool,
    /// Readings that no longer come.
    pub gap: bool,
    /// A level that creeps away over days.
    pub drift: bool,
    /// For how long an alarm that has ended must not begin again; nanoseconds, ≥ 0.
    pub repeat_after: i64,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        DetectorSettings {
            outlier: true,
            level_shift: true,
            residual: true,
            stuck: true,
            gap: true,
            drift: true,
            repeat_after: HOUR,
        }
    }
}

/// What a table sets of [`DetectorSettings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectorPatch {
    /// See [`DetectorSettings::outlier`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<bool>,
    /// See [`DetectorSettings::level_shift`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_shift: Option<bool>,
    /// See [`DetectorSettings::residual`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<bool>,
    /// See [`DetectorSettings::stuck`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<bool>,
    /// See [`DetectorSettings::gap`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<bool>,
    /// See [`DetectorSettings::drift`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<bool>,
    /// See [`DetectorSettings::repeat_after`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_after: Option<i64>,
}

impl DetectorSettings {
    /// None of them.
    pub const NONE: DetectorSettings = DetectorSettings {
        outlier: false,
        level_shift: false,
        residual: false,
        stuck: false,
        gap: false,
        drift: false,
        repeat_after: 0,
    };

    pub(super) fn apply(&mut self, patch: &DetectorPatch) {
        set(&mut self.outlier, &patch.outlier);
        set(&mut self.level_shift, &patch.level_shift);
        set(&mut self.residual, &patch.residual);
        set(&mut self.stuck, &patch.stuck);
        set(&mut self.gap, &patch.gap);
        set(&mut self.drift, &patch.drift);
        set(&mut self.repeat_after, &patch.repeat_after);
    }
}
