use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn finite(value: f64) -> Finite {
    Finite::new(value).unwrap()
}

fn sketch(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new();
    values.iter().for_each(|&value| sketch.add(finite(value)));
    sketch
}

/// A small generator, so that the tests are the same everywhere (Steele, Lea, Flood 2014, SplitMix64).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Streams that are hard on one kind of summary or another.
fn stream(kind: &str, n: usize) -> Vec<f64> {
    let mut random = SplitMix(7);
    let middle = n as f64 / 2.0;
    (0..n)
        .map(|i| {
            let x = i as f64;
            match kind {
                "sorted" => x,
                "reversed" => -x,
                "random" => random.unit(),
                "offset 1e9, noise 1e-3" => 1e9 + (random.unit() - 0.5) * 2e-3,
                "clustered" => (random.next() % 5) as f64 * 1e6 + random.unit() * 1e-3,
                "constant" => 0.1,
                "two values" => (random.next() % 2) as f64,
                "few values" => (random.next() % 37) as f64,
                "zigzag" => {
                    if i % 2 == 0 {
                        x
                    } else {
                        n as f64 - x
                    }
                }
                "inwards" => {
                    if i % 2 == 0 {
                        x
                    } else {
                        2.0 * n as f64 - x
                    }
                }
                "outwards" => {
                    if i % 2 == 0 {
                        middle + x
                    } else {
                        middle - x
                    }
                }
                "heavy tail" => {
                    1.0 / (random.unit() + 1e-12) * if random.unit() < 0.5 { 1.0 } else { -1.0 }
                }
                "saw" => (i % 1000) as f64,
                "long saw" => (i % 257) as f64 * 1e5 + (i / 257) as f64,
                "daily wave" => 20.0 + 5.0 * libm::sin(x * std::f64::consts::TAU / 86400.0),
                "drifting noise" => x * 1e-3 + random.unit(),
                "offset -1e9, noise 1e-3" => -1e9 + (random.unit() - 0.5) * 2e-3,
                "negative heavy tail" => -1.0 / (random.unit() * random.unit() + 1e-12),
                "offset 1e12, heavy tail" => 1e12 + 1.0 / (random.unit() + 1e-6),
                "mixed sign, all sizes" => {
                    let size = libm::pow(10.0, 600.0 * random.unit() - 300.0);
                    if random.unit() < 0.5 { size } else { -size }
                }
                "huge" => (random.unit() - 0.5) * f64::MAX,
                _ => panic!("{kind}"),
            }
        })
        .collect()
}

const STREAMS: [&str; 21] = [
    "offset -1e9, noise 1e-3",
    "negative heavy tail",
    "offset 1e12, heavy tail",
    "mixed sign, all sizes",
    "sorted",
    "reversed",
    "random",
    "offset 1e9, noise 1e-3",
    "clustered",
    "constant",
    "two values",
    "few values",
    "zigzag",
    "inwards",
    "outwards",
    "heavy tail",
    "saw",
    "long saw",
    "daily wave",
    "drifting noise",
    "huge",
];

/// Largest rank error of `sketch` on `sorted`, of quantiles and of ranks, as a fraction.
fn error(sketch: &Sketch, sorted: &[f64]) -> f64 {
    let n = sorted.len() as f64;
    assert_eq!(sketch.count(), sorted.len() as u64);
    let mut worst = 0.0f64;
    for step in 0..=200 {
        let p = f64::from(step) / 200.0;
        let value = sketch.quantile(p).unwrap();
        let below = sorted.partition_point(|&x| x < value) as f64;
        let up_to = sorted.partition_point(|&x| x <= value) as f64;
        assert!(up_to > below || sketch.entries.is_empty(), "{value} is one of the readings");
        // Equal readings have all the ranks from below + 1 to up_to.
        let target = 1.0 + (n - 1.0) * p;
        worst = worst.max(below + 1.0 - target).max(target - up_to);
        if step % 10 == 0 {
            for x in [value, value - 1e-4, value + 1e5] {
                let truth = sorted.partition_point(|&y| y <= x) as f64;
                worst = worst.max((sketch.rank(x) * n - truth).abs());
            }
        }
    }
    worst / n
}

fn check_extremes(sketch: &Sketch, sorted: &[f64]) {
    assert_eq!(sketch.quantile(0.0), Some(sorted[0]));
    assert_eq!(sketch.quantile(1.0), Some(sorted[sorted.len() - 1]));
    assert_eq!((sketch.rank(f64::MAX), sketch.rank(f64::MIN) < 0.5), (1.0, true));
}

/// The worst error seen, the worst proven, the most entries.
type Worst = (f64, f64, usize);

fn check_streams(kinds: &[&str], lengths: &[usize]) -> Worst {
    let mut worst = (0.0f64, 0.0f64, 0);
    for kind in kinds {
        for &n in lengths {
            let mut values = stream(kind, n);
            let sketch = sketch(&values);
            values.sort_unstable_by(f64::total_cmp);
            let (error, proven) = (error(&sketch, &values), sketch.rank_error());
            let entries = sketch.entries.len();
            let bytes = sketch.to_bytes().len();
            println!("{kind} {n}: error {error:.5} proven {proven:.5} {entries} {bytes}");
            assert!(error <= proven + 1e-12, "{kind} {n}: error {error}, proven {proven}");
            assert!(proven <= 0.01, "{kind} {n}: proven {proven}");
            assert!(sketch.memory_bytes() <= Sketch::MAX_BYTES);
            check_extremes(&sketch, &values);
            worst = (worst.0.max(error), worst.1.max(proven), worst.2.max(entries));
        }
    }
    println!("worst: error, proven, entries {worst:?}");
    worst
}

#[test]
fn streams_stay_within_one_percent() {
    check_streams(&STREAMS, &[257, 1_440, 20_000]);
    check_streams(&["random", "zigzag", "few values"], &[1_000_000]);
}

#[test]
fn all_long_streams_stay_within_one_percent() {
    check_streams(&STREAMS, &[86_400, 1_000_000]);
}

/// Shapes of merging: one after the other, in pairs, in pairs of unequal size.
fn merge_all(mut parts: Vec<Sketch>, shape: &str) -> Sketch {
    match shape {
        "into the first" => {
            let (first, rest) = parts.split_at_mut(1);
            rest.iter().for_each(|part| first[0].merge(part));
        }
        "into each new" => {
            let mut so_far = parts.remove(0);
            for mut part in parts.drain(..) {
                part.merge(&so_far);
                so_far = part;
            }
            parts.push(so_far);
        }
        "pairs" => {
            while parts.len() > 1 {
                parts = parts
                    .chunks(2)
                    .map(|pair| {
                        let mut merged = pair[0].clone();
                        pair[1..].iter().for_each(|part| merged.merge(part));
                        merged
                    })
                    .collect();
            }
        }
        "any two" => {
            let mut random = SplitMix(3);
            while parts.len() > 1 {
                let taken = parts.swap_remove(random.next() as usize % parts.len());
                let into = random.next() as usize % parts.len();
                parts[into].merge(&taken);
            }
        }
        _ => panic!("{shape}"),
    }
    parts.swap_remove(0)
}

fn check_merges(kinds: &[&str], sizes: &[(u64, u64)], shapes: &[&str]) -> Worst {
    let mut worst = (0.0f64, 0.0f64, 0);
    for (kind, sizes, shape) in kinds.iter().flat_map(|kind| {
        sizes.iter().flat_map(move |s| shapes.iter().map(move |shape| (kind, s, shape)))
    }) {
        let mut random = SplitMix(11);
        let lengths: Vec<usize> = (0..1000)
            .map(|_| (sizes.0 + random.next() % (sizes.1 + 1 - sizes.0)) as usize)
            .collect();
        let mut values = stream(kind, lengths.iter().sum());
        let mut rest = &values[..];
        let mut parts = Vec::new();
        for length in lengths {
            let (part, tail) = rest.split_at(length);
            parts.push(sketch(part));
            rest = tail;
        }
        let merged = merge_all(parts, shape);
        values.sort_unstable_by(f64::total_cmp);
        let (error, proven) = (error(&merged, &values), merged.rank_error());
        let what = format!("{kind} {sizes:?} {shape}: error {error:.5} proven {proven:.5}");
        println!("{what} {}", merged.entries.len());
        assert!(error <= proven + 1e-12, "{what}");
        assert!(proven <= 0.01, "{what}");
        assert!(merged.memory_bytes() <= Sketch::MAX_BYTES, "{what}");
        check_extremes(&merged, &values);
        worst = (worst.0.max(error), worst.1.max(proven), worst.2.max(merged.entries.len()));
    }
    println!("worst: error, proven, entries {worst:?}");
    worst
}

const SHAPES: [&str; 4] = ["into the first", "into each new", "pairs", "any two"];

#[test]
fn a_thousand_merged_stay_within_one_percent() {
    check_merges(&["random", "zigzag"], &[(60, 60)], &SHAPES);
    check_merges(&["random"], &[(60, 1_440)], &["into each new", "pairs", "any two"]);
}

#[test]
#[ignore = "a minute; make slow"]
fn a_thousand_of_any_kind_merged_stay_within_one_percent() {
    check_merges(&STREAMS, &[(60, 60), (60, 1_440), (1_440, 1_440)], &SHAPES);
}

#[test]
fn golden_quantiles_are_met_while_exact() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference/stats");
    let (mut exact, mut summarised) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let file: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Some(quantiles) = file["expected"]["quantile_type7"].as_object() else { continue };
        let x: Vec<f64> =
            file["x"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let sketch = sketch(&x);
        let mut sorted = x.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        for (p, expected) in quantiles {
            let p: f64 = p.parse().unwrap();
            let expected = expected.as_f64().unwrap();
            let value = sketch.quantile(p).unwrap();
            if x.len() <= BUFFER {
                // The files' tolerance is on exact interpolation; a rounding of each term is ours.
                let tolerance = 1e-15 * expected.abs() + f64::EPSILON * sorted[0].abs();
                assert!((value - expected).abs() <= tolerance, "{path:?} {p}: {value} {expected}");
                exact += 1;
            } else {
                // Within a hundredth of the count on either side of the true quantile.
                let rank = 1.0 + (x.len() - 1) as f64 * p;
                let reach = 0.005 * x.len() as f64;
                let low = sorted[((rank - reach).floor().max(1.0)) as usize - 1];
                let high = sorted[((rank + reach).ceil() as usize).min(x.len()) - 1];
                assert!(low <= value && value <= high, "{path:?} {p}: {value} {expected}");
                summarised += 1;
            }
        }
        let median = sketch.rank(file["expected"]["median"].as_f64().unwrap());
        assert!(median >= 0.494, "{path:?} {median}");
    }
    assert!(exact >= 28 && summarised >= 56, "{exact} {summarised}");
}

#[test]
fn small_ones_by_hand() {
    assert_eq!((Sketch::new().quantile(0.5), Sketch::new().rank(1.0)), (None, 0.0));
    let four = sketch(&[4.0, 1.0, 2.0, 3.0]);
    for (p, value) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (1.0, 4.0), (-1.0, 1.0), (7.0, 4.0)] {
        assert_eq!(four.quantile(p), Some(value), "{p}");
    }
    for (x, rank) in [(0.9, 0.0), (1.0, 0.25), (2.5, 0.5), (4.0, 1.0)] {
        assert_eq!(four.rank(x), rank, "{x}");
    }
    let huge = sketch(&[f64::MIN, f64::MAX]);
    assert_eq!(huge.quantile(0.5), Some(0.0));
    assert_eq!((four.rank_error(), sketch(&[1.0; 256]).rank_error()), (0.0, 0.0));
}

#[test]
fn bytes_are_refused_with_their_fault() {
    let good = sketch(&stream("random", 1000)).to_bytes();
    for (bytes, fault) in [
        (vec![], "empty"),
        (vec![2, 0, 0], "version 2"),
        (good[..good.len() - 1].to_vec(), "cut short"),
        ([&good[..], &[0]].concat(), "left over"),
        (vec![VERSION, 0xff, 0x7f], "at most 768"),
        (vec![VERSION, 0, 0xff, 0x7f], "at most 256"),
        (vec![VERSION, 0x80, 0x00], "too long"),
        // Values 0 (NaN), then one entry with something below the smallest.
        (vec![VERSION, 1, 0, 0, 0, 0], "no reading"),
        (one_entry(1.0, 5, 2), "contradict"),
        (one_entry(-0.0, 5, 0), ""),
    ] {
        match Sketch::from_bytes(&bytes) {
            Err(error) => assert!(error.contains(fault), "{bytes:?}: {error}"),
            Ok(_) => assert_eq!(fault, "", "{bytes:?}"),
        }
    }
}

fn one_entry(value: f64, gap: u64, unknown: u64) -> Vec<u8> {
    let mut bytes = vec![VERSION, 1];
    put(&mut bytes, ordered_bits(value));
    put(&mut bytes, gap - 1);
    put(&mut bytes, unknown);
    bytes.push(0);
    bytes
}

#[test]
fn stored_as_bytes() {
    let sketch = sketch(&stream("random", 5000));
    let cbor = serde_cbor::to_vec(&sketch).unwrap();
    assert_eq!(cbor.len(), sketch.to_bytes().len() + 3);
    assert_eq!(crate::cbor::from_slice::<Sketch>(&cbor).unwrap(), sketch);
    assert!(crate::cbor::from_slice::<Sketch>(&[0x41, 9]).is_err());
}

/// What the module promises of a summary, against all readings in order.
fn check_bounds(sketch: &Sketch, sorted: &[f64]) {
    let entries = sketch.current();
    let mut least = 0;
    for (i, entry) in entries.iter().enumerate() {
        let below = sorted.partition_point(|&x| x < entry.value) as u64;
        let up_to = sorted.partition_point(|&x| x <= entry.value) as u64;
        assert!(below < up_to, "{entry:?} is a reading");
        assert!(below <= least + entry.unknown, "{i} {entry:?} {below}");
        assert!(i == 0 || entries[i - 1].value < entry.value, "{i}");
        least += entry.gap;
        assert!(least <= up_to, "{i} {entry:?} {least} {up_to}");
    }
    assert_eq!(least, sketch.count());
    assert!(sketch.entries.len() <= MAX_ENTRIES && sketch.buffer.len() <= BUFFER);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bounds_stay_true_through_adding_and_merging(
        parts in prop::collection::vec(
            (0usize..1500, prop::sample::select(&STREAMS[..]), any::<prop::sample::Index>()), 1..8),
    ) {
        let mut all = Vec::new();
        let mut merged = Sketch::new();
        for (n, kind, start) in parts {
            let mut values = stream(kind, n);
            if n > 0 { values.rotate_left(start.index(n)); }
            let part = sketch(&values);
            // Both ways round.
            let mut other_way = part.clone();
            other_way.merge(&merged);
            merged.merge(&part);
            all.extend(values);
            all.sort_unstable_by(f64::total_cmp);
            for sketch in [&merged, &other_way] {
                if !sketch.entries.is_empty() { check_bounds(sketch, &all); }
                let bytes = sketch.to_bytes();
                let read = Sketch::from_bytes(&bytes).unwrap();
                prop_assert_eq!(&read, sketch);
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }
        let quantiles: Vec<_> = (0..=200).map(|p| merged.quantile(f64::from(p) / 200.0)).collect();
        prop_assert!(quantiles.is_sorted(), "{:?}", quantiles);
    }

    #[test]
    fn a_resumed_sketch_goes_on_to_the_same_bytes(
        n in 1usize..3000, cut in any::<prop::sample::Index>(),
        kind in prop::sample::select(&STREAMS[..]),
    ) {
        let values = stream(kind, n);
        let whole = sketch(&values);
        let (before, after) = values.split_at(cut.index(n));
        let mut resumed = Sketch::from_bytes(&sketch(before).to_bytes()).unwrap();
        after.iter().for_each(|&value| resumed.add(finite(value)));
        prop_assert_eq!(resumed.to_bytes(), whole.to_bytes());
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        n in 0usize..1200,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = sketch(&stream("few values", n)).to_bytes();
        for (at, byte) in edits { let at = at.index(bytes.len()); bytes[at] = byte; }
        let noise = [&[VERSION][..], &noise].concat();
        for bytes in [bytes, noise] {
            let Ok(mut read) = Sketch::from_bytes(&bytes) else { continue };
            prop_assert_eq!(&read.to_bytes().len(), &bytes.len());
            read.quantile(0.5);
            read.rank(0.5);
            prop_assert!(read.rank_error() <= 0.5, "{}", read.rank_error());
            let copy = read.clone();
            read.merge(&copy);
            for i in 0..600 { read.add(finite(f64::from(i))); }
        }
    }
}
