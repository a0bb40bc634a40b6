//! Filters over several metrics: who has one, what cuts and crashes change (nothing), and that the
//! metrics themselves know nothing of it.

use super::groups::config;
use super::world::{Given, Rng, START, Stored, World, layer};
use crate::analytics::kalman::VectorVerdict;
use crate::analytics::settings::{CustomSettings, Layer, Patch, VectorSettings};
use crate::analytics::step::UnitState;
use crate::engine::CoreConfig;
use crate::journal::frame::Frame;
use crate::reading::{AttendedTime, DropReason, Finite, ProcessingTime, SECOND};

fn vector(name: &str, f: f64) -> VectorSettings {
    VectorSettings {
        name: name.to_owned(),
        custom: CustomSettings {
            metrics: vec!["t".into(), "u".into()],
            f: vec![vec![f, 0.0], vec![0.0, -0.02]],
            h: vec![vec![1.0, 0.0], vec![1.0, 1.0]],
            q: vec![vec![0.2, 0.0], vec![0.0, 0.1]],
            r: vec![vec![1.0, 0.3], vec![0.3, 2.0]],
            per_second: true,
            ..CustomSettings::default()
        },
        gate: 0.9999,
        initial: None,
    }
}

fn vector_layer(device: &str, vector: VectorSettings) -> Layer {
    layer(device, Patch { vector: Some(vector), ..Patch::default() })
}

fn with_vectors() -> CoreConfig {
    let mut config = CoreConfig { groups: Vec::new(), derives: Vec::new(), ..config() };
    config.layers.push(vector_layer("one-*", vector("both", -0.01)));
    config
}

fn unit(world: &World) -> &UnitState {
    let series = world.engine.registry().get("one-1", "both").expect("it is made");
    world.engine.unit(series).unwrap().1.state()
}

#[test]
fn a_device_that_matches_has_one_and_its_metrics_know_nothing_of_it() {
    let play = |config: CoreConfig| {
        let mut world = World::new(config);
        world.engine.keep_details();
        for second in 0..40 {
            for (device, metric) in [("one-1", "t"), ("one-1", "u"), ("two-1", "t")] {
                if (metric, second) != ("u", 7) {
                    world.push_metric((device, metric), second, 20.0 + (second % 5) as f64);
                }
            }
            world.cut(None);
        }
        world.end();
        world
    };
    let (with, without) =
        (play(with_vectors()), play(CoreConfig { layers: config().layers, ..with_vectors() }));
    let names = |world: &World| -> Vec<String> {
        world.engine.units().map(|(_, n, _)| format!("{}/{}", n.device, n.metric)).collect()
    };
    assert_eq!(names(&with), ["one-1/t", "one-1/u", "two-1/t", "one-1/both"]);
    assert_eq!(names(&without), ["one-1/t", "one-1/u", "two-1/t"]);
    assert_eq!(with.records, without.records);
    assert_eq!(with.engine.totals(), without.engine.totals());
    assert_eq!(with.engine.image()[..3], without.engine.image()[..]);
    let rows: Vec<_> = with.rows.iter().map(|row| &row.row).collect();
    assert_eq!(rows.len(), 40);
    assert!(rows.is_sorted_by_key(|row| row.time));
    for (second, row) in rows.iter().enumerate() {
        assert_eq!(row.values.iter().flatten().count(), if second == 7 { 1 } else { 2 });
    }
    let counts = unit(&with).counts();
    assert_eq!((counts.readings, counts.unordered), (79, 0));
    // Readings under its name are not taken.
    let mut world = with;
    world.push_metric(("one-1", "both"), 1041, 1.0);
    world.cut(None);
    assert_eq!(world.engine.drops().get(DropReason::Reserved), 1);
}

/// Two sensors of a device: both at times, one alone at times, gaps, jumps of both; in event order.
fn readings(seed: u64) -> Vec<Given> {
    let mut rng = Rng(seed);
    let (mut second, mut level, mut readings) = (0, 20.0, Vec::new());
    while readings.len() < 500 {
        second += 1 + rng.below(4) as i64 + if rng.below(100) == 0 { 300 } else { 0 };
        if rng.below(150) == 0 {
            level += 400.0;
        }
        let mut noise = || (rng.below(2000) as f64 - 1000.0) / 512.0;
        let values = [level + noise(), 2.0 * level + noise()];
        let spike = if rng.below(100) == 0 { 900.0 } else { 0.0 };
        let missing = rng.below(8);
        for (i, metric) in ["t", "u"].into_iter().enumerate() {
            if missing != i as u64 {
                readings.push((metric, second, values[i] + spike));
            }
        }
    }
    readings
}

fn config_wide() -> CoreConfig {
    let mut config = with_vectors();
    config.layers[0].patch.valid = Some((-1e9, 1e9));
    config
}

#[test]
fn rows_do_not_depend_on_batches() {
    let (mut gated, mut shifts, mut partial) = (0, 0, 0);
    for seed in 0..12 {
        let (readings, mut rng) = (readings(seed), Rng(seed ^ 77));
        let run = |size: &mut dyn FnMut() -> usize| {
            let world = World::played(config_wide(), &readings, size);
            // Debug's text of a float has all its bits.
            let rows: Vec<String> = world.rows.iter().map(|row| format!("{row:?}")).collect();
            (rows, format!("{:?} {:?}", unit(&world).vector(), unit(&world).counts()), world)
        };
        let (rows, end, world) = run(&mut || usize::MAX);
        for size in [1, 2, 7, 50] {
            let (other_rows, other_end, _) = run(&mut || size);
            let differing = rows.iter().zip(&other_rows).find(|(a, b)| a != b);
            assert_eq!(differing, None, "seed {seed}, batches of {size}");
            assert_eq!((other_rows.len(), other_end), (rows.len(), end.clone()), "seed {seed}");
        }
        let (other_rows, other_end, _) = run(&mut || 1 + rng.below(30) as usize);
        assert!(other_rows == rows && other_end == end, "seed {seed}, random batches");
        for row in &world.rows {
            partial += usize::from(row.row.values.contains(&None));
            match row.row.update.as_ref().unwrap().verdict {
                VectorVerdict::Accepted => {}
                VectorVerdict::Gated => gated += 1,
                VectorVerdict::Shift { .. } => shifts += 1,
            }
        }
    }
    // The mix must reach what could go wrong.
    assert!(gated > 50 && shifts > 5 && partial > 500, "{gated} {shifts} {partial}");
}

#[test]
fn from_chunks_of_any_batches_the_frames_give_the_same() {
    for seed in 0..40 {
        let mut rng = Rng(seed);
        let mut world = World::new(config_wide());
        let mut stored = Stored::new(config_wide());
        let stop = 10 + rng.below(40);
        for batch in 0..60 {
            for _ in 0..rng.below(12) {
                // Not always in order: some rows are incomplete when a reading comes too late.
                let seconds = batch * 10 + rng.below(20) as i64 - 10;
                let device = ["one-1", "one-2"][rng.below(2) as usize];
                let metric = ["t", "u"][rng.below(2) as usize];
                world.push_metric((device, metric), seconds, rng.below(50) as f64);
            }
            let is_change = rng.below(12) == 0;
            let mut change = world.engine.meta().config.clone();
            if rng.below(2) == 0 {
                let rate = [-0.01, -0.5][rng.below(2) as usize];
                *change.layers.last_mut().unwrap() = vector_layer("one-*", vector("both", rate));
            } else {
                change.layers[0].patch.lateness = Some(rng.below(9) as i64 * SECOND);
            }
            world.cut(is_change.then_some(&change));
            if batch as u64 <= stop && (is_change || rng.below(3) == 0) {
                let limit = if is_change { usize::MAX } else { rng.below(6) as usize };
                stored.checkpoint(&mut world.engine, limit, true);
            }
        }
        world.end();
        let resumed = stored.recover(stored.needed(&world.frames));
        assert!(resumed.image() == world.engine.image(), "seed {seed}");
        assert!(unit(&world).counts().readings > 50, "seed {seed}");
    }
}

#[test]
fn what_is_not_made_is_said_and_made_complete_later() {
    let mut world = World::new(CoreConfig { max_series: 3, ..with_vectors() });
    // Its name is taken.
    world.push_metric(("one-2", "both"), 0, 1.0);
    world.push_metric(("one-2", "t"), 0, 1.0);
    world.push_metric(("one-1", "t"), 0, 1.0);
    world.cut(None);
    let unmade = world.engine.unmade();
    let found: Vec<_> = unmade.iter().map(|u| (&*u.device, &*u.metric, u.why.name())).collect();
    assert_eq!(found, [("one-1", "both", "series_limit"), ("one-2", "both", "name_taken")]);
    let text = unmade[0].to_string();
    assert!(text.starts_with("filter over several metrics one-1/both is not made: "), "{text}");
    // More room: the other metric comes, and the filter has both.
    let more = CoreConfig { max_series: 10, ..with_vectors() };
    let mut change = more.clone();
    change.layers.pop();
    world.cut(Some(&change));
    assert_eq!(world.engine.unmade(), []);
    world.cut(Some(&CoreConfig { max_series: 3, ..more.clone() }));
    assert_eq!(world.engine.unmade().len(), 2);
    world.engine.meta.config.max_series = 10;
    world.push_metric(("one-1", "u"), 1, 2.0);
    world.push_metric(("one-1", "t"), 1, 1.0);
    world.cut(None);
    assert_eq!(unit(&world).members().unwrap().series().count(), 2);
    assert_eq!(unit(&world).vector().unwrap().latest().unwrap().0.values.len(), 2);
    assert_eq!(world.engine.unmade().len(), 1);
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_up() {
    let mut world = World::new(with_vectors());
    for second in [0, 1, 100_000] {
        world.push_metric(("one-1", "t"), second, 1.0);
        world.push_metric(("one-1", "u"), second, 1.0);
    }
    world.cut(None);
    world.now = START_NOW;
    let batch = world.engine.meta().batch + 1;
    let mut frame = Frame::empty(batch, ProcessingTime(world.now), AttendedTime(200_000 * SECOND));
    frame.clock_stepped_back = true;
    world.engine.step(&frame).unwrap();
    world.push_metric(("one-1", "t"), 11, 3.0);
    world.push_metric(("one-1", "u"), 11, 3.0);
    world.cut(None);
    let latest = unit(&world).vector().unwrap().latest().unwrap().0;
    assert_eq!(latest.values, vec![Finite::new(3.0); 2]);
    assert_eq!(unit(&world).counts().unordered, 0);
}

/// Ten seconds after the beginning.
const START_NOW: i64 = START + 10 * SECOND;
