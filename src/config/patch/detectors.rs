//! Reads `alarms = { … }`.

use super::super::keys;
use super::super::reader::TableReader;
use super::super::tree::Value;
use super::DAY;
use crate::analytics::settings::DetectorPatch;

pub(super) fn detectors(r: &TableReader<'_, '_>) -> DetectorPatch {
    if let Some(at) = r.any("alarms")
        && let Value::Boolean(all) = at.value.value
    {
        let all = Some(all);
        return DetectorPatch {
            outlier: all,
            level_shift: all,
            residual: all,
            stuck: all,
            gap: all,
            drift: all,
            repeat_after: None,
        };
    }
    let Some(r) = r.table("alarms", &keys::ALARMS) else { return DetectorPatch::default() };
    let flag = |key| r.boolean(key).map(|at| at.value);
    DetectorPatch {
        outlier: flag("outlier"),
        level_shift: flag("level_shift"),
        residual: flag("residual"),
        stuck: flag("stuck"),
        gap: flag("gap"),
        drift: flag("drift"),
        repeat_after: r.duration("repeat_after", 0..=30 * DAY, "1h").map(|at| at.value),
    }
}
