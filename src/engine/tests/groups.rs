//! Groups and derived metrics. Groups: their aggregates are those of their members together, whoever comes and goes, and each
//! unit goes on by itself from wherever it was stored.

use std::collections::BTreeSet;

use super::world::{Given, Rng, START, Stored, World, layer};
use crate::analytics::settings::{DeriveSettings, GroupSettings, Patch, WindowSettings};
use crate::engine::{CoreConfig, WhyUnmade};
use crate::output::Record;
use crate::reading::{DropReason, SECOND};

fn group(name: &str, device: &str, by: Option<&str>) -> GroupSettings {
    GroupSettings {
        name: name.to_owned(),
        device: vec![device.to_owned()],
        metric: vec!["t".to_owned()],
        by: by.map(str::to_owned),
        estimate: false,
        forecast: false,
    }
}

fn derive(name: &str, expression: &str) -> DeriveSettings {
    let (name, expression) = (name.to_owned(), expression.to_owned());
    DeriveSettings { name, device: vec!["one-*".to_owned()], expression, max_age: 15 * SECOND }
}

pub(super) fn config() -> CoreConfig {
    let wide = Patch { valid: Some((-100.0, 200.0)), ..Patch::default() };
    let tenths = Patch { scale: Some(0.1), ..Patch::default() };
    CoreConfig {
        layers: vec![layer("*", wide), layer("tenths-*", tenths)],
        groups: vec![group("all", "*", None), group("kind {key}", "*", Some("{key}-*"))],
        derives: vec![derive("power", "t * u")],
        max_series: 20,
        evict_idle: 30 * SECOND,
        ..CoreConfig::default()
    }
}

impl World {
    /// Count and sum of all aggregates of a device's main metric.
    fn total(&self, device: &str) -> (u64, f64) {
        self.total_of(device, "t")
    }

    fn total_of(&self, device: &str, metric: &str) -> (u64, f64) {
        let aggregates = self.records.iter().filter_map(|record| match record {
            Record::Aggregate(a) if (&*a.device, &*a.metric) == (device, metric) => Some(a),
            _ => None,
        });
        aggregates.fold((0, 0.0), |(count, sum), a| (count + a.count, sum + a.sum))
    }

    fn devices(&self) -> Vec<String> {
        let mains = self.engine.units().filter(|(_, name, _)| &*name.metric == "t");
        mains.map(|(_, name, _)| name.device.to_string()).collect()
    }
}

#[test]
fn a_group_counts_what_its_members_count() {
    let mut world = World::new(config());
    world.push("tenths-1", 0, 105.0);
    world.push("one-1", 0, 10.5);
    world.cut(None);
    assert_eq!(world.devices(), ["tenths-1", "one-1", "all", "kind one", "kind tenths"]);
    // The same value at the same time from another member counts; a repeat does not, nor what its
    // member drops.
    world.push("one-1", 0, 10.5);
    world.push("one-2", 0, 10.5);
    world.push("one-2", 1, 300.0);
    world.push("one-1", 5000, 1.0);
    world.now = START + SECOND;
    world.cut(None);
    world.end();
    assert_eq!(world.total("one-1"), (1, 10.5));
    assert_eq!(world.total("one-2"), (1, 10.5));
    assert_eq!(world.total("all"), (3, 31.5));
    assert_eq!(world.total("kind one"), (2, 21.0));
    assert_eq!(world.total("kind tenths"), (1, 10.5));
    let drops = world.engine.drops();
    assert_eq!(world.engine.totals().readings, 6, "each once, not again for its groups");
    assert_eq!((drops.get(DropReason::Duplicate), drops.get(DropReason::Invalid)), (1, 1));
    assert_eq!(drops.get(DropReason::Future), 1);
    for record in &world.records {
        let Record::Aggregate(aggregate) = record else { continue };
        let is_group = aggregate.device.starts_with("kind") || &*aggregate.device == "all";
        let json = serde_json::to_string(aggregate).unwrap();
        assert_eq!(json.contains(r#""source":"group""#), is_group, "{json}");
    }
}

#[test]
fn readings_under_a_groups_name_are_dropped_and_a_name_in_use_makes_no_group() {
    let mut world = World::new(config());
    // It comes first: the group named alike is not made.
    world.push("kind one", 0, 7.0);
    world.push("one-1", 0, 1.0);
    world.cut(None);
    assert_eq!(world.devices(), ["kind one", "one-1", "all"]);
    let unmade = world.engine.unmade();
    let names: Vec<_> = unmade.iter().map(|u| (&*u.device, u.why)).collect();
    assert_eq!(names, [("kind one", WhyUnmade::NameTaken)]);
    world.push("all", 1, 5.0);
    world.cut(None);
    world.end();
    assert_eq!(world.engine.drops().get(DropReason::Reserved), 1);
    assert_eq!(world.total("all"), (2, 8.0));
    assert_eq!(world.total("kind one"), (1, 7.0));
}

#[test]
fn groups_follow_the_configuration() {
    let mut world = World::new(CoreConfig { groups: Vec::new(), ..config() });
    world.push("one-1", 0, 1.0);
    world.push("two-1", 0, 2.0);
    world.cut(None);
    assert_eq!(world.devices(), ["one-1", "two-1"]);
    // Readings of the frame with the new configuration count already.
    world.push("one-1", 1, 10.0);
    world.cut(Some(&config()));
    assert_eq!(world.devices(), ["one-1", "two-1", "all", "kind one", "kind two"]);
    // Another scale for one of them, and a group less.
    let mut next = config();
    next.groups.truncate(1);
    next.layers.push(layer(
        "two-*",
        Patch { scale: Some(100.0), valid: Some((0.0, 1e6)), ..Patch::default() },
    ));
    next.layers.push(layer(
        "all",
        Patch { windows: Some(vec![WindowSettings::default()]), ..Patch::default() },
    ));
    world.push("two-1", 2, 3.0);
    world.push("one-1", 2, 1.0);
    world.cut(Some(&next));
    assert_eq!(world.devices(), ["one-1", "two-1", "all"]);
    assert_eq!(world.total("kind one"), (1, 10.0), "its panes closed when it went");
    world.end();
    assert_eq!(world.total("all"), (3, 10.0 + 300.0 + 1.0));
}

#[test]
fn a_group_goes_with_its_last_member_and_makes_room_for_nobody_else() {
    let mut world = World::new(CoreConfig { max_series: 4, ..config() });
    world.push("one-1", 0, 1.0);
    world.push("two-1", 0, 2.0);
    world.cut(None);
    // There is room for two of three groups.
    assert_eq!(world.devices(), ["one-1", "two-1", "all", "kind one"]);
    let unmade = world.engine.unmade();
    let names: Vec<_> = unmade.iter().map(|u| (&*u.device, u.why)).collect();
    // The computed metric of the one, too.
    assert_eq!(names, ["kind two", "one-1"].map(|name| (name, WhyUnmade::SeriesLimit)));
    // Idle and never established: a newcomer takes the place, and the group has no member left.
    world.push("two-1", 100, 2.0);
    world.push("three-1", 100, 4.0);
    world.cut(None);
    assert_eq!(world.devices(), ["three-1", "two-1", "all"]);
    assert_eq!(world.total("kind one"), (1, 1.0));
    world.end();
    assert_eq!(world.total("all"), (4, 9.0));
    assert_eq!(world.engine.totals().readings, 4);
}

#[test]
fn a_metric_is_computed_from_others() {
    let mut world = World::new(config());
    world.push_metric(("one-1", "t"), 0, 2.0);
    world.push_metric(("one-1", "u"), 0, 3.0);
    world.push_metric(("two-1", "u"), 0, 3.0);
    world.push_metric(("two-1", "t"), 0, 3.0);
    world.cut(None);
    // Nothing is read under its name.
    world.push_metric(("one-1", "power"), 1, 1000.0);
    // `t` alone, with the last `u`; not valid; then with a `u` that is too old.
    world.push_metric(("one-1", "t"), 10, 5.0);
    world.push_metric(("one-1", "t"), 11, 500.0);
    world.push_metric(("one-1", "t"), 30, 7.0);
    world.cut(None);
    world.end();
    assert_eq!(world.total_of("one-1", "power"), (2, 6.0 + 15.0));
    assert_eq!(world.total_of("two-1", "power"), (0, 0.0), "not one of its devices");
    let drops = world.engine.drops();
    assert_eq!((drops.get(DropReason::Reserved), drops.get(DropReason::Invalid)), (1, 1));
    assert_eq!(world.engine.totals().readings, 7);
    let (name, unit) =
        world.engine.unit(world.engine.registry().get("one-1", "power").unwrap()).unwrap();
    assert_eq!(&*name.metric, "power");
    assert!(unit.state().kalman().estimate().is_some(), "it is filtered as any other");
    let json = serde_json::to_string(&world.records.iter().find_map(|record| match record {
        Record::Aggregate(a) if &*a.metric == "power" => Some(a.clone()),
        _ => None,
    }));
    assert!(json.unwrap().contains(r#""source":"derived""#));
}

#[test]
fn rows_do_not_depend_on_batches() {
    for seed in 0..20 {
        let mut rng = Rng(seed);
        let mut second = 0;
        let readings: Vec<Given> = (0..300)
            .map(|_| {
                second += rng.below(4) as i64;
                (["t", "u"][rng.below(2) as usize], second, rng.below(14_000) as f64 / 1024.0)
            })
            .collect();
        // A sensor has one value at a time.
        let mut seen = BTreeSet::new();
        let readings: Vec<_> = readings.into_iter().filter(|r| seen.insert((r.0, r.1))).collect();
        let run =
            |size: &mut dyn FnMut() -> usize| World::played(config(), &readings, size).computed;
        let expected = run(&mut || usize::MAX);
        assert!(expected.len() > 100, "{}", expected.len());
        assert_eq!(run(&mut || 1), expected, "seed {seed}, one by one");
        assert_eq!(run(&mut || 1 + rng.below(9) as usize), expected, "seed {seed}");
    }
}

#[test]
fn from_chunks_of_any_batches_the_frames_give_the_same() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut world = World::new(config());
        let mut stored = Stored::new(config());
        let batches = 40 + rng.below(40);
        let stop = rng.below(batches);
        for batch in 0..batches {
            for _ in 0..rng.below(12) {
                let device = ["one", "two", "tenths"][rng.below(3) as usize];
                // The later, the higher their numbers: early ones go.
                let number = rng.below(3) + batch / 15 * 2;
                let seconds = batch as i64 * 10 + rng.below(20) as i64 - 10;
                let metric = if rng.below(3) == 0 { "u" } else { "t" };
                let name = format!("{device}-{number}");
                world.push_metric((&name, metric), seconds, rng.below(50) as f64);
            }
            let mut change = world.engine.meta().config.clone();
            let scale = [1.0, 0.5, 10.0][rng.below(3) as usize];
            change.layers[1].patch.scale = Some(scale);
            if rng.below(3) == 0 {
                let expression = ["t * u", "u - t", "2 * t"][rng.below(3) as usize];
                change.derives = vec![derive("power", expression)];
            }
            if rng.below(3) == 0 {
                change.groups.reverse();
                change.groups.truncate(1 + rng.below(2) as usize);
            }
            let is_change = rng.below(12) == 0;
            world.cut(is_change.then_some(&change));
            // A checkpoint of some units, or of all when the configuration changed; the last one
            // is cut short by a crash: chunks without their meta.
            if batch <= stop && (is_change || rng.below(3) == 0) {
                let is_last = batch == stop;
                let limit = if is_change { usize::MAX } else { rng.below(8) as usize };
                stored.checkpoint(&mut world.engine, limit, !is_last);
                if is_last {
                    break;
                }
            }
        }
        world.end();
        let resumed = stored.recover(stored.needed(&world.frames));
        assert!(resumed.image() == world.engine.image(), "seed {seed}");
        assert_eq!(resumed.routes, world.engine.routes, "seed {seed}");
        assert!(!world.engine.fed.is_empty(), "seed {seed}: no group at the end");
    }
}
