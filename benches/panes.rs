//! What one reading costs a pane: 10,000 panes visited in random order, as a busy gateway does, and
//! one pane alone.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use weir::batch::moments::Moments;
use weir::batch::sketch::Sketch;
use weir::reading::{EventTime, Finite, SECOND};

/// Readings with a pane each, from a small fixed generator.
fn readings(panes: u64) -> Vec<(usize, EventTime, Finite)> {
    let mut state = 1u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..100_000)
        .map(|i| {
            let time = EventTime::clamped(1_700_000_000 * SECOND + i * SECOND);
            let value = Finite::new(20.0 + random() as f64 * 1e-9).expect("finite");
            ((random() % panes) as usize, time, value)
        })
        .collect()
}

fn panes(c: &mut Criterion) {
    for count in [1u64, 10_000] {
        let readings = readings(count);
        let (_, time, value) = readings[0];

        let mut moments = vec![Moments::new(time, value); count as usize];
        let mut next = readings.iter().cycle();
        c.bench_function(&format!("Moments::add, panes: {count}"), |b| {
            b.iter(|| {
                let &(pane, time, value) = next.next().expect("cycles");
                moments[black_box(pane)].add(time, value);
            });
        });

        let mut sketches = vec![Sketch::new(); count as usize];
        let mut next = readings.iter().cycle();
        c.bench_function(&format!("Sketch::add, panes: {count}"), |b| {
            b.iter(|| {
                let &(pane, _, value) = next.next().expect("cycles");
                sketches[black_box(pane)].add(value);
            });
        });
    }

    let readings = readings(1);
    let mut day = Sketch::new();
    readings.iter().take(86_400).for_each(|&(_, _, value)| day.add(value));
    let mut minute = Sketch::new();
    readings.iter().take(60).for_each(|&(_, _, value)| minute.add(value));
    c.bench_function("Sketch::merge, two days", |b| {
        b.iter_batched_ref(|| day.clone(), |into| into.merge(&day), BatchSize::SmallInput);
    });
    c.bench_function("Sketch::quantile, a minute", |b| b.iter(|| minute.quantile(black_box(0.5))));
    c.bench_function("Sketch::quantile, a day", |b| b.iter(|| day.quantile(black_box(0.5))));
    c.bench_function("Sketch::to_bytes, a day", |b| b.iter(|| black_box(&day).to_bytes()));
}

criterion_group!(benches, panes);
criterion_main!(benches);
