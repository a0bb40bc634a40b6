//! Nanoseconds per reading in the core, decoding excluded: 10,000 series, each once a batch in random
//! order, a reading in ten seconds, noise of the readings normal or nearly so.
//!
//! - `parts`: level filter, pane, forecaster (of three weeks' experience), detectors and score of each series, and nothing around
//!   them: no order, no duplicates, no classification, no records;
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
use weir::analytics::alarm::{DetectorPlan, Detectors, ReadingSeen};
use weir::analytics::holt_winters::{ForecastPlan, Forecaster};
use weir::analytics::kalman::{Kalman, KalmanPlan, Verdict};
use weir::analytics::settings::{
    CustomSettings, ForecastPatch, KalmanModel, KalmanPatch, Layer, Patch, Settings,
};
use weir::batch::builder::Builder;
use weir::batch::order::Watermark;
use weir::batch::pane::{PaneContext, Panes};
use weir::batch::window::Zone;
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

/// What is usual at a time of day.
fn day(time: EventTime) -> f64 {
    let share = time.nanos() as f64 / (24 * HOUR) as f64;
    20.0 + (share * std::f64::consts::TAU).sin()
}

/// Readings of all series, batch by batch.
struct Source {
    random: Random,
    order: Vec<u32>,
    round: i64,
}

impl Source {
    fn new() -> Source {
        Source { random: Random(1), order: (0..SERIES).collect(), round: 0 }
    }

    /// A reading of each.
    fn batch(&mut self) -> Vec<(u32, EventTime, Finite)> {
        self.round += 1;
        for i in (1..self.order.len()).rev() {
            self.order.swap(i, (self.random.next() % (i as u64 + 1)) as usize);
        }
        let Source { random, order, round } = self;
        let reading = |&i: &u32| {
            let jitter = (random.next() % 2000) as i64 * (SECOND / 1000);
            let behind = jitter + i64::from(i) * HOUR / i64::from(SERIES);
            let time = EventTime::clamped(START + *round * INTERVAL - behind);
            // The sum of four is nearly normal; to two decimals.
            let noise = (0..4).map(|_| (random.next() % 100) as f64).sum::<f64>();
            let value = day(time) + noise / 100.0;
            (i, time, Finite::new(value).expect("a finite number"))
        };
        order.iter().map(reading).collect()
    }

    /// When the last of them was read.
    fn now(&self) -> i64 {
        START + self.round * INTERVAL
    }
}

/// An engine that has seen the series, and what comes next.
struct World {
    engine: Engine,
    builder: Builder,
    source: Source,
    names: Vec<String>,
}

impl World {
    fn new(kalman: KalmanPatch, forecast: bool) -> World {
        let mut world = World {
            engine: Engine::new(config(kalman, forecast)).expect("UTC is known"),
            builder: Builder::default(),
            source: Source::new(),
            names: (0..SERIES).map(|i| format!("device-{i}")).collect(),
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
        for (i, time, value) in self.source.batch() {
            let name = (self.names[i as usize].as_str(), "temperature");
            self.builder.reading(&self.engine, name, time, value, true);
        }
        let now = self.source.now();
        let attended = AttendedTime(now - START);
        Frame::empty(self.engine.meta().batch + 1, ProcessingTime(now), attended)
    }

    fn frame(&mut self) -> Frame {
        let frame = self.gather();
        self.builder.close(&self.engine, frame).0
    }
}

/// What `level filter + pane + forecast + score` of a series need.
struct Parts {
    kalman: Kalman,
    panes: Panes,
    forecaster: Forecaster,
    detectors: Detectors,
    last: Option<EventTime>,
}

/// A forecaster that has seen three weeks, with the searches due in them.
fn experienced(plan: &ForecastPlan) -> Forecaster {
    let (mut forecaster, mut random) = (Forecaster::new(), Random(2));
    for hour in (2..24 * 21).rev() {
        let time = EventTime::clamped(START - hour * HOUR);
        let noise = (random.next() % 100) as f64 / 500.0;
        let value = Finite::new(day(time) + 1.9 + noise).expect("a finite number");
        forecaster.observe(plan, time, value);
        if let Some(fit) = forecaster.take_fit_job(plan, 0).and_then(|job| job.run()) {
            forecaster.offer(fit);
        }
    }
    forecaster
}

/// All series' parts, outside any engine.
struct Bare {
    settings: Settings,
    kalman: KalmanPlan,
    forecast: ForecastPlan,
    alarms: DetectorPlan,
    zone: Zone,
    parts: Vec<Parts>,
}

impl Bare {
    fn new() -> Bare {
        let patch = Patch { kalman: level(), ..Patch::default() };
        let settings = Settings::merged([&patch]);
        let zone = Zone::utc();
        let forecast = settings.forecast.clone().unwrap_or_default();
        let kalman = KalmanPlan::new(&settings.kalman);
        let plan = ForecastPlan::new(&forecast, &zone);
        let forecaster = experienced(&plan);
        let parts = || Parts {
            kalman: Kalman::new(&kalman),
            panes: Panes::default(),
            forecaster: forecaster.clone(),
            detectors: Detectors::new(),
            last: None,
        };
        Bare {
            parts: (0..SERIES).map(|_| parts()).collect(),
            alarms: DetectorPlan::new(&settings.alarms, Some(forecast.step)),
            forecast: plan,
            kalman,
            settings,
            zone,
        }
    }

    /// One batch, in the order given; how many panes and slots it closed.
    fn step(&mut self, batch: &[(u32, EventTime, Finite)], now: i64, number: u64) -> usize {
        let attended = AttendedTime(now - START);
        let pane = PaneContext {
            batch: number,
            now: ProcessingTime(now),
            attended,
            clock_trusted: true,
            max_ahead: HOUR,
            zone: &self.zone,
            max_panes: 8,
        };
        let (mut closed, mut events, mut count) = (Vec::new(), Vec::new(), 0);
        for &(series, time, value) in batch {
            let Parts { kalman, panes, forecaster, detectors, last } =
                &mut self.parts[series as usize];
            let update = kalman.update(&self.kalman, time, value);
            let gated = matches!(update.verdict, Verdict::Gated);
            let watermark = Watermark::behind(time, self.settings.lateness);
            let (windows, patience) = (&self.settings.windows, self.settings.lateness);
            panes.add(windows, patience, watermark, &pane, time, value, gated, *last, &mut closed);
            panes.close_passed(watermark, &mut closed);
            *last = Some(time);
            if !gated && let Some(slots) = forecaster.observe(&self.forecast, time, value) {
                detectors.slot(&self.alarms, &slots, time, &mut events);
                count += 1;
            }
            let seen = ReadingSeen { time, value, attended, update: &update };
            detectors.reading(&self.alarms, &seen, &mut events);
            count += closed.len();
            closed.clear();
        }
        count
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
    let bare = LazyCell::new(|| {
        let (mut bare, mut source) = (Bare::new(), Source::new());
        for number in 1..=600 {
            let batch = source.batch();
            bare.step(&batch, source.now(), number);
        }
        RefCell::new((bare, source, 600))
    });
    group.bench_function("parts: level filter, pane, forecast, score", |bencher| {
        bencher.iter_custom(|rounds| {
            let step = |mut batch: Vec<(u32, EventTime, Finite)>| {
                // As the engine goes through it; `close` times the sorting.
                batch.sort_unstable_by_key(|&(series, ..)| series);
                let (bare, source, number) = &mut *bare.borrow_mut();
                *number += 1;
                let begin = cpu_time();
                let count = bare.step(&batch, source.now(), *number);
                let took = cpu_time() - begin;
                black_box(count);
                took
            };
            each(rounds, || bare.borrow_mut().1.batch(), step)
        });
    });
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
