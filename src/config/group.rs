//! Reads `[[group]]` tables.

use std::collections::BTreeSet;

use super::keys;
use super::profile::matches;
use super::reader::{At, TableReader};
use crate::analytics::settings::{DeriveSettings, GroupSettings, KEY, Layer, glob_meets};

/// Most groups; each new series is matched against all of them.
const GROUPS_MAX: usize = 100;
/// Longest name of a device, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// All groups, in file order.
pub(super) fn groups(
    root: &TableReader<'_, '_>,
    layers: &[Layer],
    derives: &[DeriveSettings],
) -> Vec<GroupSettings> {
    let mut groups = Vec::new();
    let mut names = BTreeSet::new();
    for r in root.sections("group", &keys::GROUP) {
        let (device, metric) = matches(&r);
        let by = by(&r);
        if !r.has("name") {
            r.missing("name", "\"boilers\"");
        }
        let name = r.text("name", "\"boilers\"").filter(|at| is_good(&r, at, by.is_some()));
        let estimate = r.boolean("estimate").is_some_and(|at| at.value);
        let forecast = r.boolean("forecast").is_some_and(|at| at.value);
        let Some(name) = name else { continue };
        if let Some(layer) = layers.iter().find(|layer| is_device(layer, &name.value)) {
            let what = format!("is a device's name too: {}", layer.origin);
            let mend = "rename one of the two; for the group's settings write a [[profile]] that matches it";
            r.cx.fault(&name.spot, what, mend);
        }
        if !names.insert(name.value.clone()) {
            let what = "another [[group]] has this name";
            r.cx.fault(&name.spot, what, "join the two: match takes lists of globs");
        }
        if groups.len() == GROUPS_MAX {
            r.cx.fault_bare(
                r.here(),
                "more than 100 groups",
                "split devices by name: by = \"{key}-*\"",
            );
        }
        if let Some(derive) = derives.iter().find(|derive| is_asked_for(derive, &device, &metric)) {
            let made = &derive.name;
            r.cx.warn_at(
                &name.spot,
                &format!(
                    "has no {made} of devices where a [[derive]] computes {made}: a group counts readings"
                ),
            );
        }
        let name = name.value;
        groups.push(GroupSettings { name, device, metric, by, estimate, forecast });
    }
    groups
}

/// Whether a group names the metric that is computed, for devices that may have it.
fn is_asked_for(derive: &DeriveSettings, device: &[String], metric: &[String]) -> bool {
    metric.contains(&derive.name)
        && device.iter().any(|a| derive.device.iter().any(|b| glob_meets(a, b)))
}

/// Whether the layer is of a `[[device]]` with this id.
fn is_device(layer: &Layer, id: &str) -> bool {
    layer.origin.contains("[[device]]") && layer.device.iter().all(|device| device == id)
}

fn by(r: &TableReader<'_, '_>) -> Option<String> {
    let at = r.text("by", "\"{key}-*\"")?;
    if at.value.len() > NAME_BYTES_MAX || at.value.matches(KEY).count() != 1 {
        let what =
            "must be a glob with {key} for the part of the device's name that tells its group";
        r.cx.fault(&at.spot, what, "write e.g. \"{key}-*\"");
        return None;
    }
    Some(at.value)
}

fn is_good(r: &TableReader<'_, '_>, at: &At<String>, has_key: bool) -> bool {
    let (name, keys) = (&at.value, at.value.matches(KEY).count());
    let mend = if has_key { "write e.g. \"hall {key}\"" } else { "write e.g. \"boilers\"" };
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.contains(char::is_control) {
        r.cx.fault(&at.spot, "must have 1 to 256 bytes, no control characters", mend);
    } else if has_key && keys != 1 {
        r.cx.fault(&at.spot, "must contain {key}: by tells the groups apart by it", mend);
    } else if !has_key && keys > 0 {
        r.cx.fault(&at.spot, "contains {key}, and there is no by", "write e.g. by = \"{key}-*\"");
    } else {
        return true;
    }
    false
}
