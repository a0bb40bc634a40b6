//! Reads `kalman = { … }` with several metrics: a filter over all of them.

use super::super::reader::{At, Spot, TableReader};
use crate::analytics::settings::*;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// What stands between the metrics in a name that is not given.
const BETWEEN: &str = ",";
/// Keys of filters over a single series.
const OTHERS: [&str; 7] =
    ["observation_sd", "level_sd", "trend_sd", "acceleration_sd", "tau", "mean", "outliers"];

/// The filter; its metrics' spot goes to `note`.
pub(super) fn vector(
    r: &TableReader<'_, '_>,
    model: Option<KalmanModel>,
    custom: Option<At<CustomSettings>>,
    gate: Option<f64>,
    initial: Option<At<KalmanInitial>>,
    note: &mut impl FnMut(&'static str, &Spot),
) -> Option<VectorSettings> {
    let At { value: custom, spot } = custom?;
    if model != Some(KalmanModel::Custom) {
        let mend = "write model = \"custom\" in the same table";
        r.cx.fault(&spot, "needs model = \"custom\" beside it", mend);
        return None;
    }
    for key in OTHERS.into_iter().filter(|key| r.has(key)) {
        if let Some(at) = r.any(key) {
            let what =
                "has no meaning for a filter over several metrics, whose noise is in Q and R";
            r.cx.fault(
                &at.spot,
                what,
                "remove it; for the series themselves write another [[profile]]",
            );
        }
    }
    let name = match r.text("name", "\"motion\"") {
        None => custom.metrics.join(BETWEEN),
        Some(at) => {
            let is_good = (1..=NAME_BYTES_MAX).contains(&at.value.len())
                && !at.value.contains(char::is_control);
            if !is_good {
                let what = "must have 1 to 256 bytes, no control characters";
                r.cx.fault(&at.spot, what, "write e.g. \"motion\"");
            } else if custom.metrics.contains(&at.value) {
                let what = "is one of its metrics, whose own estimates stand under that name";
                r.cx.fault(&at.spot, what, "write another name, e.g. \"motion\"");
            }
            at.value
        }
    };
    let states = custom.states();
    if let Some(at) = initial.as_ref().filter(|at| at.value.state.len() != states) {
        let what =
            format!("has {} number(s) in state, F has {states} row(s)", at.value.state.len());
        r.cx.fault(&at.spot, what, "give as many numbers as F has rows");
        return None;
    }
    note("kalman.metrics", &spot);
    Some(VectorSettings {
        name,
        custom,
        gate: gate.unwrap_or(KalmanSettings::default().gate),
        initial: initial.map(|at| at.value),
    })
}
