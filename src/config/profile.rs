//! Reads `[[profile]]`, `[[device]]` and `[[alarm]]` into layers, and checks where they meet.

use std::collections::BTreeSet;

use super::alarm;
use super::keys;
use super::patch::{KeySpots, patch};
use super::reader::{At, Spot, TableReader};
use crate::analytics::settings::*;

/// Most layers; each new series is matched against all of them.
const LAYERS_MAX: usize = 20_000;
/// Most globs of a match, and their longest.
const GLOBS_MAX: usize = 1000;
const GLOB_BYTES_MAX: usize = 256;

/// A layer, where its table is, and where its keys are.
struct Placed {
    layer: Layer,
    here: Spot,
    spots: KeySpots,
}

/// Most `[[alarm]]` tables: each is compared with those of its name.
const ALARMS_MAX: usize = 1000;

/// All layers: profiles in order, then devices in order, then alarms in order.
pub(super) fn layers(root: &TableReader<'_, '_>, derives: &[DeriveSettings]) -> Vec<Layer> {
    let mut placed = Vec::new();
    for r in root.sections("profile", &keys::PROFILE) {
        let (device, metric) = matches(&r);
        let mut spots = Vec::new();
        let patch = patch(&r, &mut spots);
        placed.push(place(&r, r.here(), device, metric, patch, spots));
    }
    let mut ids = BTreeSet::new();
    for r in root.sections("device", &keys::DEVICE) {
        device(&r, &mut ids, &mut placed);
    }
    let alarms = placed.len();
    for r in root.sections("alarm", &keys::ALARM) {
        let (device, metric) = matches(&r);
        let patch = Patch { threshold: alarm::alarm(&r, &metric), ..Patch::default() };
        placed.push(place(&r, r.here(), device, metric, patch, Vec::new()));
    }
    check_alarms(root, &placed[alarms..]);
    for p in &placed {
        check_vector(root, p, derives);
    }
    if let Some(extra) = placed.get(LAYERS_MAX) {
        root.cx.fault_bare(
            &extra.here,
            "more than 20000 profiles and devices",
            "join devices with equal settings into [[profile]] tables with lists of names",
        );
    } else {
        check_meetings(root, &placed);
    }
    placed.into_iter().map(|p| p.layer).collect()
}

fn check_alarms(root: &TableReader<'_, '_>, placed: &[Placed]) {
    if let Some(extra) = placed.get(ALARMS_MAX) {
        let mend = "join alarms of equal limits: match takes lists of globs";
        root.cx.fault_bare(&extra.here, "more than 1000 [[alarm]] tables", mend);
        return;
    }
    let alarms: Vec<alarm::Placed<'_>> =
        placed.iter().map(|p| alarm::Placed { layer: &p.layer, spot: &p.here }).collect();
    alarm::check(root, &alarms);
}

/// The metrics of a filter over several must be read, and its name must be free.
fn check_vector(root: &TableReader<'_, '_>, placed: &Placed, derives: &[DeriveSettings]) {
    let Placed { layer, spots, .. } = placed;
    let spot = spots.iter().find(|(key, _)| *key == "kalman.metrics");
    let (Some(vector), Some((_, spot))) = (&layer.patch.vector, spot) else { return };
    let matched = |metric: &String| layer.metric.iter().any(|glob| glob_matches(glob, metric));
    if let Some(metric) = vector.metrics().iter().find(|metric| !matched(metric)) {
        let what = format!("has {metric:?}, which the table does not match");
        let mend =
            "write it in a [[profile]] that matches all of them, e.g. match = { device = \"*\" }";
        root.cx.fault(spot, what, mend);
    }
    let meets = |derive: &&DeriveSettings| {
        derive.device.iter().any(|a| layer.device.iter().any(|b| glob_meets(a, b)))
    };
    for derive in derives.iter().filter(meets) {
        if vector.metrics().contains(&derive.name) {
            let what = format!("has {:?}, which a [[derive]] computes", derive.name);
            root.cx.fault(spot, what, "name metrics that are read");
        } else if vector.name == derive.name {
            let what = format!("makes {:?}, as a [[derive]] does", vector.name);
            root.cx.fault(spot, what, "give one of the two another name");
        }
    }
}

fn place(
    r: &TableReader<'_, '_>,
    here: &Spot,
    device: Vec<String>,
    metric: Vec<String>,
    patch: Patch,
    spots: KeySpots,
) -> Placed {
    let (line, _) = r.cx.sources.line_column(here.place);
    let origin = format!("{}:{line} {}", r.cx.sources.short_name(here.place), here.path);
    Placed { layer: Layer { origin, device, metric, patch }, here: here.clone(), spots }
}

pub(super) fn matches(r: &TableReader<'_, '_>) -> (Vec<String>, Vec<String>) {
    let all = || vec!["*".to_owned()];
    if !r.has("match") {
        r.missing("match", "{ device = \"*\", metric = \"temperature\" }");
    }
    let Some(m) = r.table("match", &keys::MATCH) else { return (all(), all()) };
    (globs(&m, "device").unwrap_or_else(all), globs(&m, "metric").unwrap_or_else(all))
}

pub(super) fn globs(r: &TableReader<'_, '_>, key: &'static str) -> Option<Vec<String>> {
    let list = r.texts(key, "\"*\"")?;
    let fits = |at: &At<String>| (1..=GLOB_BYTES_MAX).contains(&at.value.len());
    if !(1..=GLOBS_MAX).contains(&list.value.len()) || !list.value.iter().all(fits) {
        let what = "must be 1 to 1000 globs of 1 to 256 bytes: anything else matches nothing";
        r.cx.fault(&list.spot, what, "write e.g. \"*\" or [\"boiler-*\", \"pump-?\"]");
        return None;
    }
    Some(list.value.into_iter().map(|at| at.value).collect())
}

fn device(r: &TableReader<'_, '_>, ids: &mut BTreeSet<String>, placed: &mut Vec<Placed>) {
    if !r.has("id") {
        r.missing("id", "\"boiler-3\"");
    }
    let id = r.text("id", "\"boiler-3\"").filter(|at| literal(r, &at.spot, &at.value));
    if let Some(at) = &id
        && !ids.insert(at.value.clone())
    {
        let what = "another [[device]] has this id";
        r.cx.fault(&at.spot, what, "join the two tables");
    }
    let device = vec![id.map(|at| at.value).unwrap_or_default()];
    let mut spots = Vec::new();
    let shared = patch(r, &mut spots);
    if shared != Patch::default() {
        placed.push(place(r, r.here(), device.clone(), vec!["*".to_owned()], shared, spots));
    }
    let example = "metric.temperature.lateness = \"5s\"";
    for (name, at) in r.dictionary("metric", example).map(|d| d.value).unwrap_or_default() {
        let Some(m) = r.table_of(&at, &keys::DEVICE_METRIC, "{ lateness = \"5s\" }") else {
            continue;
        };
        if !literal(r, &at.spot, name) {
            continue;
        }
        let mut spots = Vec::new();
        let patch = patch(&m, &mut spots);
        placed.push(place(r, &at.spot, device.clone(), vec![name.to_owned()], patch, spots));
    }
}

/// Names in `[[device]]` are names, not globs.
fn literal(r: &TableReader<'_, '_>, spot: &Spot, name: &str) -> bool {
    let good = (1..=GLOB_BYTES_MAX).contains(&name.len()) && !name.contains(['*', '?']);
    if !good {
        let what = "[[device]] takes a name of 1 to 256 bytes, without * and ?";
        r.cx.fault(spot, what, "for patterns write a [[profile]] with match = { … }");
    }
    good
}

/// Layers that are fine alone may clash where they meet. For each, the settings of a series that
/// it applies to, with every layer that applies wherever it does. (Rarer meetings are settled at
/// run time, see [`Settings::settle`].)
fn check_meetings(root: &TableReader<'_, '_>, placed: &[Placed]) {
    // Layers that every series has are few; the rest is only compared with its like. Without
    // this, twenty thousand devices would be four hundred million comparisons.
    let wide: Vec<usize> = (0..placed.len())
        .filter(|&i| placed[i].layer.device.iter().any(|glob| glob.contains(['*', '?'])))
        .collect();
    let mut reported = BTreeSet::new();
    for (i, this) in placed.iter().enumerate() {
        let like = |j: usize| placed[j].layer.device == this.layer.device;
        let narrow = near(placed, i, like);
        let mut covering: Vec<usize> = wide.iter().copied().chain(narrow).collect();
        covering.sort_unstable();
        covering.dedup();
        covering.retain(|&j| j == i || placed[j].layer.covers(&this.layer));
        let settings = Settings::merged(covering.iter().map(|&j| &placed[j].layer.patch));
        for conflict in settings.conflicts() {
            // The last layer that sets one of the keys brought it about.
            let culprit = covering.iter().rev().find_map(|&j| {
                let spots = &placed[j].spots;
                let of = |key: &&str| spots.iter().find(|(name, _)| name == key);
                conflict.keys.iter().find_map(of).map(|(_, spot)| spot)
            });
            let spot = culprit.unwrap_or(&this.here);
            if reported.insert((spot.place, conflict.what.clone())) {
                root.cx.fault(spot, conflict.what, conflict.mend);
            }
        }
        let wrap = this.spots.iter().find(|(name, _)| *name == "wrap");
        if let Some((_, spot)) = wrap
            && !matches!(settings.kind, KindSetting::Auto | KindSetting::Counter)
        {
            root.cx.warn_at(spot, "has no effect without kind = \"counter\"");
        }
        for (key, spot) in &this.spots {
            let Some(model) = settings.kalman.model_for(key) else { continue };
            root.cx.warn_at(spot, &format!("has no effect without {model}"));
        }
        let ahead = this.layer.patch.threshold.as_ref().is_some_and(|t| t.within.is_some());
        if ahead && settings.forecast.is_none() {
            let origin = &this.layer.origin;
            root.cx
                .warn(format!("{origin} within has no effect: these series have forecast = false"));
        }
    }
}

/// The layers next to `i` that are like it: a device's own stand together.
fn near(placed: &[Placed], i: usize, like: impl Fn(usize) -> bool) -> Vec<usize> {
    let before = (0..i).rev().take_while(|&j| like(j));
    let after = (i + 1..placed.len()).take_while(|&j| like(j));
    before.chain([i]).chain(after).collect()
}
