//! Reads the settings of series: what `[[profile]]` and `[[device]]` tables have in common.

use super::reader::{At, Spot, TableReader};
use crate::analytics::settings::*;
use crate::reading::SECOND;

mod detectors;
mod forecast;
mod kalman;
mod vector;
mod window;

const DAY: i64 = 86_400 * SECOND;
/// Longest season and horizon: EventTime's range leaves room for more.
pub(super) const FAR: i64 = 20 * 366 * DAY;

/// Where keys of a patch stand, by their dotted names.
pub(super) type KeySpots = Vec<(&'static str, Spot)>;

/// What a table sets; the places of the keys that can clash with other tables' go to `spots`.
pub(super) fn patch(r: &TableReader<'_, '_>, spots: &mut KeySpots) -> Patch {
    let mut note = |key: &'static str, spot: &Spot| spots.push((key, spot.clone()));
    let unit = r.text("unit", "\"°C\"").filter(|at| {
        let good = at.value.chars().count() <= 64 && !at.value.contains(char::is_control);
        if !good {
            r.cx.fault(&at.spot, "must have at most 64 characters", "write e.g. \"°C\"");
        }
        good
    });
    let kind = r.choice(
        "kind",
        &[
            ("auto", KindSetting::Auto),
            ("gauge", KindSetting::Gauge),
            ("counter", KindSetting::Counter),
            ("state", KindSetting::State),
        ],
        &[],
    );
    // 1/scale must be finite too.
    let scale_good = |x: f64| (1e-300..=1e300).contains(&x.abs());
    let scale = r.number("scale", scale_good, "a number other than 0", "0.1");
    let offset = r.number("offset", |_| true, "a number", "-40.0");
    let wrap = r.number("wrap", |x| x > 0.0, "more than 0", "4294967296");
    if let Some(at) = &wrap {
        note("wrap", &at.spot);
    }
    let valid = r.numbers("valid", "[-40, 125]").and_then(|at| match at.value.as_slice() {
        [low, high] if low.value < high.value => Some((low.value, high.value)),
        _ => {
            let what = "must be two numbers, the lower one first";
            r.cx.fault(&at.spot, what, "write e.g. [-40, 125]");
            None
        }
    });
    let lateness = r.duration("lateness", 0..=30 * DAY, "5s");
    let hold = r.duration("hold", 0..=30 * DAY, "2s");
    for (key, at) in [("lateness", &lateness), ("hold", &hold)] {
        if let Some(at) = at {
            note(key, &at.spot);
        }
    }
    let (kalman, vector) = kalman::kalman(r, &mut note);
    Patch {
        unit: unit.map(|at| at.value),
        kind: kind.map(|at| at.value),
        scale: scale.map(|at| at.value),
        offset: offset.map(|at| at.value),
        wrap: wrap.map(|at| at.value),
        valid,
        lateness: lateness.map(|at| at.value),
        hold: hold.map(|at| at.value),
        kalman,
        windows: window::windows(r),
        forecast: forecast::forecast(r, &mut note),
        alarms: detectors::detectors(r),
        threshold: None,
        vector,
    }
}

fn numbers(list: Vec<At<f64>>) -> Vec<f64> {
    list.into_iter().map(|at| at.value).collect()
}
