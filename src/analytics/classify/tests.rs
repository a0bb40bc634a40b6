use super::*;

/// Numerical Recipes' 64-bit generator; the same numbers everywhere.
struct Rng(u64);

impl Rng {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: twelve uniforms.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.uniform() * n as f64) as u64
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        let (limit, mut n, mut product) = ((-mean).exp(), 0, self.uniform());
        while product > limit {
            n += 1;
            product *= self.uniform();
        }
        n
    }
}

/// A series: the next value from the generator and the number of the reading.
type Series = Box<dyn FnMut(&mut Rng, u64) -> f64>;

fn held(values: &'static [f64], change: f64) -> Series {
    let mut at = values[0];
    Box::new(move |rng, _| {
        if rng.chance(change) {
            at = values[rng.below(values.len() as u64) as usize];
        }
        at
    })
}

fn walk(start: f64, sd: f64, noise: f64, step: f64) -> Series {
    let mut level = start;
    Box::new(move |rng, _| {
        level += sd * rng.normal();
        ((level + noise * rng.normal()) / step).round() * step
    })
}

fn count(start: f64, mean: f64, reset: f64) -> Series {
    let mut at = start;
    Box::new(move |rng, _| {
        at = if rng.chance(reset) { 0.0 } else { at + rng.poisson(mean) as f64 };
        at
    })
}

/// By seed, so that phases, rates and offsets differ.
fn gauge(name: &str, seed: u64) -> Series {
    let pick = (seed % 10) as f64;
    match name {
        "temperature" => Box::new(|rng, i| {
            let day = (i as f64 / 288.0 * std::f64::consts::TAU).sin();
            ((20.0 + 5.0 * day + 0.1 * rng.normal()) * 10.0).round() / 10.0
        }),
        "temperature in tenths" => walk(200.0 + pick, 0.3, 0.5, 1.0),
        "coarse thermometer" => walk(20.0 + pick, 0.05, 0.2, 1.0),
        "coarse thermometer about five" => walk(5.0, 0.05, 0.3, 1.0),
        "slowly rising" => Box::new(move |rng, i| {
            (20.0 + 0.01 * (1.0 + pick) * i as f64 + 0.02 * rng.normal()) / 1.0
        }),
        "slowly rising, whole degrees" => Box::new(move |rng, i| {
            (20.0 + 0.02 * (1.0 + pick) * i as f64 + 0.1 * rng.normal()).round()
        }),
        // Two tenths a reading: 300 rises in a row, then the thermostat.
        "oven, in tenths" => Box::new(move |rng, i| {
            (200.0 + (2.0 + pick) * (i.min(300) as f64) + 0.5 * rng.normal()).round()
        }),
        "constant" => Box::new(move |_, _| pick),
        "setpoints" => held(&[21.0, 17.0, 19.0, 22.0, 5.0], 0.02),
        "half setpoints" => held(&[0.5, 1.0, 20.5, 0.0], 0.02),
        "pressure in pascal" => walk(101_325.0, 5.0, 3.0, 1.0),
        "slow pressure rise" => {
            Box::new(move |rng, i| (100_000.0 + 0.5 * pick * i as f64 + 2.0 * rng.normal()).round())
        }
        "relative humidity" => walk(50.0, 0.2, 0.6, 1.0),
        "converter, 12 bits" => walk(2048.0, 1.0, 3.0, 1.0),
        "tank that fills and empties" => {
            Box::new(move |rng, i| (10.0 + (i % 41) as f64 * 2.0 + 0.2 * rng.normal()).round())
        }
        "people in a room" => {
            let mut n = 4.0_f64;
            Box::new(move |rng, _| {
                n = (n + rng.poisson(0.2) as f64 - rng.poisson(0.2) as f64).max(0.0);
                n
            })
        }
        "power" => {
            Box::new(|rng, i| if i / 20 % 3 == 0 { 2.0 } else { 1500.0 + 30.0 * rng.normal() })
        }
        _ => panic!("{name}"),
    }
}

const GAUGES: &[&str] = &[
    "temperature",
    "temperature in tenths",
    "coarse thermometer",
    "coarse thermometer about five",
    "slowly rising",
    "slowly rising, whole degrees",
    "oven, in tenths",
    "constant",
    "setpoints",
    "half setpoints",
    "pressure in pascal",
    "slow pressure rise",
    "relative humidity",
    "converter, 12 bits",
    "tank that fills and empties",
    "people in a room",
    "power",
];

/// Kind after each of the `checkpoints`, and whether it was ever one of the wrong kinds.
fn classify(mut series: Series, seed: u64, readings: u64, wrong: &[Kind]) -> (Vec<Kind>, bool) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
    let (mut classifier, mut kinds, mut ever) = (Classifier::default(), Vec::new(), false);
    for i in 0..readings {
        let before = classifier.kind();
        let changed = classifier.observe(Finite::new(series(&mut rng, i)).unwrap());
        assert_eq!(changed, classifier.kind() != before);
        ever |= wrong.contains(&classifier.kind());
        if [50, 400, 3000].contains(&(i + 1)) {
            kinds.push(classifier.kind());
        }
    }
    (kinds, ever)
}

const SEEDS: u64 = 200;

#[test]
fn gauges_are_not_taken_for_anything_else() {
    for name in GAUGES {
        let ever =
            |seed: &u64| classify(gauge(name, *seed), *seed, 3000, &[Kind::Counter, Kind::State]).1;
        let wrong = (0..SEEDS).filter(ever).count();
        // Of a rare one it may be believed for a while: 1 in 200.
        assert!(wrong <= 1, "{name}: {wrong} of {SEEDS} were something else at some time");
    }
}

/// `by`: after which checkpoint (50, 400, 3000 readings) at least `share` must be found.
fn found(name: &str, make: impl Fn(u64) -> Series, kind: Kind, by: usize, share: f64) {
    let hits =
        (0..SEEDS).filter(|&seed| classify(make(seed), seed, 3000, &[]).0[by] == kind).count();
    assert!(hits as f64 >= share * SEEDS as f64, "{name}: {hits} of {SEEDS} by {by}");
    let (other, name) = match kind {
        Kind::Counter => (Kind::State, name),
        _ => (Kind::Counter, name),
    };
    let wrong = (0..SEEDS).filter(|&seed| classify(make(seed), seed, 3000, &[other]).1).count();
    assert_eq!(wrong, 0, "{name}: taken for a {other:?}");
}

#[test]
fn counters_are_found() {
    let counter = |name, make: fn(u64) -> Series, by, share| {
        found(name, make, Kind::Counter, by, share);
    };
    counter("energy in watt-hours", |seed| count(2e6 + seed as f64, 8.0, 0.0), 0, 1.0);
    counter("octets", |seed| count(4e9 + seed as f64, 1e2, 0.0), 0, 1.0);
    counter("octets with resets", |_| count(1e5, 30.0, 0.002), 1, 0.95);
    counter(
        "uptime",
        |seed| Box::new(move |_, i| (1 + seed) as f64 * 60.0 + 10.0 * i as f64),
        1,
        1.0,
    );
    counter("pieces", |_| count(0.0, 5.0, 0.0), 1, 1.0);
    counter("a meter that hardly turns", |_| count(5e6, 0.2, 0.0), 1, 1.0);
    counter(
        "a counter that wraps at 2^17",
        |seed| Box::new(move |_, i| ((90_000 + seed * 100 + 50 * i) % (1 << 17)) as f64),
        1,
        1.0,
    );
}

#[test]
fn states_are_found() {
    let state =
        |name, make: fn(u64) -> Series, by, share| found(name, make, Kind::State, by, share);
    state("door", |_| held(&[0.0, 1.0], 0.2), 0, 0.98);
    state("a door that opens once in a while", |_| held(&[0.0, 1.0], 0.01), 2, 0.98);
    state("mode", |_| held(&[0.0, 1.0, 3.0, 7.0], 0.1), 1, 0.98);
    state("fault codes", |_| held(&[0.0, 4.0, 9.0], 0.1), 1, 0.98);
    state(
        "a machine's cycle",
        |_| {
            let mut at = 0.0;
            Box::new(move |rng, _| {
                if rng.chance(0.1) {
                    at = (at + 1.0) % 4.0;
                }
                at
            })
        },
        1,
        0.6,
    );
}

fn all(values: impl IntoIterator<Item = f64>) -> Classifier {
    let mut classifier = Classifier::default();
    for value in values {
        classifier.observe(Finite::new(value).unwrap());
    }
    classifier
}

#[test]
fn what_cannot_be_is_given_up_for_good() {
    let rising = || (0..50).map(|i| 2e6 + f64::from(i));
    assert_eq!(all(rising()).kind(), Kind::Counter);
    assert_eq!(all(rising().chain([0.0, 1.0, 2.0])).kind(), Kind::Counter, "resets are no falls");
    assert_eq!(all(rising().chain([1_999_999.0, 1_999_998.0])).kind(), Kind::Counter);
    let fallen = all(rising().chain([1_999_999.0, 1_999_998.0, 1_999_997.0]));
    assert_eq!(fallen, Classifier::Gauge);

    let door = || (0..50).map(|i| f64::from(i / 7 % 2));
    assert_eq!(all(door()).kind(), Kind::State);
    assert_eq!(all(door().chain([2.0, 15.0])).kind(), Kind::State);
    for no_state in [16.0, 0.5, -1.0] {
        assert_eq!(all(door().chain([no_state])), Classifier::Gauge, "{no_state}");
    }
    assert_eq!(all(door().chain((0..9).map(f64::from))), Classifier::Gauge, "nine states");
    assert_eq!(all(door().chain([0.5]).chain(door().cycle().take(500))), Classifier::Gauge);
}

#[test]
fn a_constant_stays_open() {
    let constant = all(std::iter::repeat_n(0.0, 10_000));
    assert!(constant.is_undecided() && constant.kind() == Kind::Gauge);
    let opened = all(std::iter::repeat_n(0.0, 10_000).chain([1.0; 50]));
    assert_eq!(opened.kind(), Kind::State);
}

#[test]
fn it_is_stored_and_goes_on_the_same() {
    for name in GAUGES {
        let mut rng = Rng(7);
        let mut series = gauge(name, 3);
        let mut whole = Classifier::default();
        let mut stored = Classifier::default();
        for i in 0..500 {
            let value = Finite::new(series(&mut rng, i)).unwrap();
            whole.observe(value);
            let bytes = serde_cbor::to_vec(&stored).unwrap();
            stored = crate::cbor::from_slice(&bytes).unwrap();
            stored.observe(value);
            assert_eq!(whole, stored, "{name}");
        }
    }
}
