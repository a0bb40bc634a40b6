//! Deterministic simulation: the real pipeline between a simulated broker and a simulated disk.
//!
//! One seed decides everything: what devices publish (disorder, resends, silences), when batches
//! close, when checkpoints start and finish, how late background fits come, when the process dies and what of its unsynced writes
//! survives. Each run is held against a model that only counts, and its state against a replay of
//! the same frames without crashes. A failure names its seed: `SEED=n cargo test --test simulation`.

mod sim;

use sim::world::run;

/// Seeds run by `cargo test`; `SEEDS=n` for more, `SEED=n` for one.
const SEEDS: u64 = 1200;

#[test]
fn every_seed_ends_as_the_model_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    if let Some(seed) = number("SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let totals = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut total = sim::world::Outcome::default();
                    for seed in (worker..seeds).step_by(threads as usize) {
                        let outcome = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
                            panic!("seed {seed} failed: SEED={seed} cargo test --test simulation")
                        });
                        total.add(&outcome);
                    }
                    total
                })
            })
            .collect();
        let mut total = sim::world::Outcome::default();
        for worker in workers {
            total.add(&worker.join().expect("a seed failed, see above"));
        }
        total
    });
    println!("{seeds} seeds: {totals:?}");
    // The simulation must reach what it is there to test.
    assert!(totals.kills > seeds, "{totals:?}");
    assert!(totals.redelivered > seeds, "{totals:?}");
    assert!(totals.resent > seeds, "{totals:?}");
    assert!(totals.checkpoints > seeds, "{totals:?}");
    assert!(totals.parts > seeds / 10, "{totals:?}");
    assert!(totals.fits - totals.fits_late > seeds / 20, "{totals:?}");
    assert!(totals.alarms > seeds, "{totals:?}");
}
