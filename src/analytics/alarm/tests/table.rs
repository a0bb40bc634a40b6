//! `make alarms`: what the detectors find and what they raise without need, kind by kind, and how the score does.

use super::clean::alarms;
use super::found::{Fault, LEARNED, finds_after, learned};
use super::nab::{File, best_threshold, recorded, synthetic};
use super::rig::*;

const FALSE_SEEDS: u64 = 6;
const FALSE_DAYS: f64 = 60.0;
const FOUND_SEEDS: u64 = 100;
const DRIFT_SEEDS: u64 = 10;
const ROUNDS: [u64; 2] = [4, 8];

/// Shares in per cent in which the faults are found after the same readings.
fn found<const N: usize>(
    faults: [Fault; N],
    (series, step): (Series, f64),
    seeds: u64,
    readings: usize,
) -> [f64; N] {
    let mut found = [0u32; N];
    for seed in 1..=seeds {
        let before = learned(series, step, seed, readings);
        for (found, fault) in found.iter_mut().zip(faults) {
            *found += u32::from(finds_after(fault, before.clone(), seed));
        }
    }
    found.map(|found| 100.0 * f64::from(found) / seeds as f64)
}

#[test]
#[ignore = "takes minutes: make alarms"]
fn table() {
    println!(
        "All with the defaults. Seeds: {FALSE_SEEDS} × {FALSE_DAYS} days for false alarms, {FOUND_SEEDS} for what is found"
    );
    println!(
        "(drift {DRIFT_SEEDS}) after {LEARNED} readings (drift: 21 days at 1 min, 28 at 5). Noise sd σ of the kind.\n"
    );
    println!(
        "| series | every | false in 30 days | most of one | step 5σ % | spike 8σ % | stuck % | gap % | drift 1σ/day % |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for series in Series::ALL {
        for (step, days) in [(MINUTE, 21.0), (5.0 * MINUTE, 28.0)] {
            let counts: Vec<usize> = (0..FALSE_SEEDS)
                .map(|seed| alarms(series, step, FALSE_DAYS, 1000 + seed).len())
                .collect();
            let rate = |count: usize| count as f64 * 30.0 / FALSE_DAYS;
            let total = rate(counts.iter().sum()) / FALSE_SEEDS as f64;
            let most = rate(counts.iter().copied().max().unwrap_or(0));
            let faults = [Fault::Step, Fault::Spike, Fault::Stuck, Fault::Gap];
            let [jump, spike, stuck, gap] = found(faults, (series, step), FOUND_SEEDS, LEARNED);
            let readings = (days * DAY / step) as usize;
            let [drift] = found([Fault::Drift], (series, step), DRIFT_SEEDS, readings);
            println!(
                "| {series:?} | {} min | {total:.2} | {most:.1} | {jump:.0} | {spike:.0} | {stuck:.0} | {gap:.0} | {drift:.0} |",
                step / MINUTE,
            );
        }
    }
    let show = |what: &str, files: &[File]| {
        let (threshold, score) = best_threshold(files);
        println!("\n{what}: {score:.1} at the threshold {threshold:.3}");
    };
    for round in ROUNDS {
        show(
            &format!("Synthetic recordings, round {round} (not used for choosing constants)"),
            &synthetic(round),
        );
    }
    show("The recordings in tests/data/series", &recorded());
}
