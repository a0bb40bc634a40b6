//! Aggregates of counters and states, time-weighted means and sliding views through the engine,
//! against a naive reckoning over all readings; and that a unit stored anywhere goes on the same.

#[path = "sim/rng.rs"]
mod rng;

use std::collections::BTreeMap;

use rng::Rng;
use weir::analytics::members::UnitKind;
use weir::config::Config;
use weir::engine::{Engine, UnitChunk};
use weir::journal::frame::{Define, Frame, FrameReading};
use weir::output::{Aggregate, Record};
use weir::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND, SeriesId};

/// 2023-11-14T22:00:00Z, a whole hour.
const START: i64 = 1_700_000_000 / 3600 * 3600 * SECOND;

fn time(nanos: i64) -> EventTime {
    EventTime::from_nanos(nanos).expect("in range")
}

fn engine(settings: &str) -> Engine {
    let text = format!("[[profile]]\nmatch = {{}}\n{settings}");
    let config = Config::from_text(&text).unwrap_or_else(|faults| panic!("{faults}"));
    Engine::new(config.core_config()).expect("a good configuration")
}

fn frame(batch: u64, now: i64, readings: &[(i64, f64)]) -> Frame {
    let mut frame = Frame::empty(batch, ProcessingTime(now), AttendedTime(now - START));
    if batch == 1 {
        let (device, metric) = ("d".to_owned(), "m".to_owned());
        frame.define = vec![Define { series: SeriesId(0), device, metric, kind: UnitKind::Series }];
    }
    let reading = |&(at, value): &(i64, f64)| FrameReading {
        series: SeriesId(0),
        time: time(at),
        value: Finite::new(value).expect("finite"),
        dedup: true,
    };
    frame.readings = readings.iter().map(reading).collect();
    frame.readings.sort_by_key(FrameReading::canonical);
    frame
}

/// Frames of a few readings, and at the end one long after, so that all panes close.
fn frames(readings: &[(i64, f64)], rng: &mut Rng) -> Vec<Frame> {
    let (mut frames, mut rest, mut now) = (Vec::new(), readings, START);
    while !rest.is_empty() {
        let (some, after) = rest.split_at((1 + rng.below(20) as usize).min(rest.len()));
        rest = after;
        now = some.iter().map(|r| r.0).fold(now, i64::max);
        frames.push(frame(frames.len() as u64 + 1, now, some));
    }
    let end = now + 2 * 86_400 * SECOND;
    frames.push(frame(frames.len() as u64 + 1, end, &[]));
    frames
}

fn run(engine: &mut Engine, frames: &[Frame]) -> Vec<Record> {
    let step = |frame| engine.step(frame).expect("it steps").records;
    frames.iter().flat_map(step).collect()
}

fn panes(records: &[Record]) -> Vec<Aggregate> {
    let pane = |record: &Record| match record {
        Record::Aggregate(a) => Some((**a).clone()),
        _ => None,
    };
    records.iter().filter_map(pane).collect()
}

fn views(records: &[Record]) -> Vec<Aggregate> {
    let view = |record: &Record| match record {
        Record::View(a) => Some((**a).clone()),
        _ => None,
    };
    records.iter().filter_map(view).collect()
}

/// Whole-numbered readings in order, irregular, with gaps and repeats of one instant.
fn readings(
    rng: &mut Rng,
    count: usize,
    mut value: impl FnMut(&mut Rng) -> f64,
) -> Vec<(i64, f64)> {
    let mut at = START;
    let mut readings = Vec::new();
    for _ in 0..count {
        readings.push((at, value(rng)));
        at += match rng.below(40) {
            _ if rng.chance(3) => 900 * SECOND,
            1 => 0,
            _ => SECOND / 1000 * (1 + rng.below(40_000) as i64),
        };
    }
    // Of one instant the lesser one is first, as in a batch.
    readings.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    readings.dedup();
    readings
}

#[derive(Debug, Default)]
struct Naive {
    count: u64,
    covered: i64,
    integral: f64,
    increase: f64,
    resets: u64,
    increase_nanos: i64,
    durations: BTreeMap<i64, i64>,
    transitions: u64,
}

/// Per pane of `size` from all readings at once.
fn naive(readings: &[(i64, f64)], size: i64) -> BTreeMap<i64, Naive> {
    let mut panes: BTreeMap<i64, Naive> = BTreeMap::new();
    for (at, _) in readings {
        panes.entry(at.div_euclid(size) * size).or_default().count += 1;
    }
    let mut interval = 0.0_f64;
    for (i, &(at, value)) in readings.iter().enumerate() {
        let next = readings.get(i + 1);
        // What the reading speaks for.
        let most = (3.0 * interval * 1e9) as i64;
        let until = next.map_or(at + most, |next| next.0.min(at + most));
        for (&start, pane) in &mut panes {
            let nanos = until.min(start + size) - at.max(start);
            if nanos > 0 {
                pane.covered += nanos;
                pane.integral += value * nanos as f64;
                *pane.durations.entry(value as i64).or_default() += nanos;
            }
        }
        let Some(&(then, after)) = next else { break };
        let pane = panes.get_mut(&(then.div_euclid(size) * size)).expect("it has this reading");
        pane.increase += if after >= value { after - value } else { after };
        pane.resets += u64::from(after < value);
        pane.increase_nanos += then - at;
        pane.transitions += u64::from(after != value);
        let seconds = (then - at) as f64 / 1e9;
        if seconds > 0.0 {
            if interval == 0.0 {
                interval = seconds;
            }
            interval += (seconds.min(10.0 * interval) - interval) / 8.0;
        }
    }
    panes
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

fn check_against_naive(aggregates: &[Aggregate], readings: &[(i64, f64)], size: i64, kind: &str) {
    let expected = naive(readings, size);
    let of_size: Vec<&Aggregate> =
        aggregates.iter().filter(|a| a.end.nanos() - a.start.nanos() == size).collect();
    assert_eq!(of_size.len(), expected.len());
    for (a, (&start, pane)) in of_size.iter().zip(&expected) {
        assert_eq!((a.start.nanos(), a.count), (start, pane.count));
        assert_eq!(a.covered_s, seconds(pane.covered), "{a:?}");
        let mean = (pane.covered > 0).then(|| pane.integral / pane.covered as f64);
        match (a.time_mean, mean) {
            (Some(actual), Some(mean)) => {
                assert!((actual - mean).abs() <= 1e-12 * mean.abs(), "{actual} {mean}");
            }
            (actual, mean) => assert_eq!(actual, mean),
        }
        if kind == "counter" {
            assert_eq!(a.increase.unwrap_or(0.0), pane.increase, "{a:?}");
            assert_eq!(a.resets.unwrap_or(0), pane.resets);
            assert_eq!(a.increase_s.unwrap_or(0.0), seconds(pane.increase_nanos));
            let rate =
                (pane.increase_nanos > 0).then(|| pane.increase / seconds(pane.increase_nanos));
            assert_eq!(a.rate, rate);
            assert_eq!(a.durations, None);
        } else {
            let durations: BTreeMap<String, f64> =
                pane.durations.iter().map(|(value, &n)| (value.to_string(), seconds(n))).collect();
            assert_eq!(a.durations.clone().unwrap_or_default(), durations, "{a:?}");
            assert_eq!(a.transitions.unwrap_or(0), pane.transitions);
            assert_eq!(a.increase, None);
        }
    }
}

const WINDOWS: &str = "windows = [{ size = '1m', time_weighted = true }, \
    { size = '1h', slide = '10m', time_weighted = true }]";

#[test]
fn counters_and_states_are_what_the_readings_say() {
    for seed in 0..20 {
        for (kind, lateness) in
            [("counter", "5s"), ("counter", "0s"), ("state", "5s"), ("state", "0s")]
        {
            let mut rng = Rng::new(seed);
            let mut total = 0.0;
            let readings = readings(&mut rng, 600, |rng| {
                total = match (kind, rng.below(60)) {
                    ("counter", 0) => rng.below(10) as f64,
                    ("counter", _) => total + rng.below(100) as f64,
                    (_, 0..20) => rng.below(5) as f64,
                    _ => total,
                };
                total
            });
            let settings = format!("kind = '{kind}'\nlateness = '{lateness}'\n{WINDOWS}");
            let records = run(&mut engine(&settings), &frames(&readings, &mut rng));
            let aggregates = panes(&records);
            assert!(aggregates.iter().all(|a| a.slide_s.is_none()));
            check_against_naive(&aggregates, &readings, 60 * SECOND, kind);
            check_against_naive(&aggregates, &readings, 600 * SECOND, kind);
            check_views(&records, kind);
        }
    }
}

/// Each view is the merge of its panes.
fn check_views(records: &[Record], kind: &str) {
    let (panes, views) = (panes(records), views(records));
    let tens: Vec<&Aggregate> =
        panes.iter().filter(|a| a.end.nanos() - a.start.nanos() == 600 * SECOND).collect();
    assert_eq!(views.len(), tens.len(), "one for each pane");
    for view in &views {
        assert_eq!(view.end.nanos() - view.start.nanos(), 3600 * SECOND);
        assert_eq!(view.slide_s, Some(600.0));
        let own: Vec<&&Aggregate> =
            tens.iter().filter(|a| view.start <= a.start && a.end <= view.end).collect();
        let sum = |of: fn(&Aggregate) -> f64| own.iter().map(|a| of(a)).sum::<f64>();
        assert_eq!(view.count as f64, sum(|a| a.count as f64));
        assert_eq!(view.sum, sum(|a| a.sum));
        assert_eq!(view.min, own.iter().map(|a| a.min).fold(f64::MAX, f64::min));
        assert_eq!(view.part, own.last().expect("its own pane").part);
        assert!((view.covered_s - sum(|a| a.covered_s)).abs() < 1e-6);
        let weighted = sum(|a| a.time_mean.unwrap_or(0.0) * a.covered_s);
        let mean = view.time_mean.unwrap_or(0.0);
        assert!((mean * view.covered_s - weighted).abs() <= 1e-9 * weighted.abs().max(1.0));
        if kind == "counter" {
            assert_eq!(view.increase.unwrap_or(0.0), sum(|a| a.increase.unwrap_or(0.0)));
        } else {
            let total = |a: &Aggregate| a.durations.iter().flatten().map(|(_, s)| s).sum::<f64>();
            assert!((total(view) - view.covered_s).abs() < 1e-6);
            assert_eq!(
                view.transitions.unwrap_or(0) as f64,
                sum(|a| a.transitions.unwrap_or(0) as f64)
            );
        }
    }
}

#[test]
fn late_parts_change_later_views_only() {
    let minute = 60 * SECOND;
    let mut engine = engine("kind = 'gauge'\nwindows = [{ size = '3m', slide = '1m' }]");
    let mut early: Vec<(i64, f64)> = (0..5).map(|i| (START + i * minute, i as f64)).collect();
    early.push((START + 4 * minute + 10 * SECOND, 5.0));
    let first = run(&mut engine, &[frame(1, START + 4 * minute + 10 * SECOND, &early)]);
    let counts = |records: &[Record]| views(records).iter().map(|v| v.count).collect::<Vec<_>>();
    assert_eq!(counts(&first), [1, 2, 3, 3], "the fifth pane is open");
    // Two late readings for the fourth minute; their part closes by its deadline, on its own.
    let late = [(START + 3 * minute + SECOND, 9.0), (START + 3 * minute + 2 * SECOND, 9.0)];
    let second = run(
        &mut engine,
        &[
            frame(2, START + 4 * minute + 11 * SECOND, &late),
            frame(3, START + 4 * minute + 30 * SECOND, &[]),
        ],
    );
    assert_eq!(panes(&second).iter().map(|a| a.count).collect::<Vec<_>>(), [2]);
    assert_eq!(counts(&second), [0_u64; 0], "no view is made again");
    let third = run(&mut engine, &[frame(4, START + 6 * minute, &[(START + 6 * minute, 1.0)])]);
    // Minutes 2, 3 (with its late part) and 4.
    assert_eq!(counts(&third), [1 + 3 + 2]);
}

#[test]
fn a_second_part_is_not_covered_twice() {
    let settings = "kind = 'gauge'\nwindows = [{ size = '1m', time_weighted = true }]";
    let mut engine = engine(settings);
    let early: Vec<(i64, f64)> = (0..5).map(|i| (START + 10 * i * SECOND, 1.0)).collect();
    // Attended time goes on without readings: the pane closes by its deadline …
    let mut records = run(&mut engine, &[frame(1, START + 40 * SECOND, &early)]);
    records.extend(run(&mut engine, &[frame(2, START + 70 * SECOND, &[])]));
    // … and what then still comes for it, in order, opens another part.
    records
        .extend(run(&mut engine, &[frame(3, START + 71 * SECOND, &[(START + 50 * SECOND, 7.0)])]));
    records.extend(run(&mut engine, &[frame(4, START + 300 * SECOND, &[])]));
    let parts = panes(&records);
    assert_eq!(parts.iter().map(|a| a.count).collect::<Vec<_>>(), [5, 1]);
    // Nothing before the first interval was known.
    assert_eq!(parts.iter().map(|a| a.covered_s).collect::<Vec<_>>(), [50.0, 0.0]);
    assert_eq!(parts[0].time_mean, Some(1.0));
}

#[test]
fn scaled_readings_and_what_overflows() {
    let mut engine = engine("scale = 0.1\noffset = -40\nvalid = [-40, 60]");
    let readings = [(0, 655.0), (1, 1001.0), (2, f64::MAX), (3, 403.0)];
    let readings = readings.map(|(s, v)| (START + s * SECOND, v));
    let mut records = run(&mut engine, &[frame(1, START + 3 * SECOND, &readings)]);
    records.extend(run(&mut engine, &[frame(2, START + 300 * SECOND, &[])]));
    let pane = &panes(&records)[0];
    assert_eq!((pane.count, pane.max, pane.min), (2, 25.5, 403.0 / 10.0 - 40.0));
    assert_eq!(engine.totals().invalid, 2);
}

#[test]
fn a_counter_is_found_and_counts_from_then_on() {
    let mut engine = engine("lateness = '0s'");
    // A minute apart, 30 more each: half a unit a second.
    let readings: Vec<(i64, f64)> =
        (0..60).map(|i| (START + 60 * i * SECOND, 4e6 + 30.0 * i as f64)).collect();
    let frames = frames(&readings, &mut Rng::new(1));
    let (last, rest) = frames.split_last().expect("some");
    let mut records = run(&mut engine, rest);
    let (_, unit) = engine.unit(SeriesId(0)).expect("it is there");
    assert_eq!(unit.state().kind(unit.plan()).name(), "counter");
    let level = unit.state().kalman().estimate().expect("it has seen rates").level;
    assert!((level - 0.5).abs() < 1e-9, "{level}");
    assert_eq!(unit.state().last().map(|last| last.signal().get()), Some(0.5));
    records.extend(run(&mut engine, std::slice::from_ref(last)));
    let aggregates = panes(&records);
    assert_eq!(aggregates.len(), 60);
    for (i, a) in aggregates.iter().enumerate() {
        let expected = (i >= 50).then_some(30.0);
        assert_eq!((a.increase, a.rate), (expected, expected.map(|x| x / 60.0)), "{i}");
        assert_eq!(a.first, 4e6 + 30.0 * i as f64, "readings as they are");
    }
}

#[test]
fn another_scale_closes_panes_and_does_not_count_as_a_step() {
    let config = |scale: &str| {
        let text = format!("[[profile]]\nmatch = {{}}\nkind = 'counter'\nscale = {scale}");
        Config::from_text(&text).expect("good").core_config()
    };
    let mut engine = Engine::new(config("1.0")).expect("good");
    let at = |s: i64| START + s * SECOND;
    run(&mut engine, &[frame(1, at(10), &[(at(0), 1000.0), (at(10), 1010.0)])]);
    let mut changed = frame(2, at(20), &[(at(20), 1020.0)]);
    changed.configuration = Some(serde_cbor::to_vec(&config("0.1")).expect("CBOR"));
    let mut records = run(&mut engine, &[changed]);
    records.extend(run(&mut engine, &[frame(3, at(30), &[(at(30), 1040.0)])]));
    records.extend(run(&mut engine, &[frame(4, at(300), &[])]));
    let parts: Vec<(u64, Option<f64>, Option<u64>)> =
        panes(&records).iter().map(|a| (a.count, a.increase, a.resets)).collect();
    assert_eq!(parts, [(2, Some(10.0), Some(0)), (2, Some(2.0), Some(0))]);
}

/// Stored after any batch and taken up again: the same state and the same records, bit for bit.
#[test]
fn what_is_stored_goes_on_the_same() {
    for (kind, seed) in [("auto", 1), ("counter", 2), ("state", 3)] {
        let mut rng = Rng::new(seed);
        let mut value = 4e6;
        let readings = readings(&mut rng, 150, |rng| {
            value = if kind == "state" { rng.below(3) as f64 } else { value + rng.below(9) as f64 };
            value
        });
        let settings = format!("kind = '{kind}'\nscale = 0.001\nhold = '2s'\n{WINDOWS}");
        let frames = frames(&readings, &mut rng);
        let mut whole = engine(&settings);
        for at in 0..frames.len() {
            let chunks = whole.image().into_iter().map(|(series, bytes)| {
                let chunk: UnitChunk = weir::cbor::from_slice(&bytes).expect("a chunk");
                (series, at as u64, chunk)
            });
            let mut resumed = Engine::restore(whole.meta().clone(), chunks).expect("good");
            let mut copy = engine(&settings);
            run(&mut copy, &frames[..at]);
            let expected = run(&mut copy, &frames[at..]);
            assert_eq!(run(&mut resumed, &frames[at..]), expected, "{kind} from {at}");
            assert_eq!(resumed.image(), copy.image(), "{kind} from {at}");
            run(&mut whole, &frames[at..=at]);
        }
        let kinds = ["counter", "counter", "state"];
        let (_, unit) = whole.unit(SeriesId(0)).expect("it is there");
        assert!(kinds.contains(&unit.state().kind(unit.plan()).name()));
    }
}
