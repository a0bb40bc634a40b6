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
/// Most panes kept for the views of a series, and of these most with a quantile sketch: they are
/// written to flash with each checkpoint of the series.
const VIEW_PANES_MAX: i64 = 288;
const VIEW_SKETCHES_MAX: i64 = 24;

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
        if windows.iter().any(|other| other.pane_size() == window.pane_size()) {
            // Aligned or not, their panes could have equal bounds, and with them one identity.
            let what = if window.slide.is_some() {
                "another window has panes of this slide, and receivers tell panes apart by their bounds"
            } else {
                "another window has this size, and receivers tell panes apart by their bounds"
            };
            r.cx.fault(w.here(), what, "keep one of the two");
        }
        windows.push(window);
    }
    let panes: i64 = windows.iter().map(WindowSettings::view_panes).sum();
    let with_sketch = |w: &&WindowSettings| !w.quantiles.is_empty();
    let sketches: i64 = windows.iter().filter(with_sketch).map(WindowSettings::view_panes).sum();
    if panes > VIEW_PANES_MAX {
        let what = format!(
            "the sliding windows together have {panes} panes (size / slide), at most 288 are kept"
        );
        r.cx.fault(&at.spot, what, "lengthen slide, or shorten size");
    } else if sketches > VIEW_SKETCHES_MAX {
        let what = format!(
            "the sliding windows with quantiles together have {sketches} panes (size / slide), at most 24 are kept"
        );
        r.cx.fault(&at.spot, what, "lengthen slide, shorten size, or remove quantiles");
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
    let slide = r.duration("slide", SECOND..=366 * DAY, "5m");
    let time_weighted = r.boolean("time_weighted");
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
    if let Some(slide) = &slide {
        if slide.value >= size.value || size.value % slide.value != 0 {
            let what = "size must be a whole number (two or more) of slides";
            r.cx.fault(&slide.spot, what, "write e.g. { size = \"1h\", slide = \"5m\" }");
            return None;
        }
        if align == Align::Local && slide.value % DAY != 0 {
            let what = "a window with align = \"local\" must slide by whole days";
            r.cx.fault(&slide.spot, what, "write e.g. { size = \"7d\", slide = \"1d\", align = \"local\" }, or align = \"epoch\"");
            return None;
        }
    }
    let mut quantiles = quantiles.map(|at| numbers(at.value)).unwrap_or_default();
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    Some(WindowSettings {
        size: size.value,
        align,
        quantiles,
        slide: slide.map(|at| at.value),
        time_weighted: time_weighted.is_some_and(|at| at.value),
    })
}
