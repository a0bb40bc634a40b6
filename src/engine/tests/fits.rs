//! Background fits: however late results come, state is a function of the frames; and while they
//! come in time, it is the one of a run that fits in place, however readings are cut into batches.

use super::world::{Rng, Stored, layer};
use crate::analytics::kalman::FIT_DELAY;
use crate::analytics::settings::Patch;
use crate::engine::{CoreConfig, Engine, FitRequest};
use crate::journal::frame::{Define, Frame, FrameFit, FrameReading};
use crate::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND, SeriesId};

impl Rng {
    fn noise(&mut self) -> f64 {
        (0..6).map(|_| self.below(1001) as f64 / 1000.0 - 0.5).sum()
    }
}

const SERIES: u32 = 3;

fn config() -> CoreConfig {
    CoreConfig { layers: vec![layer("*", Patch::default())], ..CoreConfig::default() }
}

fn engine() -> Engine {
    Engine::new(config()).unwrap()
}

/// In event order, the series in turn by chance. Levels move more and more: what was learned first
/// is not what fits later.
fn readings(seed: u64, count: usize) -> Vec<FrameReading> {
    let mut rng = Rng(seed);
    let mut levels = [20.0; SERIES as usize];
    let reading = |i: usize| {
        let series = rng.below(u64::from(SERIES)) as u32;
        let level = &mut levels[series as usize];
        *level += rng.noise() * (i as f64 / 300.0);
        FrameReading {
            series: SeriesId(series),
            time: EventTime::from_nanos((1_700_000_000 + i as i64) * SECOND).unwrap(),
            value: Finite::new(((*level + rng.noise()) * 100.0).round() / 100.0).unwrap(),
            dedup: true,
        }
    };
    (0..count).map(reading).collect()
}

fn frame(engine: &Engine, mut readings: Vec<FrameReading>, fits: Vec<FrameFit>) -> Frame {
    let batch = engine.meta().batch + 1;
    let now = readings.last().map_or(engine.meta().processing_time.0, |r| r.time.nanos());
    let attended = AttendedTime((batch as i64) * SECOND);
    let mut frame = Frame::empty(batch, ProcessingTime(now), attended);
    if batch == 1 {
        let name = |series| (SeriesId(series), format!("d{series}"));
        let define = |(series, device)| Define {
            series,
            device,
            metric: "m".to_owned(),
            kind: Default::default(),
        };
        frame.define = (0..SERIES).map(name).map(define).collect();
    }
    readings.sort_by_key(FrameReading::canonical);
    frame.readings = readings;
    frame.fits = fits;
    frame.fits.sort();
    // What the journal brings back.
    Frame::decode(&frame.encode()).unwrap()
}

/// Of each unit what fits change: deadlines of panes, say, do follow batches.
fn models(engine: &Engine) -> Vec<Vec<u8>> {
    engine.units().map(|(.., unit)| serde_cbor::to_vec(unit.state().kalman()).unwrap()).collect()
}

#[test]
fn in_place_and_in_time_are_the_same_for_all_batch_cuts() {
    let readings = readings(1, 3000);
    let run = |size: usize, in_place: bool| {
        let mut engine = engine();
        if in_place {
            engine.fit_in_place();
        }
        let mut found = Vec::new();
        for readings in readings.chunks(size) {
            let frame = frame(&engine, readings.to_vec(), std::mem::take(&mut found));
            let output = engine.step(&frame).unwrap();
            assert!(!in_place || output.fits.is_empty());
            found.extend(output.fits.iter().filter_map(FitRequest::run));
        }
        engine
    };
    let expected = models(&run(3000, true));
    for size in [1, 7, 40] {
        assert!(models(&run(size, true)) == expected, "in place, batches of {size}");
        assert!(models(&run(size, false)) == expected, "in time, batches of {size}");
    }
    // Results that come too late leave another state, in each series: so they did count above.
    let too_late = models(&run(3000, false));
    for (late, expected) in too_late.iter().zip(&expected) {
        assert!(late != expected);
    }
}

#[test]
fn whatever_the_delay_the_frames_decide_and_a_checkpoint_anywhere_changes_nothing() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..20 {
        let mut rng = Rng(seed);
        let mut live = engine();
        let mut frames = Vec::new();
        // Results on their way, each with the step at which it arrives.
        let mut on_the_way: Vec<(u64, FrameFit)> = Vec::new();
        let readings = readings(seed, 1500);
        let mut rest = &readings[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at((1 + rng.below(20) as usize).min(rest.len()));
            rest = after;
            let step = frames.len() as u64;
            let arrived = on_the_way.extract_if(.., |(at, _)| *at <= step).map(|(_, fit)| fit);
            let fits = arrived.collect();
            let frame = frame(&live, batch.to_vec(), fits);
            let output = live.step(&frame).unwrap();
            let delayed = output.fits.iter().filter_map(FitRequest::run);
            on_the_way.extend(delayed.map(|fit| (step + rng.below(FIT_DELAY / 2), fit)));
            frames.push(frame);
        }

        // From the journal, with a checkpoint of some units somewhere, as recovery does it.
        let mut clean = engine();
        let mut stored = Stored::new(config());
        let cut = rng.below(frames.len() as u64) as usize;
        for (i, frame) in frames.iter().enumerate() {
            let late = clean.step(frame).unwrap().fits_late;
            taken += frame.fits.len() as u64 - late;
            refused += late;
            if i == cut {
                stored.checkpoint(&mut clean, rng.below(u64::from(SERIES) + 1) as usize, false);
            }
        }
        assert!(clean.image() == live.image(), "seed {seed}");
        let (batch, resumed) = (frames[cut].batch, stored.recover(&frames));
        assert!(resumed.image() == live.image(), "seed {seed}, resumed after {batch}");
    }
    assert!(taken > 20 && refused > 20, "{taken} came in time, {refused} too late");
}

/// A fit that its unit waits for, and the engine at that moment.
fn asked() -> (Engine, FrameFit) {
    let mut engine = engine();
    let readings = readings(3, 3000);
    let mut found = None;
    for readings in readings.chunks(5) {
        let frame = frame(&engine, readings.to_vec(), Vec::new());
        let asked = engine.step(&frame).unwrap().fits;
        found = asked.iter().find_map(FitRequest::run);
        if found.is_some() {
            break;
        }
    }
    (engine, found.expect("a search finds something"))
}

#[test]
fn a_fit_reaches_only_the_life_and_epoch_that_asked_for_it() {
    let (mut engine, fit) = asked();
    let before = engine.image();
    let mut is_refused = |fit: FrameFit| {
        let frame = frame(&engine, Vec::new(), vec![fit]);
        engine.step(&frame).unwrap();
        engine.image() == before
    };
    assert!(is_refused(FrameFit { defined: 2, ..fit.clone() }), "another series in the slot");
    assert!(is_refused(FrameFit { epoch: 1, ..fit.clone() }), "other settings");
    assert!(is_refused(FrameFit { series: SeriesId(99), ..fit.clone() }), "no such unit");
    assert!(is_refused(FrameFit { fit: vec![0xff], ..fit.clone() }), "not a fit");
    assert!(!is_refused(fit), "the unit that asked");
}

#[test]
fn a_fit_taken_makes_its_unit_dirty() {
    let (mut engine, fit) = asked();
    engine.take_dirty(usize::MAX);
    let quiet = frame(&engine, Vec::new(), Vec::new());
    engine.step(&quiet).unwrap();
    assert_eq!(engine.dirty_units(), 0);
    let offered = frame(&engine, Vec::new(), vec![fit]);
    engine.step(&offered).unwrap();
    assert_eq!((engine.dirty_units(), engine.oldest_dirty()), (1, Some(offered.batch)));
}

#[test]
fn other_settings_and_a_clock_that_stepped_back_begin_another_epoch() {
    let mut engine = engine();
    let first = frame(&engine, readings(4, 100), Vec::new());
    engine.step(&first).unwrap();
    let epochs = |engine: &Engine| -> Vec<u32> {
        engine.units().map(|(.., unit)| unit.state().fit_epoch()).collect()
    };
    assert_eq!(epochs(&engine), [0, 0, 0]);
    let mut changed = config();
    changed.layers[0].patch.lateness = Some(SECOND);
    let mut next = frame(&engine, Vec::new(), Vec::new());
    next.configuration = serde_cbor::to_vec(&changed).ok();
    engine.step(&next).unwrap();
    assert_eq!(epochs(&engine), [0, 0, 0], "lateness is no model's setting");
    changed.layers[0].patch.forecast.enabled = Some(false);
    let mut next = frame(&engine, Vec::new(), Vec::new());
    next.configuration = serde_cbor::to_vec(&changed).ok();
    engine.step(&next).unwrap();
    assert_eq!(epochs(&engine), [1, 1, 1]);
    let mut next = frame(&engine, Vec::new(), Vec::new());
    next.clock_stepped_back = true;
    next.processing_time = ProcessingTime(1_600_000_000 * SECOND);
    engine.step(&next).unwrap();
    assert_eq!(epochs(&engine), [2, 2, 2]);
}
