//! Nanoseconds per reading in the core, decoding excluded: 10,000 series, each once a batch in random
//! order, a reading in ten seconds, noise of the readings normal or nearly so.
//!
//! - `step`: [`Engine::step`] of a frame of 10,000 readings, for each model of the filter, with noise
//!   given or found (`auto`), without and with forecast, and with the frame's encoding and decoding.
//!   All detectors and the score run in each of them, as they do whenever a series has readings; the
//!   score is computed at every reading;
//! - `close`: [`Builder::close`], which sorts the batch into canonical order.
//!
//! Panes of a minute close with every sixth reading of a series, slots of an hour with every 360th;
//! the devices' clocks differ, so that each batch closes its share of both. Records made of them count,
//! their serialisation does not. Before, the series have been seen for more than an hour.
//!
//! Times are of the processor, not of the clock on the wall.
//!
//! `cargo bench --bench core`

use std::cell::{LazyCell, RefCell};
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::analytics::settings::{
    CustomSettings, ForecastPatch, KalmanModel, KalmanPatch, Layer, Patch,
};
use weir::batch::builder::Builder;
use weir::engine::{CoreConfig, Engine};
use weir::journal::frame::Frame;
use weir::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND};

const SERIES: u32 = 10_000;
const START: i64 = 1_700_000_000 * SECOND;
/// Seconds between two readings of a series.
const INTERVAL: i64 = 10 * SECOND;
const HOUR: i64 = 3600 * SECOND;

/// A repeatable stream of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The level filter with given noise.
fn level() -> KalmanPatch {
    KalmanPatch {
        model: Some(KalmanModel::Level),
        observation_sd: Some(0.5),
        level_sd: Some(1.0),
        ..KalmanPatch::default()
    }
}

/// A name for each filter that is timed.
fn filters() -> [(&'static str, KalmanPatch); 6] {
    // A level beside a damped oscillation.
    let custom = CustomSettings {
        f: vec![vec![-1e-4, 0.0, 0.0], vec![0.0, -1e-3, 0.01], vec![0.0, -0.01, -1e-3]],
        h: vec![vec![1.0, 1.0, 0.0]],
        q: vec![vec![1e-4, 0.0, 0.0], vec![0.0, 1e-3, 0.0], vec![0.0, 0.0, 1e-3]],
        r: vec![vec![0.25]],
        per_second: true,
        ..CustomSettings::default()
    };
    let of = |model| KalmanPatch { model: Some(model), ..level() };
    [
        ("level", level()),
        ("level, auto noise", KalmanPatch::default()),
        ("trend", KalmanPatch { trend_sd: Some(0.1), ..of(KalmanModel::Trend) }),
        (
            "acceleration",
            KalmanPatch {
                level_sd: None,
                acceleration_sd: Some(0.1),
                ..of(KalmanModel::Acceleration)
            },
        ),
        (
            "decay",
            KalmanPatch { tau: Some(600 * SECOND), mean: Some(22.0), ..of(KalmanModel::Decay) },
        ),
        (
            "custom, 3 states",
            KalmanPatch {
                model: Some(KalmanModel::Custom),
                custom: Some(custom),
                ..KalmanPatch::default()
            },
        ),
    ]
}

fn config(kalman: KalmanPatch, forecast: bool) -> CoreConfig {
    let forecast = ForecastPatch { enabled: Some(forecast), ..ForecastPatch::default() };
    let patch = Patch { kalman, forecast, ..Patch::default() };
    let all = || vec!["*".to_owned()];
    let layer = Layer { origin: "bench".to_owned(), device: all(), metric: all(), patch };
    CoreConfig { layers: vec![layer], ..CoreConfig::default() }
}

/// An engine that has seen the series, and what comes next.
struct World {
    engine: Engine,
    builder: Builder,
    random: Random,
    names: Vec<String>,
    order: Vec<u32>,
    round: i64,
}

impl World {
    fn new(kalman: KalmanPatch, forecast: bool) -> World {
        let mut world = World {
            engine: Engine::new(config(kalman, forecast)).expect("UTC is known"),
            builder: Builder::default(),
            random: Random(1),
            names: (0..SERIES).map(|i| format!("device-{i}")).collect(),
            order: (0..SERIES).collect(),
            round: 0,
        };
        // Past the first readings, so that gate, filters and detectors are at work.
        for _ in 0..600 {
            let frame = world.frame();
            world.engine.step(&frame).expect("it steps");
        }
        world
    }

    /// Gathers a batch; a decoder's work but for the parsing.
    fn gather(&mut self) -> Frame {
        self.round += 1;
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, (self.random.next() % (i as u64 + 1)) as usize);
        }
        for &i in &self.order {
            let jitter = (self.random.next() % 2000) as i64 * (SECOND / 1000);
            let behind = jitter + i64::from(i) * HOUR / i64::from(SERIES);
            let time = EventTime::clamped(START + self.round * INTERVAL - behind);
            // The sum of four is nearly normal; to two decimals.
            let noise = (0..4).map(|_| (self.random.next() % 100) as f64).sum::<f64>();
            let value = 20.0 + noise / 100.0;
            let value = Finite::new(value).expect("a finite number");
            let name = (self.names[i as usize].as_str(), "temperature");
            self.builder.reading(&self.engine, name, time, value, true);
        }
        let now = START + self.round * INTERVAL;
        let attended = AttendedTime(self.round * INTERVAL);
        Frame::empty(self.engine.meta().batch + 1, ProcessingTime(now), attended)
    }

    fn frame(&mut self) -> Frame {
        let frame = self.gather();
        self.builder.close(&self.engine, frame).0
    }
}

/// Time that this thread has had the processor: neighbours on a busy machine do not count (their
/// use of the caches does).
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Times `work` on a fresh batch each, preparing untimed.
fn each<T>(
    rounds: u64,
    mut prepare: impl FnMut() -> T,
    work: impl FnMut(T) -> Duration,
) -> Duration {
    (0..rounds).map(|_| prepare()).map(work).sum()
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core, 10,000 series in random order");
    group.throughput(Throughput::Elements(u64::from(SERIES)));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    group.sample_size(20);
    let mut cases = vec![("level, no forecast", level(), false)];
    cases.extend(filters().map(|(name, kalman)| (name, kalman, true)));
    for (name, kalman, forecast) in cases {
        let world = LazyCell::new(move || RefCell::new(World::new(kalman, forecast)));
        group.bench_function(format!("step: {name}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let step = |frame: Frame| {
                    let engine = &mut world.borrow_mut().engine;
                    let begin = cpu_time();
                    let output = engine.step(&frame).expect("it steps");
                    let took = cpu_time() - begin;
                    black_box(output);
                    took
                };
                each(rounds, || world.borrow_mut().frame(), step)
            });
        });
    }
    let world = LazyCell::new(|| RefCell::new(World::new(level(), false)));
    group.bench_function("encode, decode and step: level, no forecast", |bencher| {
        bencher.iter_custom(|rounds| {
            let step = |frame: Frame| {
                let engine = &mut world.borrow_mut().engine;
                let begin = cpu_time();
                let frame = Frame::decode(black_box(&frame.encode())).expect("a frame");
                let output = engine.step(&frame).expect("it steps");
                let took = cpu_time() - begin;
                black_box(output);
                took
            };
            each(rounds, || world.borrow_mut().frame(), step)
        });
    });
    let world = LazyCell::new(|| RefCell::new(World::new(level(), false)));
    group.bench_function("close (sort)", |bencher| {
        bencher.iter_custom(|rounds| {
            let close = |frame: Frame| {
                let World { engine, builder, .. } = &mut *world.borrow_mut();
                let begin = cpu_time();
                let closed = builder.close(engine, frame);
                let took = cpu_time() - begin;
                black_box(closed);
                took
            };
            each(rounds, || world.borrow_mut().gather(), close)
        });
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
