//! Reads `[[alarm]]` tables: limits, and when crossing them is an alarm.

use super::reader::{At, Spot, TableReader};
use crate::analytics::alarm::Severity;
use crate::analytics::settings::{DETECTOR_NAMES, Layer, THRESHOLDS_MAX, ThresholdSettings};
use crate::reading::SECOND;

const DAY: i64 = 86_400 * SECOND;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The alarm that a table describes; `metric`: the globs that its metrics match.
pub(super) fn alarm(r: &TableReader<'_, '_>, metric: &[String]) -> Option<ThresholdSettings> {
    let any = |_: f64| true;
    let above = r.number("above", any, "a number", "80.0");
    let below = r.number("below", any, "a number", "5.0");
    let clear_above = r.number("clear_above", any, "a number", "7.0");
    let clear_below = r.number("clear_below", any, "a number", "78.0");
    let hold = r.duration("hold", 0..=30 * DAY, "5m");
    let within = r.duration("within", SECOND..=366 * DAY, "2h");
    let repeat_after = r.duration("repeat_after", 0..=30 * DAY, "1h");
    let severity = r.choice(
        "severity",
        &[
            ("warning", Severity::Warning),
            ("info", Severity::Info),
            ("critical", Severity::Critical),
        ],
        &[],
    );
    let name = name(r);
    if !r.has("above") && !r.has("below") {
        r.missing("above", "80.0 (or below = 5.0)");
        return None;
    }
    limits(r, &above, &below, &clear_above, &clear_below);
    let value = |at: &Option<At<f64>>| at.as_ref().map(|at| at.value);
    let (above, below) = (value(&above), value(&below));
    Some(ThresholdSettings {
        name: name.unwrap_or_else(|| default_name(above, below, metric)),
        above,
        below,
        clear_above: value(&clear_above),
        clear_below: value(&clear_below),
        hold: hold.map_or(0, |at| at.value),
        within: within.map(|at| at.value),
        repeat_after: repeat_after.map_or(0, |at| at.value),
        severity: severity.map_or(Severity::Warning, |at| at.value),
    })
}

/// The kind, and the metric where it is a single one: `temperature-above`, `outside`.
fn default_name(above: Option<f64>, below: Option<f64>, metric: &[String]) -> String {
    let kind = match (above, below) {
        (Some(_), Some(_)) => "outside",
        (None, _) => "below",
        _ => "above",
    };
    match metric {
        [metric] if !metric.contains(['*', '?']) && metric.len() + 8 <= NAME_BYTES_MAX => {
            format!("{metric}-{kind}")
        }
        _ => kind.to_owned(),
    }
}

fn name(r: &TableReader<'_, '_>) -> Option<String> {
    let at = r.text("name", "\"too-hot\"")?;
    let (name, mend) = (at.value.as_str(), "write e.g. \"too-hot\"");
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.contains(char::is_control) {
        r.cx.fault(&at.spot, "must have 1 to 128 bytes, no control characters", mend);
    } else if DETECTOR_NAMES.contains(&name) {
        r.cx.fault(&at.spot, "is the name of a built-in alarm", mend);
    } else {
        return Some(at.value);
    }
    None
}

/// The limits must leave values at which the alarm begins, and some at which it ends.
fn limits(
    r: &TableReader<'_, '_>,
    above: &Option<At<f64>>,
    below: &Option<At<f64>>,
    clear_above: &Option<At<f64>>,
    clear_below: &Option<At<f64>>,
) {
    if let (Some(above), Some(below)) = (above, below)
        && below.value >= above.value
    {
        let what = "must be less than above: between the two nothing is wrong";
        r.cx.fault(&below.spot, what, "write e.g. above = 80.0, below = 5.0");
        return;
    }
    for (clear, limit, key, fits) in [
        (clear_below, above, "above", (|clear, limit| clear <= limit) as fn(f64, f64) -> bool),
        (clear_above, below, "below", |clear, limit| clear >= limit),
    ] {
        let Some(clear) = clear else { continue };
        match limit {
            None if r.has(key) => {}
            None => {
                let what = format!("ends an alarm that {key} begins, and there is no {key}");
                r.cx.fault(&clear.spot, what, format!("write {key} too, or remove it"));
            }
            Some(limit) if !fits(clear.value, limit.value) => {
                let side = if key == "above" { "at most" } else { "at least" };
                let what = format!("must be {side} {key}: the alarm ends on the way back");
                r.cx.fault(&clear.spot, what, format!("write e.g. {:?}", limit.value));
            }
            Some(_) => {}
        }
    }
    let (Some(above), Some(below)) = (above, below) else { return };
    let high = clear_below.as_ref().unwrap_or(above);
    let low = clear_above.as_ref().unwrap_or(below);
    if low.value > high.value {
        let at = clear_above.as_ref().unwrap_or(high);
        let what = "leaves no value at which the alarm ends: clear_above is more than clear_below";
        r.cx.fault(&at.spot, what, "lower clear_above or raise clear_below");
    }
}

/// An alarm's layer and where its table and its name are.
pub(super) struct Placed<'p> {
    pub layer: &'p Layer,
    pub spot: &'p Spot,
}

/// Alarms that a series would have under one name, and more than a series can have.
pub(super) fn check(root: &TableReader<'_, '_>, alarms: &[Placed<'_>]) {
    let name = |layer: &Layer| layer.patch.threshold.as_ref().map(|t| t.name.clone());
    for (i, this) in alarms.iter().enumerate() {
        let earlier = &alarms[..i];
        let mine = name(this.layer);
        let mut like = earlier.iter().filter(|other| name(other.layer) == mine);
        if like.any(|other| other.layer.meets(this.layer)) {
            let what = format!(
                "another [[alarm]] that meets the same series is called \"{}\" too",
                mine.unwrap_or_default()
            );
            root.cx.fault_bare(this.spot, what, "give each a name of its own: name = \"too-hot\"");
        }
        let all = earlier.iter().filter(|other| other.layer.covers(this.layer)).count();
        if all == THRESHOLDS_MAX {
            let what = format!("a series can have {THRESHOLDS_MAX} of them, these have more");
            root.cx.fault_bare(this.spot, what, "narrow their match, or remove some");
        }
    }
}
