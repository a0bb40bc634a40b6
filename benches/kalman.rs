//! Nanoseconds per reading of the Kalman filter: 10,000 series, their readings in random order, noise
//! known and filters settled.
//!
//! `cargo bench --bench kalman`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::analytics::kalman::{Kalman, KalmanPlan};
use weir::analytics::settings::{CustomSettings, KalmanModel, KalmanSettings};
use weir::reading::{EventTime, Finite, SECOND};

const SERIES: usize = 10_000;

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

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn update(criterion: &mut Criterion) {
    let known = KalmanSettings {
        observation_sd: Some(0.5),
        level_sd: Some(1.0),
        trend_sd: Some(0.1),
        ..KalmanSettings::default()
    };
    let learned = KalmanSettings::default();
    let trend = KalmanSettings { model: KalmanModel::Trend, ..known.clone() };
    let acceleration = KalmanSettings {
        model: KalmanModel::Acceleration,
        level_sd: None,
        trend_sd: None,
        acceleration_sd: Some(0.1),
        ..known.clone()
    };
    let decay = KalmanSettings {
        model: KalmanModel::Decay,
        tau: Some(600 * SECOND),
        mean: Some(20.0),
        ..known.clone()
    };
    // A level beside a damped oscillation.
    let custom = |per_second| KalmanSettings {
        model: KalmanModel::Custom,
        custom: Some(CustomSettings {
            f: vec![vec![-1e-4, 0.0, 0.0], vec![0.0, -1e-3, 0.01], vec![0.0, -0.01, -1e-3]],
            h: vec![vec![1.0, 1.0, 0.0]],
            q: vec![vec![1e-4, 0.0, 0.0], vec![0.0, 1e-3, 0.0], vec![0.0, 0.0, 1e-3]],
            r: vec![vec![0.25]],
            per_second,
            step: None,
            ..CustomSettings::default()
        }),
        ..KalmanSettings::default()
    };
    let (fixed, continuous) = (custom(false), custom(true));
    let learning = |settings: &KalmanSettings| *settings == KalmanSettings::default();
    let mut group = criterion.benchmark_group("kalman update, 10,000 series, random order");
    group.throughput(Throughput::Elements(SERIES as u64));
    group.warm_up_time(std::time::Duration::from_secs(1));
    group.measurement_time(std::time::Duration::from_secs(3));
    for (name, settings) in [
        ("level", &known),
        ("level, noise learned", &learned),
        ("trend", &trend),
        ("acceleration", &acceleration),
        ("decay", &decay),
        ("custom, 3 states, fixed", &fixed),
        ("custom, 3 states, per second", &continuous),
    ] {
        let plan = KalmanPlan::new(settings);
        let mut random = Random(1);
        let mut filters = vec![Kalman::new(&plan); SERIES];
        let mut order: Vec<u32> = (0..SERIES as u32).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (random.next() % (i as u64 + 1)) as usize);
        }
        let values: Vec<Finite> = (0..4096)
            .map(|_| Finite::new(20.0 + random.uniform()).expect("a finite number"))
            .collect();
        let mut round = 0;
        let mut pass = |filters: &mut [Kalman]| {
            round += 1;
            let time = EventTime::from_nanos(round * SECOND).expect("a valid time");
            for (i, &series) in order.iter().enumerate() {
                let value = values[(i + round as usize) % values.len()];
                black_box(filters[series as usize].update(&plan, time, value));
            }
        };
        for _ in 0..60 {
            pass(&mut filters);
        }
        group.bench_function(name, |bencher| bencher.iter(|| pass(&mut filters)));
        if learning(settings) {
            let filter = Kalman::new(&plan);
            group.bench_function("learning: first 50 readings, 200 series", |bencher| {
                bencher.iter(|| {
                    for series in 0..200 {
                        let mut filter = filter.clone();
                        for i in 0..50 {
                            let time = EventTime::from_nanos(i * SECOND).expect("a valid time");
                            let value = values[(series * 50 + i as usize) % values.len()];
                            black_box(filter.update(&plan, time, value));
                        }
                    }
                })
            });
        }
    }
    group.finish();
    println!("size of a filter in memory: {} bytes", size_of::<Kalman>());
}

/// A fit of the noise to 256 readings, from its start to its result.
fn fit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kalman fit of the noise, 256 readings");
    for (name, model) in [("level", KalmanModel::Level), ("trend", KalmanModel::Trend)] {
        let plan = KalmanPlan::new(&KalmanSettings { model, ..KalmanSettings::default() });
        let (mut filter, mut random, mut job) = (Kalman::new(&plan), Random(1), None);
        let mut level = 20.0;
        for i in 0..400 {
            level += 0.3 * (random.uniform() - 0.5);
            let value = Finite::new(level + random.uniform()).expect("a finite number");
            filter.update(&plan, EventTime::from_nanos(i * SECOND).expect("a valid time"), value);
            job = filter.take_fit_job(&plan).or(job);
        }
        let job = job.expect("a fit starts with the 400th reading");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(job.run())));
    }
    group.finish();
}

criterion_group!(benches, update, fit);
criterion_main!(benches);
