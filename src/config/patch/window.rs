//! Reads `windows = [ … ]`.

use super::super::keys;
use super::super::reader::{At, Spot, TableReader};
use super::super::tree::Value;
use super::{DAY, numbers};
use crate::analytics::settings::*;
use crate::reading::SECOND;

/// Most windows of a series, most quantiles of a window.
const WINDOWS_MAX: usize = 8;
const QUANTILES_MAX: usize = 16;

pub(super) fn windows(r: &TableReader<'_, '_>) -> Option<Vec<WindowSettings>> {
    const EXAMPLE: &str = "[{ size = \"1m\" }]";
    let at = r.any("windows")?;
    let Value::Array(nodes) = &at.value.value else {
        r.wrong(&at, "a list of tables", EXAMPLE);
        return None;
    };
    if !(1..=WINDOWS_MAX).contains(&nodes.len()) {
        let what = "must have 1 to 8 windows";
        r.cx.fault(&at.spot, what, format!("write e.g. {EXAMPLE}"));
    }
    let mut windows: Vec<WindowSettings> = Vec::new();
    for node in nodes {
        let spot = Spot { place: node.place, path: at.spot.path.clone() };
        let element = At { value: node, spot };
        let Some(w) = r.table_of(&element, &keys::WINDOW, "{ size = \"1m\" }") else { continue };
        let Some(window) = window(&w) else { continue };
        if windows.iter().any(|other| other.size == window.size) {
            // Aligned or not, their panes could have equal bounds, and with them one identity.
            let what =
                "another window has this size, and receivers tell panes apart by their bounds";
            r.cx.fault(w.here(), what, "keep one of the two");
        }
        windows.push(window);
    }
    Some(windows)
}

fn window(r: &TableReader<'_, '_>) -> Option<WindowSettings> {
    if !r.has("size") {
        r.missing("size", "\"1m\"");
    }
    let size = r.duration("size", SECOND..=366 * DAY, "1m");
    let align = r.choice("align", &[("epoch", Align::Epoch), ("local", Align::Local)], &[]);
    let align = align.map_or(Align::Epoch, |at| at.value);
    let quantiles = r.numbers("quantiles", "[0.5, 0.95]");
    if let Some(at) = &quantiles {
        let inside = |at: &At<f64>| at.value > 0.0 && at.value < 1.0;
        if let Some(bad) = at.value.iter().find(|at| !inside(at)) {
            let what = "quantiles are probabilities, more than 0 and less than 1";
            r.cx.fault(&bad.spot, what, "write e.g. [0.5, 0.95]; min and max are always there");
        }
        if at.value.len() > QUANTILES_MAX {
            r.cx.fault(&at.spot, "has more than 16 quantiles", "remove some");
        }
    }
    let size = size?;
    if align == Align::Local && size.value % DAY != 0 {
        let what = "a window with align = \"local\" must be whole days";
        r.cx.fault(&size.spot, what, "write e.g. \"1d\", or align = \"epoch\"");
        return None;
    }
    let mut quantiles = quantiles.map(|at| numbers(at.value)).unwrap_or_default();
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    Some(WindowSettings { size: size.value, align, quantiles })
}
