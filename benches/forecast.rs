//! What a reading costs the forecaster, at 10,000 series in random order.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::analytics::holt_winters::{FitJob, ForecastPlan, Forecaster};
use weir::analytics::settings::{ForecastSettings, HOUR};
use weir::batch::window::Zone;
use weir::reading::{EventTime, Finite};

const SERIES: usize = 10_000;

/// The series in an order without pattern (a fixed linear congruential shuffle).
fn random_order() -> Vec<usize> {
    let mut order: Vec<usize> = (0..SERIES).collect();
    let mut x = 1_u64;
    for i in (1..SERIES).rev() {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (x >> 33) as usize % (i + 1));
    }
    order
}

fn at(nanos: i64) -> EventTime {
    EventTime::clamped(nanos)
}

/// Forecasters past their start: three days of hourly slots with a daily season.
fn warm(plan: &ForecastPlan) -> Vec<Forecaster> {
    let mut forecaster = Forecaster::new();
    for hour in 0..72 {
        let value = Finite::new((hour % 24) as f64 + 0.1 * (hour % 7) as f64).unwrap();
        forecaster.observe(plan, at(hour * HOUR), value);
    }
    vec![forecaster; SERIES]
}

fn benches(c: &mut Criterion) {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &Zone::utc());
    let order = random_order();
    let value = Finite::new(12.5).unwrap();
    let mut group = c.benchmark_group("forecast");
    group.throughput(Throughput::Elements(SERIES as u64));

    group.bench_function("observe in slot", |b| {
        let mut forecasters = warm(&plan);
        let time = at(71 * HOUR + 1);
        b.iter(|| {
            for &i in &order {
                black_box(forecasters[i].observe(&plan, black_box(time), black_box(value)));
            }
        });
    });

    group.bench_function("observe closing a slot", |b| {
        let mut forecasters = warm(&plan);
        let mut hour = 72;
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let time = at(hour * HOUR);
                hour += 1;
                let start = Instant::now();
                for &i in &order {
                    black_box(forecasters[i].observe(&plan, black_box(time), black_box(value)));
                }
                spent += start.elapsed();
            }
            spent
        });
    });

    group.throughput(Throughput::Elements(1));
    group.bench_function("forecast of 24 slots", |b| {
        let forecaster = warm(&plan).swap_remove(0);
        b.iter(|| black_box(&forecaster).forecast(&plan));
    });

    // Each is fitted to 720 slots and judged on 240; the best is fitted again to all.
    let job = job(&plan, 960);
    group.throughput(Throughput::Elements(job.candidates() as u64));
    group.bench_function("fit of 960 slots, day and week, all candidates", |b| {
        b.iter(|| black_box(&job).run());
    });
    group.finish();
}

/// The fit of a series with a day and a week that has seen `slots` slots, all of them in the ring.
fn job(plan: &ForecastPlan, slots: i64) -> FitJob {
    let mut forecaster = Forecaster::new();
    let mut job = None;
    let mut x = 1_u64;
    for hour in 0..=slots {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (x >> 40) as f64 / 1_048_576.0;
        let day = (hour % 24 - 12).abs() as f64;
        let week = if hour / 24 % 7 < 5 { 30.0 } else { 10.0 };
        let value = Finite::new(100.0 + week + 3.0 * day + noise).unwrap();
        forecaster.observe(plan, at(hour * HOUR), value);
        // Never answered, so it is asked for again each season.
        job = forecaster.take_fit_job(plan, 0).or(job);
    }
    job.expect("a fit was due")
}

criterion_group!(all, benches);
criterion_main!(all);
