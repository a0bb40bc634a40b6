//! Reads `[[derive]]` tables.

use super::keys;
use super::profile::globs;
use super::reader::{At, TableReader};
use crate::analytics::derive::Expression;
use crate::analytics::settings::{DeriveSettings, glob_meets};
use crate::reading::SECOND;

/// Most of them; each new series is matched against all.
const DERIVES_MAX: usize = 100;
const DAY: i64 = 86_400 * SECOND;
/// Longest name of a metric, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// All, in file order.
pub(super) fn derives(root: &TableReader<'_, '_>) -> Vec<DeriveSettings> {
    let mut derives: Vec<DeriveSettings> = Vec::new();
    for r in root.sections("derive", &keys::DERIVE) {
        let device = globs(&r, "device").unwrap_or_else(|| vec!["*".to_owned()]);
        let max_age = r.duration("max_age", 0..=30 * DAY, "1m").map_or(60 * SECOND, |at| at.value);
        for (key, example) in [("name", "\"power\""), ("expression", "\"voltage * current\"")] {
            if !r.has(key) {
                r.missing(key, example);
            }
        }
        let name = r.text("name", "\"power\"").filter(|at| is_good(&r, at));
        let expression = expression(&r, name.as_ref());
        let (Some(name), Some(expression)) = (name, expression) else { continue };
        let meets = |other: &DeriveSettings| {
            other.name == name.value
                && other.device.iter().any(|a| device.iter().any(|b| glob_meets(a, b)))
        };
        if derives.iter().any(meets) {
            let what = "another [[derive]] makes this metric for the same devices";
            r.cx.fault(&name.spot, what, "rename one of the two, or narrow their device");
        }
        if derives.len() == DERIVES_MAX {
            let what = "more than 100 derived metrics";
            r.cx.fault_bare(r.here(), what, "join those that only differ in device");
        }
        derives.push(DeriveSettings { name: name.value, device, expression, max_age });
    }
    derives
}

fn is_good(r: &TableReader<'_, '_>, at: &At<String>) -> bool {
    let name = &at.value;
    let good = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    if !good {
        let what = "must have 1 to 256 bytes, no control characters";
        r.cx.fault(&at.spot, what, "write e.g. \"power\"");
    }
    good
}

fn expression(r: &TableReader<'_, '_>, name: Option<&At<String>>) -> Option<String> {
    let at = r.text("expression", "\"voltage * current\"")?;
    match Expression::parse(&at.value) {
        Ok(parsed) if name.is_some_and(|name| parsed.inputs().contains(&name.value)) => {
            let what = "names the metric that it makes";
            r.cx.fault(&at.spot, what, "use other metrics only");
        }
        Ok(_) => return Some(at.value),
        Err(why) => {
            let what = format!("cannot be read: {why}");
            let mend = "write e.g. \"voltage * current\"; {…} around names that are no words";
            r.cx.fault(&at.spot, what, mend);
        }
    }
    None
}
